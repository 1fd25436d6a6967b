"""Testbed: "I watch. Nobody knows I am here."

Scenario -> Sky -> {Clock, Bus, Hosts} -> Trace -> {Checks, Metrics, Bounds} -> Result -> Report. This room may import
everything; nothing may import it.

    from testbed import load_scenario, simulate
    result = simulate(load_scenario("scenarios/smoke.toml"))
    result.blocks.to_pandas()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from node.contract import ProtocolError
    from testbed.result import Result
    from testbed.scenario import Scenario, ScenarioError, load_scenario, make_scenario
    from testbed.simulation import simulate

__all__ = ["ProtocolError", "Result", "Scenario", "ScenarioError", "load_scenario", "make_scenario", "simulate"]

_HOMES = {
    "ProtocolError": "node.contract",
    "Result": "testbed.result",
    "Scenario": "testbed.scenario",
    "ScenarioError": "testbed.scenario",
    "load_scenario": "testbed.scenario",
    "make_scenario": "testbed.scenario",
    "simulate": "testbed.simulation",
}


def __getattr__(name: str) -> Any:
    """Import on first use: `quorbit protocols` must not wait for numpy and pydantic."""
    if name not in _HOMES:
        raise AttributeError(f"module 'testbed' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
