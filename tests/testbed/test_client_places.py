"""Where clients are: in the plan after the replicas, and struck by what strikes their places."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from testbed.faults import fault_effects
from testbed.scenario import Scenario, make_scenario
from testbed.sky import build_sky
from testbed.terms import conditions_of

ORBIT: dict[str, Any] = {
    "consensus": {"protocol": "pbft"},
    "committee": [{"on": "s1", "select": "first", "count": 4}],
    "shell": [{"name": "s1", "planes": 8, "satellites_per_plane": 10, "altitude_km": 1200, "inclination_deg": 60}],
    "ground_station": [
        {"name": "quito", "latitude_deg": -0.18, "longitude_deg": -78.47, "elevation_mask_deg": 5},
        {"name": "tokyo", "latitude_deg": 35.68, "longitude_deg": 139.77, "elevation_mask_deg": 5},
    ],
    "client": [{"at": place, "transactions_per_s": 1} for place in ("gs/quito", "sat/s1/00/01", "gs/tokyo")],
}


def orbit(**tables: Any) -> Scenario:
    return make_scenario({**ORBIT, **tables})


def test_clients_change_nothing_between_replicas() -> None:
    scenario = orbit()
    sky, alone = build_sky(scenario), build_sky(orbit(client=[]))
    assert alone.plan is alone.whole_plan
    assert sky.whole_plan.endpoints == (*alone.plan.endpoints, "gs/quito", "sat/s1/00/01", "gs/tokyo")
    assert sky.plan.endpoints == alone.plan.endpoints
    assert (sky.plan.constant, sky.plan.changes_ns(10**11)) == (alone.plan.constant, alone.plan.changes_ns(10**11))
    for at_ns in (0, 40 * 10**9):
        mine, theirs, whole = sky.plan.at(at_ns), alone.plan.at(at_ns), sky.whole_plan.at(at_ns)
        for name in ("delay_ns", "hops", "ns_per_byte"):
            assert np.array_equal(getattr(mine, name), getattr(theirs, name))
        assert sky.plan.at(at_ns + 1) is mine
        assert (whole.delay_ns[5, 1], whole.delay_ns[5, 0]) == (0, theirs.delay_ns[1, 0]), "at the place of replica 1"


def test_what_strikes_a_place_strikes_its_clients() -> None:
    scenario = orbit(
        fault=[
            {"kind": "partition", "target": "gs/quito"},
            {"kind": "loss", "target": "replica/1", "rate": 0.5},
            {"kind": "slow", "target": "link/gs/tokyo~sat/s1/00/02", "delay_ms": 1},
            {"kind": "loss", "target": "all", "rate": 0.5},
        ]
    )
    sky = build_sky(scenario)
    strikes = conditions_of(scenario, sky).strikes
    assert [strike.members for strike in strikes] == [(4,), (1, 5), (), tuple(range(7))]
    assert strikes[2].pairs == ((6, 2),)


def test_an_outage_of_a_clients_station_has_an_effect() -> None:
    """Nobody else is there, so only pairs with that client are counted: one with each replica."""
    scenario = orbit(fault=[{"kind": "outage", "target": "gs/quito", "window_s": [10, 20]}])
    (effect,) = fault_effects(scenario, build_sky(scenario), {}, [])
    assert effect.count == 4


@pytest.mark.parametrize("kind", ["crash", "byzantine"])
def test_clients_are_not_struck_by_what_strikes_replicas(kind: str) -> None:
    behaviour = {"behaviour": "silent"} if kind == "byzantine" else {}
    fault = {"kind": kind, "target": "gs/quito", **behaviour}
    with pytest.raises(Exception, match="strikes no replica"):
        build_sky(orbit(fault=[fault]))


def test_a_laboratorys_client_shares_a_members_place() -> None:
    scenario = make_scenario(
        {
            "network": {"model": "fixed", "delay_ms": 7},
            "committee": [{"on": "laboratory", "count": 3}],
            "client": [{"at": "lab/2", "transactions_per_s": 1}, {"at": "lab/0", "transactions_per_s": 1}],
        }
    )
    delay_ms = build_sky(scenario).whole_plan.at(0).delay_ns // 10**6
    assert delay_ms[3:].tolist() == [[7, 7, 0, 0, 7], [0, 7, 7, 7, 0]]
