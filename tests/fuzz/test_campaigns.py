"""Campaigns: ours find nothing, mutants are found, and what is found is small and repeats with one command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from consensus.messages import Block
from consensus.protocols import PROTOCOLS, load_protocol
from consensus.replica import Lottery
from consensus.types import ReplicaId
from node.trace import Observer
from testbed.cli import main
from testbed.fuzz.campaign import _prepare, run_campaign
from testbed.fuzz.draw import draw, size
from testbed.fuzz.shrink import shrink
from testbed.fuzz.trial import attempt
from testbed.scenario import make_scenario
from testbed.simulation import simulate

MUTANTS = "tests.fuzz.mutants"


@pytest.mark.slow
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nothing_drawn_breaks_a_protocol_and_much_is_tried(protocol: str) -> None:
    campaign = run_campaign(protocol, seed=2026, runs=40, processes=1)
    assert not campaign.failures
    assert campaign.runs == 40
    wanted = ["equivocations", "restarts", "fetches", "adversaries", "orbits"]
    if not isinstance(load_protocol(protocol).facts.shape, Lottery):
        wanted += ["view changes", "locks", "partitions"]
    assert all(campaign.features[name] >= 2 for name in wanted), campaign.features
    assert len(campaign.behaviours) >= 6


@pytest.mark.parametrize(
    ("mutant", "check", "seed"),
    [
        ("ForgetfulSimplex", "no double vote", 7),
        ("CurtSimplex", "recovery", 7),
        ("SurprisedTendermint", "error: ProtocolError", 4),
    ],
)
def test_a_broken_rule_is_found_and_repeats_with_one_command(
    mutant: str,
    check: str,
    seed: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    name = f"{MUTANTS}:{mutant}"
    arguments = ["fuzz", name, "--twins", "0", "--runs", "400", "--seed", str(seed), "--out", "found", "--json"]
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    report = json.loads(out)
    failure = report["failure"]
    assert check in failure["checks"]
    assert report["scenarios"] >= failure["number"] + 1
    # Small: next to nothing is left of it.
    text = Path(failure["scenario"]).read_text()
    tables = tomllib.loads(text)
    assert len(tables.get("fault", [])) <= 3
    assert size(tables) <= 7
    assert "shell" not in tables
    assert f"repeat with: quorbit run {failure['scenario']}" in err
    assert text.startswith(f"# Question: what breaks {name}?")
    trial = attempt({"fault": [], "expect": {}, **tables})
    assert check in trial.failed
    if not check.startswith("error"):
        assert main(["run", failure["scenario"], "--out", "again"]) == 1
        assert check in capsys.readouterr().out


def test_the_campaign_is_the_same_on_any_number_of_cores() -> None:
    one, two = (run_campaign("tendermint", seed=5, runs=6, processes=count) for count in (1, 2))
    assert (one.features, one.behaviours, one.deliveries) == (two.features, two.behaviours, two.deliveries)


def test_shrinking_keeps_what_fails_and_drops_the_rest() -> None:
    tables = next(
        found
        for found in (draw("pbft", 3, number) for number in range(500))
        if {"partition", "byzantine"} <= {fault["kind"] for fault in found["fault"]} and "shell" in found
    )

    def fails(candidate: dict[str, object]) -> bool:
        return any(fault["kind"] == "partition" for fault in candidate["fault"])  # type: ignore[attr-defined]

    smallest = shrink(tables, fails)
    (fault,) = smallest["fault"]
    assert fault["kind"] == "partition"
    assert len(fault["target"]) == 1
    assert fault["window_s"][1] - fault["window_s"][0] <= 0.051
    assert smallest["committee"] == [{"on": "laboratory", "count": 1}]
    assert smallest["network"]["model"] == "fixed"
    assert shrink(tables, lambda candidate: False) == tables


def test_fuzz_takes_time_instead_of_a_number(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["fuzz", "streamlet", "--minutes", "0.03", "--json", "--out", str(tmp_path)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["scenarios"] >= 1
    assert report["failure"] is None
    assert set(report["scenarios_with"]) >= {"view changes", "locks", "equivocations", "restarts"}


def test_ctrl_c_keeps_what_was_seen_and_says_so() -> None:
    """Sent to the whole group, as a terminal does, once the campaign has begun."""
    command = [sys.executable, "-m", "testbed.cli", "fuzz", "pbft", "--minutes", "5", "--json"]
    fuzz = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    time.sleep(8)
    os.killpg(fuzz.pid, signal.SIGINT)
    out, _ = fuzz.communicate(timeout=60)
    assert fuzz.returncode == 130
    assert json.loads(out)["scenarios"] >= 1


class Interrupting(Observer):
    """Presses Ctrl-C at each commit."""

    def committed(self, now_ns: int, replica: ReplicaId, block: Block) -> None:
        os.kill(os.getpid(), signal.SIGINT)


def cut_short() -> bool:
    tables = {
        "duration_s": 2.0,
        "committee": [{"on": "laboratory", "count": 4}],
        "network": {"model": "fixed", "delay_ms": 5},
        "consensus": {"protocol": "pbft"},
    }
    return simulate(make_scenario(tables), observers=[Interrupting()]).partial


def test_ctrl_c_cuts_no_scenario_of_a_campaign_short() -> None:
    """It would look like a protocol that has come to a stop."""
    with ProcessPoolExecutor(1) as pool:
        assert pool.submit(cut_short).result()
    with ProcessPoolExecutor(1, initializer=_prepare, initargs=(list(sys.path),)) as pool:
        assert not pool.submit(cut_short).result()


def test_mistakes_are_one_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["fuzz", "pbtf"]) == 2
    assert "there is no protocol 'pbtf': use pbft" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert main(["fuzz", "pbft", "--runs", "1", "--out", str(tmp_path / "file")]) == 2
    assert "cannot be written" in capsys.readouterr().err
