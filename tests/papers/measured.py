"""Readings from a result's tables: what each replica saw of each block, as arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from network.plan import IntArray
from testbed.result import Result


@dataclass(frozen=True)
class Measured:
    """Blocks that every replica committed, by height. All times are nanoseconds since the start."""

    height: IntArray
    view: IntArray
    proposer: IntArray
    proposed_ns: IntArray
    committed_ns: IntArray
    """[block, replica]."""

    @property
    def finality_ns(self) -> IntArray:
        """[block, replica]: from the proposal to the commit."""
        return self.committed_ns - self.proposed_ns[:, None]

    def nth_ms(self, rank: int) -> np.ndarray:
        """[block]: when the rank-th replica has committed, in ms after the proposal."""
        return np.sort(self.finality_ns, axis=1)[:, rank - 1] / 1e6


def measured(result: Result) -> Measured:
    """What a run without crashes says about the blocks that all replicas committed."""
    blocks = result.blocks.to_pydict()
    count = len(blocks["height"])
    committed = result.arrivals["committed_ns"].fill_null(-1).to_numpy().reshape(count, -1)
    rows = np.flatnonzero((committed >= 0).all(axis=1))
    rows = rows[np.argsort(np.array(blocks["height"])[rows])]

    def column(name: str) -> IntArray:
        return np.array(blocks[name], dtype=np.int64)[rows]

    return Measured(column("height"), column("view"), column("proposer"), column("proposed_ns"), committed[rows])


@dataclass(frozen=True)
class Estimate:
    """A mean with its standard error."""

    mean: float
    se: float

    @classmethod
    def of(cls, values: npt.ArrayLike, batch: int = 1) -> Estimate:
        """Of values in order of time; means of batches stand in for them where neighbours are not independent."""
        values = np.asarray(values, dtype=np.float64)
        means = values[: len(values) // batch * batch].reshape(-1, batch).mean(axis=1)
        return cls(float(means.mean()), float(means.std(ddof=1)) / math.sqrt(len(means)))

    def away(self, other: Estimate) -> float:
        """The difference to another estimate, in combined standard errors."""
        return abs(self.mean - other.mean) / math.hypot(self.se, other.se)
