"""Shipped scenarios over links, shortened: what they say of themselves shows within a second or a few blocks."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed import load_scenario, simulate
from testbed.result import Result

SCENARIOS = Path(__file__).parents[2] / "scenarios"


def run(name: str, *overrides: str) -> Result:
    return simulate(load_scenario(SCENARIOS / f"{name}.toml", overrides))


def test_who_spreads_big_blocks_how() -> None:
    """What leaves the leader: 49 copies, a few, 8, or one of each of 32 pieces; on most links gossip weighs most."""
    ways = ("unicast", "multicast", "gossip", "shreds")
    results = {way: run("big_blocks_starlink", f"network.dissemination={way}", "duration_s=1.2") for way in ways}
    assert all(result.ok for result in results.values())
    networks = {way: result.report["network"] for way, result in results.items()}
    leader_kb = {way: network["leader_egress_kb"]["max"] for way, network in networks.items()}
    assert leader_kb["unicast"] == pytest.approx(49 * 1000, rel=0.01)
    assert leader_kb["multicast"] < 4 * 1010
    assert leader_kb["gossip"] == pytest.approx(8 * 1000, rel=0.01)
    assert leader_kb["shreds"] == pytest.approx(2 * 1000, rel=0.05)
    load = {way: network["link_bytes"] / results[way].blocks.num_rows for way, network in networks.items()}
    assert load["multicast"] < load["unicast"] < load["gossip"]
    spread_ms = {way: result.report["propagation"]["t100_ms"]["mean"] for way, result in results.items()}
    assert spread_ms["multicast"] < spread_ms["shreds"] < spread_ms["gossip"]
    assert spread_ms["multicast"] < spread_ms["unicast"]


def test_all_satellites_mine() -> None:
    """The last of 1,584 has a block of 1 MB after 46 hops of 7 ms at most and not before light could be there."""
    result = run("mining_starlink", "duration_s=8", "consensus.parameters.confirmations=1")
    assert result.ok, result.report["safety"]["violations"]
    spread = result.report["propagation"]["t100_ms"]
    assert spread["count"] >= 2
    assert 116 < spread["mean"] < 250
    copies = result.report["network"]["copies"]
    assert copies["delivered"] + copies["under_way"] == copies["sent"]
    blocks = result.report["consensus"]["proposed_blocks"]
    # Each sends it on to three of its four neighbours; the two at the ends of a link may do so at once.
    assert copies["sent"] <= blocks * (3 * 1584 + 1)
