"""Parity: real processes over each broker tell the same story as virtual time, for each family of protocols."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from testbed.result import Result
from testbed.scenario import make_scenario
from testbed.simulation import simulate
from tests.realtime.nodes import needs_broker, run_on_nodes, starlink

pytestmark = [pytest.mark.slow, pytest.mark.realtime]

DELAYS = {"hotstuff": 7, "pbft": 3}
"""Message delays from a proposal to its commit: over how many hops lateness may add up."""
OWN_MS = 2.0
SAME_BLOCKS = 0.95


def tables(protocol: str, n: int, broker: str) -> dict[str, Any]:
    """Six emulated seconds; what one broker cannot carry in real time passes more slowly there."""
    consensus: dict[str, Any] = {}
    mqtt: dict[str, Any] = {"broker": broker}
    duration_s = 6.0
    if protocol == "longest_chain":
        consensus = {"parameters": {"block_interval_s": 0.2, "confirmations": 3}}
    if protocol == "pbft":
        consensus = {"parameters": {"block_interval_ms": 500}}
        if broker == "amqtt" and n > 7:
            mqtt["time_scale"], duration_s = 4.0, 3.0
    return starlink(protocol, n, duration_s, consensus=consensus, mqtt=mqtt)


@cache
def virtual(protocol: str, n: int, broker: str) -> Result:
    return simulate(make_scenario(tables(protocol, n, broker)))


def blocks(result: Result) -> set[tuple[str, int]]:
    """Every block with its owner."""
    return set(zip(result.blocks["block"].to_pylist(), result.blocks["proposer"].to_pylist(), strict=True))


@pytest.mark.parametrize("protocol", ["hotstuff", "pbft", "longest_chain"])
@pytest.mark.parametrize("n", [7, 16])
@pytest.mark.parametrize("broker", ["mosquitto", "nats", "amqtt"])
def test_real_nodes_and_virtual_time_agree(protocol: str, n: int, broker: str) -> None:
    needs_broker(broker)
    real, ideal = run_on_nodes(tables(protocol, n, broker)), virtual(protocol, n, broker)
    engine = real.report["engine"]
    assert real.ok, real.report["safety"]
    assert (engine["bus"], engine["broker"], engine["node_deaths"]) == ("mqtt", broker, 0)
    assert engine["frames_refused"] == {}
    ours, theirs = real.report["consensus"], ideal.report["consensus"]
    assert ours["committed_blocks"] > 3
    if protocol == "longest_chain":
        assert len(blocks(real) & blocks(ideal)) >= SAME_BLOCKS * len(blocks(real) | blocks(ideal))
        return
    allowed_ms = DELAYS[protocol] * engine["lateness_ms"]["p50"] + OWN_MS
    assert abs(ours["finality_ms"]["p50"] - theirs["finality_ms"]["p50"]) < allowed_ms
