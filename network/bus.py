"""The bus: what hosts speak into. A message to one is carried there; a message to all spreads as the scenario says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from network.carriage import Carriage
from network.clock import Action
from network.dissemination import Dissemination, Unicast
from network.plan import IntArray


class Bus(Protocol):
    """Carries parcels between members, whatever brings them."""

    def broadcast(self, source: int, size_bytes: int, parcel: Any, now_ns: int) -> IntArray:
        """Send to every other member; returns int64[n-1] in member order: see `network.carriage.Carriage.carry`."""

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

    `receivers[i](parcel, due_ns)` takes what arrives at member i. Without a `dissemination` a broadcast is a copy for
    each.
    """

    def __init__(
        self, carriage: Carriage, receivers: Sequence[Action], dissemination: Dissemination | None = None
    ) -> None:
        self._carriage = carriage
        self._receivers = list(receivers)
        self._dissemination = dissemination or Unicast(carriage, self._receivers)
        self._directions = Directions(len(self._receivers))

    def broadcast(self, source: int, size_bytes: int, parcel: Any, now_ns: int) -> IntArray:
        """See `Bus.broadcast`."""
        targets = self._directions.targets(source, None)
        if not len(targets):
            return targets
        return self._dissemination.spread(source, targets, size_bytes, parcel, now_ns)

    def send(self, source: int, target: int, size_bytes: int, parcel: Any, now_ns: int) -> IntArray:
        """See `Bus.send`."""
        targets = self._directions.targets(source, target)
        return self._carriage.carry(source, targets, size_bytes, parcel, self._receivers, now_ns)
