"""Stretches of the Twins schedules of a protocol: what was seen in them, and which failed."""

from __future__ import annotations

import math
import os
import signal
import threading
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice

from consensus.protocols import PROTOCOLS, load_protocol
from consensus.replica import Replica
from consensus.types import Committee
from node.guard import end_process, interrupt, patience_s
from testbed.fuzz.arena import Arena
from testbed.fuzz.schedules import FANS, Space
from testbed.fuzz.twins_watch import Outcome
from testbed.simulation import no_collection

ROUNDS = 8
STRETCH = 5 * math.prod(FANS)
"""How many schedules one process plays at a time: whole families."""
_TICKS = 10


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
    """Schedules `begin` to `end` - 1 of a protocol, in the order of `Space.spread`, up to the first that fails.

    For a main thread.
    """
    protocol, seen = load_protocol(name), Enumeration()
    arena = Arena(protocol, space_of(protocol), branching=name in PROTOCOLS)
    with _Patience(patience_s(os.environ)) as patience, no_collection():
        for number, outcome in enumerate(arena.play_all(islice(arena.space.spread(), begin, end)), begin):
            patience.renew()
            seen.schedules += 1
            seen.features.update(outcome.features)
            if outcome.failed:
                seen.failures[number] = outcome
                break
    return seen


class _Patience(threading.Thread):
    """Interrupts the main thread when a schedule takes too long, and ends the process if that does not help."""

    def __init__(self, patience_s: float) -> None:
        super().__init__(name="quorbit-patience", daemon=True)
        self._tick_s = patience_s / _TICKS
        self._over = threading.Event()
        self._ticks = 0

    def renew(self) -> None:
        """The next schedule has begun."""
        self._ticks = 0

    def run(self) -> None:
        while not self._over.wait(self._tick_s):
            self._ticks += 1
            if self._ticks >= _TICKS:
                interrupt(threading.main_thread().ident or 0, asleep=True)
            if self._ticks >= 2 * _TICKS:
                end_process("a handler has not returned, and could not be interrupted")

    def __enter__(self) -> _Patience:
        # Ignored unless somebody handles it; handled, it ends a sleep.
        self._before = signal.signal(signal.SIGURG, lambda number, frame: None)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()
        signal.signal(signal.SIGURG, self._before)
