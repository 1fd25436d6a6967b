"""The load of links and members, on accounts written down by hand."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from network.flight import Delays
from network.gossip import GossipAccount
from testbed.load import Carried, Copies, LinkUse, network_report


def report_of(**carried: Any) -> dict[str, Any]:
    """Ten seconds in which four replicas sent 60 copies."""
    told = {"links": {}, "drops": {}, "copies": Copies(60, 60, 0, 0), "sent_bytes": [0] * 4, **carried}
    return network_report(Carried(**told), Counter(), Counter(), 10.0)


def test_peaks_are_beside_means() -> None:
    """10 MB in ten seconds are 8 Mbit/s, 5 MB of it in one of them 40."""
    report = report_of(sent_bytes=[10_000_000, 0, 0, 0], peak_bytes=[5_000_000, 0, 0, 0])
    assert report["egress_mbps"]["max"] == 8.0
    assert report["egress_peak_mbps"] == {"count": 4, "mean": 10.0, "p50": 0.0, "p90": 40.0, "p99": 40.0, "max": 40.0}


@pytest.mark.parametrize(("rumours", "bodies", "redundancy"), [(5, 15, 1.0), (5, 40, 2.666667), (0, 0, None)])
def test_redundancy_is_copies_for_each_who_needs_one(rumours: int, bodies: int, redundancy: float | None) -> None:
    """Five messages for three others each."""
    report = report_of(gossip=GossipAccount(rumours=rumours, bodies=bodies, duplicates=2))
    assert report["gossip"] == {
        "rumours": rumours,
        "bodies": bodies,
        "duplicates": 2,
        "announcements": 0,
        "requests": 0,
        "redundancy": redundancy,
    }


def test_the_busiest_link_of_a_class_transmits_longest() -> None:
    """A slow link with few bytes is busier than a fast one with many; of equals it is the one that carries more."""
    links = {
        ("a", "b"): LinkUse(5, 9_000, "gsl_up", 0.1),
        ("b", "c"): LinkUse(4, 100, "gsl_up", 0.7, waited_ns=8_000_000, longest_wait_ns=5_000_000),
        ("z", "c"): LinkUse(4, 50, "gsl_up", 0.7),
        ("c", "d"): LinkUse(1, 99_000, "gsl_down", 0.2),
    }
    report = report_of(links=links, delays=Delays())
    assert report["by_link_class"]["gsl_up"]["busiest"] == {
        "from": "b",
        "to": "c",
        "messages": 4,
        "bytes": 100,
        "utilisation": 0.7,
        "queueing_ms": 2.0,
        "longest_queueing_ms": 5.0,
    }
    assert report["by_link_class"]["gsl_down"]["busiest"]["from"] == "c"
    assert report["busiest_links"][0]["from"] == "c"
