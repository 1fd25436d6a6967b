"""The scenario's faults on real nodes: crashes are kills, and what comes of all faults is what virtual time says."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.scenario import make_scenario
from testbed.simulation import simulate
from tests.realtime.nodes import run_on_nodes, starlink
from tests.simulation.runs import crash, partition

pytestmark = [pytest.mark.realtime]


def both(tables: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The reports of a run over nodes and of one in virtual time."""
    return run_on_nodes(tables).report, simulate(make_scenario(tables)).report


def test_crashed_nodes_are_killed_and_come_back_when_the_scenario_says() -> None:
    """One comes back and fetches what it missed, one never does, one comes late: dates, counts and blocks agree."""
    faults = [crash(3, 2, 4), crash(5, 6), crash(1, 0, 1.5)]
    real, ideal = both(starlink("hotstuff", 7, 8, consensus={"delta_ms": 100}, fault=faults))
    assert failed_checks(real) == set()
    assert real["engine"]["node_deaths"] == 2
    assert [fault["effect"] for fault in real["faults"]] == [fault["effect"] for fault in ideal["faults"]]
    for key in ("proposed_blocks", "committed_blocks", "view_changes", "stale_blocks"):
        assert real["consensus"][key] == ideal["consensus"][key]
    allowed_ms = 7 * real["engine"]["lateness_ms"]["p50"] + 2
    finality = (report["consensus"]["finality_ms"]["p50"] for report in (real, ideal))
    assert abs(next(finality) - next(finality)) < allowed_ms
    assert "fetch" in real["network"]["by_kind"]
    assert abs(real["network"]["drops"]["receiver_down"] - ideal["network"]["drops"]["receiver_down"]) <= 7


def test_partitions_losses_delays_and_lies_are_the_senders_business_on_nodes_too() -> None:
    faults = [
        partition([0], 1, 2),
        {"kind": "slow", "target": "replica/2", "window_s": [2.5, 3.5], "delay_ms": 40},
        {"kind": "loss", "target": "replica/3", "window_s": [4, 5], "rate": 0.5},
        {"kind": "byzantine", "behaviour": "double_vote", "target": "replica/1", "window_s": [5.2, 6]},
    ]
    real, ideal = both(starlink("pbft", 4, 6, fault=faults, consensus={"parameters": {"block_interval_ms": 250}}))
    assert failed_checks(real) == set()
    counts = [[fault["effect"]["count"] for fault in report["faults"]] for report in (real, ideal)]
    assert counts[0][:2] == counts[1][:2]
    assert counts[0][3] == counts[1][3]
    assert min(counts[0]) > 0
    assert real["network"]["drops"]["partition"] == ideal["network"]["drops"]["partition"]
    assert real["network"]["drops"]["fault_loss"] == counts[0][2]


def test_a_late_run_is_invalid_and_says_what_to_change() -> None:
    result = run_on_nodes(starlink("hotstuff", 4, 2, mqtt={"lateness_budget_ms": 0.001}))
    assert result.ok
    assert result.invalid is not None
    assert "fewer replicas" in result.invalid
    assert "mqtt.time_scale" in result.invalid


def test_time_can_pass_more_slowly() -> None:
    """Twice the wall time, and the same finality: lateness counts half."""
    tables = starlink("hotstuff", 4, 2, mqtt={"time_scale": 2})
    real, ideal = both(tables)
    assert real["engine"]["time_scale"] == 2
    assert real["engine"]["virtual_s"] == 2
    allowed_ms = 7 * real["engine"]["lateness_ms"]["p50"] + 2
    finality = [report["consensus"]["finality_ms"]["p50"] for report in (real, ideal)]
    assert abs(finality[0] - finality[1]) < allowed_ms


def test_signatures_can_be_modelled_and_frames_are_signed_all_the_same() -> None:
    real = run_on_nodes(starlink("hotstuff", 4, 2, compute={"signatures": "modelled"})).report
    assert failed_checks(real) == set()
    assert real["consensus"]["committed_blocks"] > 3


def failed_checks(report: dict[str, Any]) -> set[str]:
    return {check["name"] for check in report["safety"]["checks"] if not check["ok"]}
