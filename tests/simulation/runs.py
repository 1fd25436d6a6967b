"""What tests ask of a result: which checks failed, and how far each replica came."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from consensus.protocols import load_protocol
from consensus.types import Committee
from network.plan import IntArray
from testbed.result import Result
from tests.laboratory import MS, constant

SAFETY = {"agreement", "commit order", "validity", "no double vote", "certificate soundness"}


def tolerated(protocol: str, n: int) -> int:
    """f: how many of `n` may fail."""
    return Committee.of(n, resilience=load_protocol(protocol).facts.resilience).f


def least(protocol: str) -> int:
    """The smallest committee in which one may fail."""
    return load_protocol(protocol).facts.resilience + 1


def failed(result: Result) -> set[str]:
    """The names of the checks that found something."""
    return {check["name"] for check in result.report["safety"]["checks"] if not check["ok"]}


def heights(result: Result) -> list[int]:
    """The highest block that each replica has committed."""
    height = np.array(result.blocks["height"].to_pylist(), dtype=np.int64)
    row = result.arrivals["row"].to_numpy()
    replica = result.arrivals["replica"].to_numpy()
    done = ~np.isnan(result.arrivals["committed_ns"].to_numpy(zero_copy_only=False).astype(float))
    n = int(replica.max()) + 1 if len(replica) else 0
    return [int(height[row[done & (replica == i)]].max(initial=0)) for i in range(n)]


def kinds(result: Result) -> dict[str, int]:
    """Messages by kind."""
    return {kind: entry["messages"] for kind, entry in result.report["network"]["by_kind"].items()}


def crash(replica: int, begin_s: float, end_s: float | None = None) -> dict[str, Any]:
    """A fault table."""
    window = [begin_s] if end_s is None else [begin_s, end_s]
    return {"kind": "crash", "target": f"replica/{replica}", "window_s": window}


def partition(replicas: list[int], begin_s: float, end_s: float | None = None) -> dict[str, Any]:
    """A fault table: these on one side."""
    window = [begin_s] if end_s is None else [begin_s, end_s]
    return {"kind": "partition", "target": [f"replica/{i}" for i in replicas], "window_s": window}


def matrices(n: int, low_ms: int = 1, high_ms: int = 20) -> st.SearchStrategy[IntArray]:
    """int64[n, n]: constant or random delays."""

    def random(seed: int) -> IntArray:
        rng = np.random.default_rng(seed)
        delay_ns = rng.integers(low_ms * MS, high_ms * MS, (n, n), dtype=np.int64)
        np.fill_diagonal(delay_ns, 0)
        return delay_ns

    return st.one_of(
        st.integers(low_ms, high_ms).map(lambda delay_ms: constant(n, delay_ms)),
        st.integers(0, 2**32 - 1).map(random),
    )
