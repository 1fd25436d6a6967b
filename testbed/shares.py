"""Who made the final chain: honest replicas or others, each as its power is or not, and which planes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from testbed.places import group_of, plane_of
from testbed.statistics import FloatArray, gini

WINDOW = 10
"""Blocks over which chain quality is taken, besides the whole chain."""
MOST_GROUPS = 200
"""Of more groups than this, only the summary is reported."""


def chain_quality(honest: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Share of blocks by honest proposers: of the whole chain, and over all windows of `WINDOW` blocks in a row.

    `honest` is bool[final chain], by height. Source: Garay, Kiayias and Leonardos, Eurocrypt 2015, definition 4.
    """
    passed = np.concatenate([[0], np.cumsum(honest)])
    windows = (passed[WINDOW:] - passed[:-WINDOW]) / WINDOW
    return {
        "k": WINDOW,
        "min": float(windows.min()) if len(windows) else None,
        "mean": round(float(windows.mean()), 9) if len(windows) else None,
        "whole": round(float(honest.mean()), 9) if len(honest) else None,
    }


def fairness(proposers: npt.NDArray[np.int64], weights: FloatArray) -> dict[str, Any]:
    """Each replica's share of the final chain over its share of power: 1 is fair.

    `proposers` is int64[final chain], `weights` float64[replicas]; replicas without power are not asked.
    """
    ratios = _ratios(np.bincount(proposers, minlength=len(weights)), weights)
    return {"leader_share_ratio": _range(ratios), "leader_share_gini": gini(ratios)}


def plane_share(proposers: npt.NDArray[np.int64], weights: FloatArray, endpoints: Sequence[str]) -> dict[str, Any]:
    """The `plane_share` of a result's `consensus` part; nothing where nobody sits in a plane.

    Who is in no plane belongs to a group of its shell or its place, which has a share, but no part in the Gini.
    """
    groups = [group_of(endpoint) for endpoint in endpoints]
    names = sorted(set(groups))
    planes = {plane for plane in map(plane_of, endpoints) if plane is not None}
    if not planes:
        return {}
    group = np.searchsorted(names, groups)
    blocks = np.bincount(group[proposers], minlength=len(names))
    power = np.bincount(group, weights, len(names)).astype(np.float64)
    ratios = _ratios(blocks, power, np.array([name in planes for name in names]))
    report: dict[str, Any] = {"planes": len(planes), "ratio": _range(ratios), "gini": gini(ratios)}
    if len(names) <= MOST_GROUPS:
        report["share"] = {
            name: round(count / len(proposers), 9) if len(proposers) else None
            for name, count in zip(names, blocks.tolist(), strict=True)
        }
    return {"plane_share": report}


def _ratios(blocks: npt.NDArray[np.int64], weights: FloatArray, of: npt.NDArray[np.bool_] | None = None) -> FloatArray:
    """Share of blocks over share of power, of those that have any; all zero without blocks."""
    chosen = weights > 0 if of is None else of & (weights > 0)
    ratios: FloatArray = blocks[chosen] / max(1, blocks.sum()) / (weights[chosen] / weights.sum())
    return ratios


def _range(ratios: FloatArray) -> dict[str, float | None]:
    if not ratios.any():
        return {"min": None, "max": None}
    return {"min": round(float(ratios.min()), 9), "max": round(float(ratios.max()), 9)}
