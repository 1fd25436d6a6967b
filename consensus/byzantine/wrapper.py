"""What all adversaries are: a wrapper around a replica that edits what it asks for.

The replica inside is the honest one and knows nothing of it. What a Byzantine replica says of itself (its facts) counts
for nothing and is dropped: only what it sends, to whom and when, can be seen by others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import ClassVar, Literal, NamedTuple

import msgspec

from consensus.byzantine.schedule import Rounds, Schedule
from consensus.effects import Broadcast, Effect, Fact, Send, SetTimer
from consensus.messages import AnyPayload, Block, Message
from consensus.replica import NOTHING, Recovered, Replica, Seat, StateMachine
from consensus.types import ReplicaId


class Scheme(msgspec.Struct, frozen=True, kw_only=True):
    """What some replicas do instead of what they should, and when. Times are in ns."""

    number: int
    """Tells the schemes of a run apart."""
    behaviour: str
    replicas: tuple[int, ...]
    begin_ns: int
    end_ns: int | None
    victims: tuple[int, ...] | None = None
    """Whom it is aimed at; None leaves that to the behaviour."""
    delay_ns: int | None = None
    """How late, or how far ahead; None leaves that to the behaviour."""
    schedule: Schedule | None = None
    """What happens in which round, for twins that follow one."""


class Part(NamedTuple):
    """An adversary's part: who plays it, what is to be done, and where deeds are counted."""

    seat: Seat
    protocol: type[Replica]
    scheme: Scheme
    deeds: Counter[int]
    make: Callable[[Seat], StateMachine]
    """Makes the replica that is to be corrupted."""
    outermost: bool = True
    """Whether nobody wraps this one in turn: then it lets no facts out."""
    rounds: Rounds | None = None
    """The scheme's schedule, if it has one."""


class Byzantine:
    """Base of all adversaries: passes everything on. A behaviour overrides `say`, or an event."""

    name: ClassVar[str]
    does: ClassVar[str]
    """What it does, in a sentence."""
    suits: ClassVar[Literal["all", "leaders", "mining"]] = "all"
    """Which protocols it means anything in."""
    takes: ClassVar[tuple[str, ...]] = ()
    """Which keys of its own a scenario may give."""

    def __init__(self, part: Part) -> None:
        self.inner = part.make(part.seat)
        self.me = part.seat.me
        self.n = part.seat.committee.n
        self.now_ns = 0
        self._part = part
        self._scheme = part.scheme
        self._timer = f"byzantine/{part.scheme.number}/"
        self._waiting: dict[str, list[Effect]] = {}
        self._timers_set = 0

    @property
    def active(self) -> bool:
        """Whether it misbehaves now."""
        scheme = self._scheme
        return scheme.begin_ns <= self.now_ns and (scheme.end_ns is None or self.now_ns < scheme.end_ns)

    @property
    def victims(self) -> frozenset[int]:
        """Whom it is aimed at: as the scenario says, or every second one of the others."""
        chosen = self._scheme.victims
        others = [i for i in range(self.n) if i != self.me]
        return frozenset(others[::2] if chosen is None else chosen)

    @property
    def patience_ns(self) -> int:
        """How long the others' views last before they give them up, or Δ where there are no views."""
        seat = self._part.seat
        if seat.timeout_ns is not None:
            return seat.timeout_ns
        return round(seat.delta_ns * (self._part.protocol.facts.timeout_deltas or 1))

    def deed(self) -> None:
        """Count one thing done that an honest replica would not have done."""
        self._part.deeds[self._scheme.number] += 1

    # What the host drives

    def start(self, recovered: Recovered, now_ns: int) -> Sequence[Effect]:
        self.now_ns = now_ns
        return self.edit(self.inner.start(recovered, now_ns))

    def receive(self, sender: ReplicaId, message: Message, now_ns: int) -> Sequence[Effect]:
        self.now_ns = now_ns
        return self.edit(self.inner.receive(sender, message, now_ns))

    def fire(self, timer: str, now_ns: int) -> Sequence[Effect]:
        self.now_ns = now_ns
        if timer in self._waiting:
            return self._waiting.pop(timer)
        return self.edit(self.inner.fire(timer, now_ns))

    def submit(self, payload: AnyPayload, now_ns: int) -> Sequence[Effect]:
        self.now_ns = now_ns
        return self.edit(self.inner.submit(payload, now_ns))

    # What a behaviour edits with

    def edit(self, effects: Sequence[Effect]) -> Sequence[Effect]:
        """What becomes of the effects that the replica inside asks for."""
        if not effects:
            return NOTHING
        kept: list[Effect] = []
        for effect in effects:
            if isinstance(effect, Send | Broadcast):
                kept.extend(self.say(effect) if self.active else (effect,))
            elif not (self._part.outermost and isinstance(effect, Fact)):
                kept.append(effect)
        return kept

    def say(self, words: Send | Broadcast) -> Iterable[Effect]:
        """What becomes of something the replica inside wants to say, while this misbehaves."""
        return (words,)

    def hearers(self, words: Send | Broadcast) -> list[ReplicaId]:
        """Who is to hear it, oneself included."""
        return [words.to] if isinstance(words, Send) else [ReplicaId(i) for i in range(self.n)]

    def only_to(self, words: Send | Broadcast, chosen: Callable[[ReplicaId], bool]) -> Iterator[Effect]:
        """The same words, but only to those chosen, and to oneself."""
        for to in self.hearers(words):
            if to == self.me or chosen(to):
                yield Send(to, words.message)
            else:
                self.deed()

    def tell_all(self, words: Send | Broadcast, message: Message) -> Iterator[Effect]:
        """Another message, to the same hearers."""
        self.deed()
        yield Send(words.to, message) if isinstance(words, Send) else Broadcast(message)

    def tell_others(self, words: Send | Broadcast, message: Message) -> Iterator[Effect]:
        """Another message, to the same hearers but oneself."""
        for to in self.hearers(words):
            if to != self.me:
                self.deed()
                yield Send(to, message)

    def later(self, delay_ns: int, effects: list[Effect]) -> SetTimer:
        """What makes these effects come after a while."""
        self._timers_set += 1
        timer = f"{self._timer}{self._timers_set}"
        self._waiting[timer] = effects
        return SetTimer(timer, delay_ns)


def rewritten(message: Message, **changes: object) -> Message:
    """The same message with other fields, not signed yet."""
    return msgspec.structs.replace(message, signature=b"", **changes)


def proposed_block(message: Message) -> Block | None:
    """The block that a message proposes and that can be exchanged for another one."""
    block = message.proposes()
    return block if block is not None and "block" in message.__struct_fields__ else None
