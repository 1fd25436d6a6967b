"""SimBlock's experiments on its own nodes and edges: how fast blocks spread over 300 peers, and how often they fork.

What runs here are short versions with gates to match. The whole experiments, with the gates of the reference, are
`python -m benchmarks.simblock`. Source: Aoki et al., "SimBlock: a blockchain network simulator", 2019, as its published
code behaves; the numbers come from runs of that code.
"""

from __future__ import annotations

import pytest

from benchmarks.simblock import EXPERIMENTS, Measured, measure, rows_of, targets_of
from tests.shared import shared

BLOCKS = 200
OFF = 0.06
"""Of the mean over two hundred blocks; of a thousand a seed is off by up to 2.7 %."""
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def reference() -> None:
    shared("truth/simblock")


@pytest.fixture(scope="module")
def held() -> Measured:
    return measure(EXPERIMENTS["E1"], 1, BLOCKS)


def near(measured: Measured, name: str) -> bool:
    """Whether all statistics are near their targets."""
    return all(abs(measured.spread[key] / target - 1) <= OFF for key, target in targets_of(name).items())


def test_compact_blocks_spread_as_in_simblock(held: Measured) -> None:
    """E1."""
    assert near(held, "E1"), held


def test_whole_blocks_spread_as_in_simblock() -> None:
    """E4."""
    measured = measure(EXPERIMENTS["E4"], 1, BLOCKS)
    assert near(measured, "E4"), measured


def test_they_fork_as_often_as_in_simblock_when_blocks_come_every_15_s() -> None:
    """E7: about one in six is stale."""
    measured = measure(EXPERIMENTS["E7"], 1, 2 * BLOCKS)
    assert near(measured, "E7"), measured
    stale = next(row for row in rows_of("E7", [measured]) if row.statistic == "stale")
    assert stale.ok, stale


def test_an_uplink_that_is_released_when_the_block_is_sent_makes_compact_blocks_faster(held: Measured) -> None:
    """The mutant of E1, and the second gate: by a third at the median, by almost half at nine in ten."""
    released = measure(EXPERIMENTS["E1 released"], 1, BLOCKS)
    assert not near(released, "E1")
    assert released.spread["p50"] < 0.8 * held.spread["p50"]
    assert released.spread["p90"] < 0.65 * held.spread["p90"]
