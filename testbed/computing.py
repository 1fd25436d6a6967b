"""How busy the replicas' CPUs were, and how long messages waited for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from node.cpu import Work
from testbed.statistics import summary

MS = 1e6


def compute_part(work: Sequence[Work], reached_ns: int) -> dict[str, Any]:
    """The `compute` part of a result, from each replica's work in `reached_ns` of a run."""
    busy_ns = np.array([each.busy_ns for each in work], dtype=np.int64)
    shares = busy_ns / max(reached_ns, 1)
    messages = sum(each.messages for each in work)
    busiest = int(busy_ns.argmax())
    return {
        "utilisation": summary(shares),
        "busiest": {"replica": busiest, "utilisation": round(float(shares[busiest]), 6)},
        "queueing_ms": {
            "count": messages,
            "mean": round(sum(each.queued_ns for each in work) / messages / MS, 6) if messages else None,
            "max": round(max(each.queued_max_ns for each in work) / MS, 6),
        },
        "work_ms": {
            kind: round(sum(getattr(each, f"{kind}_ns") for each in work) / MS, 6)
            for kind in ("sign", "verify", "hash", "execute", "undone")
        },
    }
