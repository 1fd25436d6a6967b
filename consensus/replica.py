"""A replica: events in, effects out, no I/O.

Protocol authors subclass `Replica` (or `ChainReplica`, which also keeps a block tree and fetches what it lacks),
write `on_start`, `on_message`, `on_timer` and `on_payload`, and call one verb, `emit`. Nothing is ever re-entered:
one's own words come back through `receive` as events of their own.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import msgspec

from consensus.effects import Effect, Reason, Rejected
from consensus.leader import Leaders, round_robin
from consensus.messages import AnyPayload, Block, Message
from consensus.types import Committee, ReplicaId, View

NOTHING: Sequence[Effect] = ()
"""What a delivery that changes nothing returns: votes are almost all traffic, so it allocates nothing."""

NOT_RETURNED = "a handler returns nothing: it asks for effects with emit()"

Payloads = Callable[[int, int, Block], AnyPayload]
"""`payloads(now_ns, max_bytes, parent)`: the transactions that may go into a child of `parent` now."""

Recovered = Mapping[str | bytes, Any]
"""What a replica had persisted before it stopped, by key; empty at its first start."""


class StateMachine(Protocol):
    """What a host drives: honest replicas and Byzantine wrappers alike."""

    def start(self, recovered: Recovered, now_ns: int) -> Sequence[Effect]: ...
    def receive(self, sender: ReplicaId, message: Message, now_ns: int) -> Sequence[Effect]: ...
    def fire(self, timer: str, now_ns: int) -> Sequence[Effect]: ...
    def submit(self, payload: AnyPayload, now_ns: int) -> Sequence[Effect]: ...


@dataclass(frozen=True, slots=True)
class Seat:
    """What a replica is told at birth: who am I, who votes, how long is Δ, where do chance and payload come from."""

    me: ReplicaId
    committee: Committee
    delta_ns: int
    timeout_ns: int | None
    """How long a view may last; None leaves it to the protocol, in multiples of Δ."""
    random: random.Random
    payloads: Payloads
    block_max_bytes: int
    parameters: Any
    leaders: Leaders = round_robin
    """Who leads which view."""


class AllToAll(msgspec.Struct, frozen=True):
    """The zero-load shape of a protocol whose leader proposes and then all vote to all, `phases` times."""

    phases: int
    relayed: bool = False
    """Whether all send the certificate of the first phase on, and the second may begin with it in place of votes."""


class Chained(msgspec.Struct, frozen=True):
    """The zero-load shape of a protocol whose votes go to the next leader and that commits `chain` blocks deep."""

    chain: int


class Lockstep(msgspec.Struct, frozen=True):
    """The zero-load shape of a protocol that proposes at fixed instants, whose votes all go to all, once, and whose
    blocks are final when the next one has its votes."""


class Lottery(msgspec.Struct, frozen=True):
    """The shape of a protocol whose blocks appear at random instants and may fork."""


NOT_SAID = "not said"


class ProtocolFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about a protocol before any run; `quorbit protocols` prints it and the bounds use it."""

    name: str
    paper: str = NOT_SAID
    fault_bound: str = NOT_SAID
    responsive: str = NOT_SAID
    commit_delays: str = NOT_SAID
    period: str = NOT_SAID
    messages_per_block: str = NOT_SAID
    view_change: str = NOT_SAID
    shape: AllToAll | Chained | Lockstep | Lottery | None = None
    """None if it has none of these shapes: its runs are then compared with no bound."""
    timeout_deltas: float | None = None
    """The default view timeout in multiples of Δ; None where there are no views to time out."""
    one_vote_per: tuple[str, ...] = ()
    """The fields of a vote among which an honest replica votes for one block only."""
    final_phase: str = ""
    """The phase whose votes make a block final."""
    resilience: Literal[3, 5] = 3
    """n > resilience·f."""
    small_certificates: bool = False
    """Whether 2f+1 votes make a certificate although a quorum decides; two of one view may then disagree."""

    def certificate_size(self, committee: Committee) -> int:
        """How many votes make a certificate."""
        return 2 * committee.f + 1 if self.small_certificates else committee.quorum


class Replica(ABC):
    """Base of all protocols: collects what the handlers emit, in order.

    Class attributes: `facts` for people and bounds, `Parameters` (a msgspec struct) for the scenario's
    `[consensus] parameters`, `messages` for the wire.
    """

    facts: ClassVar[ProtocolFacts]
    Parameters: ClassVar[type[msgspec.Struct]]
    messages: ClassVar[tuple[type[Message], ...]]

    def __init__(self, seat: Seat) -> None:
        self.me = seat.me
        self.committee = seat.committee
        self.delta_ns = seat.delta_ns
        self.random = seat.random
        self.now_ns = 0
        self._seat = seat
        self._outbox: list[Effect] = []

    @classmethod
    def turn(cls, committee: Committee, view: int, height: int | None) -> int | None:
        """Which turn of leading a place in the protocol belongs to; the first is 1. None if that takes a height.

        Every view is a turn or, where views outlast blocks, every height of every view, which then counts from 0.
        """
        if "height" not in cls.facts.one_vote_per:
            return view
        return None if height is None else view + height

    def leader(self, view: int) -> ReplicaId:
        """Who leads a view."""
        return self._seat.leaders(self.committee, View(view))

    def emit(self, *effects: Effect) -> None:
        """Ask for effects, to be carried out in this order once the current event is handled."""
        self._outbox.extend(effects)

    def reject(self, sender: ReplicaId, reason: Reason) -> None:
        """Record that a peer misbehaved."""
        self._outbox.append(Rejected(sender, reason))

    def start(self, recovered: Recovered, now_ns: int) -> Sequence[Effect]:
        """Begin, or begin again with what was persisted before a crash."""
        self.now_ns = now_ns
        if self.on_start(recovered) is not None:
            raise TypeError(NOT_RETURNED)
        return self._drain()

    def receive(self, sender: ReplicaId, message: Message, now_ns: int) -> Sequence[Effect]:
        """Handle one message whose signatures the host has checked."""
        self.now_ns = now_ns
        if self.on_message(sender, message) is not None:
            raise TypeError(NOT_RETURNED)
        return self._drain() if self._outbox else NOTHING

    def fire(self, timer: str, now_ns: int) -> Sequence[Effect]:
        """Handle a timer that has run out."""
        self.now_ns = now_ns
        if self.on_timer(timer) is not None:
            raise TypeError(NOT_RETURNED)
        return self._drain() if self._outbox else NOTHING

    def submit(self, payload: AnyPayload, now_ns: int) -> Sequence[Effect]:
        """Handle transactions handed in by a client."""
        self.now_ns = now_ns
        if self.on_payload(payload) is not None:  # type: ignore[func-returns-value]
            raise TypeError(NOT_RETURNED)
        return self._drain() if self._outbox else NOTHING

    def _drain(self) -> Sequence[Effect]:
        effects, self._outbox = self._outbox, []
        return effects

    @abstractmethod
    def on_start(self, recovered: Recovered) -> None:
        """The first event, and the first after a restart."""

    @abstractmethod
    def on_message(self, sender: ReplicaId, message: Message) -> None:
        """A message arrived; it may be one's own."""

    @abstractmethod
    def on_timer(self, timer: str) -> None:
        """A timer that was set has run out."""

    def on_payload(self, payload: AnyPayload) -> None:  # noqa: B027 - most protocols pull their payload instead
        """A client handed in transactions; protocols that pull them from `payloads` need not care."""
