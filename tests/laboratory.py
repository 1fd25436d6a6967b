"""Runs without satellites, for tests: a protocol on a matrix of delays."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from network.plan import IntArray, MatrixPlan, Plan
from testbed.result import Result
from testbed.scenario import Scenario, make_scenario
from testbed.simulation import simulate

MS = 1_000_000
ZERO_LOAD = {
    "compute": {"signatures": "modelled", "sign_us": 0, "verify_us": 0},
    "workload": {"transactions_per_s": 0},
}


def constant(n: int, delay_ms: float) -> IntArray:
    """int64[n, n]: the same delay between all."""
    delay_ns = np.full((n, n), round(delay_ms * MS), dtype=np.int64)
    np.fill_diagonal(delay_ns, 0)
    return delay_ns


def sky_over(plan: Plan, scenario: Scenario) -> Any:
    """A sky around any plan, whose members are named by replica numbers in faults."""

    def target(names: Sequence[str]) -> SimpleNamespace:
        chosen = range(len(plan.endpoints)) if "all" in names else [int(name.split("/")[1]) for name in names]
        return SimpleNamespace(replicas=frozenset(chosen), pairs=(), clients=frozenset())

    return SimpleNamespace(
        scenario=scenario,
        plan=plan,
        whole_plan=plan,
        weights=(1.0,) * len(plan.endpoints),
        warnings=(),
        target=target,
        outage_effect=lambda fault: 0,
    )


def run_matrix(
    protocol: str, delay_ns: IntArray, duration_s: float, *, protocol_class: Any = None, **tables: Any
) -> Result:
    """Run at zero load unless `tables` (in the layout of a scenario file) say otherwise."""
    n = len(delay_ns)
    scenario = {
        "duration_s": duration_s,
        "committee": [{"on": "laboratory", "count": n}],
        "network": {"model": "fixed", "delay_ms": 1.0},
        **ZERO_LOAD,
        **tables,
    }
    scenario["consensus"] = {"protocol": protocol, **tables.get("consensus", {})}
    plan = MatrixPlan([f"lab/{i}" for i in range(n)], delay_ns)
    made = make_scenario(scenario)
    return simulate(made, sky=sky_over(plan, made), protocol=protocol_class)
