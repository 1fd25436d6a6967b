"""What became of the transactions: how many are final, after how long, at what cost, and whether the load was stable.

An unstable load has no latency to speak of: the longer the run, the longer everybody waits. So its growth is measured,
and the latency of those that got through is marked as theirs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from node.mempool import Pool
from testbed.metrics import MS, BlockMetrics
from testbed.statistics import summary

FULL = "mempool_full"
SEGMENTS = 10
"""The second half of a run is cut into so many pieces of equal length,"""
CONFIDENCE = 2.262
"""and growth counts that is more than so many standard errors: Student's t, 9 degrees of freedom, 0.975."""


@dataclass(frozen=True)
class Growth:
    """How fast transactions without finality became more in the second half of a run, those refused among them."""

    per_s: float
    se: float
    stable: bool | None
    """None if such a run cannot tell."""


def workload_report(metrics: BlockMetrics, pool: Pool, reached_ns: int, bytes_sent: int) -> dict[str, Any]:
    """The `workload` part of a result."""
    seconds = reached_ns / 1e9
    submitted = pool.arrived(reached_ns)
    final = int(metrics.final_counts.sum())
    size_bytes = metrics.payload_bytes
    growth = _growth(metrics, pool, reached_ns)
    refused = pool.drops[FULL]
    to_replica, in_mempool, in_consensus = _parts(metrics, pool)
    return {
        "submitted": submitted,
        "submitted_per_s": submitted / seconds if seconds else None,
        "dropped": dict(sorted(pool.drops.items())),
        "final": final,
        "final_share": final / submitted if submitted else None,
        "to_replica_ms": summary(to_replica / MS, digits=3),
        "in_mempool_ms": summary(in_mempool / MS, digits=3),
        "in_consensus_ms": summary(in_consensus / MS, digits=3),
        "goodput_bytes_per_s": size_bytes / seconds if seconds else None,
        "goodput_share": size_bytes / bytes_sent if bytes_sent else None,
        "backlog": submitted - pool.lost(reached_ns) - refused - final,
        "backlog_growth_per_s": None if growth is None else growth.per_s,
        "backlog_growth_se": None if growth is None else growth.se,
        "stable": None if growth is None else growth.stable,
    }


def workload_warnings(report: dict[str, Any]) -> Iterator[str]:
    """What a reader of the `workload` part must not overlook."""
    if report["stable"] is False:
        refused = report["dropped"].get(FULL, 0)
        more = f" and {refused:,} refused by full mempools" if refused else ""
        yield (
            f"the load is unstable: transactions without finality grew by {report['backlog_growth_per_s']:,.4g} ± "
            f"{report['backlog_growth_se']:,.2g} a second in the second half of the run, to {report['backlog']:,}"
            f" waiting{more}; transaction_latency_ms is of the {100 * report['final_share']:.3g} % that became final"
        )


def _parts(metrics: BlockMetrics, pool: Pool) -> tuple[npt.NDArray[np.float64], ...]:
    """For each final transaction in ns: to its replica's mempool, from there to a proposal, from there to finality."""
    rows, final_ns = metrics.final_ns
    parts: list[list[npt.NDArray[np.int64]]] = [[], [], []]
    for block, proposed_ns, at_ns in metrics.blocks(rows, final_ns):
        submitted_ns = np.array(pool.arrivals_ns(block.payload), dtype=np.int64)
        entered_ns = np.array(pool.entries_ns(block.payload), dtype=np.int64)
        parts[0].append(entered_ns - submitted_ns)
        parts[1].append(proposed_ns - entered_ns)
        parts[2].append(np.full(len(entered_ns), at_ns - proposed_ns))
    return tuple(np.concatenate(part).astype(np.float64) if part else np.zeros(0) for part in parts)


def _growth(metrics: BlockMetrics, pool: Pool, reached_ns: int) -> Growth | None:
    """Mean and standard error of the growth per second over the segments; None if nothing happened.

    Neighbouring segments of a stable load make up for each other, so its error is too large rather than too small. Of
    400 queues with Poisson arrivals and blocks of 100 every 0.1 s for 60 s, none was called unstable at 98 % of what
    the blocks can take, 2 % at 100 %, 86 % at 102 % and all at 105 %.
    """
    edges = [reached_ns // 2 + reached_ns * k // (2 * SEGMENTS) for k in range(SEGMENTS + 1)]
    lengths_s = np.diff(edges) / 1e9
    arrived = np.array([pool.arrived(at_ns) for at_ns in edges], dtype=np.float64)
    if not arrived[-1] or not lengths_s.all():
        return None
    _, final_ns = metrics.final_ns
    order = np.argsort(final_ns, kind="stable")
    final = np.concatenate([[0.0], np.cumsum(metrics.final_counts[order])])
    finished = final[np.searchsorted(final_ns[order], edges, side="right")]
    lost = np.array([pool.lost(at_ns) for at_ns in edges], dtype=np.float64)
    growths = np.diff(arrived - lost - finished) / lengths_s
    mean, se = float(growths.mean()), float(growths.std(ddof=1)) / math.sqrt(SEGMENTS)
    rate = float(arrived[-1] - arrived[0]) / float(lengths_s.sum())
    # Before the first block is final a backlog must grow; and where not even a standstill would show, nothing does.
    telling = len(final_ns) > 0 and int(final_ns.min()) <= edges[0] and CONFIDENCE * se < rate
    return Growth(mean, se, mean <= CONFIDENCE * se if telling else None)
