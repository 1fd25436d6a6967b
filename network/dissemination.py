"""Dissemination: how a broadcast spreads. A scenario chooses; protocols cannot tell.

Every broadcast is one message to all other members. `Unicast` sends each its own copy; `Multicast` one copy over each
link of a tree; `Flood` one over every link, each node passing on what it has not seen. Gossip and shreds, whose members
pass on to members, are in `gossip` and `shreds`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from network.carriage import Carriage, entered
from network.channel import Channel, Drop
from network.clock import Action, VirtualClock
from network.fabric import Fabric
from network.flight import Link
from network.meter import Meter
from network.plan import UNREACHABLE, IntArray


class Dissemination(Protocol):
    """Spreads messages from one member to others."""

    def spread(self, source: int, targets: IntArray, size_bytes: int, parcel: Any, now_ns: int) -> IntArray:
        """See `Carriage.carry`; who receives is known already."""

    def egress_bytes(self, source: int, targets: IntArray, size_bytes: int) -> int:
        """How much the source itself sends, at once, to spread a message of this size."""


class Unicast:
    """Every receiver gets its own copy from the source."""

    def __init__(self, carriage: Carriage, receivers: Sequence[Action]) -> None:
        self._carriage = carriage
        self._receivers = receivers

    def spread(self, source: int, targets: IntArray, size_bytes: int, parcel: Any, now_ns: int) -> IntArray:
        """See `Dissemination.spread`."""
        return self._carriage.carry(source, targets, size_bytes, parcel, self._receivers, now_ns)

    def egress_bytes(self, source: int, targets: IntArray, size_bytes: int) -> int:
        """See `Dissemination.egress_bytes`."""
        return size_bytes * len(targets)


class Multicast:
    """One copy goes over each link of a least-delay tree; routers multiply it."""

    def __init__(
        self, fabric: Fabric, channel: Channel, receivers: Sequence[Action], meter: Meter | None = None
    ) -> None:
        """What the channel loses does not grow a branch."""
        self._meter = meter
        self._fabric = fabric
        self._channel = channel
        self._receivers = receivers

    def spread(self, source: int, targets: IntArray, size_bytes: int, parcel: Any, now_ns: int) -> IntArray:
        """See `Dissemination.spread`."""
        enters_ns = self._channel.carry(source, targets, size_bytes, now_ns)
        for enter_ns, some in self._fabric.admit(targets, enters_ns):
            self._fabric.when(enter_ns, self._enter, (source, some, size_bytes, parcel))
        return entered(enters_ns)

    def _enter(self, copies: tuple[int, IntArray, int, Any], now_ns: int) -> None:
        source, targets, size_bytes, parcel = copies
        if self._meter is not None:
            self._meter.send(source, self.egress_bytes(source, targets, size_bytes), now_ns)
        self._fabric.spread(source, targets, size_bytes, parcel, self._receivers, now_ns)

    def egress_bytes(self, source: int, targets: IntArray, size_bytes: int) -> int:
        """See `Dissemination.egress_bytes`."""
        return size_bytes * self._fabric.wiring.forks(source, targets)


class Wave:
    """A message that floods: which nodes have it, and what the channel has decided for each member."""

    __slots__ = ("enters_ns", "now_ns", "parcel", "seen", "size_bytes", "source")

    def __init__(
        self, source: int, members: IntArray, enters_ns: IntArray, size_bytes: int, parcel: Any, nodes: int, now_ns: int
    ) -> None:
        self.source = source
        self.seen = bytearray(nodes)
        self.enters_ns = dict(zip(members.tolist(), enters_ns.tolist(), strict=True))
        self.size_bytes = size_bytes
        self.parcel = parcel
        self.now_ns = now_ns


class Flood:
    """Every node passes a message on over all its links but the one it came by, when it has all of it and has found it
    valid.

    What the channel loses, its receiver never gets, though the satellite it sits on passes it on. What a satellite
    passes on, and all that comes for it, counts for the first of its members.
    """

    def __init__(
        self,
        clock: VirtualClock,
        fabric: Fabric,
        channel: Channel,
        receivers: Sequence[Action],
        validation_ns: int = 0,
        meter: Meter | None = None,
    ) -> None:
        """`validation_ns` passes at each node between the last byte and passing on, or handing over."""
        self._meter = meter
        self._clock = clock
        self._fabric = fabric
        self._channel = channel
        self._receivers = receivers
        self._validation_ns = validation_ns
        self._nodes = len(fabric.wiring.node_names)
        self._senders = fabric.wiring.senders
        self._members = by_node(fabric.wiring.receivers)
        self._beside = by_node(self._senders)

    def spread(self, source: int, targets: IntArray, size_bytes: int, parcel: Any, now_ns: int) -> IntArray:
        """See `Dissemination.spread`."""
        enters_ns = self._channel.carry(source, targets, size_bytes, now_ns)
        self._fabric.admit(targets, enters_ns)
        wave = Wave(source, targets, enters_ns, size_bytes, parcel, self._nodes, now_ns)
        self._fabric.when(now_ns, self._begin, wave)
        return entered(enters_ns)

    def egress_bytes(self, source: int, targets: IntArray, size_bytes: int) -> int:
        """See `Dissemination.egress_bytes`."""
        return size_bytes * len(self._fabric.wiring.neighbours(self._senders[source]))

    def _begin(self, wave: Wave, now_ns: int) -> None:
        node = self._senders[wave.source]
        wave.seen[node] = 1
        for member in self._fabric.wiring.out_of_reach(node):
            if wave.enters_ns.pop(member, -1) >= 0:
                self._fabric.account.refuse(Drop.NO_ROUTE.name.lower(), 1)
        self._pass_on(wave, node, -1, wave.source, now_ns)
        within_ns = self._fabric.wiring.within_ns(wave.source)
        if within_ns != UNREACHABLE:
            for member in self._beside[node]:
                self._hand_over(wave, member, now_ns + within_ns)

    def _arrive(self, copy: tuple[Wave, Link], now_ns: int) -> None:
        wave, link = copy
        node = link.head
        if self._meter is not None and node in self._members:
            self._meter.came[self._members[node][0]] += wave.size_bytes
        if wave.seen[node]:
            return
        wave.seen[node] = 1
        if self._validation_ns:
            self._clock.at(now_ns + self._validation_ns, self._accept, copy)
        else:
            self._accept(copy, now_ns)

    def _accept(self, copy: tuple[Wave, Link], now_ns: int) -> None:
        wave, link = copy
        members = self._members.get(link.head, ())
        self._pass_on(wave, link.head, link.tail, members[0] if members else -1, now_ns)
        for member in members:
            self._hand_over(wave, member, now_ns)

    def _pass_on(self, wave: Wave, node: int, came_from: int, member: int, now_ns: int) -> None:
        hop, arrive = self._fabric.hop, self._arrive
        links = [link for link in self._fabric.wiring.neighbours(node) if link.head != came_from]
        if self._meter is not None and member >= 0:
            self._meter.send(member, wave.size_bytes * len(links), now_ns)
        for link in links:
            hop(link, wave.size_bytes, (wave, link), arrive, now_ns)

    def _hand_over(self, wave: Wave, member: int, now_ns: int) -> None:
        """Give it to a member, unless the channel has lost it, and as much later as the channel has made it enter.

        It does not come a second time to a station that is beside its source, nor before the source has finished its
        step.
        """
        enters_ns = wave.enters_ns.pop(member, -1)
        if enters_ns >= 0:
            self._clock.at(now_ns + enters_ns - wave.now_ns, self._receivers[member], wave.parcel)


def by_node(nodes: Sequence[int]) -> dict[int, list[int]]:
    """The members at each node."""
    members: dict[int, list[int]] = {}
    for member, node in enumerate(nodes):
        members.setdefault(node, []).append(member)
    return members
