"""Carriages take messages from members to members: all at once over what a channel says, or link by link.

How a broadcast spreads is decided above (`dissemination`); what befalls a single passage, below (`channel`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import numpy as np

from network.channel import Channel
from network.clock import Action, VirtualClock
from network.fabric import Fabric
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


class Direct:
    """Copies arrive when the channel says so."""

    def __init__(self, clock: VirtualClock, channel: Channel, count: Count | None = None) -> None:
        self._clock = clock
        self._channel = channel
        self._count = count

    def carry(
        self, source: int, targets: IntArray, size_bytes: int, parcel: Any, actions: Sequence[Action], now_ns: int
    ) -> IntArray:
        """See `Carriage.carry`."""
        due_ns = self._channel.carry(source, targets, size_bytes, now_ns)
        if self._count is not None:
            self._count(source, targets, due_ns, size_bytes, now_ns)
        order = due_ns.argsort(kind="stable")
        dropped = int(np.searchsorted(due_ns[order], 0))
        if dropped:
            order = order[dropped:]
        self._clock.schedule(due_ns[order].tolist(), [actions[target] for target in targets[order].tolist()], parcel)
        return due_ns


class HopByHop:
    """Copies are routed through the fabric, each alone. The channel says which enter it, and when."""

    def __init__(self, clock: VirtualClock, fabric: Fabric, channel: Channel) -> None:
        self._clock = clock
        self._fabric = fabric
        self._channel = channel

    def carry(
        self, source: int, targets: IntArray, size_bytes: int, parcel: Any, actions: Sequence[Action], now_ns: int
    ) -> IntArray:
        """See `Carriage.carry`."""
        enters_ns = self._channel.carry(source, targets, size_bytes, now_ns)
        for enter_ns, some in by_entry(targets, enters_ns):
            when(self._clock, enter_ns, self._enter, (source, some.tolist(), size_bytes, parcel, actions))
        return entered(enters_ns)

    def _enter(self, copies: tuple[int, list[int], int, Any, Sequence[Action]], now_ns: int) -> None:
        source, targets, size_bytes, parcel, actions = copies
        send = self._fabric.send
        for target in targets:
            send(source, target, size_bytes, parcel, actions, now_ns)


def by_entry(targets: IntArray, enters_ns: IntArray) -> list[tuple[int, IntArray]]:
    """Those that are not lost at once, by the time at which their copies enter the fabric."""
    times_ns: list[int] = np.unique(enters_ns).tolist()
    return [(enter_ns, targets[enters_ns == enter_ns]) for enter_ns in times_ns if enter_ns >= 0]


def entered(enters_ns: IntArray) -> IntArray:
    """What a carriage returns for copies that have entered the fabric, or been lost before."""
    return np.where(enters_ns >= 0, UNDER_WAY, enters_ns)


def when(clock: VirtualClock, at_ns: int, action: Action, parcel: Any) -> None:
    """Act at once if it is time already, else when it is."""
    if at_ns <= clock.now_ns:
        action(parcel, at_ns)
    else:
        clock.at(at_ns, action, parcel)
