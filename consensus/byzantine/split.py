"""Split in two: one replica in two correct copies with one key, each of which talks to a part of the others.

Bano et al., "Twins: BFT systems made robust", OPODIS 2021: two copies equivocate, vote twice and forget each other's
locks without a line of attacking code.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from consensus.byzantine.wrapper import Byzantine, Part
from consensus.effects import Broadcast, CancelTimer, Effect, Fact, Persist, Send, SetTimer
from consensus.messages import Block, Message, Payload
from consensus.replica import Recovered
from consensus.types import ReplicaId

_SECOND = "second/"


class Twins(Byzantine):
    """Outside its window the second copy listens and is silent, and the first one speaks for both."""

    name = "twins"
    does = (
        "is two correct copies with one key: one talks with the victims (every second other replica), one with the rest"
    )
    takes = ("victims",)

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        honest = part.seat.payloads

        def payloads(now_ns: int, max_bytes: int, parent: Block) -> Payload:
            """One transaction less, so that on one parent the copies make two blocks."""
            found = honest(now_ns, max_bytes, parent)
            if not found.count:
                return found
            return Payload(found.first, found.count - 1, found.size_bytes - found.size_bytes // found.count)

        self.second = part.make(replace(part.seat, payloads=payloads))
        self._own: deque[bool] = deque()
        """Whose words to itself are on their way through the host: the second copy's, or not."""

    def start(self, recovered: Recovered, now_ns: int) -> Sequence[Effect]:
        self.now_ns = now_ns
        return [*self._first(self.inner.start(recovered, now_ns)), *self._other(self.second.start({}, now_ns))]

    def receive(self, sender: ReplicaId, message: Message, now_ns: int) -> Sequence[Effect]:
        self.now_ns = now_ns
        if sender == self.me:
            to_second = self._own.popleft()
            to_first = not to_second
        else:
            to_second = not self.active or sender in self.victims
            to_first = not self.active or sender not in self.victims
        effects: list[Effect] = []
        if to_first:
            effects += self._first(self.inner.receive(sender, message, now_ns))
        if to_second:
            effects += self._other(self.second.receive(sender, message, now_ns))
        return effects

    def fire(self, timer: str, now_ns: int) -> Sequence[Effect]:
        self.now_ns = now_ns
        if timer.startswith(self._timer + _SECOND):
            return self._other(self.second.fire(timer.removeprefix(self._timer + _SECOND), now_ns))
        return self._first(self.inner.fire(timer, now_ns))

    def submit(self, payload: Payload, now_ns: int) -> Sequence[Effect]:
        self.now_ns = now_ns
        return [*self._first(self.inner.submit(payload, now_ns)), *self._other(self.second.submit(payload, now_ns))]

    def _first(self, effects: Sequence[Effect]) -> list[Effect]:
        said: list[Effect] = []
        for effect in effects:
            if isinstance(effect, Send | Broadcast):
                said += self._say(effect, second=False)
            elif not (self._part.outermost and isinstance(effect, Fact)):
                said.append(effect)
        return said

    def _other(self, effects: Sequence[Effect]) -> list[Effect]:
        """The second copy promises nothing, and what it says of itself nobody hears."""
        said: list[Effect] = []
        for effect in effects:
            if isinstance(effect, Send | Broadcast):
                said += self._say(effect, second=True)
            elif isinstance(effect, SetTimer):
                said.append(SetTimer(self._timer + _SECOND + effect.timer, effect.delay_ns))
            elif isinstance(effect, CancelTimer):
                said.append(CancelTimer(self._timer + _SECOND + effect.timer))
            else:
                assert isinstance(effect, Persist | Fact), "nothing else can be asked for"
        return said

    def _say(self, words: Send | Broadcast, *, second: bool) -> list[Effect]:
        said: list[Effect] = []
        for to in self.hearers(words):
            if to == self.me:
                self._own.append(second)
                said.append(Send(to, words.message))
            elif second == (self.active and to in self.victims):
                self._part.deeds[self._scheme.number] += second
                said.append(Send(to, words.message))
        return said
