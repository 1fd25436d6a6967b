"""The bus: who gets a copy, when, in which order; what was dropped; what each link carried."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from network.bus import Bus, Traffic
from network.channel import Drop, Propagation
from network.clock import VirtualClock
from network.plan import UNREACHABLE, MatrixPlan, Outage

DELAY_NS = np.array([[0, 30, 10, 10], [5, 0, 5, 5], [1, 2, 0, UNREACHABLE], [7, 7, 7, 0]])
NAMES = ["a", "b", "c", "d"]


def build(plan: MatrixPlan | None = None) -> tuple[VirtualClock, Bus, Traffic, list[tuple[int, int, Any]]]:
    clock, got = VirtualClock(), []
    plan = plan or MatrixPlan(NAMES, DELAY_NS, accounted=True)

    def receiver(i: int) -> Any:
        return lambda parcel, due_ns: got.append((due_ns, i, parcel))

    traffic = Traffic(plan)
    return clock, Bus(clock, Propagation(plan), [receiver(i) for i in range(4)], traffic), traffic, got


def test_a_broadcast_reaches_all_others_nearest_first_ties_by_number() -> None:
    clock, bus, _, got = build()
    assert bus.broadcast(0, 50, "x", 0).tolist() == [30, 10, 10]
    clock.run(100, 100)
    assert got == [(10, 2, "x"), (10, 3, "x"), (30, 1, "x")]


def test_one_may_send_to_one() -> None:
    clock, bus, _, got = build()
    assert bus.send(3, 1, 50, "y", 4).tolist() == [11]
    clock.run(100, 100)
    assert got == [(11, 1, "y")]


def test_nobody_sends_to_itself_over_the_bus() -> None:
    with pytest.raises(ValueError, match="member 2 sent a message to itself"):
        build()[1].send(2, 2, 1, "z", 0)


def test_drops_are_counted_by_reason_and_never_arrive() -> None:
    clock, bus, _, got = build()
    assert bus.broadcast(2, 50, "x", 0).tolist() == [1, 2, Drop.NO_ROUTE]
    clock.run(100, 100)
    assert [member for _, member, _ in got] == [0, 1]
    assert bus.drops == {"no_route": 1}


def test_traffic_counts_what_arrives_on_every_link() -> None:
    _, bus, traffic, _ = build()
    bus.broadcast(2, 50, "x", 0)
    bus.send(2, 0, 25, "y", 0)
    assert traffic.per_link() == {("c", "a"): (2, 75), ("c", "b"): (1, 50)}


def test_traffic_goes_over_the_routes_that_stood_when_it_left() -> None:
    plan = MatrixPlan(NAMES, DELAY_NS, accounted=True, outages=[Outage(10, 20, frozenset({"b"}))])
    _, bus, traffic, _ = build(plan)
    for now_ns in (0, 10, 15, 20):
        bus.broadcast(0, 1, "x", now_ns)
    assert traffic.per_link() == {("a", "b"): (2, 2), ("a", "c"): (4, 4), ("a", "d"): (4, 4)}
    assert bus.drops == {"no_route": 2}


def test_a_lone_member_speaks_to_nobody() -> None:
    clock = VirtualClock()
    plan = MatrixPlan(["a"], np.zeros((1, 1), dtype=int))
    bus = Bus(clock, Propagation(plan), [lambda parcel, due_ns: None], Traffic(plan))
    assert bus.broadcast(0, 5, "x", 0).tolist() == []
    assert clock.run(10, 10) is False
