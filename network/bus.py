"""The bus: takes a parcel, asks the channel when it arrives where, and lets the clock bring it.

How a broadcast spreads is the bus's business: here every copy travels its own route (`unicast`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from network.channel import Channel
from network.clock import Action, VirtualClock
from network.plan import IntArray


class Bus(Protocol):
    """Carries parcels between members, whatever brings them."""

    def broadcast(self, source: int, size_bytes: int, parcel: Any, now_ns: int) -> IntArray:
        """Send to every other member; returns the due times, int64[n-1] in member order, with drops."""

    def send(self, source: int, target: int, size_bytes: int, parcel: Any, now_ns: int) -> IntArray:
        """Send to one other member; returns int64[1]. The bus refuses messages to oneself."""


class Directions:
    """Who a message of each member goes to: everybody else, or one."""

    def __init__(self, count: int) -> None:
        members = np.arange(count, dtype=np.int64)
        self._others = [np.delete(members, i) for i in range(count)]
        self._one = [members[i : i + 1] for i in range(count)]

    def targets(self, source: int, target: int | None) -> IntArray:
        """int64[targets] in member order; `target` None means all others."""
        if target is None:
            return self._others[source]
        if target == source:
            raise ValueError(f"member {source} sent a message to itself over the bus")
        return self._one[target]


class VirtualBus:
    """Carries parcels between members in virtual time.

    `receivers[i](parcel, due_ns)` takes what arrives at member i.
    """

    def __init__(self, clock: VirtualClock, channel: Channel, receivers: Sequence[Action]) -> None:
        self._clock = clock
        self._channel = channel
        self._receivers = list(receivers)
        self._directions = Directions(len(receivers))

    def broadcast(self, source: int, size_bytes: int, parcel: Any, now_ns: int) -> IntArray:
        """See `Bus.broadcast`."""
        return self._send(source, self._directions.targets(source, None), size_bytes, parcel, now_ns)

    def send(self, source: int, target: int, size_bytes: int, parcel: Any, now_ns: int) -> IntArray:
        """See `Bus.send`."""
        return self._send(source, self._directions.targets(source, target), size_bytes, parcel, now_ns)

    def _send(self, source: int, targets: IntArray, size_bytes: int, parcel: Any, now_ns: int) -> IntArray:
        if not len(targets):
            return targets
        due_ns = self._channel.carry(source, targets, size_bytes, now_ns)
        order = due_ns.argsort(kind="stable")
        dropped = int(np.searchsorted(due_ns[order], 0))
        if dropped:
            order = order[dropped:]
        receivers = self._receivers
        actions = [receivers[target] for target in targets[order].tolist()]
        self._clock.schedule(due_ns[order].tolist(), actions, parcel)
        return due_ns
