"""The bus: takes a parcel, asks the channel when it arrives where, and lets the clock bring it.

How a broadcast spreads is the bus's business: here every copy travels its own route (`unicast`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from network.channel import Channel, Drop
from network.clock import Action, VirtualClock
from network.plan import FloatArray, IntArray, Plan, Routes

_OPEN_ROUTES = 2


class Traffic:
    """Messages and bytes on every directed link, for the whole run.

    Counted per pair of members while the routes stand, and laid over the links when they change.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._members = len(plan.endpoints)
        self._open: dict[int, tuple[Routes, FloatArray, FloatArray]] = {}
        self._messages: Counter[tuple[str, str]] = Counter()
        self._bytes: Counter[tuple[str, str]] = Counter()

    def count(self, source: int, targets: IntArray, due_ns: IntArray, size_bytes: int, now_ns: int) -> None:
        """Count one message towards each target that it will reach."""
        routes = self._plan.at(now_ns).routes
        if routes is None:
            return
        entry = self._open.get(id(routes))
        if entry is None:
            while len(self._open) >= _OPEN_ROUTES:
                self._close(next(iter(self._open)))
            shape = (self._members, self._members)
            entry = self._open[id(routes)] = (routes, np.zeros(shape), np.zeros(shape))
        reached = targets if due_ns.min() >= 0 else targets[due_ns >= 0]
        entry[1][source, reached] += 1
        entry[2][source, reached] += size_bytes

    def per_link(self) -> dict[tuple[str, str], tuple[int, int]]:
        """(messages, bytes) on each directed link that carried any."""
        for key in list(self._open):
            self._close(key)
        return {link: (self._messages[link], self._bytes[link]) for link in sorted(self._messages)}

    def _close(self, key: int) -> None:
        routes, messages, size_bytes = self._open.pop(key)
        for totals, amount in ((self._messages, messages), (self._bytes, size_bytes)):
            for link, value in routes.load(amount).items():
                totals[link] += round(value)


class Bus:
    """Carries parcels between members in virtual time.

    `receivers[i](parcel, due_ns)` takes what arrives at member i.
    """

    def __init__(
        self, clock: VirtualClock, channel: Channel, receivers: Sequence[Action], traffic: Traffic | None = None
    ) -> None:
        self._clock = clock
        self._channel = channel
        self._receivers = list(receivers)
        self._traffic = traffic
        members = np.arange(len(receivers), dtype=np.int64)
        self._others = [np.delete(members, i) for i in range(len(receivers))]
        self._one = [members[i : i + 1] for i in range(len(receivers))]
        self.drops: Counter[str] = Counter()

    def broadcast(self, source: int, size_bytes: int, parcel: Any, now_ns: int) -> IntArray:
        """Send to every other member; returns the due times, int64[n-1] in member order, with drops."""
        return self._send(source, self._others[source], size_bytes, parcel, now_ns)

    def send(self, source: int, target: int, size_bytes: int, parcel: Any, now_ns: int) -> IntArray:
        """Send to one other member; returns int64[1]. The bus refuses messages to oneself."""
        if target == source:
            raise ValueError(f"member {source} sent a message to itself over the bus")
        return self._send(source, self._one[target], size_bytes, parcel, now_ns)

    def _send(self, source: int, targets: IntArray, size_bytes: int, parcel: Any, now_ns: int) -> IntArray:
        if not len(targets):
            return targets
        due_ns = self._channel.carry(source, targets, size_bytes, now_ns)
        if self._traffic is not None:
            self._traffic.count(source, targets, due_ns, size_bytes, now_ns)
        order = due_ns.argsort(kind="stable")
        dropped = int(np.searchsorted(due_ns[order], 0))
        if dropped:
            for code in due_ns[order[:dropped]].tolist():
                self.drops[Drop(code).name.lower()] += 1
            order = order[dropped:]
        receivers = self._receivers
        actions = [receivers[target] for target in targets[order].tolist()]
        self._clock.schedule(due_ns[order].tolist(), actions, parcel)
        return due_ns
