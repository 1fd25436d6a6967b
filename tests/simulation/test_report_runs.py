"""What whole runs say of planes, places, peaks and copies, in the result and in the table."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from testbed.report.table import render
from testbed.result import Result
from testbed.simulation import simulate
from tests.simulation.test_adversaries import mine
from tests.simulation.test_links_runs import STATIONS, run, scenario


def table_of(result: Result) -> str:
    text = StringIO()
    Console(file=text, width=160).print(render(result))
    return text.getvalue()


MIXED: dict[str, Any] = {
    "ground_station": STATIONS,
    "committee": [{"on": "s1", "count": 6}, {"on": "ground"}],
    "consensus": {"protocol": "hotstuff", "delta_ms": 300},
    "workload": {"transactions_per_s": 200},
}


def test_satellites_and_stations_are_told_apart() -> None:
    result = run({"isl_rate_gbps": 0.01, "processing_us_per_hop": 20}, **MIXED)
    planes = result.report["consensus"]["plane_share"]
    assert set(planes["share"]) >= {"ground", "s1/00"}
    assert planes["planes"] == len(planes["share"]) - 1
    assert sum(planes["share"].values()) == pytest.approx(1)
    assert set(result.report["propagation"]["by_place"]) == {"ground", "orbit"}
    whole, by_place = result.report["propagation"], result.report["propagation"]["by_place"]
    assert max(entry["t100_ms"]["max"] for entry in by_place.values()) == whole["t100_ms"]["max"]
    assert whole["effective50_mbps"]["mean"] > whole["effective90_mbps"]["mean"] > 0
    network = result.report["network"]
    assert network["egress_peak_mbps"]["max"] >= network["egress_mbps"]["max"] > 0
    busiest = max(entry["busiest"]["utilisation"] for entry in network["by_link_class"].values())
    assert busiest == max(entry["utilisation"]["max"] for entry in network["by_link_class"].values())
    table = table_of(result)
    assert "block at 90 % of ground" in table
    assert "block at 90 % of orbit" in table
    assert "one-way delay, ms" in table
    assert "busiest link" in table
    assert "chain quality" not in table
    assert "gossip" not in table


def test_eager_gossip_among_all_sends_everybody_a_copy_from_everybody() -> None:
    """The source pushes to n - 1, and each of them to the n - 2 others: (n - 1)² of n - 1 that are needed."""
    gossip = {"peers": 6, "push": 6, "lazy": 0}
    result = run({"model": "latency", "dissemination": "gossip", "gossip": gossip}, 7, duration_s=1.0)
    account = result.report["network"]["gossip"]
    # Some of the last messages are still under way.
    assert account["rumours"] > 20
    assert 5.0 < account["redundancy"] <= 6.0
    assert "copies to each replica" in table_of(result)


def test_clients_are_no_replicas() -> None:
    """Whose egress is reported is one of four replicas, though two clients send as well."""
    clients = [{"at": f"gs/{station['name']}", "transactions_per_s": 20} for station in STATIONS]
    made = scenario({}, 4, ground_station=STATIONS, client=clients, workload={})
    network = simulate(made).report["network"]
    assert {network[f"{key}_mbps"]["count"] for key in ("egress", "egress_peak", "ingress")} == {4}


def test_the_table_shows_the_quality_of_a_chain_with_adversaries() -> None:
    result = mine("selfish_mining", 0.45, blocks=100)
    assert "chain quality" in table_of(result)


def test_replicas_have_a_row_each() -> None:
    """Their parts make up the whole, and the summaries."""
    result = run({}, 6, duration_s=1.0)
    table, report = result.replicas.to_pydict(), result.report
    assert table["replica"] == list(range(6))
    assert set(table["honest"]) == {True}
    assert table["endpoint"][0] == "sat/s1/00/00"
    assert sum(table["final_blocks"]) == sum(result.blocks["final"].to_pylist())
    assert sum(table["sent_bytes"]) == report["network"]["bytes"]
    for column, key in (("sent_bytes", "egress"), ("peak_bytes_per_s", "egress_peak"), ("received_bytes", "ingress")):
        assert max(table[column]) * 8e-6 == pytest.approx(report["network"][f"{key}_mbps"]["max"], abs=1e-6)


@pytest.mark.parametrize(("enabled", "told"), [(False, "% of all bytes sent"), (True, " times all bytes sent")])
def test_more_goodput_than_was_sent_is_no_percentage(enabled: bool, told: str) -> None:
    """Of 250 bytes that everybody knows already, seven times 6 are sent."""
    tables = {"committee": [{"on": "laboratory", "count": 8}], "shell": [], "workload": {"transactions_per_s": 5000}}
    network = {"model": "fixed", "delay_ms": 20, "compact": {"enabled": enabled}}
    assert told in table_of(run(network, **tables))
