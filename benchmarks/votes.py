"""Finality against CPU time per vote, for PBFT: the curve for each n.

`python -m benchmarks.votes [N ...]` takes 100 ms between all. While a CPU is done with one phase before the next
begins, finality is 3δ + 2(q-1)v: each phase waits for the votes of a quorum but one's own, verified one after the
other. Beyond that replicas are never idle, and finality grows with n·v alone. One Ed25519 verification is about 0.06
to 0.13 ms on a server.

`python -m benchmarks.votes shell [N ...]` spreads N satellites over Starlink's first shell, 1,584 of them if not told
otherwise, and says where the curve passes agreement in planes first and then between them. There votes come in over
100 ms and more and are verified meanwhile, so finality stays below the formula.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

from consensus.types import Committee
from testbed import load_scenario, make_scenario, simulate
from testbed.scenario import Scenario

DELAY_MS = 100.0
VERIFY_US = (0.0, 10.0, 30.0, 60.0, 100.0, 300.0, 1_000.0, 3_000.0, 10_000.0)
SIZES = (32, 128)

SHELL = Path(__file__).parent.parent / "scenarios/papers/orbitbft_flat.toml"
SHELL_VOTES_MS = (0.0, 50.0, 100.0, 150.0, 200.0, 300.0)
"""n·v, the time for one vote of everybody; around 0.1 ms a vote for all of them."""
SATELLITES = 1_584
HIERARCHICAL_MS: Final = 357.0
"""PBFT in each plane and then between planes, at zero load: order statistics over the same shell.

Its own votes, some 120 one after the other, would add 12 ms at 0.1 ms each and are left out.
"""


class Point(NamedTuple):
    """One run: the first block's finality at the median replica and at the last."""

    verify_us: float
    median_ms: float
    last_ms: float


def laboratory(n: int, verify_us: float) -> Scenario:
    """As long as everybody needs to verify two phases of votes from all others, if it does nothing else."""
    return make_scenario(
        {
            "duration_s": (3.1 * DELAY_MS + 2.1 * n * verify_us / 1e3) / 1e3,
            "consensus": {"protocol": "pbft", "delta_ms": 1e6},
            "committee": [{"on": "laboratory", "count": n}],
            "network": {"model": "fixed", "delay_ms": DELAY_MS},
            "workload": {"transactions_per_s": 0},
            "compute": {"signatures": "modelled", "sign_us": 0, "verify_us": verify_us},
        }
    )


def shell(n: int, verify_us: float) -> Scenario:
    """The same over the shell, whose last satellite commits after 0.22 s at zero load."""
    overrides: dict[str, Any] = {
        "committee.0.select": "spread",
        "committee.0.count": n,
        "consensus.delta_ms": 1e6,
        "consensus.parameters.block_interval_ms": 0,
        "duration_s": 0.225 + 2.1 * n * verify_us / 1e6,
        "compute.verify_us": verify_us,
    }
    return load_scenario(SHELL, [f"{key}={value}" for key, value in overrides.items()])


def point(scenario: Scenario, n: int) -> Point:
    """The first block's finality."""
    first_ms = sorted(at / 1e6 for at in simulate(scenario).arrivals["committed_ns"].to_pylist()[:n])
    return Point(scenario.compute.verify_us, first_ms[(n + 1) // 2 - 1], first_ms[-1])


def curve(n: int) -> Iterator[Point]:
    """One point after another, in the laboratory."""
    return (point(laboratory(n, verify_us), n) for verify_us in VERIFY_US)


def shell_curve(n: int) -> Iterator[Point]:
    """The same over the shell."""
    return (point(shell(n, votes_ms * 1e3 / n), n) for votes_ms in SHELL_VOTES_MS)


def crossover_us(points: Iterable[Point]) -> float | None:
    """The time per vote at which the curve passes the hierarchy; None if it does not. Linear between points."""
    above = [(at.verify_us, at.median_ms - HIERARCHICAL_MS) for at in points]
    for (left_us, left), (right_us, right) in pairwise(above):
        if left < 0 <= right:
            return left_us + (right_us - left_us) * left / (left - right)
    return None


def table(n: int, points: Iterable[Point], zero_load_ms: float | None = None) -> list[Point]:
    """Print them as they come. What finality would be if no CPU fell behind starts from the first if not told where."""
    print(f"PBFT, n = {n}\n{'vote, µs':>12}{'median, ms':>14}{'last, ms':>14}{'3δ + 2(q-1)v':>14}")
    shown = []
    for at in points:
        shown.append(at)
        start_ms = shown[0].median_ms if zero_load_ms is None else zero_load_ms
        keeping_up_ms = start_ms + 2 * (Committee.of(n).quorum - 1) * at.verify_us / 1e3
        print(f"{at.verify_us:12,.0f}{at.median_ms:14,.1f}{at.last_ms:14,.1f}{keeping_up_ms:14,.1f}", flush=True)
    return shown


def main() -> None:
    """Print a table for each size."""
    words = sys.argv[1:]
    if words[:1] == ["shell"]:
        for n in map(int, words[1:] or (SATELLITES,)):
            found_us = crossover_us(table(n, shell_curve(n)))
            print("never passes the hierarchy" if found_us is None else f"passes the hierarchy at {found_us:,.0f} µs")
    else:
        for n in map(int, words or SIZES):
            table(n, curve(n), 3 * DELAY_MS)


if __name__ == "__main__":
    main()
