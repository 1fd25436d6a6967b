"""Stretches of the Twins schedules of a protocol: what was seen in them, and which failed."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from consensus.protocols import load_protocol
from consensus.replica import Replica
from consensus.types import Committee
from node.guard import OverdueError, patience_s
from testbed.fuzz.arena import Arena
from testbed.fuzz.schedules import Space
from testbed.fuzz.twins_watch import Outcome
from testbed.simulation import no_collection

ROUNDS = 8
STRETCH = 1_040
"""How many schedules one process plays at a time: whole families of them."""


@dataclass
class Enumeration:
    """What has been seen of Twins schedules so far."""

    schedules: int = 0
    features: Counter[str] = field(default_factory=Counter)
    failures: dict[int, Outcome] = field(default_factory=dict)
    """By the schedule's number."""

    def add(self, other: Enumeration) -> None:
        """Count another stretch."""
        self.schedules += other.schedules
        self.features.update(other.features)
        self.failures |= other.failures

    @property
    def first_failure(self) -> int | None:
        """The lowest number of a schedule that failed."""
        return min(self.failures, default=None)


def has_views(protocol: type[Replica]) -> bool:
    """Whether a protocol has rounds to schedule."""
    return protocol.facts.timeout_deltas is not None


def space_of(protocol: type[Replica]) -> Space:
    """The schedules of the smallest committee that bears one Byzantine replica."""
    resilience = protocol.facts.resilience
    return Space(Committee.of(resilience + 1, resilience=resilience), ROUNDS)


def play_stretch(name: str, begin: int, end: int) -> Enumeration:
    """Schedules `begin` to `end` - 1 of a protocol, in the order of `Space.spread`, up to the first that fails."""
    protocol, seen = load_protocol(name), Enumeration()
    arena = Arena(protocol, space_of(protocol))
    with _patience(patience_s(os.environ)) as renew, no_collection():
        for number, outcome in enumerate(arena.play_all(islice(arena.space.spread(), begin, end)), begin):
            renew()
            seen.schedules += 1
            seen.features.update(outcome.features)
            if outcome.failed:
                seen.failures[number] = outcome
                break
    return seen


@contextmanager
def _patience(patience_s: float) -> Iterator[Callable[[], None]]:
    """Whoever takes longer than this on the processor until the time is renewed is interrupted."""

    def overdue(signum: int, frame: Any) -> None:
        raise OverdueError(f"a schedule has taken more than {patience_s:g} s")

    def renew() -> None:
        signal.setitimer(signal.ITIMER_VIRTUAL, patience_s)

    before = signal.signal(signal.SIGVTALRM, overdue)
    renew()
    try:
        yield renew
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
