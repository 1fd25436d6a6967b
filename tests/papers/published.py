"""Published latencies under N(250 ms, 50 ms), copied from `reading/protocols.md`, section 3.3. All in ms.

`QUORUM` is what the tables were made with. They say 2f+1 with f = ⌊(n-1)/3⌋, and PBFT's do use it; the figures for
chained HotStuff at n = 32 and 128 are those of n-f votes (22 and 86, not 21 and 85), as `test_oracle` shows. Where
n = 3f+1 the two are one number.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.papers.measured import Estimate

MEAN_MS, STD_MS = 250.0, 50.0
TABLE_SE = 0.6
"""The largest standard error in the table without decide flood."""


class ThreePhases(NamedTuple):
    """PBFT, proposal to commit: at the first, mean, (n-f)-th and last replica."""

    first: float
    mean: float
    most: float
    last: float


class Rotating(NamedTuple):
    """Votes to the next leader: block period, commit by two links and by three, mean over replicas."""

    period: float
    two_links: float
    three_links: float


def faulty(n: int) -> int:
    """f = ⌊(n-1)/3⌋."""
    return (n - 1) // 3


PBFT_QUORUM = {n: 2 * faulty(n) + 1 for n in (4, 16, 32, 64, 128)}
HOTSTUFF_QUORUM = {n: n - faulty(n) for n in (4, 16, 32, 64, 128)}

THREE_PHASES = {
    4: ThreePhases(677.7, 720.5, 733.5, 763.2),
    16: ThreePhases(757.7, 787.1, 793.5, 816.9),
    64: ThreePhases(779.5, 798.5, 802.0, 817.7),
    128: ThreePhases(783.4, 798.1, 800.7, 813.2),
}
TWO_ROUNDS = {16: (547.1, 585.1), 64: (559.1, 584.4), 128: (558.9, 579.0)}
"""One all-to-all round, q = n-f with f = ⌊(n-1)/5⌋: mean and last replica."""

ROTATING = {
    4: Rotating(460.5, 1108.9, 1569.4),
    16: Rotating(518.3, 1271.0, 1789.2),
    64: Rotating(528.5, 1302.8, 1831.2),
    128: Rotating(529.6, 1307.1, 1836.8),
}

BFT_SIMULATOR_PBFT = {
    16: Estimate(794.4, 2.2),
    32: Estimate(794.8, 2.7),
    64: Estimate(799.1, 3.6),
    128: Estimate(802.7, 3.9),
}
"""When n-f replicas have decided, deciders telling the others."""

BFT_SIMULATOR_HUNDRED = {
    16: Estimate(53650, 31),
    32: Estimate(54324, 79),
    64: Estimate(54145, 26),
    128: Estimate(54326, 38),
}
"""HotStuff-NS: when n-f replicas have decided block 100."""

ORACLE_HUNDRED = {16: Estimate(53663, 17), 32: Estimate(54254, 15), 64: Estimate(54204, 16), 128: Estimate(54363, 12)}
"""The same by the reading list's oracle."""
