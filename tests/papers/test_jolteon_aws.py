"""Two-chain HotStuff between five AWS regions, with and without dead replicas, against what was measured there.

Jolteon (arXiv 2106.10362), section 7; the figures are means over runs in github.com/asonnino/hotstuff, folder
benchmark/data/2-chain: 512-byte transactions, a timeout of 5 s, up to three of ten replicas never started.
"""

from __future__ import annotations

from itertools import combinations, islice
from pathlib import Path

import numpy as np
import pytest

from consensus.types import Committee
from testbed import load_scenario, simulate
from testbed.scenario import Scenario
from testbed.sky import build_sky
from tests.papers.measured import measured
from tests.papers.oracle import still, vote_to_next

SCENARIO = Path(__file__).parents[2] / "scenarios/papers/jolteon_aws.toml"
ZERO_LOAD_MS, ROUND_MS = 369.0, 152.0
"""Of the reading list, from the same delays."""
MEASURED_MS = {10: 845.0, 20: 609.0, 50: 515.0}
"""At 10,000 transactions a second."""
ONE_DEAD_MS = 1_579.0
THREE_DEAD_MS = {1_000: 8_835.0, 5_000: 8_698.0, 10_000: 6_822.0}
"""By transactions a second."""
TIMEOUT_MS = 5_000.0
REGIONS = 5


def scenario(n: int, duration_s: float, *overrides: str) -> Scenario:
    """The scenario file with as many replicas in every region as that takes."""
    more = [f"committee.{block}.on=terrestrial" for block in range(2, n // REGIONS)]
    return load_scenario(SCENARIO, [f"duration_s={duration_s}", *more, *overrides])


def with_dead(dead: tuple[int, ...], duration_s: float) -> float:
    """Ten replicas, of which these never start: finality in ms, mean over blocks."""
    names = ",".join(f'"replica/{replica}"' for replica in dead)
    crash = ["fault.0.kind=crash", "fault.0.window_s=[0]", f"fault.0.target=[{names}]"]
    result = simulate(scenario(10, duration_s, *crash))
    assert result.ok, result.report["safety"]["violations"]
    return float(result.report["consensus"]["finality_ms"]["mean"])


@pytest.mark.parametrize("n", [10, 20, 50])
def test_without_faults_finality_is_the_oracle_and_a_floor_under_what_was_measured(n: int) -> None:
    """369 ms and rounds of 152 ms within 1 %; and for every block and replica what order statistics say."""
    sky = build_sky(scenario(n, 12.0))
    result = simulate(sky.scenario, sky=sky)
    consensus, seen = result.report["consensus"], measured(result)
    assert consensus["finality_ms"]["mean"] == pytest.approx(ZERO_LOAD_MS, rel=0.01)
    assert consensus["block_interval_ms"]["mean"] == pytest.approx(ROUND_MS, rel=0.01)
    assert consensus["finality_ms"]["mean"] < MEASURED_MS[n]
    leaders = [int(height) % n for height in range(1, len(seen.height) + 3)]
    expected = vote_to_next(still(sky.plan.at(0).delay_ns), leaders, Committee.of(n).quorum).finality(2)
    assert (seen.finality_ns == expected[: len(seen.height)]).all()


def test_one_dead_replica_of_ten_costs_what_was_measured() -> None:
    """1,579 ms measured, 1.9 times its 845; here 1.6 to 1.7 s by who is dead, within a tenth over all ten of them.

    Two of ten blocks have no quick way: the one before the dead leader's is lost with its votes, and the one before
    that waits for the next two leaders, two timeouts later.
    """
    finality_ms = [with_dead((dead,), 110.0) for dead in range(10)]
    assert np.mean(finality_ms) == pytest.approx(ONE_DEAD_MS, rel=0.1)
    assert max(finality_ms) - min(finality_ms) < 0.15 * ONE_DEAD_MS
    slow_block_ms = 2 * TIMEOUT_MS + 2 * ROUND_MS + ZERO_LOAD_MS
    assert np.mean(finality_ms) == pytest.approx((7 * ZERO_LOAD_MS + slow_block_ms) / 8, rel=0.1)


def test_three_dead_replicas_of_ten_cost_about_what_was_measured() -> None:
    """6.8 s measured at 10,000 transactions a second, 8.7 to 8.8 s at fewer; here 8 s over ways to choose them.

    Much hangs on the choice, which the published runs leave to chance too: with three dead leaders in a row seven live
    ones follow each other, with the dead spread evenly only three do.
    """
    every_third = islice(combinations(range(1, 10), 2), 0, None, 3)
    finality_ms = [with_dead((0, *others), 400.0) for others in every_third]
    assert min(THREE_DEAD_MS.values()) < np.mean(finality_ms) < max(THREE_DEAD_MS.values())
    assert with_dead((0, 1, 2), 400.0) < 0.6 * np.mean(finality_ms)
    assert with_dead((0, 3, 6), 400.0) > 1.6 * np.mean(finality_ms)
