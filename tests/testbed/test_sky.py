"""From a scenario to its sky: who sits where, what the plan is, what a fault strikes, what geometry refuses."""

import csv
import json
from itertools import pairwise
from math import inf

import numpy as np
import pytest

from network.constants import SECOND_NS
from network.gsl import GslPolicy
from network.orbit import OrbitPlan
from network.plan import UNREACHABLE, MatrixPlan
from testbed.handovers import handover_counts
from testbed.scenario import ScenarioError, make_scenario
from testbed.simulation import simulate
from testbed.sky import build_sky, survey
from testbed.targets import Target
from tests.shared import shared

SHELL = {"name": "s1", "planes": 12, "satellites_per_plane": 10, "altitude_km": 1200, "inclination_deg": 60}
QUITO = {"name": "quito", "latitude_deg": -0.18, "longitude_deg": -78.47, "elevation_mask_deg": 10}
TOKYO = {"name": "tokyo", "latitude_deg": 35.68, "longitude_deg": 139.77, "elevation_mask_deg": 10}
POLE = {"name": "pole", "latitude_deg": 90, "longitude_deg": 0, "elevation_mask_deg": 40}


def scenario(*committee, **tables):
    found = {"committee": list(committee), "consensus": {"protocol": "pbft"}, "shell": [SHELL]} | tables
    return make_scenario({key: value for key, value in found.items() if value is not None})


def members(*committee, **tables):
    return build_sky(scenario(*committee, **tables)).plan.endpoints


def laboratory(count, **network):
    return scenario({"on": "laboratory", "count": count}, shell=None, network=network)


def problems(*committee, **tables):
    with pytest.raises(ScenarioError) as caught:
        build_sky(scenario(*committee, **tables))
    return caught.value.problems


def test_selections():
    plane_major = [f"sat/s1/{number // 10:02d}/{number % 10:02d}" for number in range(120)]
    assert members({"on": "s1", "select": "all"}) == tuple(plane_major)
    assert members({"on": "s1", "select": "first", "count": 3}) == tuple(plane_major[:3])
    assert members({"on": "s1", "count": 7}) == tuple(plane_major[k * 120 // 7] for k in range(7))
    assert members({"on": "s1", "select": "plane:4"}) == tuple(plane_major[40:50])
    assert members({"on": "s1", "select": ["sat/s1/05/01", "sat/s1/00/09"]}) == ("sat/s1/00/09", "sat/s1/05/01")


def test_random_selection_hangs_on_the_seed_and_the_block_alone():
    block = {"on": "s1", "select": "random", "count": 20}
    one, again, other = (members(block, seed=seed) for seed in (1, 1, 2))
    assert one == again == tuple(sorted(set(one)))
    assert one != other
    assert members(block, {"on": "s1", "count": 3}, seed=1)[:20] == one


def test_replicas_follow_the_blocks():
    sky = build_sky(
        scenario(
            {"on": "ground", "select": "all", "weight": 3},
            {"on": "s1", "count": 2},
            {"on": "terrestrial", "select": ["net/tokyo"]},
            ground_station=[QUITO, TOKYO],
        )
    )
    assert sky.plan.endpoints == ("gs/quito", "gs/tokyo", "sat/s1/00/00", "sat/s1/06/00", "net/tokyo")
    assert sky.weights == (3, 3, 1, 1, 1)
    assert isinstance(sky.plan, OrbitPlan)
    reachable = sky.plan.at(0).reachable
    assert reachable[:4, :4].all()
    assert not reachable[4, :4].any()


def test_laboratory_networks():
    fixed = build_sky(laboratory(3, model="fixed", delay_ms=1.5))
    assert fixed.plan.endpoints == ("lab/0", "lab/1", "lab/2")
    assert fixed.plan.at(0).delay_ns.tolist() == (1_500_000 * (1 - np.eye(3))).tolist()
    assert fixed.plan.constant
    normal = build_sky(laboratory(2, model="normal", delay_mean_ms=250, delay_std_ms=50))
    uniform = build_sky(laboratory(2, model="uniform", delay_low_ms=1, delay_high_ms=4))
    assert normal.plan.at(0).delay_ns[0, 1] == 250_000_000
    assert uniform.plan.at(0).delay_ns[0, 1] == 2_500_000
    assert normal.constellation is normal.topology is None


def test_fibre_alone_is_a_matrix():
    stations = [QUITO, TOKYO]
    both = {"on": "terrestrial", "select": "all"}
    sky = build_sky(scenario(both, both, ground_station=stations, shell=None, network={"terrestrial_rate_gbps": 8.0}))
    snapshot = sky.plan.at(0)
    assert isinstance(sky.plan, MatrixPlan)
    assert snapshot.delay_ns[0, 2] == 2_625_000  # two hosts in one place
    assert snapshot.delay_ns[0, 1] == snapshot.delay_ns[1, 2] > 100_000_000
    assert snapshot.ns_per_byte[0, 1] == 1
    assert snapshot.routes.path(0, 1) == ("net/quito", "net/tokyo")


def test_fibre_from_a_table_of_round_trips(tmp_path):
    file = tmp_path / "rtt.csv"
    file.write_text("source,target,rtt_ms\nquito,tokyo,300\nquito,quito,2\n")
    sky = build_sky(
        scenario(
            {"on": "terrestrial", "select": "all"},
            ground_station=[TOKYO, QUITO],
            shell=None,
            network={"terrestrial": str(file)},
        )
    )
    assert sky.plan.at(0).delay_ns.tolist() == [[0, 150_000_000], [150_000_000, 0]]


def test_hybrid_is_never_slower_than_either():
    stations = [QUITO, TOKYO, POLE]
    ground, wired = {"on": "ground", "select": "all"}, {"on": "terrestrial", "select": "all"}
    space = build_sky(scenario(ground, ground_station=stations)).plan.at(0).delay_ns
    fibre = build_sky(scenario(wired, ground_station=stations)).plan.at(0).delay_ns
    both = build_sky(scenario(wired, ground_station=stations, network={"hybrid": True})).plan.at(0).delay_ns
    assert (both <= fibre).all()
    assert (both <= np.where(space == UNREACHABLE, fibre, space)).all()
    assert (both < fibre).any()


def test_infinite_intervals_freeze_the_plan():
    network = {"update_interval_s": inf, "reconfiguration_interval_s": inf}
    plan = build_sky(scenario({"on": "s1", "count": 4}, network=network)).plan
    assert plan.constant
    assert plan.at(10**12) is plan.at(0)


def frozen_table(sky, at_s, folder):
    """The delays of a plan as `quorbit sky --delays` writes them."""
    from testbed.commands.sky import delay_rows, write_delays

    write_delays(folder / "delays.csv", delay_rows(sky.plan, [at_s]))
    return folder / "delays.csv"


def test_written_delays_replay_to_the_nanosecond(tmp_path):
    sky = build_sky(scenario({"on": "s1", "count": 9}, {"on": "ground"}, ground_station=[QUITO, POLE]))
    file = frozen_table(sky, 47, tmp_path)
    with file.open() as lines:
        assert next(csv.reader(lines)) == ["source", "target", "at_s", "one_way_ms", "hops", "path"]
    replayed = build_sky(laboratory(11, model="matrix", file=str(file)))
    assert np.array_equal(replayed.plan.at(0).delay_ns, sky.plan.at(47 * SECOND_NS).delay_ns)
    assert (sky.plan.at(47 * SECOND_NS).delay_ns == UNREACHABLE).any()


def test_targets():
    sky = build_sky(
        scenario({"on": "s1", "count": 12}, {"on": "ground"}, {"on": "ground"}, ground_station=[QUITO, TOKYO])
    )
    satellites = frozenset(sky.constellation.endpoints)
    assert sky.target(["replica/3"]) == Target(frozenset({3}), frozenset({"sat/s1/03/00"}))
    assert sky.target(["gs/quito"]) == Target(frozenset({12, 14}), frozenset({"gs/quito"}))
    assert sky.target(["replica/14"]).replicas == {14}
    assert sky.target(["plane/s1/4"]).replicas == {4}
    assert len(sky.target(["plane/s1/4"]).endpoints) == 10
    assert sky.target(["shell/s1"]) == Target(frozenset(range(12)), satellites)
    assert sky.target(["all"]) == Target(frozenset(range(16)), satellites | {"gs/quito", "gs/tokyo"})
    link = sky.target(["link/sat/s1/01/00~gs/tokyo"])
    assert link.links == {("sat/s1/01/00", "gs/tokyo")}
    assert link.pairs == {(1, 13), (1, 15)}
    assert not link.replicas
    assert sky.target(["replica/1", "gs/tokyo"]).replicas == {1, 13, 15}


def test_targets_in_a_hybrid_network_have_two_names():
    sky = build_sky(
        scenario({"on": "terrestrial"}, {"on": "ground"}, ground_station=[QUITO, TOKYO], network={"hybrid": True})
    )
    assert sky.target(["gs/quito"]) == sky.target(["net/quito"])
    assert sky.target(["net/quito"]).replicas == {0, 2}


def test_outages_reach_the_plan():
    outage = {"kind": "outage", "target": ["plane/s1/4", "link/sat/s1/00/00~sat/s1/00/01"], "window_s": [2, 5]}
    found = scenario({"on": "s1", "count": 12}, fault=[outage])
    sky = build_sky(found)
    assert sky.plan.at(1 * SECOND_NS).reachable.all()
    during = sky.plan.at(3 * SECOND_NS).reachable
    assert np.flatnonzero(~during[0]).tolist() == [4]
    # The plane's lasers, and the ones to it, are acquired again before they carry: 12 s by default.
    assert sky.plan.at(17 * SECOND_NS - 1).reachable.tolist() == during.tolist()
    assert sky.plan.at(17 * SECOND_NS).reachable.all()
    cut = int((~during).sum())
    assert sky.outage_effect(found.fault[0]) > cut > 0  # others go round the plane


def test_an_outage_that_nobody_notices_has_no_effect():
    """A satellite that is on no member's way."""
    outage = {"kind": "outage", "target": "sat/s1/00/06", "window_s": [2, 5]}
    found = scenario({"on": "s1", "select": ["sat/s1/00/00", "sat/s1/00/01"]}, fault=[outage])
    assert build_sky(found).outage_effect(found.fault[0]) == 0


def test_an_outage_of_a_link_that_never_was_has_no_effect():
    outage = {"kind": "outage", "target": "link/sat/s1/00/00~sat/s1/05/05"}
    found = scenario({"on": "s1", "count": 12}, fault=[outage])
    assert build_sky(found).outage_effect(found.fault[0]) == 0


def test_faults_that_strike_nothing():
    faults = [
        {"kind": "crash", "target": "sat/s1/00/01"},
        {"kind": "slow", "target": "link/sat/s1/00/00~sat/s1/00/01", "delay_ms": 5.0},
        {"kind": "outage", "target": "gs/quito"},
        {"kind": "outage", "target": "sat/s1/00/01"},
    ]
    assert problems({"on": "s1", "count": 12}, ground_station=[QUITO], fault=faults) == (
        'scenario: fault[0].target = "sat/s1/00/01": strikes no replica, and crash needs one',
        'scenario: fault[1].target = "link/sat/s1/00/00~sat/s1/00/01": strikes no replica, and slow needs one',
        'scenario: fault[2].target = "gs/quito": strikes nothing: no replica sits there and nothing is relayed there',
    )


def elements(**keys):
    return [{"name": "x", "pattern": "elements", "file": str(shared("data/tle/Starlink.tle"))} | keys]


def test_what_only_the_geometry_finds_is_told_at_once(tmp_path):
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("0,1\n0,99999\n")
    told = problems({"on": "x", "count": 3022}, {"on": "x", "select": ["sat/x/44238"]}, shell=elements(isl=str(pairs)))
    assert told == (
        f"scenario: shell[0].isl: {pairs}:2: '99999' must be a satellite's endpoint or its index",
        "scenario: committee[0].count = 3022: must be at most 3021, "
        'the satellites of shell "x" that can be flown at the start',
    )


def test_a_member_that_cannot_be_flown():
    sky = build_sky(scenario({"on": "x", "count": 5}, shell=elements()))
    lost = next(name for name in sorted(sky.constellation.left_out[0]) if name.startswith("sat/"))
    told = problems({"on": "x", "select": [lost, sky.constellation.endpoints[0]]}, shell=elements())
    assert told == (
        f'scenario: committee[0].select[0] = "{lost}": was left out: its element set cannot be flown at the start',
    )


def test_warnings():
    lone = scenario({"on": "s1", "count": 4}, shell=[SHELL | {"isl": "none"}])
    assert build_sky(lone).warnings == (
        "at the start 12 of 12 routes between members do not exist: sat/s1/00/00 to sat/s1/03/00, sat/s1/00/00 to"
        " sat/s1/06/00, sat/s1/00/00 to sat/s1/09/00 and 9 more; at most 1 of 4 members can all talk to each other",
    )
    assert build_sky(scenario({"on": "s1", "count": 4})).warnings == ()
    starlink = build_sky(scenario({"on": "x", "count": 2}, shell=elements()))
    assert "2 of 3023 satellites left out" in starlink.warnings[0]


def test_survey():
    found = scenario({"on": "s1", "count": 5}, {"on": "ground"}, ground_station=[QUITO, POLE])
    shown = survey(found, [0.0, 30.0])
    assert json.loads(json.dumps(shown, allow_nan=False)) == shown
    assert (shown["satellites"], shown["ground_stations"], shown["members"]) == (120, 2, 7)
    assert [(row["at_s"], row["kind"]) for row in shown["links"]] == [(0, "ISL"), (0, "GSL"), (30, "ISL"), (30, "GSL")]
    assert [row["routes"] + row["missing"] for row in shown["routes"]] == [42, 42]
    assert shown["routes"][0]["missing"] == 12
    assert shown["links"][0]["min_km"] < shown["links"][0]["mean_km"] < shown["links"][0]["max_km"] < 5016
    empty = survey(laboratory(2, model="fixed", delay_ms=5.0), [0.0])
    assert (empty["satellites"], empty["links"], empty["routes"][0]["p50_ms"]) == (0, [], 5.0)


def test_handover_reaches_the_plan():
    """Starlink's grid from a start at a full minute, and every key of handover."""
    network = {"reconfiguration_offset_s": 12, "isl_acquisition_s": 7.5, "isl_terminals": 3, "gsl_terminals": 2}
    found = scenario(
        {"on": "s1", "count": 4},
        {"on": "ground"},
        ground_station=[QUITO],
        network=network | {"gsl_policy": "elevation", "gsl_best": 3},
    )
    handover, rules = build_sky(found).plan.handover, build_sky(found).topology.rules
    assert sorted(handover.choices.until_ns(60 * SECOND_NS)) == [at_s * SECOND_NS for at_s in (12, 27, 42, 57)]
    assert handover.acquisition_ns == 7_500_000_000
    assert (rules.isl_terminals, rules.gsl) == (3, GslPolicy("elevation", 3, terminals=2))
    assert build_sky(scenario({"on": "s1", "count": 4})).plan.handover.acquisition_ns == 12 * SECOND_NS


def test_handovers_in_a_survey():
    """Half an hour of the grid at most, and counts for all stations, also those without a member."""
    shell = SHELL | {"polar_cutoff_deg": 40.0}
    found = scenario({"on": "s1", "count": 4}, shell=[shell], ground_station=[QUITO, TOKYO], duration_s=7200.0)
    (row,) = survey(found, [0.0])["handovers"]
    sky = build_sky(found)
    times_s = range(0, 1801, 15)
    links = [sky.topology.links_at(at_s) for at_s in times_s]
    gsl, isl = ([set(map(tuple, getattr(one, kind).tolist())) for one in links] for kind in ("gsl", "isl"))
    permanent = set(map(tuple, sky.topology.permanent.tolist()))
    handovers = sum(len(now - before) for before, now in pairwise(gsl))
    acquisitions = sum(len(now - before - permanent) for before, now in pairwise(isl))
    assert (row["until_s"], row["choices"], row["handovers"], row["acquisitions"]) == (
        1800,
        120,
        handovers,
        acquisitions,
    )
    assert row["per_station_per_minute"] == pytest.approx(handovers / 2 / 30)
    assert row["per_hour"] == pytest.approx(2 * acquisitions)
    assert row["mean_hold_s"] == pytest.approx(sum(map(len, isl[1:])) * 15 / acquisitions)
    assert min(handovers, acquisitions) > 20
    frozen = scenario({"on": "s1", "count": 4}, network={"reconfiguration_interval_s": inf})
    assert (
        survey(frozen, [0.0])["handovers"]
        == survey(laboratory(2, model="fixed", delay_ms=5.0), [0.0])["handovers"]
        == []
    )


def test_handovers_in_a_result(monkeypatch):
    """Those of the run's own choices; none where nobody moves, no number where too many would have to be made again."""
    shell = SHELL | {"polar_cutoff_deg": 55.0}
    slow = {"protocol": "pbft", "parameters": {"block_interval_ms": 5000}}
    places = {"shell": [shell], "ground_station": [QUITO, TOKYO]}
    found = scenario({"on": "s1", "count": 4}, {"on": "ground"}, **places, consensus=slow, duration_s=95.0)
    sky = build_sky(found)
    counts = simulate(found, sky=sky).report["network"]
    turns = build_sky(found).plan.handover.turns(95 * SECOND_NS)
    assert len(turns) == 6
    assert counts["handovers"] == sum(turn.handovers for turn in turns) > 0
    assert counts["acquisitions"] == sum(turn.acquisitions for turn in turns) > 0
    nobody = {"handovers": None, "acquisitions": None}
    assert handover_counts(build_sky(laboratory(2, model="fixed", delay_ms=5.0)).plan, 10**12) == nobody
    still = scenario({"on": "s1", "count": 4}, network={"reconfiguration_interval_s": inf})
    assert handover_counts(build_sky(still).plan, 10**12) == {"handovers": 0, "acquisitions": 0}
    monkeypatch.setattr("testbed.handovers.MOST_UNSEEN", 3)
    assert handover_counts(build_sky(found).plan, 95 * SECOND_NS) == nobody
    assert handover_counts(sky.plan, 95 * SECOND_NS)["handovers"] == counts["handovers"]
