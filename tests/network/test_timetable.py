"""Timetables: at every nanosecond the row of the plan that they were written from, and nothing in between missed."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from network.constellation import Constellation
from network.ground import GroundStation
from network.isl import IslPolicy
from network.links import LinkRates, LinkRules, Topology
from network.orbit import OrbitPlan
from network.plan import MatrixPlan, Outage, Plan, boundaries_ns
from network.timetable import Timetable
from network.walker import WalkerShell

MS, SECOND_NS = 1_000_000, 1_000_000_000
UNTIL_NS = 9 * SECOND_NS
MEMBERS = ("gs/quito", "sat/s1/03/04", "sat/s1/00/00", "sat/s1/00/00", "gs/nairobi")
OUTAGES = (
    Outage(2_500_000_001, 3_700_000_000, endpoints=frozenset({"sat/s1/00/00"})),
    Outage(3 * SECOND_NS, 6_200_000_007, links=frozenset({("sat/s1/03/04", "sat/s1/03/05")})),
    Outage(7_100_000_000, None, endpoints=frozenset({"gs/nairobi"})),
    # One from the start, and one that nobody sees the end of.
    Outage(0, 1, endpoints=frozenset({"sat/s1/03/04"})),
    Outage(UNTIL_NS, UNTIL_NS + 5, endpoints=frozenset({"sat/s1/03/04"})),
)


@pytest.fixture(scope="module")
def topology() -> Topology:
    shell = WalkerShell("s1", "walker_delta", 8, 8, phasing=3, altitude_km=1200, inclination_deg=53)
    stations = [
        GroundStation("quito", -0.18, -78.47, elevation_mask_deg=10),
        GroundStation("nairobi", -1.29, 36.82, elevation_mask_deg=10),
    ]
    start = datetime(2026, 11, 22, tzinfo=UTC)
    return Topology(Constellation([shell], start), stations, LinkRules({"s1": IslPolicy()}))


def orbit(topology: Topology, update_ms: int | None, reconfiguration_ms: int | None, outages: Any) -> OrbitPlan:
    return OrbitPlan(
        MEMBERS,
        topology,
        rates=LinkRates(),
        update_interval_ns=None if update_ms is None else update_ms * MS,
        reconfiguration_interval_ns=None if reconfiguration_ms is None else reconfiguration_ms * MS,
        outages=outages,
    )


def matrix(outages: tuple[Outage, ...]) -> MatrixPlan:
    delay_ns = np.random.default_rng(1).integers(1, 10**9, (5, 5))
    delay_ns[1, 4] = -1
    rates = np.random.default_rng(2).random((5, 5))
    return MatrixPlan(["a", "b", "c", "d", "e"], delay_ns, ns_per_byte=rates, outages=outages)


MATRIX_OUTAGES = (
    Outage(5, 900, endpoints=frozenset({"b"})),
    Outage(900, 901, links=frozenset({("a", "c"), ("d", "c")})),
    Outage(300, 2_000, endpoints=frozenset({"e"})),
    Outage(1_500, None, endpoints=frozenset({"a"})),
)


def row(plan: Plan, source: int, now_ns: int) -> tuple[list[int], list[int], list[float]]:
    now = plan.at(now_ns)
    return now.delay_ns[source].tolist(), now.hops[source].tolist(), now.ns_per_byte[source].tolist()


def around(times_ns: list[int]) -> list[int]:
    return sorted({max(0, time_ns + step) for time_ns in times_ns for step in (-1, 0, 1)})


INTERVALS = [(1000, 4000), (700, 4000), (None, 3000), (1000, None), (None, None)]


@pytest.mark.parametrize("outages", [(), OUTAGES], ids=["untouched", "outages"])
@pytest.mark.parametrize(("update_ms", "reconfiguration_ms"), INTERVALS)
def test_every_change_of_an_orbit_is_among_its_changes(
    topology: Topology, update_ms: int | None, reconfiguration_ms: int | None, outages: tuple[Outage, ...]
) -> None:
    """Looked for by trying: from one change to the next it is the same snapshot, with the same numbers."""
    plan = orbit(topology, update_ms, reconfiguration_ms, outages)
    changes_ns = plan.changes_ns(UNTIL_NS)
    assert changes_ns == sorted(set(changes_ns))
    assert all(0 < time_ns <= UNTIL_NS for time_ns in changes_ns)
    for begin_ns, end_ns in pairwise([0, *changes_ns, UNTIL_NS + 1]):
        first = plan.at(begin_ns)
        for now_ns in {*range(begin_ns, end_ns, 50 * MS), end_ns - 1}:
            assert plan.at(now_ns) is first
    # And they are no more than that: each interval's grid, and where outages begin and end.
    grids = {
        time_ns
        for interval_ms in (update_ms, reconfiguration_ms)
        if interval_ms is not None
        for time_ns in range(interval_ms * MS, UNTIL_NS + 1, interval_ms * MS)
    }
    assert set(changes_ns) == grids | set(boundaries_ns(outages, UNTIL_NS))


def test_the_outages_here_change_something(topology: Topology) -> None:
    """Else the tests around this one would show nothing."""
    plan = orbit(topology, None, None, OUTAGES)
    rows = {str(plan.at(time_ns).delay_ns.tolist()) for time_ns in (0, 1, 2_500_000_001, 3_700_000_000, 7_100_000_000)}
    assert len(rows) == 5
    moving = orbit(topology, 1000, None, ())
    assert moving.at(0).delay_ns.tolist() != moving.at(SECOND_NS).delay_ns.tolist()


def test_frozen_without_outages_nothing_ever_changes(topology: Topology) -> None:
    assert orbit(topology, None, None, ()).changes_ns(10**15) == []
    assert matrix(()).changes_ns(10**15) == []


def test_changes_up_to_a_time_are_those_up_to_it(topology: Topology) -> None:
    for plan in (orbit(topology, 700, 4000, OUTAGES), matrix(MATRIX_OUTAGES)):
        everything = plan.changes_ns(2 * UNTIL_NS)
        for until_ns in around([0, 5, 900, 2_000, SECOND_NS, 3 * SECOND_NS, UNTIL_NS]):
            assert plan.changes_ns(until_ns) == [time_ns for time_ns in everything if time_ns <= until_ns]


def test_a_matrix_changes_where_an_outage_begins_or_ends() -> None:
    assert matrix(MATRIX_OUTAGES).changes_ns(1_999) == [5, 300, 900, 901, 1_500]
    assert matrix(MATRIX_OUTAGES).changes_ns(2_000) == [5, 300, 900, 901, 1_500, 2_000]


@pytest.mark.parametrize("source", range(len(MEMBERS)))
@pytest.mark.parametrize(("update_ms", "reconfiguration_ms"), [(1000, 4000), (700, None), (None, None)])
def test_a_timetable_is_its_members_row_of_an_orbit_at_every_nanosecond(
    topology: Topology, update_ms: int | None, reconfiguration_ms: int | None, source: int
) -> None:
    plan = orbit(topology, update_ms, reconfiguration_ms, OUTAGES)
    timetable = Timetable.of(plan, source, UNTIL_NS)
    for now_ns in around([0, *plan.changes_ns(UNTIL_NS)]) + list(range(0, UNTIL_NS, 130 * MS)):
        if now_ns <= UNTIL_NS:
            assert row(timetable, source, now_ns) == row(plan, source, now_ns), now_ns


@pytest.mark.parametrize("source", range(5))
def test_a_timetable_is_its_members_row_of_a_matrix_at_every_nanosecond(source: int) -> None:
    plan = matrix(MATRIX_OUTAGES)
    timetable = Timetable.of(plan, source, 2_100)
    for now_ns in range(2_101):
        assert row(timetable, source, now_ns) == row(plan, source, now_ns), now_ns
    # Steps back find what was there before, and after the end the last row stays.
    assert row(timetable, source, 4) == row(plan, source, 4)
    assert row(timetable, source, 10**12) == row(plan, source, 2_100)
    assert timetable.changes_ns(10**12) == plan.changes_ns(2_100)
    assert timetable.changes_ns(900) == [5, 300, 900]
    assert (timetable.endpoints, timetable.constant) == (plan.endpoints, False)


def test_a_plan_that_never_changes_makes_a_timetable_of_one_row() -> None:
    timetable = Timetable.of(matrix(()), 2, UNTIL_NS)
    assert timetable.constant
    assert timetable.times_ns.tolist() == [0]
    assert timetable.changes_ns(UNTIL_NS) == []
    assert row(timetable, 2, 5) == row(matrix(()), 2, 5)


def test_a_timetable_ends_with_the_last_change_in_its_time() -> None:
    assert Timetable.of(matrix(MATRIX_OUTAGES), 0, 900).times_ns.tolist() == [0, 5, 300, 900]


def test_it_is_one_object_per_step_and_read_only() -> None:
    timetable = Timetable.of(matrix(MATRIX_OUTAGES), 0, 2_100)
    assert timetable.at(5) is timetable.at(299)
    assert timetable.at(5) is not timetable.at(300)
    for array in (timetable.at(5).delay_ns, timetable.at(5).hops, timetable.at(5).ns_per_byte):
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 7
