"""The bus: who gets a copy, when, in which order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from network.bus import VirtualBus
from network.carriage import Direct
from network.channel import Drop, Propagation
from network.clock import VirtualClock
from network.plan import UNREACHABLE, MatrixPlan

DELAY_NS = np.array([[0, 30, 10, 10], [5, 0, 5, 5], [1, 2, 0, UNREACHABLE], [7, 7, 7, 0]])
NAMES = ["a", "b", "c", "d"]


def build() -> tuple[VirtualClock, VirtualBus, list[tuple[int, int, Any]]]:
    clock, got = VirtualClock(), []
    plan = MatrixPlan(NAMES, DELAY_NS)

    def receiver(i: int) -> Any:
        return lambda parcel, due_ns: got.append((due_ns, i, parcel))

    return clock, VirtualBus(Direct(clock, Propagation(plan)), [receiver(i) for i in range(4)]), got


def test_a_broadcast_reaches_all_others_nearest_first_ties_by_number() -> None:
    clock, bus, got = build()
    assert bus.broadcast(0, 50, "x", 0).tolist() == [30, 10, 10]
    clock.run(100, 100)
    assert got == [(10, 2, "x"), (10, 3, "x"), (30, 1, "x")]


def test_one_may_send_to_one() -> None:
    clock, bus, got = build()
    assert bus.send(3, 1, 50, "y", 4).tolist() == [11]
    clock.run(100, 100)
    assert got == [(11, 1, "y")]


def test_nobody_sends_to_itself_over_the_bus() -> None:
    with pytest.raises(ValueError, match="member 2 sent a message to itself"):
        build()[1].send(2, 2, 1, "z", 0)


def test_what_is_dropped_never_arrives() -> None:
    clock, bus, got = build()
    assert bus.broadcast(2, 50, "x", 0).tolist() == [1, 2, Drop.NO_ROUTE]
    clock.run(100, 100)
    assert [member for _, member, _ in got] == [0, 1]


def test_a_lone_member_speaks_to_nobody() -> None:
    clock = VirtualClock()
    plan = MatrixPlan(["a"], np.zeros((1, 1), dtype=int))
    bus = VirtualBus(Direct(clock, Propagation(plan)), [lambda parcel, due_ns: None])
    assert bus.broadcast(0, 5, "x", 0).tolist() == []
    assert clock.run(10, 10) is False
