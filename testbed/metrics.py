"""Metrics of blocks: folds over the ledger, vectorised.

Each is defined in `docs/metrics.md`, which `quorbit schema result` prints.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from consensus.messages import Block
from node.mempool import Pool
from testbed.ledger import NEVER, IntArray, Ledger
from testbed.shares import chain_quality, fairness
from testbed.statistics import proportion, summary

BoolArray = npt.NDArray[np.bool_]
MS = 1e6
EFFECTIVE = (0.5, 0.9)
"""Shares of replicas for which the effective throughput is reported."""
_LATE = np.iinfo(np.int64).max


@dataclass(frozen=True)
class FinalChain:
    """Which rows of the ledger are final, and which are stale."""

    rows: IntArray
    """Rows of the final chain, by height: the highest committed block and its ancestors."""
    committed: int
    """Blocks that some honest replica has committed, whether a longer chain undid them or not."""
    stale: int
    heights: int
    """Heights up to the highest final one."""
    conflicts: int
    """Heights among them with two or more blocks."""


class BlockMetrics:
    """Everything about blocks that a result reports. `honest` is bool[replicas], `weights` are power shares."""

    def __init__(self, ledger: Ledger, honest: BoolArray, weights: npt.NDArray[np.float64], duration_ns: int) -> None:
        self._ledger = ledger
        self._honest = honest
        self._weights = weights
        self._duration_ns = duration_ns
        self._base: BoolArray = ledger.base & honest if ledger.blocks else np.zeros((0, ledger.n), dtype=bool)

    @property
    def base(self) -> BoolArray:
        """bool[blocks, replicas]: honest and up at the proposal."""
        return self._base

    @cached_property
    def chain(self) -> FinalChain:
        """Fork and stale counts stop at the highest final height."""
        ledger = self._ledger
        committers = (ledger.committed_ns[:, self._honest] != NEVER).sum(axis=1)
        heights = np.array([block.height for block in ledger.blocks], dtype=np.int64)
        committed = np.flatnonzero(committers)
        if not len(committed):
            return FinalChain(committed, 0, 0, 0, 0)
        # Of several at the top (a longest chain may be undone), the one that most replicas have committed.
        row = int(max(committed, key=lambda row: (heights[row], committers[row], -row)))
        top, rows = int(heights[row]), []
        while row >= 0:
            rows.append(row)
            row = ledger.row(ledger.blocks[row].parent)
        per_height = np.bincount(heights[heights <= top], minlength=top + 1)[1:]
        return FinalChain(
            rows=np.array(rows[::-1], dtype=np.int64),
            committed=len(committed),
            stale=int(per_height.sum()) - len(rows),
            heights=top,
            conflicts=int((per_height > 1).sum()),
        )

    @cached_property
    def finality_ns(self) -> tuple[IntArray, IntArray]:
        """(rows, times): rows of blocks final for their whole base, and int64[rows, replicas] from proposal to commit,
        ascending along the second axis, `_LATE` beyond the base's size."""
        ledger = self._ledger
        rows = self.chain.rows
        committed = ledger.committed_ns[rows]
        base = self._base[rows]
        done = ~(base & (committed == NEVER)).any(axis=1) & base.any(axis=1)
        rows, base = rows[done], base[done]
        times = np.where(base, committed[done] - ledger.proposed_ns[rows][:, None], _LATE)
        times.sort(axis=1)
        return rows, times

    @cached_property
    def final_ns(self) -> tuple[IntArray, IntArray]:
        """(rows, times): blocks of the final chain that the median replica of their base has committed, and when."""
        rows = self.chain.rows
        committed, base = self._ledger.committed_ns[rows], self._base[rows]
        times = np.sort(np.where(base & (committed != NEVER), committed, _LATE), axis=1)
        median_ns = _at_share(times, base.sum(axis=1), 0.5)
        done = median_ns != _LATE
        return rows[done], median_ns[done]

    @cached_property
    def final_counts(self) -> IntArray:
        """int64[blocks]: transactions of each block of `final_ns`."""
        return np.array([self._ledger.blocks[row].payload.count for row in self.final_ns[0].tolist()], dtype=np.int64)

    @cached_property
    def proposers(self) -> IntArray:
        """int64[final chain]: who made each block, by height."""
        rows = self.chain.rows.tolist()
        return np.array([self._ledger.blocks[row].proposer for row in rows], dtype=np.int64)

    @property
    def payload_bytes(self) -> int:
        """Bytes of transactions on the final chain."""
        return sum(self._ledger.blocks[row].payload.size_bytes for row in self.chain.rows.tolist())

    def blocks(self, rows: IntArray, times_ns: IntArray) -> Iterator[tuple[Block, int, int]]:
        """Each block with when it was proposed and its own of the times given."""
        proposed_ns = self._ledger.proposed_ns
        for row, at_ns in zip(rows.tolist(), times_ns.tolist(), strict=True):
            yield self._ledger.blocks[row], int(proposed_ns[row]), at_ns

    def nth_ns(self, share: float) -> IntArray:
        """int64[final blocks]: finality at the ⌈share·m⌉-th of each block's m base replicas."""
        rows, times = self.finality_ns
        return _at_share(times, self._base[rows].sum(axis=1), share)

    def consensus(self, quorum: int, timed_out: int, views: int, mempool: Pool) -> dict[str, Any]:
        """The `consensus` part of a result."""
        ledger, chain = self._ledger, self.chain
        rows, times = self.finality_ns
        sizes = self._base[rows].sum(axis=1) if len(rows) else np.zeros(0, dtype=np.int64)
        at_quorum = _at_rank(times, np.minimum(quorum, sizes))
        intervals = np.diff(ledger.proposed_ns[chain.rows])
        blocks = chain.stale + len(chain.rows)
        duration_s = self._duration_ns / 1e9
        transactions = sum(ledger.blocks[row].payload.count for row in chain.rows.tolist())
        return {
            "proposed_blocks": len(ledger.blocks),
            "committed_blocks": chain.committed,
            "pending_blocks": chain.committed - len(rows),
            "stale_blocks": chain.stale,
            "fork_rate": proportion(chain.conflicts, chain.heights),
            "stale_rate": proportion(chain.stale, blocks),
            "max_reorg_depth": ledger.max_reorg_depth,
            "finality_ms": summary(self.nth_ns(0.5) / MS),
            "finality_first_ms": summary(_at_rank(times, np.minimum(1, sizes)) / MS),
            "finality_quorum_ms": summary(at_quorum / MS),
            "finality_last_ms": summary(_at_rank(times, sizes) / MS),
            "block_interval_ms": summary(intervals / MS),
            "chain_growth_per_s": len(chain.rows) / duration_s if duration_s else None,
            "view_changes": timed_out,
            "views_per_block": views / len(chain.rows) if views and len(chain.rows) else None,
            "transactions_per_s": transactions / duration_s if duration_s else None,
            "transaction_latency_ms": summary(self._transaction_latencies(mempool) / MS, digits=3),
            "chain_quality": chain_quality(self._honest[self.proposers]),
            **fairness(self.proposers, self._weights),
        }

    def propagation(self, places: Sequence[str] = ()) -> dict[str, Any]:
        """The `propagation` part of a result: over blocks, and pooled over block × replica.

        `places` are the replicas' classes of place; if they are of several, each is also reported alone.
        """
        ledger = self._ledger
        held = ledger.held_ns
        base = self._base
        reached = base & (held != NEVER)
        times = np.where(reached, held - ledger.proposed_ns[:, None], _LATE)
        sizes = np.array([block.payload.size_bytes for block in ledger.blocks], dtype=np.int64)
        report: dict[str, Any] = {}
        for share, at_ns in _coverage(times, base, (0.5, 0.9, 0.99, 1.0)).items():
            report[f"t{round(share * 100)}_ms"] = summary(at_ns[at_ns != _LATE] / MS)
            if share in EFFECTIVE:
                report[f"effective{round(share * 100)}_mbps"] = _effective_mbps(sizes, at_ns)
        report["pooled_ms"] = summary(times[reached] / MS)
        report["mean_weighted_ms"] = self._weighted_mean(np.where(base, times, 0))
        if len(set(places)) > 1:
            report["by_place"] = {
                place: _reach(times[:, there], base[:, there])
                for place in sorted(set(places))
                for there in [np.array(places) == place]
            }
        return report

    def _weighted_mean(self, times: IntArray) -> float | None:
        """∫(1-f)dt: the power-weighted mean arrival time, over blocks whose whole base, if any, was reached."""
        whole = (times != _LATE).all(axis=1) & self._base.any(axis=1)
        if not whole.any():
            return None
        weights = self._base[whole] * self._weights
        per_block = (times[whole] * weights).sum(axis=1) / weights.sum(axis=1)
        return round(float(per_block.mean()) / MS, 6)

    def _transaction_latencies(self, mempool: Pool) -> npt.NDArray[np.float64]:
        """From a transaction's arrival to the median replica's commit of its block."""
        latencies = [
            at_ns - np.array(mempool.arrivals_ns(block.payload), dtype=np.int64)
            for block, _, at_ns in self.blocks(*self.final_ns)
        ]
        return np.concatenate(latencies).astype(np.float64) if latencies else np.zeros(0)


def _coverage(times: IntArray, base: BoolArray, shares: Sequence[float]) -> dict[float, IntArray]:
    """int64[blocks] for each share: when so many of a block's base held it; `_LATE` if they never did."""
    ascending, sizes = np.sort(times, axis=1), base.sum(axis=1)
    return {share: _at_share(ascending, sizes, share) for share in shares}


def _reach(times: IntArray, base: BoolArray) -> dict[str, Any]:
    """Percentiles of coverage among some replicas, over the blocks that reached so many of them."""
    return {
        f"t{round(share * 100)}_ms": summary(at_ns[at_ns != _LATE] / MS)
        for share, at_ns in _coverage(times, base, (0.5, 0.9, 1.0)).items()
    }


def _effective_mbps(sizes: IntArray, at_ns: IntArray) -> dict[str, float] | None:
    """Size over time, of the blocks of any size that took any time."""
    counted = (sizes > 0) & (at_ns > 0) & (at_ns != _LATE)
    return summary(sizes[counted] * 8e3 / at_ns[counted])


def _at_share(ascending: IntArray, sizes: IntArray, share: float) -> IntArray:
    """The ⌈share·m⌉-th smallest of the first m = `sizes[i]` values of each row."""
    return _at_rank(ascending, np.maximum(1, np.ceil(share * sizes - 1e-9).astype(np.int64)))


def _at_rank(ascending: IntArray, ranks: IntArray) -> IntArray:
    if not len(ascending):
        return np.zeros(0, dtype=np.int64)
    picked: IntArray = np.take_along_axis(ascending, np.maximum(ranks, 1)[:, None] - 1, axis=1)[:, 0]
    return picked
