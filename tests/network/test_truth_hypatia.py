"""Truth 1: the same constellation, stations and links as Hypatia's, whose numbers come from other code.

Hypatia computes with PyEphem: its Earth constants put ISLs up to 12.5 m off, and its WGS72 stations, turned by UTC
where we turn by UT1, up to 186 m off ours. The tolerances are those differences and nothing more.
"""

import csv
from collections import defaultdict
from datetime import UTC, datetime
from functools import cache

import numpy as np
import pytest

from network.constants import SECOND_NS
from network.constellation import Constellation, ElementShell
from network.ground import GroundStation
from network.gsl import GslPolicy
from network.isl import IslPolicy
from network.links import LinkRules, Topology
from network.orbit import OrbitPlan
from network.plan import UNREACHABLE
from tests.shared import shared

FOLDER = "truth/hypatia-starlink-550"
MOST_GSL_KM = 1089.686418

FIFTEEN_METRES_KM = 0.015
TWO_HUNDRED_METRES_KM = 0.2
THREE_MICROSECONDS_NS = 3_000
FOUR_MICROSECONDS_NS = 4_000


def rows(name):
    with (shared(FOLDER) / name).open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


@cache
def stations():
    with (shared(FOLDER) / "ground_stations.txt").open(encoding="utf-8") as lines:
        return [GroundStation(row[1], float(row[2]), float(row[3])) for row in csv.reader(lines)]


@cache
def topology():
    folder = shared(FOLDER)
    constellation = Constellation(
        [ElementShell("hypatia", folder / "tles.txt")], start=datetime(2000, 1, 1, tzinfo=UTC)
    )
    rules = LinkRules(
        isl={"hypatia": IslPolicy(kind="pairs", pairs_file=folder / "isls.txt")},
        gsl=GslPolicy(max_range_km=MOST_GSL_KM),
    )
    return Topology(constellation, stations(), rules)


def every_second(endpoints):
    return OrbitPlan(endpoints, topology(), update_interval_ns=SECOND_NS, reconfiguration_interval_ns=SECOND_NS)


@cache
def between_cities():
    return every_second([f"gs/{station.name}" for station in stations()])


@cache
def satellite_delays_ns(at_s):
    return every_second(topology().constellation.endpoints).at(at_s * SECOND_NS).delay_ns


def rtt_ns(row):
    return float(row["rtt_ms"]) * 1e6


@pytest.mark.parametrize("at_s", [0, 100])
def test_isl_lengths(at_s):
    links = topology().links_at(at_s)
    ours = {tuple(pair): length for pair, length in zip(links.isl.tolist(), links.isl_km, strict=True)}
    theirs = {
        (int(row["sat_a"]), int(row["sat_b"])): float(row["length_m"]) / 1000
        for row in rows(f"isl_lengths_t{at_s}.csv")
    }
    assert ours.keys() == theirs.keys()
    assert len(ours) == 3168
    assert max(abs(ours[pair] - theirs[pair]) for pair in theirs) <= FIFTEEN_METRES_KM


@pytest.mark.parametrize("at_s", [0, 100])
def test_usable_gsls(at_s):
    links = topology().links_at(at_s)
    ours = {tuple(pair): length for pair, length in zip(links.gsl.tolist(), links.gsl_km, strict=True)}
    theirs = {
        (int(row["gid"]), int(row["sat"])): float(row["range_m"]) / 1000 for row in rows(f"gsl_in_range_t{at_s}.csv")
    }
    for pair in ours.keys() ^ theirs.keys():
        assert MOST_GSL_KM - ours.get(pair, theirs.get(pair)) <= TWO_HUNDRED_METRES_KM
    both = ours.keys() & theirs.keys()
    assert len(both) > 850
    assert max(abs(ours[pair] - theirs[pair]) for pair in both) <= TWO_HUNDRED_METRES_KM


@pytest.mark.parametrize("at_s", [0, 100])
def test_all_city_pairs(at_s):
    delay_ns = between_cities().at(at_s * SECOND_NS).delay_ns
    pairs = rows(f"all_pairs_t{at_s}.csv")
    assert len(pairs) == 4950
    for row in pairs:
        there, back = int(row["src_gid"]), int(row["dst_gid"])
        assert abs(delay_ns[there, back] + delay_ns[back, there] - rtt_ns(row)) <= THREE_MICROSECONDS_NS, row


def test_series_of_pairs():
    series = rows("pair_rtts.csv")
    cities = sorted({int(row[key]) for row in series for key in ("src_gid", "dst_gid")})
    plan = every_second([f"gs/{stations()[city].name}" for city in cities])
    place = {str(city): index for index, city in enumerate(cities)}
    by_time = defaultdict(list)
    for row in series:
        by_time[int(row["t_s"])].append(row)
    assert len(by_time) > 250
    for at_s, now in sorted(by_time.items()):
        delay_ns = plan.at(at_s * SECOND_NS).delay_ns
        for row in now:
            ours = 2 * delay_ns[place[row["src_gid"]], place[row["dst_gid"]]]
            if row["rtt_ms"]:
                assert abs(ours - rtt_ns(row)) <= THREE_MICROSECONDS_NS, row
            else:
                assert ours == 2 * UNREACHABLE, row


def nearest_rank(values, share):
    return np.sort(values)[int(np.ceil(share * len(values))) - 1]


def assert_flood(delay_ns, row, source):
    """Arrival times at everyone else, against one line of a flood table."""
    others = np.delete(delay_ns[source], source)
    others = others[others != UNREACHABLE]
    assert abs(nearest_rank(others, 0.5) - float(row["p50_ms"]) * 1e6) <= FOUR_MICROSECONDS_NS, row
    assert abs(nearest_rank(others, 0.9) - float(row["p90_ms"]) * 1e6) <= FOUR_MICROSECONDS_NS, row
    return others


@pytest.mark.parametrize("at_s", [0, 100])
def test_flood_over_satellites(at_s):
    delay_ns = satellite_delays_ns(at_s)
    for row in rows(f"flood_satellites_t{at_s}.csv"):
        others = assert_flood(delay_ns, row, int(row["src_sat"]))
        assert abs(others.mean() - float(row["mean_one_way_ms"]) * 1e6) <= THREE_MICROSECONDS_NS, row
        assert abs(others.max() - float(row["last_node_ms"]) * 1e6) <= THREE_MICROSECONDS_NS, row


@pytest.mark.parametrize("at_s", [0, 100])
def test_flood_over_cities(at_s):
    delay_ns = between_cities().at(at_s * SECOND_NS).delay_ns
    for row in rows(f"flood_ground_t{at_s}.csv"):
        others = assert_flood(delay_ns, row, int(row["src_gid"]))
        assert len(others) == int(row["reached"])
        assert abs(others.max() - float(row["last_reached_ms"]) * 1e6) <= THREE_MICROSECONDS_NS, row


def test_positions_of_sgp4_itself():
    ours_km = topology().constellation.positions_teme_km(100)
    for row in rows("sgp4_teme_positions_t100.csv"):
        theirs_km = [float(row[axis]) for axis in ("x_km", "y_km", "z_km")]
        assert np.abs(ours_km[int(row["sat"])] - theirs_km).max() < 1e-5  # a centimetre: printed digits
