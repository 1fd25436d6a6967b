"""The fabric: links that carry load. Every message crosses its links one by one, and waits its turn at each.

A directed link is a server: it transmits at its rate, first come first served, and then light takes its time. What
waits must fit its buffer, and what is on a link that vanishes is lost, or goes another way from the node before.

Routed messages are switched in packets of one MTU: a node passes a message on once the first packet is there. As long
as packets follow each other without gaps they stay one event per link; where a link is faster than what feeds it, they
go on one by one, and others pass in between. A relay that needs the whole message before it passes it on sends it over
one link at a time (`hop`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from network.channel import Drop
from network.clock import Action, VirtualClock
from network.flight import FabricAccount, Flight, Link, Packets, endless, unheard
from network.mesh import LinkClass, MeshPlan
from network.meter import Meter
from network.plan import UNREACHABLE, IntArray
from network.routing import NOWHERE
from network.wiring import Wiring


class Fabric:
    """Carries messages over the links of a plan, from member to member or over single links."""

    def __init__(
        self,
        clock: VirtualClock,
        plan: MeshPlan,
        until_ns: int,
        *,
        mtu_bytes: int = 1500,
        buffer_bytes: Callable[[LinkClass], float] = endless,
        processing_ns_per_hop: int = 0,
        vanished: Literal["lost", "rerouted"] = "lost",
        meter: Meter | None = None,
        lost: Callable[[Any, str, int], None] = unheard,
    ) -> None:
        """`vanished` says what becomes of messages on a link that goes away. Links stay the same after `until_ns`.

        `lost(parcel, reason, now_ns)` is told of every copy that is dropped on its way.
        """
        self._lost = lost
        self.account = FabricAccount()
        self.wiring = Wiring(plan, buffer_bytes)
        self._meter = meter
        self._clock = clock
        self._mtu = mtu_bytes
        self._processing_ns = processing_ns_per_hop
        self._reroutes = vanished == "rerouted"
        self._changes_ns = iter(plan.changes_ns(until_ns))
        self._await_change()

    def under_way(self) -> int:
        """The copies that are neither delivered nor dropped, by looking for them in the clock."""
        parts: set[tuple[int, int]] = set()
        count = 0
        for flight in (*self._awaiting(self._arrive), *self._awaiting(self._join), *self._awaiting(self._complete)):
            if flight.message is None:
                count += len(flight.bound_for())
            else:
                lost = flight.message.lost
                parts.update((id(flight.message), member) for member in flight.bound_for() if member not in lost)
        return count + len(parts)

    # What is sent

    def admit(self, targets: IntArray, enters_ns: IntArray) -> list[tuple[int, IntArray]]:
        """Those of the targets whose copies a channel lets in, by when they enter; the others count as dropped."""
        times_ns: list[int] = np.unique(enters_ns).tolist()
        for enter_ns in times_ns:
            if enter_ns < 0:
                self.account.refuse(Drop(enter_ns).name.lower(), int((enters_ns == enter_ns).sum()))
        return [(enter_ns, targets[enters_ns == enter_ns]) for enter_ns in times_ns if enter_ns >= 0]

    def when(self, at_ns: int, action: Action, parcel: Any) -> None:
        """Act at once if it is time already, else when it is: hosts' own clocks run ahead."""
        if at_ns <= self._clock.now_ns:
            action(parcel, at_ns)
        else:
            self._clock.at(at_ns, action, parcel)

    def send(
        self, source: int, target: int, size_bytes: int, parcel: Any, actions: Sequence[Action], now_ns: int
    ) -> None:
        """Route a message from member to member; `actions[target](parcel, due_ns)` takes it."""
        self.account.entered += 1
        node = self.wiring.senders[source]
        flight = Flight(parcel, size_bytes, actions, now_ns, target=self.wiring.receivers[target], member=target)
        if node == self.wiring.senders[target]:
            self._stay(flight, source, now_ns)
        else:
            self._route(flight, node, now_ns)

    def spread(
        self, source: int, targets: IntArray, size_bytes: int, parcel: Any, actions: Sequence[Action], now_ns: int
    ) -> None:
        """Send a message to several members along a tree of least delays, one copy per link."""
        node = self.wiring.senders[source]
        branches, alone = self.wiring.tree(node, targets)
        for target in alone:
            self.send(source, target, size_bytes, parcel, actions, now_ns)
        self.account.entered += len(targets) - len(alone)
        self._branch(Flight(parcel, size_bytes, actions, now_ns, branches=branches), node, now_ns)

    def hop(self, link: Link, size_bytes: int, parcel: Any, action: Action, now_ns: int) -> None:
        """Send a whole message over one link; `action(parcel, due_ns)` takes it at the other end."""
        self.account.entered += 1
        # No member's: the only action is also the last one.
        self._cross(Flight(parcel, size_bytes, (action,), now_ns, target=link.head, member=NOWHERE), link, now_ns)

    # What happens on the way

    def _stay(self, flight: Flight, source: int, now_ns: int) -> None:
        """For members at one place no link is needed."""
        within_ns = self.wiring.within_ns(source)
        if within_ns == UNREACHABLE:
            self._drop(flight, Drop.NO_ROUTE, flight.bound_for())
            return
        flight.propagation_ns = within_ns
        self._clock.at(now_ns + within_ns, self._complete, flight)

    def _route(self, flight: Flight, node: int, now_ns: int) -> None:
        link = self.wiring.towards(flight.target)[node]
        if link is None:
            self._drop(flight, Drop.NO_ROUTE, flight.bound_for())
        else:
            self._cross(flight, link, now_ns)

    def _branch(self, flight: Flight, node: int, now_ns: int) -> None:
        assert flight.branches is not None, "it goes along a tree"
        for link in flight.branches.links.get(node, ()):
            self._cross(flight.copy(), link, now_ns)

    def _cross(self, flight: Flight, link: Link, now_ns: int) -> None:
        """Queue for a link and cross it; the next event is when the first packet is at the other end, or the last one
        if the message goes no further."""
        if not link.present:
            flight.link = link
            self._divert(flight, link.tail, now_ns)
            return
        size, ns_per_byte, free_ns = flight.size, link.ns_per_byte, link.free_ns
        if ns_per_byte < flight.feed and size > self._mtu:
            self._scatter(flight, link, now_ns)
            return
        start_ns = free_ns if free_ns > now_ns else now_ns
        due_ns, rest_ns = now_ns, 0
        if ns_per_byte:
            whole_ns = now_ns
            free_ns = start_ns + size * ns_per_byte
            due_ns = end_ns = round(free_ns)
            if size > self._mtu:
                whole_ns += round((size - self._mtu) * flight.feed)
                flight.trail = flight.still_coming(now_ns, whole_ns)
                if link.head != flight.target:
                    due_ns = round(start_ns + self._mtu * ns_per_byte)
                    rest_ns = round((size - self._mtu) * ns_per_byte)
            if end_ns - whole_ns > link.buffer_ns:
                link.dropped += 1
                flight.link = link
                self._drop(flight, Drop.BUFFER_FULL, flight.bound_for())
                return
            link.free_ns = free_ns
            flight.feed = ns_per_byte
        begin_ns = now_ns
        if start_ns > now_ns:
            begin_ns = round(start_ns)
            wait_ns = begin_ns - now_ns
            flight.queueing_ns += wait_ns
            link.waited_ns += wait_ns
            if wait_ns > link.longest_wait_ns:
                link.longest_wait_ns = wait_ns
        delay_ns = link.delay_ns
        if due_ns + delay_ns < link.clear_ns:
            # The delay has fallen since what is ahead set out, in a step that stands for light's way growing shorter
            # little by little. In truth nothing overtakes: this flies for longer than the plan says now, though hardly
            # longer than it said before. That is propagation, for no transmitter and no buffer is taken by it.
            delay_ns = link.clear_ns + 1 - due_ns
        link.clear_ns = due_ns + delay_ns + rest_ns
        link.messages += 1
        link.bytes += size
        link.propagated_ns += delay_ns
        flight.link, flight.begin_ns, flight.delay_ns = link, begin_ns, delay_ns
        self._clock.at(due_ns + delay_ns + self._processing_ns, self._arrive, flight)

    def _scatter(self, flight: Flight, link: Link, now_ns: int) -> None:
        """Let the packets of a message go on one by one, as they come in."""
        size, mtu = flight.size, self._mtu
        count = -(-size // mtu)
        message = Packets(count)
        for number in range(count):
            packet = flight.copy()
            packet.message = message
            packet.size = min(mtu, size - number * mtu)
            packet.feed = 0.0
            # The first packet is here; of each other one the last byte comes as much later as there are bytes between.
            came_ns = now_ns + round((number * mtu + packet.size - mtu) * flight.feed)
            packet.trail = flight.still_coming(now_ns, came_ns)
            packet.link, packet.begin_ns = link, now_ns
            self._clock.at(came_ns, self._join, packet)

    def _join(self, packet: Flight, now_ns: int) -> None:
        """Queue one packet for the link it has been waiting to come in for."""
        if packet.link is not None and not packet.gone:
            self._cross(packet, packet.link, now_ns)

    def _arrive(self, flight: Flight, now_ns: int) -> None:
        link = flight.link
        if flight.gone or link is None:
            return
        flight.propagation_ns += flight.delay_ns
        flight.hops += 1
        node = link.head
        branches = flight.branches
        if branches is None:
            if node == flight.target:
                self._complete(flight, now_ns)
            else:
                self._route(flight, node, now_ns)
            return
        for member in branches.members.get(node, ()):
            copy = flight.copy()
            copy.branches, copy.member = None, member
            # This is the first packet; the member waits for the last one.
            rest_ns = round((flight.size - self._mtu) * flight.feed) if flight.size > self._mtu else 0
            copy.trail, copy.begin_ns = flight.still_coming(now_ns, now_ns + rest_ns), now_ns
            self._clock.at(now_ns + rest_ns, self._complete, copy)
        self._branch(flight, node, now_ns)

    def _complete(self, flight: Flight, now_ns: int) -> None:
        """Hand a whole message to the member it is for."""
        if flight.gone:
            return
        if self._meter is not None and flight.member != NOWHERE:
            self._meter.came[flight.member] += flight.size
        if flight.message is not None and not flight.message.completed_by(flight.member):
            return
        self.account.deliver(flight, flight.hops * self._processing_ns, now_ns)
        self._clock.delivered += 1
        flight.actions[flight.member](flight.parcel, now_ns)

    def _drop(self, flight: Flight, reason: Drop, members: Sequence[int]) -> None:
        message = flight.message
        if message is not None:
            members = [member for member in members if member not in message.lost]
            message.lost.update(members)
        name = reason.name.lower()
        self.account.drops[name] += len(members)
        for _ in members:
            self._lost(flight.parcel, name, self._clock.now_ns)

    # What happens to the links

    def _await_change(self) -> None:
        change_ns = next(self._changes_ns, None)
        if change_ns is not None:
            self._clock.before(change_ns, self._change)

    def _change(self, _: object, now_ns: int) -> None:
        vanished = self.wiring.change(now_ns)
        if vanished:
            for flight in self._awaiting(self._arrive):
                on = flight.link if flight.link in vanished else None
                self._strand(flight, flight.broken_by(vanished, now_ns) or on, now_ns)
            for flight in (*self._awaiting(self._join), *self._awaiting(self._complete)):
                self._strand(flight, flight.broken_by(vanished, now_ns), now_ns)
        self._await_change()

    def _strand(self, flight: Flight, link: Link | None, now_ns: int) -> None:
        """With the link it was on a flight is gone too. If it goes on after all, this was time it waited."""
        if link is None:
            return
        flight.queueing_ns += now_ns - flight.begin_ns
        flight.feed, flight.trail = 0.0, ()
        self._divert(flight, link.tail, now_ns)
        flight.gone = True

    def _divert(self, flight: Flight, node: int, now_ns: int) -> None:
        """A link of a flight is not there. What is to go on begins anew at the node before."""
        members = flight.bound_for()
        if not self._reroutes or members == (NOWHERE,):
            self._drop(flight, Drop.LINK_LOST, members)
            return
        self.account.rerouted += len(members)
        for member in members:
            copy = flight.copy()
            copy.branches, copy.member, copy.target = None, member, self.wiring.receivers[member]
            self._route(copy, node, now_ns)

    def _awaiting(self, stage: Action) -> list[Flight]:
        """The flights that wait for it, the next one first, but for those that were given up."""
        return [flight for action, flight in self._clock.pending() if action == stage and not flight.gone]
