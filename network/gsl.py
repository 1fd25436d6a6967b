"""Ground-satellite links: which visible satellites a station links to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from network.constellation import Constellation
from network.ground import GroundStation, above_horizon, look, positions_itrs_km, up_vectors
from network.isl import NO_PAIRS
from network.terminals import admitted

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

LOOKS_AT_ONCE: Final = 4_000_000
"""Station-satellite pairs held in memory together: about 100 MB."""

LOOK_AHEAD_S: Final = 10.0
"""The step in which passes are followed. Settings in between are interpolated: right to a fifth of a second, except
where a satellite only grazes the mask."""

LONGEST_PASS_S: Final = 1200.0
"""Passes are followed no further; a satellite that stays longer counts as staying this long."""


@dataclass(frozen=True)
class GslPolicy:
    """Which visible satellites a station links to.

    `all`         all of them
    `best`        the `best` nearest, which have the least delay
    `elevation`   the `best` highest
    `visibility`  the `best` that stay visible longest from now on, up to `LONGEST_PASS_S`

    Equals go to the nearer one, then to the lower index. With `max_range_km` a satellite is visible within that
    slant range and above the horizon, without it above the station's elevation mask. With `terminals` a satellite
    serves that many stations: the links best by the policy's measure come first (for `all`, the shortest), and who
    is refused asks its next best.
    """

    kind: Literal["all", "best", "elevation", "visibility"] = "all"
    best: int = 1
    max_range_km: float | None = None
    terminals: int | None = None


@dataclass(frozen=True, eq=False)
class _Sight:
    """Stations and satellites that see each other: pairs in ascending order, ranges, sines of the elevation."""

    pairs: IntArray
    range_km: FloatArray
    sine: FloatArray


class GroundSegment:
    """The stations of a network and the rule by which they choose satellites."""

    def __init__(self, constellation: Constellation, stations: Sequence[GroundStation], policy: GslPolicy) -> None:
        self.position_km = positions_itrs_km(stations)
        self._constellation = constellation
        self._policy = policy
        self._up = up_vectors(stations)
        self._lowest_sine = np.sin(np.radians([station.elevation_mask_deg for station in stations]))

    def links(self, at_s: float, satellite_km: FloatArray) -> IntArray:
        """int64[m, 2]: station and satellite of each link, ascending; satellites at float64[n, 3] at `at_s`."""
        sight = self._sight(satellite_km)
        if self._policy.kind == "all" and self._policy.terminals is None:
            return sight.pairs
        station, satellite = sight.pairs.T
        cost = self._cost(at_s, sight)
        if self._policy.terminals is None:
            order = np.lexsort((satellite, sight.range_km, cost, station))
            rank = np.arange(len(order)) - np.searchsorted(station, station)
            order = order[rank < self._policy.best]
        else:
            order = np.lexsort((satellite, station, sight.range_km, cost))
            stations, satellites = len(self.position_km), len(satellite_km)
            dishes = satellites if self._policy.kind == "all" else self._policy.best
            room = np.repeat([dishes, self._policy.terminals], [stations, satellites])
            nodes = np.column_stack((station, stations + satellite))
            order = order[admitted(nodes[order], room)]
        return np.asarray(sight.pairs[np.sort(order)])

    def _cost(self, at_s: float, sight: _Sight) -> FloatArray:
        """float64[k]: what the policy goes by, less is better."""
        if self._policy.kind == "elevation":
            return -sight.sine
        if self._policy.kind == "visibility":
            return -self.remaining_s(at_s, sight.pairs)
        return sight.range_km

    def remaining_s(self, at_s: float, pairs: IntArray) -> FloatArray:
        """float64[k]: how long pairs that see each other at `at_s` will go on doing so, at most `LONGEST_PASS_S`."""
        left_s = np.full(len(pairs), LONGEST_PASS_S)
        still = np.arange(len(pairs))
        before = self._margin(*self._looks(pairs, at_s), pairs[:, 0])
        for step in range(1, round(LONGEST_PASS_S / LOOK_AHEAD_S) + 1):
            if not len(still):
                break
            now = self._margin(*self._looks(pairs[still], at_s + step * LOOK_AHEAD_S), pairs[still, 0])
            sets = ~(now >= 0.0)
            # A satellite that SGP4 gives up is gone from the step before.
            share = np.nan_to_num(before[sets] / (before[sets] - now[sets]))
            left_s[still[sets]] = (step - 1 + share) * LOOK_AHEAD_S
            still, before = still[~sets], now[~sets]
        return left_s

    def _looks(self, pairs: IntArray, at_s: float) -> tuple[FloatArray, FloatArray]:
        station, satellite = pairs.T
        position_km = self._constellation.positions_itrs_km(at_s)[satellite]
        return look(self.position_km[station], self._up[station], position_km)

    def _margin(self, range_km: FloatArray, sine: FloatArray, station: IntArray) -> FloatArray:
        """float64[k]: how far a pair is from losing sight, negative once it has; its unit is of no account."""
        if self._policy.max_range_km is None:
            return sine - self._lowest_sine[station]
        return np.minimum(1.0 - range_km / self._policy.max_range_km, sine)

    def _sight(self, satellite_km: FloatArray) -> _Sight:
        blocks = max(1, -(-len(self.position_km) * len(satellite_km) // LOOKS_AT_ONCE))
        found = [
            self._visible(block, satellite_km)
            for block in np.array_split(np.arange(len(self.position_km)), blocks)
            if len(block)
        ]
        if not found:
            return _Sight(NO_PAIRS, np.empty(0), np.empty(0))
        pairs, range_km, sine = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return _Sight(pairs, range_km, sine)

    def _visible(self, block: IntArray, satellite_km: FloatArray) -> tuple[IntArray, FloatArray, FloatArray]:
        """Pairs of a station of the block and a satellite that see each other, with range and sine of elevation."""
        pairs = above_horizon(self.position_km[block], self._up[block], satellite_km)
        pairs[:, 0] = block[pairs[:, 0]]
        station, satellite = pairs.T
        range_km, sine = look(self.position_km[station], self._up[station], satellite_km[satellite])
        if self._policy.max_range_km is None:
            visible = sine >= self._lowest_sine[station]
        else:
            visible = (range_km <= self._policy.max_range_km) & (sine >= 0.0)
        return pairs[visible], range_km[visible], sine[visible]
