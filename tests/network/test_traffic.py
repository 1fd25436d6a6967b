"""Traffic: what each link carried, over the routes that stood when a message left, and what never arrived."""

from __future__ import annotations

import numpy as np

from network.bus import Directions
from network.channel import Propagation
from network.plan import UNREACHABLE, MatrixPlan, Outage
from network.traffic import Traffic

DELAY_NS = np.array([[0, 30, 10, 10], [5, 0, 5, 5], [1, 2, 0, UNREACHABLE], [7, 7, 7, 0]])
NAMES = ["a", "b", "c", "d"]


class Senders:
    """Counts messages over a plan, as the trace of a run would."""

    def __init__(self, outages: list[Outage]) -> None:
        plan = MatrixPlan(NAMES, DELAY_NS, accounted=True, outages=outages)
        self.channel, self.directions, self.traffic = Propagation(plan), Directions(4), Traffic(plan)

    def send(self, source: int, target: int | None, size_bytes: int, now_ns: int = 0) -> None:
        targets = self.directions.targets(source, target)
        due_ns = self.channel.carry(source, targets, size_bytes, now_ns)
        self.traffic.count(source, targets, due_ns, size_bytes, now_ns)


def test_what_arrives_counts_on_every_link_and_what_does_not_by_reason() -> None:
    senders = Senders([])
    senders.send(2, None, 50)
    senders.send(2, 0, 25)
    assert senders.traffic.per_link() == {("c", "a"): (2, 75), ("c", "b"): (1, 50)}
    assert senders.traffic.drops == {"no_route": 1}


def test_traffic_goes_over_the_routes_that_stood_when_it_left() -> None:
    senders = Senders([Outage(10, 20, frozenset({"b"}))])
    for now_ns in (0, 10, 15, 20):
        senders.send(0, None, 1, now_ns)
    assert senders.traffic.per_link() == {("a", "b"): (2, 2), ("a", "c"): (4, 4), ("a", "d"): (4, 4)}
    assert senders.traffic.drops == {"no_route": 2}
