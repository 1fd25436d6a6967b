# ruff: noqa: E501 - a sentence is easiest to judge as it will be read, on one line
"""Scenarios on the Internet of regions: they run, say what holds of them and what does not, and refuse nonsense."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from testbed.prediction import scenario_bound
from testbed.scenario import Scenario, ScenarioError, load_scenario, make_scenario
from testbed.simulation import simulate
from testbed.sky import build_sky
from testbed.terms import internet_of

SCENARIOS = Path(__file__).parents[2] / "scenarios"
TABLE = """\
# comment
region,up_mbps,down_mbps,EAST,WEST
EAST,10,20,30,100
WEST,5,50,90,40
"""
COMPACT = {
    "enabled": True,
    "misses": 0.5,
    "missing": [0.1, 0.2],
    "receiver": [{"name": "light", "misses": 1.0}],
}


def made(folder: Path, table: str = TABLE, **changes: Any) -> Scenario:
    file = folder / "regions.csv"
    file.write_text(table, encoding="utf-8")
    network = {"model": "internet", "regions_file": str(file), **changes.pop("network", {})}
    members = changes.pop("committee", [{"region": "EAST", "count": 2}, {"region": "WEST", "count": 2}])
    keys = {
        "duration_s": 5,
        "committee": [{"on": "laboratory", **member} for member in members],
        "consensus": {"protocol": "hotstuff"},
        "compute": {"signatures": "modelled", "sign_us": 0, "verify_us": 0},
        "workload": {"transactions_per_s": 100},
        "network": network,
    }
    return make_scenario(keys | changes)


def problem(folder: Path, table: str = TABLE, **changes: Any) -> str:
    """The one sentence, without the name of the folder."""
    with pytest.raises(ScenarioError) as raised:
        made(folder, table, **changes)
    assert len(raised.value.problems) == 1, raised.value.problems
    return raised.value.problems[0].replace(f"{folder}/", "")


def test_a_bft_protocol_runs_on_it_and_has_no_bound(tmp_path: Path) -> None:
    scenario = made(tmp_path)
    result = simulate(scenario)
    report = result.to_dict()
    assert result.ok
    assert report["consensus"]["committed_blocks"] > 5
    assert report["bound"]["check"] == "not applicable: uplinks queue, and every message draws its own latency"
    assert scenario_bound(scenario)["finality_ms"] is None


@pytest.mark.parametrize("to", ["nearest", "replica/3"])
def test_clients_are_in_the_regions_of_the_replicas_that_they_sit_beside(tmp_path: Path, to: str) -> None:
    """They have places after those of the replicas."""
    client = {"at": "lab/0", "to": to, "transactions_per_s": 20}
    scenario = made(tmp_path, client=[client], workload={"transactions_per_s": None})
    rules = internet_of(scenario, build_sky(scenario).whole_plan.endpoints)
    assert rules is not None
    assert rules.places == (0, 0, 1, 1, 0)
    result = simulate(scenario)
    assert result.ok
    assert result.to_dict()["consensus"]["transactions_per_s"] > 10


def test_what_a_longest_chain_is_predicted_to_do_comes_from_how_its_blocks_spread(tmp_path: Path) -> None:
    """x = D/interval with the measured D; before a run there is no prediction."""
    consensus = {"protocol": "longest_chain", "parameters": {"block_interval_s": 1.0}}
    gossip = {"dissemination": "gossip", "gossip": {"push": 0, "lazy": 9}, "compact": COMPACT}
    scenario = made(tmp_path, duration_s=200, consensus=consensus, network=gossip)
    report = simulate(scenario).to_dict()
    x = report["propagation"]["mean_weighted_ms"] / 1e3
    assert report["bound"]["stale_rate"]["predicted"] == pytest.approx(x / (1 + x), rel=1e-3)
    assert x > 0.05
    bound = scenario_bound(scenario)
    assert (bound["mean_delay_ms"], bound["fork_rate"], bound["stale_rate"]) == (None, None, None)


def test_the_rules_are_those_of_the_file(tmp_path: Path) -> None:
    keys = {"uplink": "until_arrival", "small_below_bytes": 9, "small_message_ms": 8, "processing_us_per_hop": 2_000}
    scenario = made(tmp_path, network=keys)
    rules = internet_of(scenario, [f"lab/{member}" for member in range(4)])
    assert rules is not None
    assert rules.regions.names == ("EAST", "WEST")
    assert rules.regions.latency_ms == ((30.0, 100.0), (90.0, 40.0))
    assert (rules.regions.up_mbps, rules.regions.down_mbps) == ((10.0, 5.0), (20.0, 50.0))
    assert rules.places == (0, 0, 1, 1)
    assert rules.until_arrival
    assert (rules.small_below_bytes, rules.small_message_ns, rules.processing_ns) == (9, 8_000_000, 2_000_000)


def test_the_delays_between_members_are_the_means_of_their_regions(tmp_path: Path) -> None:
    """For `quorbit sky`: without what a message's size and its wait for the uplink add."""
    delay_ms = build_sky(made(tmp_path)).plan.at(0).delay_ns / 1e6
    assert delay_ms.tolist() == [[0, 30, 100, 100], [30, 0, 100, 100], [90, 90, 0, 40], [90, 90, 40, 0]]


def test_the_shipped_regions_can_be_used() -> None:
    for year in (2015, 2019):
        scenario = load_scenario(SCENARIOS / "internet_gossip.toml", [f"network.regions_file=data/internet_{year}.csv"])
        rules = internet_of(scenario, [f"lab/{member}" for member in range(300)])
        assert rules is not None
        assert len(rules.regions.names) == 6
        assert len(rules.places) == 300


EXPECTED_S = {"uplink=until_sent": (0.6, 1.1), "uplink=until_arrival": (0.8, 1.9), "compact.enabled=false": (2.3, 3.5)}


@pytest.mark.slow
@pytest.mark.parametrize("key", EXPECTED_S)
def test_peers_have_blocks_when_the_shipped_scenario_expects_it(key: str) -> None:
    """Half of them, and nine in ten."""
    overrides = ["duration_s=30_000", f"network.{key}"]
    spread = simulate(load_scenario(SCENARIOS / "internet_gossip.toml", overrides)).to_dict()["propagation"][
        "pooled_ms"
    ]
    assert (spread["p50"] / 1e3, spread["p90"] / 1e3) == pytest.approx(EXPECTED_S[key], rel=0.12)


TABLES = {
    "region,up,down,EAST,WEST\nEAST,10,20,30,100\nWEST,5,50,90,40\n": "line 1 needs the columns region, up_mbps, down_mbps, then one for each region in the order of the rows",
    "region,up_mbps,down_mbps,WEST,EAST\nEAST,10,20,30,100\nWEST,5,50,90,40\n": "line 1 needs the columns region, up_mbps, down_mbps, then one for each region in the order of the rows",
    "region,up_mbps,down_mbps,EAST,EAST\nEAST,10,20,30,100\nEAST,5,50,90,40\n": "line 1 needs a different name for each region",
    TABLE.replace("90,40", "90"): "line 4 has 4 cells under 5 column names",
    TABLE.replace("30,100", "5,100"): 'line 3 EAST "5" must be a number, more than 5',
    TABLE.replace("30,100", "30,far"): 'line 3 WEST "far" must be a number, more than 5',
    TABLE.replace("WEST,5", "WEST,0"): 'line 4 up_mbps "0" must be a number, more than 0',
    TABLE.replace("WEST,5", "WEST,inf"): 'line 4 up_mbps "inf" must be a number, more than 0',
    "region,up_mbps,down_mbps\n": "line 1 has no rows under its header",
}


@pytest.mark.parametrize("table", TABLES)
def test_a_table_of_regions_that_cannot_be_used(tmp_path: Path, table: str) -> None:
    assert TABLES[table] in problem(tmp_path, table)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"committee": [{"count": 4}]}, 'committee[0].region: missing; model = "internet" needs it'),
        ({"committee": [{"count": 4, "region": "EATS"}]}, 'no region is called "EATS", did you mean "EAST"?'),
        (
            {"committee": [{"count": 4, "region": "EAST", "receiver": "light"}]},
            "needs [network.compact] enabled = true",
        ),
        (
            {"committee": [{"count": 4, "region": "EAST", "receiver": "lite"}], "network": {"compact": COMPACT}},
            'no receiver is called "lite", did you mean "light"?',
        ),
        (
            {"network": {"compact": {**COMPACT, "receiver": [{"name": "whole"}]}}},
            "network.compact.receiver[0].name",
        ),
        ({"network": {"compact": {**COMPACT, "missing": []}}}, "must be a share between 0 and 1, or a list of them"),
        ({"network": {"compact": {**COMPACT, "missing": [0.5, 2]}}}, "network.compact.missing"),
        (
            {"network": {"compact": {"enabled": True, "reference_bytes": 250}}},
            "network.compact.reference_bytes = 250: must be less than workload.transaction_bytes = 250, or no block is ever compact",
        ),
        (
            {"network": {"uplink": "until_send"}},
            'must be one of "until_sent", "until_arrival", did you mean "until_sent"?',
        ),
        ({"network": {"small_message_ms": -1}}, "must be 0 ms or more"),
    ],
)
def test_other_nonsense_is_one_sentence(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    assert sentence in problem(tmp_path, **changes)


@pytest.mark.parametrize(
    ("compact", "trace"),
    [
        ({"enabled": True, "reference_bytes": 249}, None),
        ({"enabled": False, "reference_bytes": 250}, None),
        ({"enabled": True, "reference_bytes": 300}, "at_s,bytes\n0.1,400\n"),
    ],
)
def test_references_may_be_long_where_transactions_are_longer(
    tmp_path: Path, compact: dict[str, Any], trace: str | None
) -> None:
    keys: dict[str, Any] = {"network": {"compact": compact}}
    if trace is not None:
        (tmp_path / "trace.csv").write_text(trace, encoding="utf-8")
        keys |= {"client": [{"at": "lab/0", "trace": str(tmp_path / "trace.csv")}], "workload": {}}
    assert made(tmp_path, **keys).network.compact.reference_bytes == compact["reference_bytes"]


def test_keys_of_the_internet_belong_to_no_other_model(tmp_path: Path) -> None:
    file = tmp_path / "regions.csv"
    file.write_text(TABLE, encoding="utf-8")
    keys = {"committee": [{"on": "laboratory", "count": 4, "region": "EAST"}],
            "network": {"model": "fixed", "delay_ms": 1, "regions_file": str(file)}}  # fmt: skip
    with pytest.raises(ScenarioError) as raised:
        make_scenario(keys)
    text = "\n".join(raised.value.problems)
    assert 'needs [network] model = "internet"' in text
    assert 'belongs to model = "internet", not to model = "fixed"' in text


def test_regions_are_needed(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match='regions_file: missing; model = "internet" needs it'):
        make_scenario(
            {"committee": [{"on": "laboratory", "count": 4, "region": "EAST"}], "network": {"model": "internet"}}
        )
