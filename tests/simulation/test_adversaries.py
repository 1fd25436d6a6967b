"""Whole runs with adversaries: f of them break nothing in any protocol, more do, and miners earn what theory says."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest

from consensus.byzantine import BEHAVIOURS
from consensus.byzantine.mining import PrivateAttack
from consensus.effects import Effect
from consensus.protocols import PROTOCOLS, load_protocol
from consensus.protocols.pbft import Pbft
from consensus.protocols.pbft_view_change import ViewChange
from consensus.replica import Lottery
from testbed.result import Result
from testbed.scenario import make_scenario
from testbed.simulation import simulate
from testbed.sky import build_sky
from testbed.terms import schemes_of
from tests.laboratory import MS, ZERO_LOAD, constant, run_matrix
from tests.simulation.runs import failed, partition

LED = [name for name in PROTOCOLS if not isinstance(load_protocol(name).facts.shape, Lottery)]
VOTING = [name for name, behaviour in BEHAVIOURS.items() if behaviour.suits != "mining"]
N = 6
"""f = 1 in every protocol, and a chain of four leaders without it in HotStuff."""


def byzantine(behaviour: str, *replicas: int, **keys: Any) -> dict[str, Any]:
    """A fault table."""
    return {"kind": "byzantine", "behaviour": behaviour, "target": [f"replica/{i}" for i in replicas], **keys}


def run(protocol: str, *faults: dict[str, Any], n: int = N, duration_s: float = 3.0, **tables: Any) -> Result:
    scenario = {
        "duration_s": duration_s,
        "consensus": {"protocol": protocol, "delta_ms": 50.0},
        "committee": [{"on": "laboratory", "count": n}],
        "network": {"model": "uniform", "delay_low_ms": 5.0, "delay_high_ms": 40.0},
        "fault": list(faults),
        **ZERO_LOAD,
        "workload": {"transactions_per_s": 200},
        **tables,
    }
    return simulate(make_scenario(scenario))


@pytest.mark.parametrize("behaviour", VOTING)
@pytest.mark.parametrize("protocol", LED)
def test_f_adversaries_break_nothing_and_stop_nothing(protocol: str, behaviour: str) -> None:
    """Every check, among them that it did something, and that the others went on to the end."""
    leader = 0 if protocol == "pbft" else 1
    result = run(protocol, byzantine(behaviour, leader))
    assert result.ok, result.report["safety"]["violations"]
    committed = zip(*(result.arrivals[name].to_pylist() for name in ("replica", "committed_ns")), strict=True)
    late = {replica for replica, at_ns in committed if at_ns is not None and at_ns > 2e9}
    assert late == set(range(N)) - {leader}


@pytest.mark.parametrize("protocol", ["pbft", "simplex"])
def test_more_than_f_break_agreement(protocol: str) -> None:
    """Two of four show two blocks to the other two and vote for both."""
    both = (byzantine("equivocate", 0, 1, victims=["replica/3"]), byzantine("double_vote", 0, 1))
    result = run(protocol, *both, n=4, expect={"safety": False}, seed=4)
    assert "agreement" in failed(result)
    assert result.ok
    assert (
        "2 of n = 4 replicas are Byzantine, more than f = 1: the protocol promises nothing" in result.report["warnings"]
    )


@pytest.mark.parametrize("protocol", ["tendermint", "simplex"])
def test_more_twins_than_f_break_agreement_without_any_attacking_code(protocol: str) -> None:
    result = run(protocol, byzantine("twins", 0, 1, victims=["replica/3"]), n=4, expect={"safety": False}, seed=4)
    assert "agreement" in failed(result)


def test_what_adversaries_say_of_themselves_counts_for_nothing() -> None:
    """They hold, adopt and commit nothing; blocks are final without them."""
    result = run("pbft", byzantine("replay", 2), network={"model": "fixed", "delay_ms": 20.0})
    committed = Counter(
        replica
        for replica, at_ns in zip(
            result.arrivals["replica"].to_pylist(), result.arrivals["committed_ns"].to_pylist(), strict=True
        )
        if at_ns is not None
    )
    assert sorted(committed) == [0, 1, 3, 4, 5]
    report = result.to_dict()
    assert report["consensus"]["pending_blocks"] <= 1
    assert report["bound"]["check"] == "not applicable: there were Byzantine replicas"
    assert report["faults"][0]["effect"]["unit"] == "deeds"


def test_adversaries_are_the_same_each_time() -> None:
    faults = [byzantine(name, i) for i, name in enumerate(("equivocate", "amnesia", "replay", "slow"))]
    assert run("tendermint", *faults, n=13).report["digest"] == run("tendermint", *faults, n=13).report["digest"]


def test_adversaries_can_crash_too() -> None:
    crash = {"kind": "crash", "target": "replica/1", "window_s": [0.5, 1.0]}
    for behaviour in ("amnesia", "slow", "clock_skew", "double_vote"):
        result = run("hotstuff", byzantine(behaviour, 1), crash)
        assert result.ok, result.report["safety"]["violations"]


def test_an_adversary_is_found_by_plane_shell_and_operator() -> None:
    shells: list[dict[str, Any]] = [
        {"name": name, "planes": 2, "satellites_per_plane": 4, "altitude_km": 600, "inclination_deg": 53}
        for name in ("s1", "s2")
    ]
    shells[1]["operator"] = "acme"
    station = {"name": "kiruna", "latitude_deg": 67.86, "longitude_deg": 20.22, "operator": "acme"}
    targets = {"plane/s1/1": {2, 3}, "shell/s2": {4, 5, 6, 7}, "operator/acme": {4, 5, 6, 7, 8}}
    scenario = make_scenario(
        {
            "committee": [*({"on": name, "count": 4} for name in ("s1", "s2")), {"on": "ground"}],
            "shell": shells,
            "ground_station": [station],
            "fault": [
                {"kind": "byzantine", "behaviour": "silent", "target": target, "window_s": [1, 2]} for target in targets
            ],
        }
    )
    schemes = schemes_of(scenario, build_sky(scenario), Pbft)
    assert [set(scheme.replicas) for scheme in schemes] == list(targets.values())
    assert {(scheme.begin_ns, scheme.end_ns) for scheme in schemes} == {(10**9, 2 * 10**9)}


# T8 (go-f3): a commit that only one victim hears of


class NaivePbft(Pbft):
    """Section 4.4 without P: whoever asks for a new view does not say what it has prepared."""

    def _view_change(self) -> ViewChange:
        self.prepared.clear()
        return super()._view_change()


@pytest.mark.parametrize(("protocol", "safe"), [(Pbft, True), (NaivePbft, False)])
def test_a_withheld_commit_lets_one_victim_decide_alone_and_nobody_decide_otherwise(
    protocol: type[Pbft], safe: bool
) -> None:
    """Primary 0 lets only 1 have its commit, 3's are lost, and 1 is far from 0: so 1 alone commits; then it is cut off.

    The others go on from what they have prepared, or, if they forget it, commit another block at that height.
    """
    delay_ns = constant(4, 10)
    delay_ns[1, 0] = 800 * MS
    faults = [
        byzantine("withhold_commit", 0, victims="replica/1", window_s=[0, 0.025]),
        {"kind": "loss", "target": "replica/3", "rate": 1.0, "window_s": [0.015, 0.025]},
        partition([1], 0.031, 2.0),
    ]
    result = run_matrix(
        "pbft",
        delay_ns,
        3.0,
        protocol_class=protocol,
        consensus={"delta_ms": 20},
        workload={"transactions_per_s": 500},
        fault=faults,
    )
    first = [
        at_ns
        for row, at_ns in zip(*(result.arrivals[name].to_pylist() for name in ("row", "committed_ns")), strict=True)
        if row == 0
    ]
    assert first[1] == 30 * MS
    assert ("agreement" not in failed(result)) is safe
    if safe:
        assert min(at_ns for at_ns in first[2:] if at_ns is not None) > 100 * MS
        assert result.ok


# Miners


def mine(behaviour: str, share: float, *, blocks: int, **parameters: Any) -> Result:
    """One adversary against eight honest miners, with next to no delay."""
    return run(
        "longest_chain",
        byzantine(behaviour, 0),
        duration_s=float(blocks),
        consensus={"protocol": "longest_chain", "parameters": {"block_interval_s": 1.0, **parameters}},
        committee=[
            {"on": "laboratory", "count": 1, "weight": share},
            {"on": "laboratory", "count": 8, "weight": (1 - share) / 8},
        ],
        network={"model": "fixed", "delay_ms": 0.01},
        workload={"transactions_per_s": 0},
    )


def revenue(share: float, gamma: float) -> float:
    """Eyal and Sirer, FC 2014, equation 8: the selfish pool's share of the chain."""
    above = share * (1 - share) ** 2 * (4 * share + gamma * (1 - 2 * share)) - share**3
    return above / (1 - share * (1 + (2 - share) * share))


def quality_and_won(result: Result) -> tuple[float, Any]:
    """The chain quality that is reported, and whether the pool made each block of the final chain."""
    final = np.array(result.blocks["final"])
    return result.report["consensus"]["chain_quality"]["whole"], np.array(result.blocks["proposer"])[final] == 0


def test_selfish_miners_lower_the_quality_of_the_chain() -> None:
    """A pool of 0.45 that loses ties has 0.65 of the chain, far more than its share."""
    result = mine("selfish_mining", 0.45, blocks=500)
    quality, won = quality_and_won(result)
    expected = 1 - revenue(0.45, 0.0)
    assert quality == pytest.approx(1 - won.mean(), abs=1e-9)
    assert abs(quality - expected) < 3 * 2 * math.sqrt(expected * (1 - expected) / len(won))
    assert quality < 0.5
    found = result.report["consensus"]
    assert 0 <= found["chain_quality"]["min"] < quality
    assert found["leader_share_ratio"]["max"] == pytest.approx(won.mean() / 0.45)


@pytest.mark.slow
@pytest.mark.parametrize(("share", "tie_break", "gamma"), [(0.4, "first_seen", 0.0), (0.25, "uniform", 0.5)])
def test_selfish_miners_earn_what_eyal_and_sirer_say(share: float, tie_break: str, gamma: float) -> None:
    """Ties go to whoever was first, so never to the pool; or by a coin."""
    result = mine("selfish_mining", share, blocks=3000, tie_break=tie_break)
    quality, won = quality_and_won(result)
    assert quality == pytest.approx(1 - won.mean(), abs=1e-9)
    expected = revenue(share, gamma)
    # Blocks come in streaks: twice the error of as many independent ones.
    assert abs(won.mean() - expected) < 3 * 2 * math.sqrt(expected * (1 - expected) / len(won))
    assert abs(won.mean() - revenue(share, 0.5 - gamma)) > 0.01


def attack_succeeds(share: float, confirmations: int) -> float:
    """The chance that a branch is longer once the public one is confirmed, before it is further behind than that."""
    alive, won = Counter({(0, 0): 1.0}), 0.0
    while sum(alive.values()) > 1e-12:
        after: Counter[tuple[int, int]] = Counter()
        for (mine, theirs), chance in alive.items():
            for state, part in (((mine + 1, theirs), share), ((mine, theirs + 1), 1 - share)):
                if state[1] >= confirmations and state[0] > state[1]:
                    won += chance * part
                elif state[1] - state[0] <= confirmations:
                    after[state] += chance * part
        alive = after
    return won


@pytest.mark.slow
def test_private_attacks_succeed_as_often_as_a_race_of_two_poisson_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts: Counter[bool] = Counter()
    surrenders, publish = PrivateAttack.surrenders, PrivateAttack.publish

    def gives_up(self: PrivateAttack) -> bool:
        found = surrenders(self)
        attempts[False] += found
        return found

    def succeeds(self: PrivateAttack, count: int) -> Any:
        attempts[True] += 1
        found: list[Effect] = list(publish(self, count))
        return found

    monkeypatch.setattr(PrivateAttack, "surrenders", gives_up)
    monkeypatch.setattr(PrivateAttack, "publish", succeeds)
    result = mine("private_attack", 0.35, blocks=6000, confirmations=2)
    expected, count = attack_succeeds(0.35, 2), attempts.total()
    assert count > 500
    assert abs(attempts[True] / count - expected) < 3 * math.sqrt(expected * (1 - expected) / count)
    # Who has confirmed what was undone has confirmed two blocks of one height.
    assert "agreement" in failed(result)
    assert result.report["consensus"]["max_reorg_depth"] >= 2
