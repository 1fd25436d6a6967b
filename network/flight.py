"""What moves in the fabric, and over what: links, trees of links, flights, and the account of all copies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from network.clock import Action
from network.mesh import LinkClass
from network.routing import NOWHERE

ENDLESS_NS: Final = 1 << 62
"""The time in which a buffer without end empties."""


class Link:
    """A directed link: what it is now, and what it has carried so far."""

    __slots__ = (
        "buffer_ns",
        "bytes",
        "clear_ns",
        "delay_ns",
        "dropped",
        "free_ns",
        "head",
        "kind",
        "longest_wait_ns",
        "messages",
        "ns_per_byte",
        "present",
        "propagated_ns",
        "tail",
        "unsent_ns",
        "waited_ns",
    )

    def __init__(self, tail: int, head: int, kind: LinkClass, ns_per_byte: float, buffer_bytes: float) -> None:
        self.tail = tail
        self.head = head
        self.kind = kind
        self.ns_per_byte = ns_per_byte
        self.buffer_ns = round(min(buffer_bytes * ns_per_byte, ENDLESS_NS)) if ns_per_byte else ENDLESS_NS
        self.delay_ns = 0
        self.present = False
        self.free_ns = 0.0
        """When it will have transmitted all that it has accepted, to a fraction of a nanosecond: at 100 Gbps a byte
        takes 0.08 ns, and a link that rounded for every message would exceed its rate."""
        self.clear_ns = 0
        """When the last byte of all that it has accepted is at the other end: nothing comes there before, and what is
        held back until then comes a nanosecond later, so that it is clear who was first."""
        self.unsent_ns = 0.0
        """For so long it would have transmitted what was cut off."""
        self.messages = 0
        self.bytes = 0
        self.waited_ns = 0
        self.longest_wait_ns = 0
        self.propagated_ns = 0
        self.dropped = 0

    def busy_ns(self, now_ns: int) -> int:
        """For how long it has been transmitting by then."""
        return round(self.bytes * self.ns_per_byte - self.unsent_ns - max(0.0, self.free_ns - now_ns))

    def cut(self, now_ns: int) -> None:
        """What waits for it, is being transmitted, or flies, does not any more."""
        self.unsent_ns += max(0.0, self.free_ns - now_ns)
        self.free_ns = 0.0
        self.clear_ns = 0


class Branches:
    """A tree of least delay: over which links a copy goes on from a node, and which members it reaches there."""

    __slots__ = ("links", "members")

    def __init__(self, links: Mapping[int, Sequence[Link]], members: Mapping[int, Sequence[int]]) -> None:
        self.links = links
        self.members = members

    def below(self, link: Link) -> list[int]:
        """The members that are reached over a link."""
        found: list[int] = []
        links = [link]
        while links:
            node = links.pop().head
            found += self.members.get(node, ())
            links += self.links.get(node, ())
        return found


Trail = tuple[tuple[Link, int], ...]


class Flight:
    """A copy of a message on its way over links, or one packet of it; for one member, or for all on a tree."""

    __slots__ = (
        "actions",
        "begin_ns",
        "branches",
        "delay_ns",
        "entered_ns",
        "feed",
        "gone",
        "hops",
        "link",
        "member",
        "message",
        "parcel",
        "propagation_ns",
        "queueing_ns",
        "size",
        "target",
        "trail",
    )

    def __init__(
        self,
        parcel: Any,
        size: int,
        actions: Sequence[Action],
        now_ns: int,
        *,
        target: int = NOWHERE,
        member: int = NOWHERE,
        branches: Branches | None = None,
    ) -> None:
        """`actions` take what arrives, by member. It goes to a member at the node `target`, or along `branches`."""
        self.parcel = parcel
        self.size = size
        self.actions = actions
        self.entered_ns = now_ns
        self.target = target
        self.member = member
        self.branches = branches
        self.link: Link | None = None
        """The link it is on, or has crossed last; None before the first."""
        self.begin_ns = now_ns
        """When it began, or begins, to be transmitted there,"""
        self.delay_ns = 0
        """and how long it then flies."""
        self.feed = 0.0
        """Nanoseconds per byte at which it comes in where it is; 0 where it is whole."""
        self.trail: Trail = ()
        """The links that its first packet has crossed and its last one has not, and until when."""
        self.hops = 0
        self.propagation_ns = 0
        self.queueing_ns = 0
        self.gone = False
        """Given up while something still waits for it."""
        self.message: Packets | None = None
        """The message that this is a packet of."""

    def copy(self) -> Flight:
        """Another one, as far on its way."""
        twin = Flight(
            self.parcel,
            self.size,
            self.actions,
            self.entered_ns,
            target=self.target,
            member=self.member,
            branches=self.branches,
        )
        twin.link, twin.feed, twin.hops, twin.message = self.link, self.feed, self.hops, self.message
        twin.trail = self.trail
        twin.propagation_ns, twin.queueing_ns = self.propagation_ns, self.queueing_ns
        return twin

    def still_coming(self, now_ns: int, whole_ns: int) -> Trail:
        """What of it is still on its way to a node that its first packet has reached now, its last at `whole_ns`."""
        still = tuple(part for part in self.trail if part[1] > now_ns)
        return still if self.link is None or whole_ns <= now_ns else (*still, (self.link, whole_ns))

    def broken_by(self, vanished: set[Link], now_ns: int) -> Link | None:
        """The first of its links that some of it is on, or was to come over, and that has vanished."""
        return next((link for link, until_ns in self.trail if link in vanished and until_ns > now_ns), None)

    def bound_for(self) -> Sequence[int]:
        """The members that wait for it."""
        if self.branches is None:
            return (self.member,)
        assert self.link is not None, "on a tree it is on a link"
        return self.branches.below(self.link)


class Packets:
    """A message whose packets travel alone: which members still lack how many, and for whom it is lost."""

    __slots__ = ("count", "lost", "missing")

    def __init__(self, count: int) -> None:
        self.count = count
        self.missing: dict[int, int] = {}
        self.lost: set[int] = set()

    def completed_by(self, member: int) -> bool:
        """Note one packet's arrival at a member; whether it was the last one missing there."""
        left = self.missing.get(member, self.count) - 1
        self.missing[member] = left
        return not left and member not in self.lost


@dataclass
class Delays:
    """The parts of one-way delay, summed over the copies that have arrived, in ns; and the longest waits."""

    propagation_ns: int = 0
    transmission_ns: int = 0
    queueing_ns: int = 0
    processing_ns: int = 0
    longest_queueing_ns: int = 0


@dataclass
class FabricAccount:
    """What became of all copies that entered: each is delivered, dropped with a reason, or still under way."""

    entered: int = 0
    delivered: int = 0
    drops: Counter[str] = field(default_factory=Counter)
    rerouted: int = 0
    delays: Delays = field(default_factory=Delays)

    def deliver(self, flight: Flight, processing_ns: int, now_ns: int) -> None:
        """Count a copy that has arrived; what is no other part of its delay was transmission."""
        self.delivered += 1
        delays, queueing_ns = self.delays, flight.queueing_ns
        delays.propagation_ns += flight.propagation_ns
        delays.queueing_ns += queueing_ns
        delays.processing_ns += processing_ns
        delays.transmission_ns += now_ns - flight.entered_ns - flight.propagation_ns - queueing_ns - processing_ns
        if queueing_ns > delays.longest_queueing_ns:
            delays.longest_queueing_ns = queueing_ns

    def refuse(self, reason: str, copies: int) -> None:
        """Count copies that never got onto a link."""
        self.entered += copies
        self.drops[reason] += copies

    def missing(self, under_way: int) -> int:
        """How many copies are unaccounted for, or counted twice if negative, given those under way."""
        return self.entered - self.delivered - self.drops.total() - under_way


def endless(kind: LinkClass) -> float:
    """Buffers that are never full."""
    return float("inf")


def unheard(parcel: Any, reason: str, now_ns: int) -> None:
    """Nobody wants to know of losses."""
