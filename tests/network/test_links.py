"""Link policies: who is linked with whom, and when not."""

from collections import Counter
from datetime import UTC, datetime

import numpy as np
import pytest

from network.constellation import Constellation, ElementShell
from network.ground import GroundStation
from network.gsl import GslPolicy
from network.isl import IslLimits, IslPolicy, lengths_km
from network.links import LinkRules, Topology
from network.walker import WalkerShell
from tests.shared import shared

START = datetime(2026, 11, 22, tzinfo=UTC)
NO_LIMITS = IslLimits(grazing_altitude_km=-6378)


def shell(planes, satellites_per_plane, phasing=0, pattern="walker_delta", name="s1", **keys):
    keys = {"altitude_km": 780, "inclination_deg": 86.4} | keys
    return WalkerShell(name, pattern, planes, satellites_per_plane, phasing, **keys)


def standing(walker, policy, limits=NO_LIMITS, at_s=0.0):
    """The ISLs of a lone shell as pairs of (plane, index), to be read."""
    constellation = Constellation([walker], START)
    links = Topology(constellation, rules=LinkRules({"s1": policy}, limits)).links_at(at_s)
    place = list(zip(constellation.plane_of.tolist(), constellation.index_in_plane.tolist(), strict=True))
    return [(place[one], place[other]) for one, other in links.isl.tolist()]


def degrees(pairs):
    return Counter(end for pair in pairs for end in pair)


def test_plus_grid_gives_everyone_four_links():
    pairs = standing(shell(5, 7), IslPolicy())
    assert len(pairs) == len(set(pairs)) == 70
    assert set(degrees(pairs).values()) == {4}
    assert ((0, 0), (0, 1)) in pairs
    assert ((0, 0), (0, 6)) in pairs
    assert ((0, 3), (1, 3)) in pairs
    assert ((0, 3), (4, 3)) in pairs


def test_cross_plane_shift_and_phasing_at_the_seam():
    pairs = standing(shell(5, 7, phasing=3), IslPolicy(cross_plane_shift=-1))
    assert ((1, 4), (2, 3)) in pairs
    # From plane 4 to plane 0: one place back for the shift, three on for the phasing.
    assert ((0, 6), (4, 4)) in pairs
    assert set(degrees(pairs).values()) == {4}


def test_the_grid_is_the_same_on_both_sides_of_a_closed_seam():
    constellation = Constellation([shell(12, 8, phasing=5, inclination_deg=53)], START)
    links = Topology(constellation, rules=LinkRules({"s1": IslPolicy()}, NO_LIMITS)).links_at(0)
    planes = constellation.plane_of[links.isl]
    seam = links.isl_km[(planes == [0, 11]).all(axis=1)]
    inner = links.isl_km[np.diff(planes, axis=1)[:, 0] == 1]
    assert len(seam) == 8
    assert inner.min() - 30 < seam.min() <= seam.max() < inner.max() + 30


def test_an_open_seam_leaves_the_first_and_last_plane_with_three_links():
    for pattern in ("walker_delta", "walker_star"):
        pairs = standing(shell(6, 11, pattern=pattern), IslPolicy(seam="open"))
        counts = degrees(pairs)
        assert {counts[plane, 4] for plane in (0, 5)} == {3}
        assert {counts[plane, 4] for plane in (1, 2, 3, 4)} == {4}
    assert len(standing(shell(6, 11, pattern="walker_star"), IslPolicy(seam="closed"))) == 132


@pytest.mark.parametrize(
    ("planes", "per_plane", "grid", "ring"),
    [(1, 1, 0, 0), (1, 2, 1, 1), (1, 3, 3, 3), (2, 1, 1, 0), (2, 2, 4, 2), (2, 3, 9, 6), (3, 1, 3, 0), (3, 2, 9, 3)],
)
def test_small_shells_have_no_double_links_and_no_loops(planes, per_plane, grid, ring):
    for kind, count in (("plus_grid", grid), ("ring", ring), ("none", 0)):
        for shift in (0, 1) if per_plane > 2 else (0,):
            pairs = standing(shell(planes, per_plane), IslPolicy(kind, cross_plane_shift=shift))
            assert len(set(pairs)) == len(pairs) == count
            assert all(one != other for one, other in pairs)


def test_polar_cut_off_parts_planes_near_the_poles_only():
    walker = shell(6, 11, phasing=3, pattern="walker_star")
    constellation = Constellation([walker], START)
    latitude = np.degrees(np.arcsin(constellation.positions_itrs_km(0)[:, 2] / 7158))
    polar = {
        (plane, index)
        for plane, index, high in zip(
            constellation.plane_of, constellation.index_in_plane, abs(latitude) > 60, strict=True
        )
        if high
    }
    every = standing(walker, IslPolicy())
    left = standing(walker, IslPolicy(polar_cutoff_deg=60))
    assert set(left) == {pair for pair in every if pair[0][0] == pair[1][0] or not polar & set(pair)}
    assert 66 < len(left) < len(every)


def nearest_by_hand(position_km, count, limits):
    links = set()
    for one in range(len(position_km)):
        others = np.delete(np.arange(len(position_km)), one)
        here = np.broadcast_to(position_km[one], (len(others), 3))
        others = others[limits.allow(here, position_km[others])]
        distance = lengths_km(np.broadcast_to(position_km[one], (len(others), 3)), position_km[others])
        links |= {
            (min(one, other), max(one, other)) for other in others[np.argsort(distance, kind="stable")[:count]].tolist()
        }
    return links


@pytest.mark.parametrize("limits", [IslLimits(), IslLimits(1500), IslLimits(grazing_altitude_km=700)])
def test_nearest_is_either_ends_choice(limits):
    constellation = Constellation([ElementShell("iridium", shared("data/tle/Iridium.tle"))])
    policy = IslPolicy("nearest", isl_per_satellite=3)
    links = Topology(constellation, rules=LinkRules({"iridium": policy}, limits)).links_at(30)
    assert {tuple(pair) for pair in links.isl.tolist()} == nearest_by_hand(
        constellation.positions_itrs_km(30), 3, limits
    )


def test_links_to_another_shell_go_to_its_nearest_visible_satellite():
    low, high = shell(4, 6, name="low", altitude_km=550), shell(3, 4, name="high", altitude_km=20_000)
    constellation = Constellation([low, high], START)
    rules = LinkRules({"low": IslPolicy("none", links_to=("high",)), "high": IslPolicy("ring")})
    links = Topology(constellation, rules=rules).links_at(0)
    position_km = constellation.positions_itrs_km(0)
    up = {one: other for one, other in links.isl.tolist() if one < 24}
    assert len(up) == 24
    for one, other in up.items():
        here = np.broadcast_to(position_km[one], (12, 3))
        distance = np.where(IslLimits().allow(here, position_km[24:]), lengths_km(here, position_km[24:]), np.inf)
        assert other - 24 == distance.argmin()
    assert len(links.isl) == 24 + 12


def test_range_limit():
    constellation = Constellation([shell(4, 20)], START)
    rules = LinkRules({"s1": IslPolicy()}, IslLimits(max_range_km=2300))
    links = Topology(constellation, rules=rules).links_at(0)
    assert 0 < len(links.isl) < 160
    assert links.isl_km.max() <= 2300


def test_pairs_by_endpoint_or_by_index(tmp_path):
    file = tmp_path / "pairs.csv"
    file.write_text("# a comment\n\nsat/s2/00/01, sat/s1/01/00\n0,1\n1 0\n 2\t3 # twice is once\n")
    constellation = Constellation([shell(2, 3), shell(2, 3, name="s2", altitude_km=800)], START)
    rules = LinkRules({"s2": IslPolicy("pairs", pairs_file=file)}, NO_LIMITS)
    assert Topology(constellation, rules=rules).links_at(0).isl.tolist() == [[3, 7], [6, 7], [8, 9]]


def test_broken_pairs_are_all_told(tmp_path):
    file = tmp_path / "pairs.csv"
    file.write_text("0,1\n0\n1,1\n0,6\n0,sat/s1/09/00\n" + "x,y\n" * 4)
    constellation = Constellation([shell(2, 3)], START)
    with pytest.raises(ValueError, match="must be") as caught:
        Topology(constellation, rules=LinkRules({"s1": IslPolicy("pairs", pairs_file=file)}))
    assert str(caught.value).replace(str(file), "FILE").splitlines() == [
        "FILE:2: '0' must be two different satellites",
        "FILE:3: '1,1' must be two different satellites",
        "FILE:4: '6' must be a satellite's endpoint or its index",
        "FILE:5: 'sat/s1/09/00' must be a satellite's endpoint or its index",
        "FILE:6: 'x' must be a satellite's endpoint or its index",
        "and 3 more like these",
    ]


def test_pairs_of_satellites_that_were_left_out(tmp_path):
    file = tmp_path / "pairs.csv"
    file.write_text("0,1\n1,2\n")
    constellation = Constellation([ElementShell("s", shared("data/tle/Starlink.tle"))])
    gone = sorted(int(name) for name in constellation.left_out[0] if name.isdigit())
    file.write_text(f"{gone[0]},{gone[0] + 1}\n0,1\n")
    rules = LinkRules({"s": IslPolicy("pairs", pairs_file=file)}, NO_LIMITS)
    topology = Topology(constellation, rules=rules)
    assert topology.links_at(0).isl.tolist() == [[0, 1]]
    assert not len(topology.permanent)  # element sets have no planes to stay within


def test_policies_that_cannot_be():
    iridium = Constellation([ElementShell("iridium", shared("data/tle/Iridium.tle"))])
    walker = Constellation([shell(2, 3)], START)
    for constellation, rules, what in (
        (iridium, {"iridium": IslPolicy("plus_grid")}, "plus_grid needs the planes of a Walker shell"),
        (walker, {"s2": IslPolicy()}, "shell 's2' is unknown"),
        (walker, {"s1": IslPolicy(links_to=("s2",))}, "shell 's2' is unknown"),
        (walker, {"s1": IslPolicy(links_to=("s1",))}, "links_to must name other shells"),
    ):
        with pytest.raises(ValueError, match=what):
            Topology(constellation, rules=LinkRules(rules))
    with pytest.raises(ValueError, match="isl_per_satellite"):
        IslPolicy(isl_per_satellite=0)
    with pytest.raises(ValueError, match="file of pairs"):
        IslPolicy("pairs")


def test_best_few_are_the_nearest_visible():
    stations = [GroundStation("a", 50, 10), GroundStation("b", -30, 100), GroundStation("pole", 90, 0)]
    constellation = Constellation([shell(20, 20, inclination_deg=53)], START)
    every = Topology(constellation, stations).links_at(0)
    for few in (1, 2):
        best = Topology(constellation, stations, LinkRules(gsl=GslPolicy("best", few))).links_at(0)
        for station in (0, 1):
            ours = best.gsl[best.gsl[:, 0] == station, 1].tolist()
            mine = every.gsl[:, 0] == station
            nearest = every.gsl[mine, 1][np.argsort(every.gsl_km[mine])][:few]
            assert ours == sorted(nearest.tolist())
        assert 2 not in best.gsl[:, 0]


def test_many_stations_in_blocks_see_the_same(monkeypatch):
    stations = [GroundStation(f"g{n}", -60 + n, 7 * n % 180) for n in range(120)]
    constellation = Constellation([shell(20, 20)], START)
    whole = Topology(constellation, stations).links_at(0)
    monkeypatch.setattr("network.gsl.LOOKS_AT_ONCE", 3000)
    parts = Topology(constellation, stations).links_at(0)
    assert np.array_equal(whole.gsl, parts.gsl)


def test_a_time_asked_without_some_satellites_is_whole_when_asked_again():
    topology = Topology(
        Constellation([shell(6, 11)], START), [GroundStation("a", 50, 10)], LinkRules({"s1": IslPolicy()})
    )
    whole, without = topology.links_at(0), np.zeros(66, dtype=np.bool_)
    without[whole.gsl[:, 1]] = True
    part = topology.links_at(0, without)
    assert not without[part.isl].any()
    assert not len(part.gsl)
    again = topology.links_at(0)
    assert np.array_equal(again.isl, whole.isl)
    assert np.array_equal(again.gsl, whole.gsl)


def test_measured_later_keeps_the_pairs():
    topology = Topology(
        Constellation([shell(6, 11)], START), [GroundStation("a", 50, 10)], LinkRules({"s1": IslPolicy()})
    )
    before, later = topology.links_at(0), topology.links_at(10)
    measured = topology.measured_at(10, before)
    assert measured.isl is before.isl
    assert np.array_equal(measured.isl_km, later.isl_km)
    assert not np.array_equal(measured.isl_km, before.isl_km)
