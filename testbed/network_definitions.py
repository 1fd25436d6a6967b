"""What the numbers of a result's `network` part mean."""

from __future__ import annotations

from testbed.definition import GERVAIS16, Definition

_LITTLE = "Little 1961; Kleinrock, Queueing Systems I, 1975, chapter 2"

NETWORK = (
    Definition(
        "network.messages",
        "integer",
        "",
        "Pairs of sender and receiver ≠ sender, whether delivered or dropped, however they spread.",
    ),
    Definition(
        "network.bytes",
        "integer",
        "B",
        "Encoded sizes and transactions of all these messages: what protocols and clients asked to be sent, a whole "
        "copy to each receiver, however it spread and whatever compact blocks left out.",
    ),
    Definition("network.by_kind", "object", "", "Messages and bytes of each kind of message."),
    Definition(
        "network.link_transmissions", "integer", "", "Copies times links they crossed; packets, where they go alone."
    ),
    Definition("network.link_bytes", "integer", "B", "Bytes times links they crossed."),
    Definition(
        "network.busiest_links",
        "array",
        "",
        "The ten directed links that carried the most bytes; with queues also their utilisation and queueing.",
    ),
    Definition(
        "network.handovers",
        "integer",
        "",
        "Ground-satellite links chosen at a reconfiguration that were not there before; null without satellites.",
    ),
    Definition("network.acquisitions", "integer", "", "Lasers that had to be acquired after the start; null likewise."),
    Definition("network.drops", "object", "", "Copies that never arrived, by reason."),
    Definition(
        "network.copies",
        "object",
        "",
        "Copies that members, or relays of a flood, sent each other: sent, delivered (to replicas that are down, too), "
        "dropped, and under way at the end, which are counted apart; the check `conservation` adds them up.",
        "conservation of copies",
    ),
    Definition(
        "network.egress_mbps",
        "summary",
        "Mbit/s",
        "Over replicas: what each sends itself, mean over the run, for others passing on included.",
        GERVAIS16,
    ),
    Definition(
        "network.egress_peak_mbps",
        "summary",
        "Mbit/s",
        "Over replicas: what each sends itself in the busiest second, [s, s+1) of the run.",
        GERVAIS16,
    ),
    Definition(
        "network.ingress_mbps",
        "summary",
        "Mbit/s",
        "Over replicas: what comes for each, duplicates included.",
        GERVAIS16,
    ),
    Definition(
        "network.leader_egress_kb",
        "summary",
        "kB",
        "Over proposals: what the proposer itself sends at once of each; what is asked for later comes on top.",
        "Biely et al., S-Paxos, SRDS 2012",
    ),
    Definition(
        "network.delays_ms",
        "object",
        "ms",
        "In the links model, means over copies that arrived: propagation, transmission, queueing and processing, their "
        "sum (one_way), and the longest queueing of one copy.",
        "Kurose and Ross, Computer Networking, section 1.4",
    ),
    Definition(
        "network.by_link_class",
        "object",
        "",
        "In the links model, of each class of directed links that carried anything: how many, messages, bytes, drops; "
        "utilisation (share of the run spent transmitting; mean and max over links); queueing per message (mean, max); "
        "propagation, percentiles over messages; and the busiest link, which transmitted the longest.",
        _LITTLE,
    ),
    Definition(
        "network.gossip",
        "object",
        "",
        "Messages that were broadcast (rumours), whole copies of them sent between peers (bodies), those that were had "
        "already (duplicates), announcements and requests; redundancy: bodies ÷ rumours ÷ (n-1), 1 if each replica is "
        "sent each message once.",
        "Vyzovitis et al., arXiv 2007.02754",
    ),
    Definition("network.rejected", "object", "", "Messages that arrived and were rejected, by reason."),
)
