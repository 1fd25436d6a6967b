"""What carrying the messages of a run came to: links and their load, copies and what became of them, who sent how much.

The part of a result called `network`; its numbers are defined in `testbed.metrics_definitions`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from network.flight import Delays, Link
from network.gossip import Gossip, GossipAccount
from network.mesh import LinkClass
from network.traffic import Traffic
from testbed.checks import Verdict
from testbed.statistics import summary

if TYPE_CHECKING:
    from testbed.assemble import Machine

_BUSIEST = 10
MS = 1e6


@dataclass(frozen=True)
class LinkUse:
    """What a directed link carried; beyond messages and bytes only links with queues know."""

    messages: int
    bytes: int
    kind: str | None = None
    utilisation: float | None = None
    """Share of the run's time in which it was transmitting."""
    waited_ns: int = 0
    longest_wait_ns: int = 0
    propagated_ns: int = 0
    dropped: int = 0


@dataclass(frozen=True)
class Copies:
    """What became of the copies of messages that were sent."""

    sent: int
    delivered: int
    dropped: int
    under_way: int

    def verdict(self) -> Verdict:
        """Each is delivered, dropped with a reason, or under way at the end."""
        missing = self.sent - self.delivered - self.dropped - self.under_way
        detail = f"{self.sent} copies: {self.delivered} delivered, {self.dropped} dropped, {self.under_way} under way"
        sentence = f"{abs(missing)} copies are {'unaccounted for' if missing > 0 else 'accounted for twice'}"
        return Verdict("conservation", not missing, detail, (sentence,) if missing else ())


@dataclass(frozen=True)
class Carried:
    """Everything an engine says of its network when a run is over."""

    links: Mapping[tuple[str, str], LinkUse]
    drops: Mapping[str, int]
    copies: Copies | None = None
    """None where nobody could count: real nodes."""
    delays: Delays | None = None
    """Their parts, in the `links` model."""
    gossip: GossipAccount | None = None
    sent_bytes: Sequence[int] = ()
    received_bytes: Sequence[int] = ()
    total_sent_bytes: int | None = None
    """What all members sent, clients among them; None where nobody meters: real nodes."""
    peak_bytes: Sequence[int] = ()
    """The most that each member sent within a second."""
    egress_bytes: Sequence[int] = ()
    """What the proposer itself sent at once of each proposal."""
    digest: bytes = b""
    """What the queues have to say to the run's digest."""


def carried_by_routes(traffic: Traffic) -> Carried:
    """Where only routes are known: what was sent over them."""
    return Carried({link: LinkUse(*use) for link, use in traffic.per_link().items()}, traffic.drops)


def carried_by(machine: Machine, reached_ns: int) -> Carried:
    """What a run in virtual time carried until `reached_ns`."""
    transport, traffic, clock = machine.transport, machine.watch.traffic, machine.clock
    gossip = transport.dissemination.account if isinstance(transport.dissemination, Gossip) else None
    meter, fabric, n = transport.meter, transport.fabric, len(machine.hosts)
    if fabric is None:
        found = carried_by_routes(traffic)
        links, drops, delays, digest = found.links, found.drops, None, b""
        copies = Copies(transport.copies, clock.delivered, traffic.drops.total(), clock.flying)
    else:
        account = fabric.account
        links = _uses(fabric.wiring.links, fabric.wiring.node_names, reached_ns)
        drops, delays, digest = account.drops, account.delays, _digest(fabric.wiring.links)
        copies = Copies(account.entered, account.delivered, account.drops.total(), fabric.under_way())
    return Carried(
        links=links,
        drops=drops,
        copies=copies,
        delays=delays,
        gossip=gossip,
        # After the replicas come the clients.
        sent_bytes=meter.sent[:n],
        received_bytes=meter.received[:n],
        total_sent_bytes=sum(meter.sent),
        peak_bytes=meter.peaks()[:n].tolist(),
        egress_bytes=machine.egress.per_proposal,
        digest=digest,
    )


def _uses(links: Sequence[Link], names: Sequence[str], reached_ns: int) -> dict[tuple[str, str], LinkUse]:
    return {
        (names[link.tail], names[link.head]): LinkUse(
            messages=link.messages,
            bytes=link.bytes,
            kind=link.kind.name.lower(),
            utilisation=link.busy_ns(reached_ns) / reached_ns if reached_ns else 0.0,
            waited_ns=link.waited_ns,
            longest_wait_ns=link.longest_wait_ns,
            propagated_ns=link.propagated_ns,
            dropped=link.dropped,
        )
        for link in links
        if link.messages or link.dropped
    }


def _digest(links: Sequence[Link]) -> bytes:
    numbers = [
        (link.tail, link.head, link.messages, link.bytes, link.waited_ns, link.dropped)
        for link in links
        if link.messages or link.dropped
    ]
    return np.array(sorted(numbers), dtype="<i8").tobytes()


def network_report(carried: Carried, messages: Counter[str], sizes: Counter[str], seconds: float) -> dict[str, Any]:
    """The `network` part of a result. `messages` and `sizes` (bytes) are by kind of message."""
    links = carried.links
    busiest = sorted(links.items(), key=lambda entry: (-entry[1].bytes, entry[0]))[:_BUSIEST]
    report: dict[str, Any] = {
        "messages": messages.total(),
        "bytes": sizes.total(),
        "by_kind": {kind: {"messages": count, "bytes": sizes[kind]} for kind, count in sorted(messages.items())},
        "link_transmissions": sum(use.messages for use in links.values()),
        "link_bytes": sum(use.bytes for use in links.values()),
        "busiest_links": [_busy_link(link, use) for link, use in busiest],
        "drops": dict(sorted(carried.drops.items())),
    }
    if carried.copies is not None:
        copies = carried.copies
        report["copies"] = {
            "sent": copies.sent,
            "delivered": copies.delivered,
            "dropped": copies.dropped,
            "under_way": copies.under_way,
        }
        report["egress_mbps"] = summary(np.array(carried.sent_bytes) * 8e-6 / seconds) if seconds else None
        report["egress_peak_mbps"] = summary(np.array(carried.peak_bytes) * 8e-6)
        report["ingress_mbps"] = summary(np.array(carried.received_bytes) * 8e-6 / seconds) if seconds else None
        report["leader_egress_kb"] = summary(np.array(carried.egress_bytes) / 1e3)
    if carried.delays is not None and carried.copies is not None:
        report["delays_ms"] = _delays(carried.delays, carried.copies.delivered)
        report["by_link_class"] = _by_class(links)
    if carried.gossip is not None:
        report["gossip"] = _gossip(carried.gossip, len(carried.sent_bytes))
    return report


def _busy_link(link: tuple[str, str], use: LinkUse) -> dict[str, Any]:
    entry: dict[str, Any] = {"from": link[0], "to": link[1], "messages": use.messages, "bytes": use.bytes}
    if use.utilisation is not None:
        entry |= {
            "utilisation": round(use.utilisation, 6),
            "queueing_ms": _mean_ms(use.waited_ns, use.messages),
            "longest_queueing_ms": use.longest_wait_ns / MS,
        }
    return entry


def _delays(delays: Delays, copies: int) -> dict[str, float | None]:
    """Means over the copies that arrived; the parts add up to the whole."""
    parts = {
        "propagation": delays.propagation_ns,
        "transmission": delays.transmission_ns,
        "queueing": delays.queueing_ns,
        "processing": delays.processing_ns,
    }
    return {
        **{name: _mean_ms(total_ns, copies) for name, total_ns in parts.items()},
        "one_way": _mean_ms(sum(parts.values()), copies),
        "longest_queueing": delays.longest_queueing_ns / MS,
    }


def _by_class(links: Mapping[tuple[str, str], LinkUse]) -> dict[str, Any]:
    """Load and delays of each class of links, over those that carried something."""
    report: dict[str, Any] = {}
    for kind in [each.name.lower() for each in LinkClass]:
        named = {link: use for link, use in links.items() if use.kind == kind}
        own = list(named.values())
        messages = sum(use.messages for use in own)
        if not own:
            continue
        busy = [use.utilisation or 0.0 for use in own]
        report[kind] = {
            "links": len(own),
            "messages": messages,
            "bytes": sum(use.bytes for use in own),
            "dropped": sum(use.dropped for use in own),
            "utilisation": {"mean": round(sum(busy) / len(busy), 6), "max": round(max(busy), 6)},
            "queueing_ms": {
                "mean": _mean_ms(sum(use.waited_ns for use in own), messages),
                "max": max(use.longest_wait_ns for use in own) / MS,
            },
            "propagation_ms": _propagation(own),
            "busiest": _busy_link(*max(named.items(), key=_how_busy)),
        }
    return report


def _how_busy(entry: tuple[tuple[str, str], LinkUse]) -> tuple[float, int, tuple[str, str]]:
    link, use = entry
    return use.utilisation or 0.0, use.bytes, link


def _gossip(account: GossipAccount, members: int) -> dict[str, Any]:
    needed = account.rumours * (members - 1)
    return {**vars(account), "redundancy": round(account.bodies / needed, 6) if needed else None}


def _propagation(uses: Sequence[LinkUse]) -> dict[str, float]:
    """Percentiles over messages; those that crossed one link count with the mean delay that it had for them."""
    carrying = [use for use in uses if use.messages]
    means = np.array([use.propagated_ns / use.messages for use in carrying]) / MS
    order = np.argsort(means)
    passed = np.cumsum(np.array([use.messages for use in carrying])[order])
    if not len(passed):
        return {}
    ranks = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
    places = {name: np.searchsorted(passed, np.ceil(share * passed[-1] - 1e-9)) for name, share in ranks.items()}
    return {name: round(float(means[order][place]), 6) for name, place in places.items()}


def _mean_ms(total_ns: int, count: int) -> float | None:
    return round(total_ns / count / MS, 6) if count else None
