"""Twins schedules: Bano et al., "Twins: BFT systems made robust", OPODIS 2021 (arXiv 2004.10617), sections 4 and 5.

One replica exists in two copies with one key. A schedule gives every round a leader and a partition of the n+1 nodes:
nodes 0 to n-1 are the replicas, node n is the second copy. After its last round everybody hears everybody and leaders
take turns.

The round of a message is the turn of leading that it belongs to (`Replica.turn`); if it does not say, the one that its
receiver is in or, if a copy says it, the copy. The last votes that go from all to all belong to the round after that:
otherwise whoever hears a proposal would hear all votes on it too, and nobody would ever know a certificate that others
lack. Blocks can be had from everybody: a partition hides what is said, not what is known by name. It is lifted, at the
latest, `round_ns` times the round's number after the start, as nobody may be left to end a round that it cut in pieces.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from consensus.effects import Committed, Effect, Entered
from consensus.leader import round_robin
from consensus.messages import Ancestors, AnyPayload, Fetch, Message, Vote
from consensus.replica import NOTHING, Chained, Recovered, Replica, StateMachine
from consensus.types import Committee, ReplicaId, View

TIMEOUTS_PER_ROUND = 2
"""A partition is lifted at the latest when each round has had so many view timeouts."""

Partition = tuple[tuple[int, ...], ...]
"""The groups of nodes that hear each other."""


class Schedule(msgspec.Struct, frozen=True):
    """Who leads which round, and who hears whom in it; the first round is number 1.

    Where views outlast blocks, a view's leader is the one of the round of its first block.
    """

    leaders: tuple[int, ...]
    partitions: tuple[Partition, ...]
    """Of each round; as many as leaders."""
    round_ns: int


class Rounds:
    """A schedule, by the rules of one protocol and for one committee."""

    def __init__(self, schedule: Schedule, protocol: type[Replica], committee: Committee) -> None:
        self._schedule = schedule
        self._turn = protocol.turn
        self._committee = committee
        self._last_phase = None if isinstance(protocol.facts.shape, Chained) else protocol.facts.final_phase

    def leader(self, committee: Committee, view: View) -> ReplicaId:
        """The `Leaders` of this schedule."""
        number, leaders = self.place(view, 1), self._schedule.leaders
        return ReplicaId(leaders[number - 1]) if 1 <= number <= len(leaders) else round_robin(committee, view)

    def place(self, view: int, height: int) -> int:
        """The round of a place in the protocol."""
        number = self._turn(self._committee, view, height)
        assert number is not None, "a view and a height are a place in any protocol"
        return number

    def round_of(self, message: Message) -> int | None:
        """The round that a message says it belongs to; None if it does not say."""
        if type(message) is Vote:
            number = self._turn(self._committee, message.view, message.height)
            return number + 1 if number is not None and message.phase == self._last_phase else number
        block = message.proposes()
        view, height = getattr(message, "view", None), getattr(message, "height", None)
        if block is not None:
            view, height = block.view if view is None else view, block.height
        return None if view is None else self._turn(self._committee, view, height)

    def passes(self, number: int, speaker: int, listener: int, now_ns: int) -> bool:
        """Whether what one node says in a round reaches another one."""
        partitions = self._schedule.partitions
        if not 1 <= number <= len(partitions) or now_ns >= number * self._schedule.round_ns:
            return True
        return any(speaker in group and listener in group for group in partitions[number - 1])


class Standpoint:
    """Which round one node is in, as its own facts tell, and whom it hears there."""

    def __init__(self, rounds: Rounds, node: int) -> None:
        self.node = node
        self._rounds = rounds
        self._view = self._final = 0

    def note(self, effect: Effect) -> None:
        """Move on with the node, if this is a fact that says so."""
        if type(effect) is Entered:
            self._view = effect.view
        elif type(effect) is Committed:
            self._final = effect.block.height

    def hears(self, other: int, message: Message, now_ns: int) -> bool:
        """Whether this node hears what another one says."""
        return self._passes(other, self.node, message, now_ns)

    def reaches(self, other: int, message: Message, now_ns: int) -> bool:
        """Whether another node hears what this one says."""
        return self._passes(self.node, other, message, now_ns)

    def _passes(self, speaker: int, listener: int, message: Message, now_ns: int) -> bool:
        if isinstance(message, Fetch | Ancestors):
            return True
        number = self._rounds.round_of(message)
        if number is None:
            number = self._rounds.place(self._view, self._final + 1)
        return self._rounds.passes(number, speaker, listener, now_ns)


class Listener:
    """An honest replica that does not hear those from whom it is apart. What a copy says to it, it may hear."""

    def __init__(self, honest: StateMachine, standpoint: Standpoint, twin: ReplicaId) -> None:
        self._honest = honest
        self._standpoint = standpoint
        self._unhindered = (twin, standpoint.node)

    def start(self, recovered: Recovered, now_ns: int) -> Sequence[Effect]:
        return self._noted(self._honest.start(recovered, now_ns))

    def receive(self, sender: ReplicaId, message: Message, now_ns: int) -> Sequence[Effect]:
        if sender in self._unhindered or self._standpoint.hears(sender, message, now_ns):
            return self._noted(self._honest.receive(sender, message, now_ns))
        return NOTHING

    def fire(self, timer: str, now_ns: int) -> Sequence[Effect]:
        return self._noted(self._honest.fire(timer, now_ns))

    def submit(self, payload: AnyPayload, now_ns: int) -> Sequence[Effect]:
        return self._noted(self._honest.submit(payload, now_ns))

    def _noted(self, effects: Sequence[Effect]) -> Sequence[Effect]:
        for effect in effects:
            self._standpoint.note(effect)
        return effects
