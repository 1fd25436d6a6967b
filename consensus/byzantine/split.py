"""Split in two: one replica in two correct copies with one key, each of which talks to a part of the others.

Bano et al., "Twins: BFT systems made robust", OPODIS 2021: two copies equivocate, vote twice and forget each other's
locks without a line of attacking code.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from consensus.byzantine.schedule import Standpoint
from consensus.byzantine.wrapper import Byzantine, Part
from consensus.effects import Broadcast, CancelTimer, Effect, Fact, Persist, Send, SetTimer
from consensus.messages import AnyPayload, Block, Message, Payload
from consensus.replica import Payloads, Recovered
from consensus.types import ReplicaId

_SECOND = "second/"
FIRST, SECOND = 0, 1


def all_but_last(payloads: Payloads) -> Payloads:
    """What the second copy proposes: one transaction less, so that on one parent the copies make two blocks."""

    def fewer(now_ns: int, max_bytes: int, parent: Block) -> AnyPayload:
        found = payloads(now_ns, max_bytes, parent)
        if not found.count:
            return found
        if found.lanes:
            return payloads(now_ns, found.size_bytes - 1, parent)
        return Payload(found.first, found.count - 1, found.size_bytes - found.size_bytes // found.count)

    return fewer


class Twins(Byzantine):
    """Outside its window the second copy listens and is silent, and the first one speaks for both."""

    name = "twins"
    does = (
        "is two correct copies with one key: one talks with the victims (every second other replica), one with the rest"
    )
    takes = ("victims", "leaders", "partitions")

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        self.second = part.make(replace(part.seat, payloads=all_but_last(part.seat.payloads)))
        self._own: deque[tuple[bool, bool]] = deque()
        """Which of the copies hear what is on its way to themselves, through the host."""

    def hears(self, copy: int, sender: ReplicaId, message: Message) -> bool:
        """Whether a copy hears what another replica says."""
        return not self.active or (copy == SECOND) == (sender in self.victims)

    def reaches(self, copy: int, to: ReplicaId, message: Message) -> bool:
        """Whether another replica hears what a copy says."""
        return (copy == SECOND) == (self.active and to in self.victims)

    def overhears(self, copy: int, message: Message) -> bool:
        """Whether the other copy hears what a copy says to itself, or to all."""
        return False

    def note(self, copy: int, effect: Effect) -> None:
        """A copy has asked for an effect."""

    def start(self, recovered: Recovered, now_ns: int) -> Sequence[Effect]:
        self.now_ns = now_ns
        return [*self._first(self.inner.start(recovered, now_ns)), *self._other(self.second.start({}, now_ns))]

    def receive(self, sender: ReplicaId, message: Message, now_ns: int) -> Sequence[Effect]:
        self.now_ns = now_ns
        if sender == self.me:
            to_first, to_second = self._own.popleft()
        else:
            to_first, to_second = self.hears(FIRST, sender, message), self.hears(SECOND, sender, message)
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

    def submit(self, payload: AnyPayload, now_ns: int) -> Sequence[Effect]:
        self.now_ns = now_ns
        return [*self._first(self.inner.submit(payload, now_ns)), *self._other(self.second.submit(payload, now_ns))]

    def _first(self, effects: Sequence[Effect]) -> list[Effect]:
        said: list[Effect] = []
        for effect in effects:
            self.note(FIRST, effect)
            if isinstance(effect, Send | Broadcast):
                said += self._say(effect, FIRST)
            elif not (self._part.outermost and isinstance(effect, Fact)):
                said.append(effect)
        return said

    def _other(self, effects: Sequence[Effect]) -> list[Effect]:
        """The second copy promises nothing, and what it says of itself nobody hears."""
        said: list[Effect] = []
        for effect in effects:
            self.note(SECOND, effect)
            if isinstance(effect, Send | Broadcast):
                said += self._say(effect, SECOND)
            elif isinstance(effect, SetTimer):
                said.append(SetTimer(self._timer + _SECOND + effect.timer, effect.delay_ns))
            elif isinstance(effect, CancelTimer):
                said.append(CancelTimer(self._timer + _SECOND + effect.timer))
            else:
                assert isinstance(effect, Persist | Fact), "nothing else can be asked for"
        return said

    def _say(self, words: Send | Broadcast, copy: int) -> list[Effect]:
        message = words.message
        said: list[Effect] = []
        for to in self.hearers(words):
            if to == self.me:
                overheard = self.overhears(copy, message)
                self._own.append((copy == FIRST or overheard, copy == SECOND or overheard))
                said.append(Send(to, message))
            elif self.reaches(copy, to, message):
                self._part.deeds[self._scheme.number] += copy == SECOND
                said.append(Send(to, message))
        return said


class ScheduledTwins(Twins):
    """Both copies hear, and are heard by, whoever is in their group of the schedule's round; also each other."""

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        assert part.rounds is not None, "whose copies follow a schedule has one"
        self._standpoints = tuple(Standpoint(part.rounds, node) for node in (self.me, self.n))

    def hears(self, copy: int, sender: ReplicaId, message: Message) -> bool:
        return self._standpoints[copy].hears(sender, message, self.now_ns)

    def reaches(self, copy: int, to: ReplicaId, message: Message) -> bool:
        return self._standpoints[copy].reaches(to, message, self.now_ns)

    def overhears(self, copy: int, message: Message) -> bool:
        """They stand side by side: what one says to the other takes no time."""
        return self._standpoints[copy].reaches(self._standpoints[1 - copy].node, message, self.now_ns)

    def note(self, copy: int, effect: Effect) -> None:
        self._standpoints[copy].note(effect)
