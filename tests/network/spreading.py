"""Broadcasts among members over the simplest of channels, for tests of how they spread: no scenario, no protocol."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from network.carriage import Direct
from network.channel import Drop
from network.clock import VirtualClock
from network.gossip import Gossip, GossipRules, Peers, Receiver
from network.meter import Meter
from network.plan import IntArray

NEVER = -1
FAR_NS = 10**15


class Line:
    """A channel on which every passage takes as long as `delay_ns` says, or is lost where it says so."""

    def __init__(self, delay_ns: Callable[[int, IntArray, int], Any]) -> None:
        """`delay_ns(source, targets, size_bytes)`: one number for all targets or int64[targets], negative for lost."""
        self.log: list[tuple[int, IntArray, int, int]] = []
        self._delay_ns = delay_ns

    def carry(self, source: int, targets: IntArray, size_bytes: int, now_ns: int) -> IntArray:
        self.log.append((source, targets, size_bytes, now_ns))
        delay_ns = self._delay_ns(source, targets, size_bytes)
        if isinstance(delay_ns, int):
            return np.full(len(targets), Drop.LOSS if delay_ns < 0 else now_ns + delay_ns, dtype=np.int64)
        return np.where(delay_ns < 0, np.int64(Drop.LOSS), delay_ns + now_ns)

    @property
    def sent(self) -> list[tuple[int, int, int, int]]:
        """(source, target, bytes, when) of every copy."""
        return [(source, target, size, now) for source, targets, size, now in self.log for target in targets.tolist()]


def steady(delay_ns: int = 1) -> Line:
    """Everything takes the same time."""
    return Line(lambda source, targets, size_bytes: delay_ns)


class Party:
    """Members who receive: when each got the message, and a clock that stops when all have."""

    def __init__(self, n: int, line: Line, takes: Callable[[int, int], int | None] = lambda member, now_ns: now_ns):
        """`takes(member, now_ns)`: when it has found the message valid; None for never."""
        self.n = n
        self.clock = VirtualClock()
        self.line = line
        self.meter = Meter(n)
        self.carriage = Direct(self.clock, line, meter=self.meter)
        self.got_ns = [NEVER] * n
        self.times = 0
        """How often anybody was handed a message."""
        self._takes = takes
        self._missing = n - 1
        self._stops = False

    def receivers(self) -> list[Receiver]:
        return [self._receiver(member) for member in range(self.n)]

    def _receiver(self, member: int) -> Receiver:
        def receive(parcel: Any, now_ns: int) -> int | None:
            self.times += 1
            valid_ns = self._takes(member, now_ns)
            if valid_ns is not None and self.got_ns[member] == NEVER:
                self.got_ns[member] = now_ns
                self._missing -= 1
                if self._stops and not self._missing:
                    self.clock.stop()
            return valid_ns

        return receive

    def gossip(self, peers: Peers, rules: GossipRules, seed: int = 1, **more: Any) -> Gossip:
        return Gossip(self.clock, self.carriage, self.receivers(), peers, rules, random.Random(seed), **more)

    def spread(self, dissemination: Any, source: int = 0, size_bytes: int = 1_000, at_ns: int = 0) -> None:
        """Start a broadcast; nothing has moved yet."""
        targets = np.delete(np.arange(self.n, dtype=np.int64), source)
        self.got_ns[source] = at_ns
        dissemination.spread(source, targets, size_bytes, "news", at_ns)

    def run(self, *, until_all_have_it: bool = False) -> None:
        """Until nothing moves any more."""
        self._stops = until_all_have_it
        while self.clock.run(FAR_NS, 10**9):
            pass

    def reached(self) -> IntArray:
        """When those whom it reached got it, the source aside; ascending."""
        return np.array(sorted(self.got_ns)[1:] if NEVER not in self.got_ns else self._those(), dtype=np.int64)

    def _those(self) -> list[int]:
        return sorted(at_ns for at_ns in self.got_ns if at_ns != NEVER)[1:]


def line_graph(n: int) -> Sequence[Sequence[int]]:
    """0 - 1 - 2 - …"""
    return [[other for other in (member - 1, member + 1) if 0 <= other < n] for member in range(n)]
