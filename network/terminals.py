"""Terminals: a satellite has only so many lasers and beams, and a station so many dishes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


def admitted(pairs: IntArray, room: IntArray) -> BoolArray:
    """bool[k]: which pairs of nodes get a terminal at both ends, int64[k, 2], asked in the order given.

    `room`, int64[nodes], is how many terminals each node has. A pair is refused as soon as either end has none left.
    """
    if (np.bincount(pairs.ravel(), minlength=len(room)) <= room).all():
        return np.ones(len(pairs), dtype=np.bool_)
    left = room.tolist()
    found = np.zeros(len(pairs), dtype=np.bool_)
    for place, (one, other) in enumerate(pairs.tolist()):
        if left[one] and left[other]:
            left[one] -= 1
            left[other] -= 1
            found[place] = True
    return found
