"""Measured against possible: the bound of each committed block, beside what the block took."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from consensus.replica import AllToAll, Chained, Lottery
from network.plan import Plan
from testbed.bounds import FAR, PlanDelays, by_way_of, rank
from testbed.metrics import BlockMetrics
from testbed.places import ORBIT, place_of
from testbed.prediction import RANDOM_MODELS, block_bound, mean_delay_s, monte_carlo_bound, predicted_forks
from testbed.terms import cpu_of, epoch_of, protocol_parameters
from testbed.units import seconds

if TYPE_CHECKING:
    from testbed.watch import Watch

MS = 1e6
TOLERATED_ERRORS = 4
"""Combined standard errors: one sound run in 16,000 is further from its Monte-Carlo bound."""


def compare(watch: Watch, metrics: BlockMetrics, reached_ns: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The `bound` part of a result, and the predictions of fork and stale rate where there are any."""
    if isinstance(watch.facts.shape, Lottery):
        return _no_bound("not applicable: a longest chain is never final by certainty"), _predictions(
            watch, metrics, reached_ns
        )
    if watch.facts.shape is None:
        return _no_bound("not applicable: the protocol names no shape that has a bound"), {}
    if any(fault.leaders is not None for fault in watch.scenario.fault):
        return _no_bound("not applicable: a schedule says who leads"), {}
    if watch.scenario.network.model == "internet":
        return _no_bound("not applicable: uplinks queue, and every message draws its own latency"), {}
    if watch.scenario.network.model in RANDOM_MODELS:
        return _monte_carlo_bound(watch, metrics), {}
    return _block_by_block(watch, metrics), {}


def _no_bound(check: str) -> dict[str, Any]:
    return {"blocks": 0, "finality_ms": None, "ratio": None, "ratio_min": None, "check": check}


# Deterministic delays: block by block


@dataclass(frozen=True)
class _Compared:
    """One block: the bound, what it took, and whether delays stood still meanwhile."""

    bound_ns: int
    measured_ns: int
    steady: bool
    slack_ns: int


def _block_by_block(watch: Watch, metrics: BlockMetrics) -> dict[str, Any]:
    compared = list(_compare_blocks(watch, metrics))
    if not compared:
        return _no_bound("not applicable: no block is final everywhere")
    bounds = np.array([entry.bound_ns for entry in compared], dtype=np.float64)
    # With everybody at one place both are zero, and nothing was lost.
    ratios = np.array([_ratio(entry.measured_ns, entry.bound_ns) for entry in compared])
    return {
        "blocks": len(compared),
        "finality_ms": round(float(bounds.mean()) / MS, 6),
        "ratio": round(float(ratios.mean()), 9),
        "ratio_min": round(float(ratios.min()), 9),
        "check": _floor_check(watch, compared),
    }


def _ratio(measured_ns: int, bound_ns: int) -> float:
    return measured_ns / bound_ns if bound_ns else 1.0 if not measured_ns else math.inf


def _compare_blocks(watch: Watch, metrics: BlockMetrics) -> Iterator[_Compared]:
    ledger, plan = watch.ledger, watch.plan
    rows, times = metrics.finality_ns
    medians = metrics.nth_ns(0.5)
    outages_ns = [seconds(at_s) for fault in watch.scenario.fault if fault.kind == "outage" for at_s in fault.window_s]
    epoch_ns = epoch_of(watch.scenario, watch.facts)
    others = _passing_on(watch)
    cache: dict[Any, int] = {}
    cached_for: Any = None
    for position, row in enumerate(rows.tolist()):
        block = ledger.blocks[row]
        start_ns = int(ledger.proposed_ns[row])
        base = metrics.base[row]
        size = int(base.sum())
        end_ns = start_ns + int(times[position, size - 1])
        changed = any(start_ns < boundary_ns <= end_ns for boundary_ns in outages_ns)
        steady = plan.constant or (plan.at(start_ns) is plan.at(end_ns) and not changed)
        origin_ns = 0 if steady else start_ns
        if plan.at(start_ns) is not cached_for:
            cache, cached_for = {}, plan.at(start_ns)
        # Who came back while the block was on its way may have voted for it.
        up = ledger.up_within(start_ns, end_ns)
        key = (block.view % ledger.n, block.proposer, base.tobytes(), up.tobytes())
        bound_ns = cache.get(key) if steady else None
        if bound_ns is None:
            delays = by_way_of(others, PlanDelays(_At(plan, start_ns) if steady else plan, up))
            commits = block_bound(
                watch.facts, delays, origin_ns, block.view, block.proposer, ledger.n, watch.committee.quorum, epoch_ns
            )
            median_ns = rank(commits[base], 0.5)
            bound_ns = int(FAR) if median_ns >= FAR else median_ns - origin_ns
            if steady:
                cache[key] = bound_ns
        if bound_ns < FAR:
            hops = 4 * int(plan.at(start_ns).hops.max(initial=0))
            yield _Compared(bound_ns, int(medians[position]), steady, hops)


def _passing_on(watch: Watch) -> list[int]:
    """The replicas by way of which a broadcast may be there sooner than directly. Satellites are on the routes."""
    if watch.scenario.network.dissemination not in ("gossip", "shreds"):
        return []
    return [replica for replica, endpoint in enumerate(watch.plan.endpoints) if place_of(endpoint) != ORBIT]


class _At:
    """A plan held still at one instant, so that blocks within one update step share their bound."""

    constant = True

    def __init__(self, plan: Plan, instant_ns: int) -> None:
        self.endpoints = plan.endpoints
        self._snapshot = plan.at(instant_ns)

    def at(self, now_ns: int) -> Any:
        return self._snapshot

    def changes_ns(self, until_ns: int) -> list[int]:
        return []


def _floor_check(watch: Watch, compared: list[_Compared]) -> str:
    """Nothing may be faster than the bound, wherever the bound means something."""
    if len(watch.honest) < watch.ledger.n:
        return "not applicable: there were Byzantine replicas"
    if any(watch.ledger.views.values()):
        return "not applicable: there were view changes"
    if watch.ledger.messages["fetch"]:
        return "not applicable: ancestors were fetched"
    steady = [entry for entry in compared if entry.steady]
    if not steady:
        return "not applicable: delays changed during every block's life"
    early = sum(entry.measured_ns + entry.slack_ns < entry.bound_ns for entry in steady)
    scope = f"{len(steady)} of {len(compared)} blocks, the others saw delays change"
    if len(steady) == len(compared):
        scope = f"all {len(compared)} blocks"
    return f"FAILED: {early} blocks were faster than possible ({scope})" if early else f"ok: {scope}"


# Random delays: Monte Carlo


def _monte_carlo_bound(watch: Watch, metrics: BlockMetrics) -> dict[str, Any]:
    measured = metrics.nth_ns(0.5)
    if not len(measured):
        return _no_bound("not applicable: no block is final everywhere")
    mean_ns, se_ns = monte_carlo_bound(watch.scenario, watch.facts, watch.ledger.n, watch.committee.quorum)
    measured_mean = float(measured.mean())
    shape = watch.facts.shape
    # Neighbours in a chain share all but one of its periods: at most `chain` times the variance of independent ones.
    overlap = shape.chain if isinstance(shape, Chained) else 1
    variance = float(measured.var(ddof=1)) if len(measured) > 1 else math.inf
    measured_se = math.sqrt(variance * overlap / len(measured))
    return {
        "blocks": len(measured),
        "finality_ms": round(mean_ns / MS, 6),
        "se_ms": round(se_ns / MS, 6),
        "ratio": round(measured_mean / mean_ns, 9) if mean_ns else None,
        "ratio_min": None,
        "check": _two_sided(watch, measured_mean - mean_ns, math.hypot(se_ns, measured_se)),
    }


def _two_sided(watch: Watch, difference_ns: float, se_ns: float) -> str:
    if any(watch.ledger.views.values()):
        return "not applicable: there were view changes"
    if watch.scenario.network.dissemination != "unicast":
        return "not applicable: members pass broadcasts on"
    if watch.scenario.fault or watch.scenario.network.loss:
        return "not applicable: there were faults or losses"
    if cpu_of(watch.scenario).takes_time:
        return "not applicable: computing takes time"
    if isinstance(watch.facts.shape, AllToAll) and watch.facts.shape.relayed:
        return "not applicable: certificates and blocks overtake each other, which the bound does not follow"
    if isinstance(watch.facts.shape, Chained):
        pace = protocol_parameters(watch.scenario, watch.protocol)
        if pace.block_interval_ms or not pace.propose_empty:
            return "not applicable: leaders wait before they propose"
    away = abs(difference_ns) / se_ns if se_ns else 0.0
    verdict = "ok" if away <= TOLERATED_ERRORS else "FAILED"
    return f"{verdict}: {away:.1f} combined standard errors from the Monte-Carlo mean"


# Longest chain: predictions


def _predictions(watch: Watch, metrics: BlockMetrics, reached_ns: int) -> dict[str, Any]:
    """From the delays alone or, where blocks take other ways or their size counts, from how this run's have spread."""
    network = watch.scenario.network
    interval_s = protocol_parameters(watch.scenario, watch.protocol).block_interval_s
    if network.model in ("internet", "links") or network.dissemination in ("gossip", "shreds"):
        mean_ms = metrics.propagation()["mean_weighted_ms"]
        mean_s = None if mean_ms is None else mean_ms / 1e3
    else:
        mean_s = mean_delay_s(watch.scenario, watch.plan, np.array(watch.committee.weights), reached_ns)
    if mean_s is None:
        return {}
    return predicted_forks(mean_s, interval_s, metrics.chain.heights, len(metrics.chain.rows) + metrics.chain.stale)
