"""Words over a broker that may lose them: each is taken once and in order, whatever happens to the broker.

Words to all and words to each other node are streams of their own, numbered from 1 in each incarnation of a node.
Whoever finds a number missing asks for it, and whoever connects (again) tells all others how far it has come with
them. What was said is kept for that as long as there is room.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from node.frames import ALL, Body, Frame, Greeting, Refusal, Refused, Request, Resumption, Word

KEPT_BYTES = 32 << 20
PATIENCE_NS = 500_000_000
"""How long a request is given before it is made again."""


class _Said(NamedTuple):
    to: int
    number: int
    due_ns: tuple[int, ...]
    payload: bytes


@dataclass(slots=True)
class _Heard:
    """How far we have come with one node: its incarnation, and the next numbers of its two streams."""

    incarnation: int = 0
    serial: int = 0
    to_all: int = 1
    to_me: int = 1
    asked_ns: int = 0

    def next(self, to_all: bool) -> int:
        return self.to_all if to_all else self.to_me

    def advance(self, to_all: bool, number: int) -> None:
        if to_all:
            self.to_all = number
        else:
            self.to_me = number


class Exchange:
    """One node's words to the others and theirs to it.

    `seal(to, body)` gives a frame's bytes, `post(to, payload)` publishes them to one node or to `ALL`, `now_ns()` is
    any clock that passes.
    """

    def __init__(
        self,
        me: int,
        n: int,
        *,
        incarnation: int,
        seal: Callable[[int, Body], bytes],
        post: Callable[[int, bytes], None],
        now_ns: Callable[[], int],
    ) -> None:
        self.boot_ns = 0
        """What was due before is not asked for."""
        self.resent = 0
        """Words said again because somebody had missed them."""
        self._me = me
        self._n = n
        self._incarnation = incarnation
        self._seal = seal
        self._post = post
        self._now_ns = now_ns
        self._said: Counter[int] = Counter()
        self._kept: deque[_Said] = deque()
        self._kept_bytes = 0
        self._heard = [_Heard() for _ in range(n)]

    # Speaking

    def say(self, to: int, due_ns: tuple[int, ...], message: bytes) -> None:
        """Say something to one node or to `ALL`, and keep it."""
        self._said[to] += 1
        payload = self._seal(to, Word(self._said[to], due_ns, message))
        self._kept.append(_Said(to, self._said[to], due_ns, payload))
        self._kept_bytes += len(payload)
        while self._kept_bytes > KEPT_BYTES:
            self._kept_bytes -= len(self._kept.popleft().payload)
        self._post(to, payload)

    def greet(self) -> None:
        """Tell all others how far we have come with them."""
        awaited = tuple((heard.incarnation, heard.to_all, heard.to_me) for heard in self._heard)
        said_to = tuple(self._said[member] for member in range(self._n))
        self._post(ALL, self._seal(ALL, Greeting(self._said[ALL], said_to, awaited, self.boot_ns)))

    # Listening

    def hear(self, frame: Frame) -> Word | None:
        """The word in a frame from another node if it is the next one; None when it is none or has to wait.

        Raises `Refused` for a word that was taken before.
        """
        heard = self._heard[frame.sender]
        if frame.incarnation < heard.incarnation:
            raise Refused(Refusal.REPLAYED)
        if frame.incarnation > heard.incarnation:
            heard = self._heard[frame.sender] = _Heard(frame.incarnation)
        body = frame.body
        if isinstance(body, Word):
            return self._on_word(frame.sender, heard, frame.to == ALL, body)
        if frame.serial <= heard.serial:
            raise Refused(Refusal.REPLAYED)
        heard.serial = frame.serial
        if isinstance(body, Greeting):
            self._on_greeting(frame.sender, heard, body)
        elif isinstance(body, Request):
            self._say_again(frame.sender, body.to_all, body.number, body.boot_ns)
        elif isinstance(body, Resumption):
            # One that was meant for us before we were started again speaks of what that one had heard.
            if body.incarnation == self._incarnation:
                heard.advance(body.to_all, max(body.number, heard.next(body.to_all)))
        else:
            raise Refused(Refusal.MISADDRESSED)
        return None

    def due_ns(self, frame: Frame, word: Word) -> int:
        """When a word is due here; negative if it never is. Raises `Refused` if it does not say so."""
        if not 0 <= frame.sender < self._n:
            raise Refused(Refusal.UNKNOWN_SENDER)
        count = self._n - 1 if frame.to == ALL else 1
        if len(word.due_ns) != count:
            raise Refused(Refusal.MALFORMED)
        return word.due_ns[_place(self._me, frame.sender, frame.to)]

    def _on_word(self, sender: int, heard: _Heard, to_all: bool, word: Word) -> Word | None:
        awaited = heard.next(to_all)
        if word.number < awaited:
            raise Refused(Refusal.REPLAYED)
        if word.number > awaited:
            self._ask(sender, heard, to_all)
            return None
        heard.advance(to_all, awaited + 1)
        return word

    def _on_greeting(self, sender: int, heard: _Heard, greeting: Greeting) -> None:
        if len(greeting.said_to) != self._n or len(greeting.awaited) != self._n:
            raise Refused(Refusal.MALFORMED)
        # What we asked before may have gone with the connection.
        heard.asked_ns = 0
        for to_all, said in ((True, greeting.said_to_all), (False, greeting.said_to[self._me])):
            if said >= heard.next(to_all):
                self._ask(sender, heard, to_all)
        incarnation, to_all_number, to_me_number = greeting.awaited[self._me]
        known = incarnation == self._incarnation
        self._say_again(sender, True, to_all_number if known else 1, greeting.boot_ns)
        self._say_again(sender, False, to_me_number if known else 1, greeting.boot_ns)

    def _ask(self, sender: int, heard: _Heard, to_all: bool) -> None:
        now_ns = self._now_ns()
        if heard.asked_ns and now_ns - heard.asked_ns < PATIENCE_NS:
            return
        heard.asked_ns = now_ns
        for each in (True, False):
            self._post(sender, self._seal(sender, Request(each, heard.next(each), self.boot_ns)))

    def _say_again(self, to: int, to_all: bool, number: int, boot_ns: int) -> None:
        stream = ALL if to_all else to
        said = self._said[stream]
        if number > said:
            return
        place = _place(to, self._me, stream)
        words = [word for word in self._kept if word.to == stream and word.number >= number]
        first = next((index for index, word in enumerate(words) if word.due_ns[place] >= boot_ns), len(words))
        words = words[first:]
        resumed = words[0].number if words else said + 1
        if resumed > number:
            self._post(to, self._seal(to, Resumption(to_all, resumed, self._heard[to].incarnation)))
        for word in words:
            self._post(to, word.payload)
        self.resent += len(words)


def _place(receiver: int, sender: int, to: int) -> int:
    """Where in a word's due times the receiver's stands: all but the sender in order, or one alone."""
    if to != ALL:
        return 0
    return receiver if receiver < sender else receiver - 1
