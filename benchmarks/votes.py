"""Finality against CPU time per vote: `python -m benchmarks.votes [N ...]` prints the curve of PBFT for each n.

Delays are 100 ms between all. While a CPU is done with one phase before the next begins, finality is 3δ + 2(q-1)v:
each phase waits for the votes of a quorum but one's own, verified one after the other. Beyond that replicas are never
idle, and finality grows with n·v alone. One Ed25519 verification is about 0.06 to 0.13 ms on a server.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import NamedTuple

from consensus.types import Committee
from testbed import make_scenario, simulate

DELAY_MS = 100.0
VERIFY_US = (0.0, 10.0, 30.0, 60.0, 100.0, 300.0, 1_000.0, 3_000.0, 10_000.0)
SIZES = (32, 128)


class Point(NamedTuple):
    """One run: the first block's finality at the last replica."""

    verify_us: float
    finality_ms: float
    keeping_up_ms: float
    """What it would be if no CPU fell behind."""


def curve(n: int) -> Iterator[Point]:
    """One point after another."""
    quorum = Committee.of(n).quorum
    for verify_us in VERIFY_US:
        keeping_up_ms = 3 * DELAY_MS + 2 * (quorum - 1) * verify_us / 1e3
        # Until everybody has verified two phases of votes from all others, if it does nothing else.
        duration_s = (3.1 * DELAY_MS + 2.1 * n * verify_us / 1e3) / 1e3
        scenario = make_scenario(
            {
                "duration_s": duration_s,
                "consensus": {"protocol": "pbft", "delta_ms": 1e6},
                "committee": [{"on": "laboratory", "count": n}],
                "network": {"model": "fixed", "delay_ms": DELAY_MS},
                "workload": {"transactions_per_s": 0},
                "compute": {"signatures": "modelled", "sign_us": 0, "verify_us": verify_us},
            }
        )
        committed_ns = simulate(scenario).arrivals["committed_ns"].to_pylist()[:n]
        yield Point(verify_us, max(committed_ns) / 1e6, keeping_up_ms)


def main() -> None:
    """Print a table for each size."""
    for n in map(int, sys.argv[1:] or SIZES):
        print(f"PBFT, n = {n}\n{'vote, µs':>12}{'finality, ms':>14}{'3δ + 2(q-1)v':>14}")
        for point in curve(n):
            print(f"{point.verify_us:12,.0f}{point.finality_ms:14,.1f}{point.keeping_up_ms:14,.1f}", flush=True)


if __name__ == "__main__":
    main()
