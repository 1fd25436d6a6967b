"""Lateness of real nodes: HotStuff on Starlink's first shell, over each broker, and how many nodes stay valid.

`python -m benchmarks.nodes` prints both for every broker that is installed, in some ten minutes.
"""

from __future__ import annotations

import os
from typing import Any

from benchmarks.links import SHELL
from testbed.launch.brokers import BROKERS, Broker
from testbed.launch.options import Options
from testbed.launch.run import simulate_on_nodes
from testbed.scenario import make_scenario
from testbed.sky import build_sky

NODES = 20
DURATION_S = 10.0
STEP = 4
MOST = 64
TRIES = 1
"""A committee is valid if one of so many runs is."""


def measure() -> dict[str, float]:
    """p99 lateness, in ms, of 20 nodes over each native broker that is installed."""
    native = [broker for broker in BROKERS if broker.available() and not broker.warning]
    return {f"nodes-{broker.name}": _engine(broker, NODES)["lateness_ms"]["p99"] for broker in native}


def table() -> str:
    """Each broker with its lateness at 20 nodes and the largest committee that it keeps valid."""
    lines = [
        f"{f'HotStuff over Starlink shell 1, {os.cpu_count()} cores':<44}{'p50':>9}{'p99':>9}{'largest valid':>16}"
    ]
    for broker in BROKERS:
        if broker.available():
            late = _engine(broker, NODES)["lateness_ms"]
            name = f"{broker.name}, {NODES} nodes: lateness, ms"
            lines.append(f"{name:<44}{late['p50']:>9.2f}{late['p99']:>9.2f}{_largest_valid(broker):>10} nodes")
    return "\n".join(lines)


def _largest_valid(broker: Broker) -> int:
    valid = 0
    for n in range(STEP, MOST + 1, STEP):
        if not any(_engine(broker, n)["invalid"] is None for _ in range(TRIES)):
            break
        valid = n
    return valid


def _engine(broker: Broker, n: int) -> dict[str, Any]:
    """The engine's part of a run's result."""
    tables = {
        "duration_s": DURATION_S,
        "consensus": {"protocol": "hotstuff", "delta_ms": 250},
        "committee": [{"on": "s1", "count": n}],
        "shell": [SHELL],
        "mqtt": {"broker": broker.name},
    }
    scenario = make_scenario(tables)
    result = simulate_on_nodes(scenario, build_sky(scenario), Options(tell=lambda sentence: None))
    report = result.to_dict()
    assert result.ok, report["safety"]["violations"]
    engine: dict[str, Any] = report["engine"]
    return engine


if __name__ == "__main__":
    print(table())
