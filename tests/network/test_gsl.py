"""Which satellites a station links to: by range, height or time left, and no more than there are terminals."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import acos, cos, degrees, radians

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skyfield.api import EarthSatellite, load, wgs84

from network.constants import EARTH_EQUATORIAL_RADIUS_KM, SECOND_NS
from network.constellation import Constellation
from network.ground import GroundStation
from network.gsl import LONGEST_PASS_S, GroundSegment, GslPolicy
from network.links import LinkRules, Topology
from network.orbit import OrbitPlan
from network.plan import UNREACHABLE
from network.terminals import admitted
from network.walker import WalkerShell, walker_models

START = datetime(2026, 11, 22, tzinfo=UTC)
EQUATOR = GroundStation("a", 0, 0)


class Overhead:
    """Satellites over the equator, each at a height, a longitude at the start and a speed eastwards."""

    def __init__(self, *satellites):
        self._km, self._from_deg, self._deg_per_s = np.array(satellites, dtype=np.float64).T
        self.endpoints = tuple(f"sat/{number}" for number in range(len(satellites)))
        self.shell_of = np.zeros(len(satellites), dtype=np.int64)
        self.plane_of = np.full(len(satellites), -1)

    def __len__(self):
        return len(self.endpoints)

    def positions_itrs_km(self, at_s):
        angle = np.radians(self._from_deg + self._deg_per_s * at_s)
        radius_km = EARTH_EQUATORIAL_RADIUS_KM + self._km
        return np.column_stack((radius_km * np.cos(angle), radius_km * np.sin(angle), 0 * angle))


NEAR, HIGH, LONG = (550, 6, 0.06), (1500, 1, 0.05), (8000, -20, 0.02)


def sets_s(km, from_deg, deg_per_s, mask_deg=25):
    """When a satellite of `Overhead` sets: by the triangle of station, satellite and the Earth's centre."""
    ratio = EARTH_EQUATORIAL_RADIUS_KM / (EARTH_EQUATORIAL_RADIUS_KM + km)
    return (degrees(acos(ratio * cos(radians(mask_deg)))) - mask_deg - from_deg) / deg_per_s


def plan_of(policy, *satellites, stations=(EQUATOR,), **intervals):
    topology = Topology(Overhead(*satellites), stations, LinkRules(gsl=policy))
    members = [f"gs/{station.name}" for station in stations] + [f"sat/{number}" for number in range(len(satellites))]
    return OrbitPlan(members, topology, **intervals)


def linked(plan, at_s, station=0):
    """The satellites that a station reaches at a time."""
    stations = len(plan.topology.stations)
    return np.flatnonzero(plan.at(round(at_s * SECOND_NS)).delay_ns[station, stations:] != UNREACHABLE).tolist()


@pytest.mark.parametrize(
    ("kind", "chosen"), [("all", [0, 1, 2]), ("best", [0]), ("elevation", [1]), ("visibility", [2])]
)
def test_each_policy_has_its_own_choice(kind, chosen):
    assert linked(plan_of(GslPolicy(kind), NEAR, HIGH, LONG), 0) == chosen


@pytest.mark.parametrize(("kind", "chosen"), [("best", [0, 1]), ("elevation", [1, 2]), ("visibility", [1, 2])])
def test_the_second_choice(kind, chosen):
    assert linked(plan_of(GslPolicy(kind, best=2), NEAR, HIGH, LONG), 0) == chosen


@pytest.mark.parametrize(("offset_s", "changes_s"), [(0, 45), (12, 42), (7, 52)])
def test_a_station_changes_at_the_first_choice_after_its_satellite_has_set(offset_s, changes_s):
    """The nearest sets after 41 s; until the grid's next point its link stays."""
    assert 40 < sets_s(*NEAR) < 42
    plan = plan_of(GslPolicy("best"), NEAR, HIGH, reconfiguration_offset_ns=offset_s * SECOND_NS)
    assert linked(plan, changes_s - 1e-9) == [0]
    assert linked(plan, changes_s) == [1]


def test_it_changes_where_the_order_does():
    """Two at one height: the one that comes is higher from the middle between them on, and stays longer all along."""
    going, coming = (1200, 2, 0.05), (1200, -2.75, 0.05)
    middle_s = 0.375 / 0.05
    for kind in ("best", "elevation"):
        plan = plan_of(GslPolicy(kind), going, coming, reconfiguration_interval_ns=SECOND_NS)
        assert [linked(plan, at_s) for at_s in (0, int(middle_s), int(middle_s) + 1)] == [[0], [0], [1]]
    assert linked(plan_of(GslPolicy("visibility"), going, coming), 0) == [1]


@pytest.mark.parametrize("satellite", [NEAR, HIGH, (550, -8.4, 0.06), (550, 8.4, 0.06), (20_000, 10, 0.05)])
def test_time_left_by_the_triangle(satellite):
    sky = Overhead(satellite)
    left_s = GroundSegment(sky, [EQUATOR], GslPolicy("visibility")).remaining_s(0, np.array([[0, 0]]))
    assert left_s[0] == pytest.approx(min(sets_s(*satellite), LONGEST_PASS_S), abs=0.05)


def test_time_left_within_range():
    """Without a mask: 1,000 km, by the law of cosines."""
    low_km, high_km = EARTH_EQUATORIAL_RADIUS_KM, EARTH_EQUATORIAL_RADIUS_KM + 550
    far_deg = degrees(acos((low_km**2 + high_km**2 - 1000**2) / (2 * low_km * high_km)))
    ground = GroundSegment(Overhead(NEAR), [EQUATOR], GslPolicy("visibility", max_range_km=1000))
    assert ground.remaining_s(0, np.array([[0, 0]]))[0] == pytest.approx((far_deg - 6) / 0.06, abs=0.05)


def test_time_left_is_skyfields():
    shell = WalkerShell("s1", "walker_delta", 6, 10, phasing=1, altitude_km=800, inclination_deg=53)
    stations = [GroundStation("a", 40, 10, elevation_mask_deg=10), GroundStation("b", -20, 100, 500)]
    constellation, timescale = Constellation([shell], START), load.timescale(builtin=True)
    ground = GroundSegment(constellation, stations, GslPolicy("visibility"))
    seen = Topology(constellation, stations).links_at(0).gsl
    left_s, models = ground.remaining_s(0, seen), walker_models(shell, START)
    assert len(seen) >= 3
    for (number, satellite), left in zip(seen.tolist(), left_s.tolist(), strict=True):
        station = stations[number]
        place = wgs84.latlon(station.latitude_deg, station.longitude_deg, station.altitude_m)
        body = EarthSatellite.from_satrec(models[satellite], timescale)
        times = timescale.from_datetime(START), timescale.from_datetime(START + timedelta(seconds=LONGEST_PASS_S))
        events, kinds = body.find_events(place, *times, altitude_degrees=station.elevation_mask_deg)
        expected_s = next((event - times[0]) * 86400 for event, kind in zip(events, kinds, strict=True) if kind == 2)
        assert left == pytest.approx(expected_s, abs=0.2)


def test_a_satellite_that_decays_is_not_waited_for():
    class Decaying(Overhead):
        def positions_itrs_km(self, at_s):
            return super().positions_itrs_km(at_s) * (np.nan if at_s > 25 else 1)

    left_s = GroundSegment(Decaying(HIGH), [EQUATOR], GslPolicy("visibility")).remaining_s(0, np.array([[0, 0]]))
    assert left_s.tolist() == [20]


def test_who_is_refused_asks_the_next_best():
    """Two stations, both nearest to satellite 0: the nearer one gets it."""
    stations = [GroundStation("far", 0, 1), GroundStation("near", 0, 5), GroundStation("alone", 0, 180)]
    for kind, first in (("best", [[1], [0]]), ("elevation", [[1], [0]])):
        plan = plan_of(GslPolicy(kind, terminals=1), (550, 6, 0.06), (550, -4, 0.06), stations=stations)
        assert [linked(plan, 0, station) for station in (0, 1, 2)] == [*first, []]
    shared = plan_of(GslPolicy("best", terminals=2), (550, 6, 0.06), (550, -4, 0.06), stations=stations)
    assert [linked(shared, 0, station) for station in (0, 1, 2)] == [[0], [0], []]


@pytest.mark.parametrize("kind", ["all", "best", "elevation", "visibility"])
@pytest.mark.parametrize("terminals", [1, 2, 5])
def test_no_satellite_serves_more_stations_than_it_has_beams(kind, terminals):
    shell = WalkerShell("s1", "walker_delta", 20, 15, phasing=7, altitude_km=800, inclination_deg=53)
    stations = [GroundStation(f"g{number}", 45 + number % 7, number / 3, elevation_mask_deg=10) for number in range(40)]
    constellation = Constellation([shell], START)
    free = Topology(constellation, stations, LinkRules(gsl=GslPolicy(kind, 2))).links_at(0).gsl
    held = Topology(constellation, stations, LinkRules(gsl=GslPolicy(kind, 2, terminals=terminals))).links_at(0).gsl
    every = Topology(constellation, stations).links_at(0).gsl
    assert np.bincount(free[:, 1]).max() > 5 >= terminals
    assert np.bincount(held[:, 1]).max() == terminals
    if kind != "all":
        assert np.bincount(held[:, 0]).max() <= 2
    # Nobody goes without while a satellite that it sees has a beam left.
    served, busy = np.bincount(held[:, 0], minlength=40), np.bincount(held[:, 1], minlength=300)
    wanting = served < (2 if kind != "all" else 300)
    linked_now = set(map(tuple, held.tolist()))
    for station, satellite in every.tolist():
        assert (station, satellite) in linked_now or not wanting[station] or busy[satellite] == terminals
    many = Topology(constellation, stations, LinkRules(gsl=GslPolicy(kind, 2, terminals=40))).links_at(0).gsl
    assert np.array_equal(many, free)


@given(
    st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)).filter(lambda pair: pair[0] != pair[1]), unique=True),
    st.lists(st.integers(0, 3), min_size=8, max_size=8),
)
def test_terminals_are_never_exceeded_and_none_is_kept_back(asked, room):
    pairs = np.array(asked, dtype=np.int64).reshape(-1, 2)
    found = admitted(pairs, np.array(room))
    used = [0] * 8
    for (one, other), accepted in zip(asked, found.tolist(), strict=True):
        assert accepted == (used[one] < room[one] and used[other] < room[other])
        used[one] += accepted
        used[other] += accepted
    assert all(have <= most for have, most in zip(used, room, strict=True))
