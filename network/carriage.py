"""Carriages take messages from members to members: all at once over what a channel says, or link by link.

How a broadcast spreads is decided above (`dissemination`); what befalls a single passage, below (`channel`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import numpy as np

from network.channel import Channel, few
from network.clock import Action, VirtualClock
from network.fabric import Fabric
from network.meter import Meter
from network.plan import IntArray

UNDER_WAY: Final = -100
"""Stands for the due time of a copy that goes hop by hop: nobody knows yet when, or whether, it arrives."""

Count = Callable[[int, IntArray, IntArray, int, int], None]
"""`count(source, targets, due_ns, size_bytes, now_ns)` is told of every passage."""


class Carriage(Protocol):
    """Takes messages from members to members."""

    def carry(
        self, source: int, targets: IntArray, size_bytes: int, parcel: Any, actions: Sequence[Action], now_ns: int
    ) -> IntArray:
        """Send a copy to each target, where `actions[target](parcel, due_ns)` takes it.

        Returns int64[targets]: due times, a `Drop` where a copy is lost at once, `UNDER_WAY` where time will tell.
        """

    def carry_few(
        self, source: int, targets: Sequence[int], size_bytes: int, parcel: Any, actions: Sequence[Action], now_ns: int
    ) -> list[int]:
        """The same for so few targets that arrays of them would cost more than they save."""


class Direct:
    """Copies arrive when the channel says so."""

    def __init__(
        self, clock: VirtualClock, channel: Channel, count: Count | None = None, meter: Meter | None = None
    ) -> None:
        self.copies = 0
        """How many have been sent."""
        self._meter = meter
        self._clock = clock
        self._channel = channel
        self._due_ns_of_few = few(channel)
        self._count = count
        self.untraced = count is None
        """Whether nothing is counted below the copies."""

    def carry(
        self, source: int, targets: IntArray, size_bytes: int, parcel: Any, actions: Sequence[Action], now_ns: int
    ) -> IntArray:
        """See `Carriage.carry`."""
        due_ns = self._channel.carry(source, targets, size_bytes, now_ns)
        self.copies += len(targets)
        meter = self._meter
        if meter is not None:
            meter.send(source, size_bytes * len(targets), now_ns)
            meter.came_together[targets] += size_bytes * (due_ns >= 0)
        if self._count is not None:
            self._count(source, targets, due_ns, size_bytes, now_ns)
        order = due_ns.argsort(kind="stable")
        times_ns = due_ns[order].tolist()
        if times_ns and times_ns[0] < 0:
            dropped = bisect_left(times_ns, 0)
            order, times_ns = order[dropped:], times_ns[dropped:]
        self._clock.schedule(times_ns, [actions[target] for target in targets[order].tolist()], parcel)
        return due_ns

    def carry_few(
        self,
        source: int,
        targets: Sequence[int],
        size_bytes: int,
        parcel: Any,
        actions: Sequence[Action],
        now_ns: int,
        first_ns: list[int] | None = None,
    ) -> list[int]:
        """See `Carriage.carry_few`.

        `first_ns`, if given, says when each member gets the first of several copies, and is kept up to date: what
        comes later counts as delivered and is not handed over.
        """
        due_ns = self._due_ns_of_few(source, targets, size_bytes, now_ns)
        self.copies += len(targets)
        meter = self._meter
        if meter is not None:
            meter.send(source, size_bytes * len(targets), now_ns)
        if self._count is not None:
            self._count(source, np.array(targets, np.int64), np.array(due_ns, np.int64), size_bytes, now_ns)
        for number, at_ns in enumerate(due_ns):
            if at_ns >= 0:
                target = targets[number]
                if meter is not None:
                    meter.came[target] += size_bytes
                if first_ns is not None:
                    if at_ns >= first_ns[target]:
                        self._clock.delivered += 1
                        continue
                    first_ns[target] = at_ns
                self._clock.schedule_one(at_ns, actions[target], parcel)
        return due_ns

    def count_only(self, source: int, targets: Sequence[int], size_bytes: int, now_ns: int) -> None:
        """Count copies that arrive, and change nothing there, as sent and delivered."""
        self.copies += len(targets)
        self._clock.delivered += len(targets)
        if self._meter is not None:
            self._meter.send(source, size_bytes * len(targets), now_ns)
            came = self._meter.came
            for target in targets:
                came[target] += size_bytes


class HopByHop:
    """Copies are routed through the fabric, each alone. The channel says which enter it, and when."""

    def __init__(self, fabric: Fabric, channel: Channel, meter: Meter | None = None) -> None:
        self._fabric = fabric
        self._channel = channel
        self._meter = meter

    def carry(
        self, source: int, targets: IntArray, size_bytes: int, parcel: Any, actions: Sequence[Action], now_ns: int
    ) -> IntArray:
        """See `Carriage.carry`."""
        enters_ns = self._channel.carry(source, targets, size_bytes, now_ns)
        if self._meter is not None:
            self._meter.send(source, size_bytes * len(targets), now_ns)
        for enter_ns, some in self._fabric.admit(targets, enters_ns):
            self._fabric.when(enter_ns, self._enter, (source, some.tolist(), size_bytes, parcel, actions))
        return entered(enters_ns)

    def carry_few(
        self, source: int, targets: Sequence[int], size_bytes: int, parcel: Any, actions: Sequence[Action], now_ns: int
    ) -> list[int]:
        """See `Carriage.carry_few`."""
        due_ns: list[int] = self.carry(
            source, np.array(targets, np.int64), size_bytes, parcel, actions, now_ns
        ).tolist()
        return due_ns

    def _enter(self, copies: tuple[int, list[int], int, Any, Sequence[Action]], now_ns: int) -> None:
        source, targets, size_bytes, parcel, actions = copies
        send = self._fabric.send
        for target in targets:
            send(source, target, size_bytes, parcel, actions, now_ns)


def entered(enters_ns: IntArray) -> IntArray:
    """What a carriage returns for copies that have entered the fabric, or been lost before."""
    return np.where(enters_ns >= 0, UNDER_WAY, enters_ns)
