"""The statistics of every table, defined once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def percentile(ascending: npt.NDArray[Any], share: float) -> Any:
    """The ⌈share·m⌉-th smallest of m values that are already in ascending order."""
    return ascending[max(1, math.ceil(share * len(ascending) - 1e-9)) - 1]


def summary(values: FloatArray, digits: int = 6) -> dict[str, float] | None:
    """{count, mean, p50, p90, p99, max} of some values; None when there are none."""
    if not len(values):
        return None
    ascending = np.sort(values)
    return {
        "count": len(values),
        "mean": round(float(ascending.mean()), digits),
        "p50": round(float(percentile(ascending, 0.50)), digits),
        "p90": round(float(percentile(ascending, 0.90)), digits),
        "p99": round(float(percentile(ascending, 0.99)), digits),
        "max": round(float(ascending[-1]), digits),
    }


def proportion(hits: int, of: int) -> dict[str, float | int | None]:
    """A rate with its count and its standard error √(p(1-p)/m)."""
    if not of:
        return {"value": None, "se": None, "count": hits, "of": of}
    p = hits / of
    return {"value": p, "se": math.sqrt(p * (1 - p) / of), "count": hits, "of": of}


def gini(shares: FloatArray) -> float | None:
    """G = Σᵢⱼ|xᵢ-xⱼ| / (2n²x̄): 0 when all are equal; None when all are zero."""
    total = shares.sum()
    if not total:
        return None
    ascending = np.sort(shares)
    n = len(shares)
    weights = 2 * np.arange(1, n + 1) - n - 1
    return round(float((weights * ascending).sum() / (n * total)), 9)
