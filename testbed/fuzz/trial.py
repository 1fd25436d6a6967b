"""One scenario run for its failures, and what it put its protocol through."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from consensus.messages import Block, Message, Vote
from consensus.replica import Replica
from consensus.types import ReplicaId, View
from node.guard import patience_s
from node.trace import Observer
from node.wire import Envelope
from testbed.fuzz.draw import Tables, given_up, size
from testbed.result import Result
from testbed.scenario import make_scenario
from testbed.simulation import simulate
from testbed.units import seconds

IGNORED = ("non-vacuity",)
"""A fault drawn at random may have nothing to do."""
FEATURES = ("view changes", "locks", "equivocations", "restarts", "partitions", "fetches", "adversaries", "orbits")


class Story(Observer):
    """What happened that is worth telling of a scenario."""

    def __init__(self, heal_ns: int | None, everybody: frozenset[int]) -> None:
        """`everybody` is to commit something after `heal_ns`, where that is given."""
        self._heal_ns = heal_ns
        self._stuck = set(everybody)
        self.view_changes = False
        self.locks = False
        """Somebody gave up a view in which it had voted: it may be locked on that block."""
        self.equivocations = False
        """Somebody proposed two blocks in one view, or voted for two in one place."""
        self.restarts = False
        self._voted: dict[ReplicaId, View] = {}
        self._proposed: dict[tuple[ReplicaId, View, int], bytes] = {}
        self._votes: dict[tuple[Any, ...], bytes] = {}

    def entered(self, now_ns: int, replica: ReplicaId, view: View, timed_out: bool) -> None:
        if timed_out:
            self.view_changes = True
            self.locks |= self._voted.get(replica, -1) >= view - 1

    def proposed(self, now_ns: int, replica: ReplicaId, block: Block, message: Message) -> None:
        place = (replica, block.view, block.height)
        self.equivocations |= self._proposed.setdefault(place, block.id) != block.id

    def sent(self, now_ns: int, envelope: Envelope, due_ns: Any, taken_ns: int) -> None:
        vote = envelope.message
        if type(vote) is Vote:
            self._voted[envelope.sender] = vote.view
            place = (envelope.sender, vote.phase, vote.view, vote.height)
            self.equivocations |= self._votes.setdefault(place, vote.block) != vote.block

    def restarted(self, now_ns: int, replica: ReplicaId) -> None:
        self.restarts = True

    def committed(self, now_ns: int, replica: ReplicaId, block: Block) -> None:
        if self._heal_ns is not None and now_ns > self._heal_ns:
            self._stuck.discard(replica)

    def all_went_on(self) -> bool:
        """Whether there is nothing left to wait for."""
        return not self._stuck


@dataclass(frozen=True)
class Trial:
    """What came of one scenario."""

    failed: tuple[str, ...]
    """The checks that found something; an error of the protocol's own counts as one."""
    sentences: tuple[str, ...]
    features: frozenset[str] = field(default_factory=frozenset)
    behaviours: frozenset[str] = field(default_factory=frozenset)
    deliveries: int = 0
    blocks: int = 0


def attempt(tables: Tables, protocol: type[Replica] | None = None) -> Trial:
    """Run a scenario's tables; `protocol` stands in for the one they name.

    Raises `ScenarioError` where they make no scenario.
    """
    scenario = make_scenario(tables)
    story = Story(*_awaited(tables))
    try:
        result = simulate(
            scenario, protocol=protocol, observers=[story], enough=story.all_went_on, patience_s=patience_s(os.environ)
        )
    except (KeyboardInterrupt, MemoryError):
        raise
    except Exception as error:  # whatever a protocol raises is what is looked for
        return Trial((f"error: {type(error).__name__}",), (f"{type(error).__name__}: {error}",))
    return _judged(tables, result, story)


def _awaited(tables: Tables) -> tuple[int | None, frozenset[int]]:
    """When the network heals, and who must commit after that: all but who is Byzantine, or down for good."""
    heal_s = tables["expect"].get("progress_after_s")
    if heal_s is None:
        return None, frozenset({-1})
    return seconds(heal_s), frozenset(range(size(tables))) - given_up(tables)


def _judged(tables: Tables, result: Result, story: Story) -> Trial:
    report = result.report
    failed = tuple(
        check["name"] for check in report["safety"]["checks"] if not check["ok"] and check["name"] not in IGNORED
    )
    if "progress_after_s" not in tables.get("expect", {}):
        failed = tuple(name for name in failed if name != "progress")
    behaviours = frozenset(
        table["behaviour"]
        for table, fault in zip(tables["fault"], report["faults"], strict=True)
        if table["kind"] == "byzantine" and fault["effect"]["count"]
    )
    happened = {
        "view changes": story.view_changes,
        "locks": story.locks,
        "equivocations": story.equivocations,
        "restarts": story.restarts,
        "partitions": any(fault["kind"] == "partition" and fault["effect"]["count"] for fault in report["faults"]),
        "fetches": "fetch" in report["network"]["by_kind"],
        "adversaries": bool(behaviours),
        "orbits": "shell" in tables,
    }
    return Trial(
        failed,
        tuple(sentence for sentence in report["safety"]["violations"] if not sentence.startswith(IGNORED)),
        frozenset(name for name, seen in happened.items() if seen),
        behaviours,
        report["engine"]["deliveries"],
        report["consensus"]["committed_blocks"],
    )
