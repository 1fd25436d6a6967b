"""Flat PBFT on all of Starlink's first shell, the baseline of OrbitBFT (arXiv 2605.08132), whose tables are not public.

What is compared with are order statistics over the delays of that shell: 5.02 million messages, 118 million link
transmissions, and 216 ms as a mean over leaders, which were computed for 2f+1 votes, one fewer than ours at this n.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from consensus.types import Committee
from testbed import load_scenario, simulate
from testbed.result import Result
from testbed.sky import Sky, build_sky
from tests.papers.oracle import leader_and_rounds, still

SCENARIO = Path(__file__).parents[2] / "scenarios/papers/orbitbft_flat.toml"
SATELLITES = 1584
FIRST_PROPOSAL_S = 0.5
PRIMARY = 0
HIERARCHICAL_MS = 357.0
"""Zero-load finality of agreement in each plane first and then between planes: the other half of the comparison."""

slow = pytest.mark.slow


def sky_over(n: int, *overrides: str) -> Sky:
    """`n` satellites, spread over the shell."""
    return build_sky(load_scenario(SCENARIO, ["committee.0.select=spread", f"committee.0.count={n}", *overrides]))


def cut(n: int, *overrides: str) -> Result:
    """One decision of them."""
    sky = sky_over(n, *overrides)
    return simulate(sky.scenario, sky=sky)


def expect_one_decision_at_zero_load(sky: Sky, n: int) -> Result:
    """All counts, and finality by the oracle, from the delays and hops between the members."""
    result, snapshot = simulate(sky.scenario, sky=sky), sky.plan.at(0)
    network, bound = result.report["network"], result.report["bound"]
    assert result.ok, result.report["safety"]["violations"]
    assert network["messages"] == 2 * n * n - n - 1
    assert network["link_transmissions"] == 2 * snapshot.hops.sum() + snapshot.hops[PRIMARY].sum()
    finality_ns = leader_and_rounds(still(snapshot.delay_ns), PRIMARY, Committee.of(n).quorum, 2)
    median_ms = np.sort(finality_ns)[(n + 1) // 2 - 1] / 1e6
    assert result.report["consensus"]["finality_ms"]["p50"] == bound["finality_ms"] == median_ms
    assert (bound["blocks"], bound["ratio"], bound["ratio_min"]) == (1, 1.0, 1.0)
    committed_ns = result.arrivals["committed_ns"].to_numpy()
    assert (np.sort(committed_ns) == np.sort(finality_ns) + round(FIRST_PROPOSAL_S * 1e9)).all()
    return result


def test_one_decision_of_a_cut_costs_what_it_must_and_takes_as_long() -> None:
    """200 of the satellites agree as fast as all 1,584."""
    result = expect_one_decision_at_zero_load(sky_over(200), 200)
    assert result.report["consensus"]["finality_ms"]["p50"] == pytest.approx(216, rel=0.01)


@slow
def test_one_decision_of_the_whole_shell_costs_what_was_published() -> None:
    """5.02 million messages, 118 million link transmissions, and a bound of 216 ms, all within 1 %.

    The run ends when all have been sent, because hearing the second half of them takes as long again; that finality is
    the bound is seen above, and for all satellites in the first line of `python -m benchmarks.votes shell`.
    """
    sky = sky_over(SATELLITES, "duration_s=0.66", "expect.progress=false")
    network, snapshot = simulate(sky.scenario, sky=sky).report["network"], sky.plan.at(0)
    assert network["messages"] == 2 * SATELLITES**2 - SATELLITES - 1 == 5_016_527
    assert network["link_transmissions"] == 2 * snapshot.hops.sum() + snapshot.hops[PRIMARY].sum()
    assert network["link_transmissions"] == pytest.approx(118e6, rel=0.01)
    final_ns = leader_and_rounds(still(snapshot.delay_ns), PRIMARY, Committee.of(SATELLITES).quorum, 2)
    assert np.median(final_ns) / 1e6 == pytest.approx(216, rel=0.01)


@pytest.mark.parametrize("n", [40, pytest.param(200, marks=slow)])
def test_links_without_limits_carry_the_same_messages_over_the_same_links_at_the_same_times(n: int) -> None:
    """Each of them crosses each of its links in an event of its own, and nothing is different."""
    by_latency, by_links = cut(n), cut(n, "network.model=links", "network.isl_buffer_mb=inf")
    assert by_links.arrivals.equals(by_latency.arrivals)
    assert by_links.blocks.equals(by_latency.blocks)
    for key in ("messages", "bytes", "by_kind", "link_transmissions", "link_bytes"):
        assert by_links.report["network"][key] == by_latency.report["network"][key]


def finality_ms(n: int, verify_us: float) -> float:
    """Of one decision if each vote costs that much, scaled so that all votes together cost what 1,584 would."""
    at_this_size_us = verify_us * SATELLITES / n
    paces = ["duration_s=1.2", "consensus.parameters.block_interval_ms=600"]
    result = cut(n, f"compute.verify_us={at_this_size_us}", *paces)
    return float(result.report["consensus"]["finality_ms"]["p50"])


def test_the_flat_curve_passes_the_hierarchy_near_a_tenth_of_a_millisecond_per_vote() -> None:
    """0.11 ms, where one vote after the other would make it 0.07: votes are verified while others are on their way.

    3δ + 2(q-1)v = 357 ms gives 0.067 ms. But votes come in over some 100 ms, and a processor that is not late works
    while it waits. Only the time for n votes counts, as long as arrivals are alike: 200 satellites stand for 1,584.
    """
    n = 200
    quorum = Committee.of(SATELLITES).quorum
    sweep_us = (0.0, 67.0, 95.0, 125.0)
    curve = [finality_ms(n, verify_us) for verify_us in sweep_us]
    assert curve == sorted(set(curve))
    one_by_one_us = (HIERARCHICAL_MS - curve[0]) * 1e3 / (2 * (quorum - 1))
    assert one_by_one_us == pytest.approx(67, abs=1)
    assert curve[1] < curve[0] + (HIERARCHICAL_MS - curve[0]) / 2
    assert curve[2] < HIERARCHICAL_MS < curve[3]
