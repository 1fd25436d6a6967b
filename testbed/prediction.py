"""What a scenario's delays allow, before anything runs: finality at zero load, or forks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from consensus.protocols import load_protocol
from consensus.replica import AllToAll, Chained, Lockstep, Lottery, ProtocolFacts
from network.plan import UNREACHABLE, Plan
from node.chance import numpy_random
from testbed.bounds import FAR, Delays, IntArray, PlanDelays, all_to_all, chained, lockstep, rank
from testbed.statistics import summary
from testbed.terms import committee_of, draws_of, epoch_of, protocol_parameters
from testbed.units import seconds

if TYPE_CHECKING:
    from testbed.scenario import Scenario

MS = 1e6
RANDOM_MODELS = ("normal", "uniform")
DRAWS = 400
"""Delay draws behind a Monte-Carlo bound."""
SAMPLES = 16
"""Instants at which a moving network's mean delay is taken,"""
ROUTED_AT_MOST = 8_000
"""or fewer, where there would be more replicas than this to route to at all of them together."""
LEADERS = 60
"""At most this many leaders are tried when a whole scenario's bound is asked for."""


def block_bound(
    facts: ProtocolFacts,
    delays: Delays,
    start_ns: int,
    view: int,
    proposer: int,
    n: int,
    quorum: int,
    epoch_ns: int | None = None,
) -> IntArray:
    """int64[replicas]: when each could commit, at the earliest, a block proposed in `view` at `start_ns`.

    `epoch_ns` is how long an epoch lasts in lock-step protocols.
    """
    if isinstance(facts.shape, AllToAll):
        return all_to_all(delays, start_ns, proposer, quorum, facts.shape.phases, facts.shape.relayed)
    if isinstance(facts.shape, Lockstep):
        assert epoch_ns is not None, "the bound of a lock-step protocol is mostly waiting"
        return lockstep(delays, start_ns, [(view + later) % n for later in range(1, n + 1)], quorum, epoch_ns)
    if isinstance(facts.shape, Chained):
        leaders = [(view + later) % n for later in range(facts.shape.chain + 1)]
        return chained(delays, start_ns, leaders, quorum)
    raise TypeError(f"{facts.name} has no finality bound: its blocks appear by chance")


def monte_carlo_bound(scenario: Scenario, facts: ProtocolFacts, n: int, quorum: int) -> tuple[float, float]:
    """(mean, standard error) in ns of the median replica's finality at zero load, over fresh draws of all delays."""
    draws = draws_of(scenario)
    assert draws is not None, "only random delays need drawing"
    draw = draws.drawer(numpy_random(scenario.seed, "bound"))

    def delays(times_ns: IntArray) -> IntArray:
        drawn = np.rint(np.maximum(draw(n * n), 0.0) * MS).astype(np.int64)
        return drawn.reshape(n, n)

    epoch_ns = epoch_of(scenario, facts)
    finality = [rank(block_bound(facts, delays, 0, view, view % n, n, quorum, epoch_ns), 0.5) for view in range(DRAWS)]
    values = np.array(finality, dtype=np.float64)
    return float(values.mean()), float(values.std(ddof=1)) / math.sqrt(DRAWS)


def predicted_forks(
    mean_delay_s: float, interval_s: float, heights: int, blocks: int
) -> dict[str, dict[str, float | None]]:
    """What theory expects of many small miners, λ = 1/interval, D = power-weighted mean delay, x = λD.

    Heights with a conflict: 1-e^(-x) (Decker and Wattenhofer, 2013). Stale blocks of all blocks: x/(1+x)
    (renewal argument). `se` is the sampling error of that many heights, and of that many blocks.
    """
    x = mean_delay_s / interval_s
    return {
        name: {"predicted": p, "se": math.sqrt(p * (1 - p) / of) if of else None}
        for name, p, of in (("fork_rate", -math.expm1(-x), heights), ("stale_rate", x / (1 + x), blocks))
    }


def mean_delay_s(scenario: Scenario, plan: Plan, weights: npt.NDArray[np.float64], duration_ns: int) -> float | None:
    """δ̄ = Σᵢⱼ wᵢwⱼDᵢⱼ over the run, with the diagonal as zero; None where a pair has no route.

    None also where delays are no property of pairs: in an `internet` they hang on what else goes over the uplinks.
    """
    if scenario.network.model == "internet":
        return None
    shares = weights / weights.sum()
    pairs = np.outer(shares, shares)
    if scenario.network.model in RANDOM_MODELS:
        network = scenario.network
        low, high = network.delay_low_ms, network.delay_high_ms
        if low is None or high is None:
            mean_ms = _mean_above_zero(network.delay_mean_ms or 0.0, network.delay_std_ms or 0.0)
        else:
            mean_ms = (low + high) / 2
        return mean_ms / 1e3 * float(pairs.sum() - np.trace(pairs))
    samples = 1 if plan.constant else min(SAMPLES, max(2, ROUTED_AT_MOST // len(weights)))
    instants = [duration_ns * k // samples for k in range(samples)]
    means = []
    for instant in instants:
        delay_ns = plan.at(instant).delay_ns
        if (delay_ns == UNREACHABLE).any():
            return None
        means.append(float((pairs * delay_ns).sum()) / 1e9)
    return sum(means) / len(means)


def _mean_above_zero(mean: float, std: float) -> float:
    """The mean of max(0, X) for normal X: what cutting at zero makes of the mean."""
    if not std:
        return max(0.0, mean)
    z = mean / std
    density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return mean * (1 + math.erf(z / math.sqrt(2))) / 2 + std * density


def scenario_bound(scenario: Scenario) -> dict[str, Any]:
    """What `quorbit bound` prints: no run, only the delays at the scenario's start (and their mean over it)."""
    from testbed.sky import build_sky

    protocol = load_protocol(scenario.consensus.protocol)
    sky = build_sky(scenario)
    plan = sky.plan
    n = len(plan.endpoints)
    committee = committee_of(scenario, protocol, sky.weights)
    found: dict[str, Any] = {"title": scenario.title, "protocol": protocol.facts.name, "replicas": n}
    mean_s = mean_delay_s(scenario, plan, np.array(committee.weights), seconds(scenario.duration_s))
    found["mean_delay_ms"] = None if mean_s is None else mean_s * 1e3
    if isinstance(protocol.facts.shape, Lottery):
        interval_s = protocol_parameters(scenario, protocol).block_interval_s
        found["block_interval_s"] = interval_s
        rates = {} if mean_s is None else predicted_forks(mean_s, interval_s, 0, 0)
        return found | {name: rates[name]["predicted"] if rates else None for name in ("fork_rate", "stale_rate")}
    found |= {"tolerates_faulty": committee.f, "quorum": committee.quorum}
    if protocol.facts.shape is None or scenario.network.model == "internet":
        return found | {"finality_ms": None}
    if scenario.network.model in RANDOM_MODELS:
        mean_ns, se_ns = monte_carlo_bound(scenario, protocol.facts, n, committee.quorum)
        return found | {"finality_ms": mean_ns / MS, "se_ms": se_ns / MS, "draws": DRAWS}
    return found | _over_leaders(protocol.facts, plan, n, committee.quorum, epoch_of(scenario, protocol.facts))


def _over_leaders(facts: ProtocolFacts, plan: Plan, n: int, quorum: int, epoch_ns: int | None) -> dict[str, Any]:
    """Statistics over leaders of the zero-load finality at the start."""
    delays = PlanDelays(plan)
    views = range(0, n, max(1, n // LEADERS))
    commits = [np.sort(block_bound(facts, delays, 0, view, view % n, n, quorum, epoch_ns)) for view in views]
    report: dict[str, Any] = {"leaders": len(views)}
    for name, position in (("first", 1), ("finality", (n + 1) // 2), ("quorum_th", quorum), ("last", n)):
        values = np.array([times[position - 1] for times in commits], dtype=np.float64)
        reached = values[values < FAR]
        report[f"{name}_ms"] = summary(reached / MS) if len(reached) == len(values) else None
    return report
