"""The run as a user meets it: progress, Ctrl-C, artefacts, the table."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from consensus.protocols.pbft import Pbft
from consensus.replica import Seat
from network.clock import TimeStandsStillError
from testbed.metrics_definitions import DEFINITIONS, result_schema
from testbed.report.table import bound_table, number, rate, render
from testbed.result import Result
from testbed.scenario import load_scenario, make_scenario
from testbed.simulation import Progress, simulate
from tests.laboratory import MS, constant, run_matrix

LABORATORY: dict[str, Any] = {
    "title": "four replicas [in a laboratory]",
    "duration_s": 5,
    "committee": [{"on": "laboratory", "count": 4}],
    "consensus": {"protocol": "pbft", "delta_ms": 250},
    "network": {"model": "fixed", "delay_ms": 100},
    "workload": {"transactions_per_s": 50},
}


def text_of(renderable: Any) -> str:
    out = StringIO()
    Console(file=out, width=100).print(renderable)
    return out.getvalue()


def test_progress_comes_in_order_and_ends_at_the_end() -> None:
    seen: list[Progress] = []
    simulate(make_scenario({**LABORATORY, "duration_s": 400}), progress=seen.append)
    assert len(seen) > 1
    assert [step.virtual_s for step in seen] == sorted(step.virtual_s for step in seen)
    assert (seen[-1].virtual_s, seen[-1].duration_s) == (400, 400)


def test_ctrl_c_keeps_what_was_measured_and_says_partial() -> None:
    """The handler of before is back afterwards, so that a second Ctrl-C stops the program."""
    before = signal.getsignal(signal.SIGINT)

    def interrupt(progress: Progress) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    result = simulate(make_scenario({**LABORATORY, "duration_s": 4000}), progress=interrupt)
    report = result.to_dict()
    assert result.partial
    assert 0 < report["engine"]["virtual_s"] < 4000
    assert report["consensus"]["committed_blocks"] > 0
    assert "PARTIAL" in text_of(render(result))
    assert signal.getsignal(signal.SIGINT) is before


def test_a_partial_run_is_a_prefix_of_the_whole_one() -> None:
    def interrupt(progress: Progress) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    scenario = make_scenario({**LABORATORY, "duration_s": 600})
    partial, whole = simulate(scenario, progress=interrupt), simulate(scenario)
    rows = len(partial.blocks)
    columns = ["block", "height", "proposed_ns"]
    assert 0 < rows < len(whole.blocks)
    assert partial.blocks.select(columns).to_pylist() == whole.blocks.select(columns).slice(0, rows).to_pylist()


def test_the_artefacts_say_what_the_result_says(tmp_path: Path) -> None:
    result = simulate(make_scenario(LABORATORY))
    result.write(tmp_path / "run")
    folder = tmp_path / "run"
    assert sorted(file.name for file in folder.iterdir()) == [
        "arrivals.parquet",
        "blocks.parquet",
        "links.parquet",
        "replicas.parquet",
        "result.json",
        "scenario.toml",
    ]
    report = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    assert report == result.to_dict()
    assert simulate(load_scenario(folder / "scenario.toml")).digest == result.digest
    blocks, arrivals = pq.read_table(folder / "blocks.parquet"), pq.read_table(folder / "arrivals.parquet")
    assert len(blocks) == report["consensus"]["proposed_blocks"]
    assert len(arrivals) == 4 * len(blocks)
    assert sum(blocks["final"].to_pylist()) == report["consensus"]["committed_blocks"]


def test_arrivals_are_what_propagation_is_made_of() -> None:
    """Constant delay δ: the proposer holds its block at once, everybody else δ later."""
    result = run_matrix("pbft", constant(4, 100), 2)
    proposed = result.blocks["proposed_ns"].to_pylist()
    rows = result.arrivals.to_pylist()
    after = [(row["held_ns"] - proposed[row["row"]]) for row in rows if row["held_ns"] is not None]
    assert set(after) == {0, 100_000_000}
    assert after.count(0) == len(proposed)


def test_every_key_of_a_result_is_defined_and_every_definition_is_used() -> None:
    """`quorbit schema result` and `result.json` are one list of keys, for BFT and for longest chain."""
    defined = {definition.key for definition in DEFINITIONS}
    of_nodes = {definition.key for definition in DEFINITIONS if definition.meaning.startswith("Over MQTT: ")}
    of_links = {"network.delays_ms", "network.by_link_class", "network.gossip"}
    of_places = {"consensus.plane_share", "propagation.by_place"}
    optional = {"bound.se_ms", "bound.fork_rate", "bound.stale_rate", *of_nodes, *of_links, *of_places}
    parts = {key.split(".")[0] for key in defined if "." in key}
    for protocol in ("pbft", "longest_chain"):
        report = simulate(make_scenario({**LABORATORY, "consensus": {"protocol": protocol}})).to_dict()
        found = {
            f"{part}.{key}" if part in parts else part
            for part, value in report.items()
            for key in (value if part in parts else [""])
        }
        assert found - optional == defined - optional
    assert set(result_schema()["properties"]) == {key.split(".")[0] for key in defined}


def test_the_table_names_units_and_what_failed() -> None:
    """A network that loses everything: no progress, said in words."""
    result = simulate(make_scenario({**LABORATORY, "network": {"model": "fixed", "delay_ms": 100, "loss": 0.9999}}))
    table = text_of(render(result))
    assert not result.ok
    assert "FAILED progress: nothing was committed" in table
    assert "four replicas [in a laboratory]" in table
    assert "loss" in table


def test_numbers_as_people_read_them() -> None:
    assert [number(value) for value in (None, 0.123456, 12.3456, 1234.56, 1234567, "text")] == [
        "–",
        "0.123",
        "12.35",
        "1,234.6",
        "1,234,567",
        "text",
    ]
    assert (rate(None), rate(0.04893)) == ("–", "4.89 %")


@pytest.mark.parametrize("protocol", ["pbft", "hotstuff", "simplex", "streamlet", "minimmit", "longest_chain"])
def test_a_committee_of_one(protocol: str) -> None:
    """Nobody to talk to, and still blocks become final."""
    tables = {**LABORATORY, "committee": [{"on": "laboratory", "count": 1}]}
    tables["consensus"] = {"protocol": protocol, "parameters": {"block_interval_ms": 100}}
    if protocol == "longest_chain":
        tables["consensus"] = {"protocol": protocol, "parameters": {"block_interval_s": 0.1}}
    result = simulate(make_scenario(tables))
    assert result.ok, result.to_dict()["safety"]
    assert result.to_dict()["network"]["messages"] == 0


@pytest.mark.parametrize(
    ("protocol", "quorum", "why"),
    [
        ("pbft", 3, "unsafe for n = 6: any two quorums share an honest replica from 4"),
        ("minimmit", 4, "unsafe for n = 6: a quorum and any certificate share an honest replica from 5"),
        ("minimmit", 6, "larger than needed for n = 6: a quorum and any certificate share an honest replica from 5"),
    ],
)
def test_a_quorum_of_ones_own_is_warned_of(protocol: str, quorum: int, why: str) -> None:
    tables = {**LABORATORY, "committee": [{"on": "laboratory", "count": 6}]}
    tables["consensus"] = {"protocol": protocol, "quorum": quorum}
    result = simulate(make_scenario(tables))
    assert result.to_dict()["warnings"] == [f"consensus.quorum = {quorum} is {why}"]


def bound_text(tables: dict[str, Any]) -> str:
    from testbed.prediction import scenario_bound

    return text_of(bound_table(scenario_bound(make_scenario(tables))))


def test_the_bound_command_knows_every_shape() -> None:
    assert "300.0" in bound_text(LABORATORY)
    assert "700.0" in bound_text({**LABORATORY, "consensus": {"protocol": "hotstuff"}})
    assert "300.0" in bound_text({**LABORATORY, "consensus": {"protocol": "simplex"}})
    assert "200.0" in bound_text({**LABORATORY, "consensus": {"protocol": "minimmit"}})
    streamlet = {"protocol": "streamlet", "delta_ms": 150}
    assert "500.0" in bound_text({**LABORATORY, "consensus": streamlet})
    slower = {**streamlet, "timeout_ms": 350}
    assert "550.0" in bound_text({**LABORATORY, "consensus": slower})
    paced = {**slower, "parameters": {"block_interval_ms": 400}}
    assert "600.0" in bound_text({**LABORATORY, "consensus": paced})
    assert "fork rate" in bound_text({**LABORATORY, "consensus": {"protocol": "longest_chain"}})
    normal = {"model": "normal", "delay_mean_ms": 250, "delay_std_ms": 50}
    assert "draws" in bound_text({**LABORATORY, "network": normal})


def test_the_result_is_a_value(tmp_path: Path) -> None:
    """Two runs of one scenario are equal but for what they cost."""
    scenario = make_scenario(LABORATORY)
    one, other = simulate(scenario), simulate(scenario)
    costs = ("wall_s", "cpu_s", "deliveries_per_s", "peak_rss_mb")

    def essence(result: Result) -> dict[str, Any]:
        report = dict(result.to_dict())
        report["engine"] = {key: value for key, value in report["engine"].items() if key not in costs}
        return report

    assert essence(one) == essence(other)
    assert one.blocks.equals(other.blocks)
    assert one.arrivals.equals(other.arrivals)


@pytest.mark.parametrize(("n", "protocol"), [(1, "pbft"), (1, "hotstuff"), (4, "pbft")])
def test_a_network_without_any_delay_is_a_mistake_not_a_hang(n: int, protocol: str) -> None:
    """Zero delay, zero CPU, zero interval: blocks without end at one instant."""
    tables = {
        **LABORATORY,
        "committee": [{"on": "laboratory", "count": n}],
        "consensus": {"protocol": protocol},
        "network": {"model": "fixed", "delay_ms": 0},
        "compute": {"signatures": "modelled", "sign_us": 0, "verify_us": 0},
    }
    with pytest.raises(TimeStandsStillError, match=r"stands still at 0 s: .*block_interval_ms"):
        simulate(make_scenario(tables))


def test_time_that_passes_only_at_one_replica_passes() -> None:
    """A committee of one that signs for 50 µs a block makes 20,000 blocks a second, more than any event may cause."""
    tables = {**LABORATORY, "duration_s": 1, "committee": [{"on": "laboratory", "count": 1}]}
    result = simulate(make_scenario({**tables, "compute": {"signatures": "modelled", "sign_us": 50, "verify_us": 0}}))
    assert result.ok
    assert 5_000 < result.to_dict()["consensus"]["committed_blocks"] < 20_001


def test_who_is_down_from_the_start_is_in_no_base() -> None:
    """No block waits for a replica that never was there, not even the one proposed in the first nanosecond."""
    crash = {"kind": "crash", "target": "replica/3", "window_s": [0]}
    report = run_matrix("pbft", constant(4, 10), 3, fault=[crash]).to_dict()
    assert report["consensus"]["finality_last_ms"]["max"] == 30.0
    assert report["consensus"]["pending_blocks"] == 0
    assert report["propagation"]["t100_ms"]["max"] == 10.0


def test_a_crash_within_a_crash_has_no_effect_of_its_own() -> None:
    outer = {"kind": "crash", "target": "replica/3", "window_s": [1, 4]}
    inner = {"kind": "crash", "target": "replica/3", "window_s": [2, 3]}
    report = run_matrix("pbft", constant(4, 10), 5, fault=[outer, inner]).to_dict()
    assert [fault["effect"]["count"] for fault in report["faults"]] == [1, 0]
    assert not report["safety"]["ok"]
    assert report["safety"]["violations"] == ["non-vacuity: fault crash of replica/3 had no effect"]


def test_a_run_faster_than_possible_fails() -> None:
    """Replicas that decide one vote early: safe here by luck, and exposed by the bound."""

    class Hasty(Pbft):
        def __init__(self, seat: Seat) -> None:
            super().__init__(replace(seat, committee=replace(seat.committee, quorum=seat.committee.quorum - 1)))

    delay_ns = constant(4, 100)
    delay_ns[3, :], delay_ns[:, 3], delay_ns[2, :], delay_ns[:, 2] = 300 * MS, 300 * MS, 200 * MS, 200 * MS
    np.fill_diagonal(delay_ns, 0)
    result = run_matrix("pbft", delay_ns, 5, protocol_class=Hasty)
    assert not result.ok
    assert any(sentence.startswith("zero-load bound: ") for sentence in result.to_dict()["safety"]["violations"])
