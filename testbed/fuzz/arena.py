"""Where Twins schedules are played: who leads, who hears whom, and how schedules that begin alike begin only once."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby, islice

from consensus.byzantine import TIMEOUTS_PER_ROUND, Rounds, Schedule, all_but_last
from consensus.messages import Block, Payload
from consensus.replica import Replica, Seat
from consensus.types import Committee, ReplicaId, View
from testbed.fuzz.draw import Tables
from testbed.fuzz.schedules import FANS, Choices, Space
from testbed.fuzz.twins import Hearing, Play
from testbed.fuzz.twins_watch import Outcome

DELAY_NS = 10_000_000
DELTA_NS = 2 * DELAY_NS
RECOVERING = 26
"""One schedule in so many is played on until everybody has recovered from it, the others until somebody honest has left
its last round: waiting for stragglers takes a quarter longer and finds next to nothing more."""
_BATCH = 4 * math.prod(FANS)
"""How many schedules are looked at together for what they have in common: whole families."""

Script = tuple[Choices, bool]
"""A schedule, and whether it is played on until everybody has recovered."""


class Arena:
    """Plays the schedules of one space with one protocol."""

    def __init__(self, protocol: type[Replica], space: Space, *, branching: bool = True) -> None:
        """`branching` plays are copied in the middle: see `copying` for whose can be."""
        facts, committee = protocol.facts, space.committee
        assert facts.timeout_deltas is not None, "a protocol without views has no rounds"
        self.protocol, self.space, self.branching = protocol, space, branching
        self.delay_ns, self.view_ns = DELAY_NS, round(facts.timeout_deltas * DELTA_NS)
        self.round_ns = TIMEOUTS_PER_ROUND * self.view_ns
        self.identity = [*map(ReplicaId, range(committee.n)), space.twin]
        self.unhindered = Hearing((tuple(range(committee.n + 1)),), committee.n, space.twin)
        self.hearing = [Hearing(groups, committee.n, space.twin) for groups in space.partitions]
        self.playing: Play | None = None
        chance, parameters = random.Random(0), protocol.Parameters()
        self.seats = [
            Seat(
                me=me,
                committee=committee,
                delta_ns=DELTA_NS,
                timeout_ns=None,
                random=chance,
                payloads=_payload if node < committee.n else all_but_last(_payload),
                block_max_bytes=1,
                parameters=parameters,
                leaders=self._leader,
            )
            for node, me in enumerate(self.identity)
        ]

    def schedule(self, choices: Choices) -> Schedule:
        """The schedule as scenarios have it."""
        return Schedule(
            tuple(map(self.space.leader, choices)), tuple(map(self.space.partition, choices)), self.round_ns
        )

    def rounds(self, choices: Choices) -> Rounds:
        """The same, by the protocol's rules."""
        return Rounds(self.schedule(choices), self.protocol, self.space.committee)

    def tables(self, name: str, outcome: Outcome) -> Tables:
        """A scenario file's tables of the protocol of that name playing the same schedule for as long."""
        schedule, choices = self.schedule(outcome.choices), outcome.choices
        twins: Tables = {
            "kind": "byzantine",
            "behaviour": "twins",
            "target": [f"replica/{self.space.twin}"],
            "window_s": [0],
            "leaders": list(schedule.leaders),
            "partitions": [[list(group) for group in groups] for groups in schedule.partitions],
        }
        expect: Tables = {"progress_after_s": len(choices) * self.round_ns / 1e9} if outcome.stalled else {}
        return {
            "title": "twins",
            "duration_s": (outcome.ended_ns + self.round_ns) / 1e9,
            "consensus": {"protocol": name, "delta_ms": DELTA_NS / 1e6},
            "committee": [{"on": "laboratory", "count": self.space.committee.n}],
            "network": {"model": "fixed", "delay_ms": DELAY_NS / 1e6},
            "workload": {"transactions_per_s": 10_000, "transaction_bytes": 1, "block_max_bytes": 1},
            "compute": {"signatures": "modelled", "sign_us": 0, "verify_us": 0},
            "fault": [twins],
            "expect": expect,
        }

    def play(self, choices: Choices, recover: bool = True) -> Outcome:
        """One schedule, from the start until it is over or, if asked for, everybody has recovered from it."""
        return Play(self, choices).run(recover)

    def play_all(self, schedules: Iterable[Choices]) -> Iterator[Outcome]:
        """One after the other. Neighbours that begin alike are played as branches of one trunk.

        After one in which the protocol raised something, there is nothing to branch from.
        """
        remaining = ((choices, number % RECOVERING == 0) for number, choices in enumerate(schedules))
        if not self.branching:
            yield from (self.play(choices, recover) for choices, recover in remaining)
        while batch := list(islice(remaining, _BATCH)):
            yield from self._grow(None, batch)

    def _grow(self, trunk: Play | None, scripts: Sequence[Script]) -> Iterator[Outcome]:
        """Schedules that have in common whatever has had an influence on the trunk so far."""
        (first, recover), *others = scripts
        play = self._from(trunk, first)
        yield play.run(recover)
        forks = [(common, list(branch)) for common, branch in groupby(others, key=partial(_common, first))]
        trunks = {}
        for common in sorted({common for common, _ in forks}):
            events = play.in_common(common)
            if trunk is None or trunk.events < events:
                trunk = self._from(trunk, first)
                trunk.run_to(events)
            trunks[common] = trunk
        for common, branch in forks:
            yield from self._grow(trunks[common], branch)

    def _from(self, trunk: Play | None, choices: Choices) -> Play:
        return Play(self, choices) if trunk is None else trunk.branch(choices)

    def _leader(self, committee: Committee, view: View) -> ReplicaId:
        assert self.playing is not None, "replicas ask while they play"
        return self.playing.leader(view)


def _common(one: Choices, script: Script) -> int:
    """How many rounds two schedules have in common before they part."""
    other, _ = script
    return next((number for number, (a, b) in enumerate(zip(one, other, strict=True)) if a != b), len(one))


def _payload(now_ns: int, max_bytes: int, parent: Block) -> Payload:
    """A transaction is at hand at any time but the very first, as in a busy laboratory."""
    count = 1 if now_ns else 0
    return Payload(parent.payload.end, count, count)
