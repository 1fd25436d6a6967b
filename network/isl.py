"""Inter-satellite link policies: which pairs of satellites have lasers for each other.

A policy names pairs; whether a pair is linked at a given time is for the limits: its length, and how deep
its line of sight dips into the atmosphere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import numpy.typing as npt

from network.constants import EARTH_EQUATORIAL_RADIUS_KM
from network.constellation import NO_PLANE, Constellation
from network.walker import WalkerShell

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

NO_PAIRS: Final[IntArray] = np.empty((0, 2), dtype=np.int64)


@dataclass(frozen=True)
class IslPolicy:
    """Which satellites of a shell are linked with each other, and with other shells.

    `plus_grid`  both neighbours in the plane, and in each adjacent plane the satellite `cross_plane_shift`
                 places on. From the last plane of a delta to the first it is `phasing` places more, which
                 continues the same pattern; with `seam` "open" those two planes are not adjacent. In a
                 star they fly in opposite directions.
    `ring`       both neighbours in the plane only.
    `nearest`    each satellite picks its `isl_per_satellite` nearest within the limits; a link exists if
                 either end picked it, so that a popular satellite may hold more.
    `pairs`      the pairs of `pairs_file`.
    `none`       no links within the shell.

    `polar_cutoff_deg` turns cross-plane links off while either end is beyond that geocentric latitude, north
    or south. `links_to` names shells: each satellite is linked to the nearest one there within the limits.
    """

    kind: Literal["plus_grid", "ring", "nearest", "pairs", "none"] = "plus_grid"
    cross_plane_shift: int = 0
    seam: Literal["closed", "open"] = "closed"
    isl_per_satellite: int = 4
    polar_cutoff_deg: float | None = None
    links_to: tuple[str, ...] = ()
    pairs_file: Path | None = None

    def __post_init__(self) -> None:
        if self.isl_per_satellite < 1:
            raise ValueError(f"isl_per_satellite = {self.isl_per_satellite} must be at least 1")
        if (self.kind == "pairs") != (self.pairs_file is not None):
            raise ValueError("a file of pairs belongs to the policy 'pairs' and to no other")


@dataclass(frozen=True)
class IslLimits:
    """When a pair of satellites can be linked: not too long, and not through the air or the Earth."""

    max_range_km: float = inf
    grazing_altitude_km: float = 80.0

    def allow(self, one_km: FloatArray, other_km: FloatArray) -> BoolArray:
        """bool[n] for float64[n, 3] ends in one frame; false where a position is NaN."""
        lengths = lengths_km(one_km, other_km)
        lowest_km = EARTH_EQUATORIAL_RADIUS_KM + self.grazing_altitude_km
        allowed: BoolArray = (lengths <= self.max_range_km) & (closest_approach_km(one_km, other_km) >= lowest_km)
        return allowed


def lengths_km(one_km: FloatArray, other_km: FloatArray) -> FloatArray:
    """float64[n] distances between float64[n, 3] positions in one frame."""
    apart = one_km - other_km
    return np.asarray(np.sqrt(apart[:, 0] ** 2 + apart[:, 1] ** 2 + apart[:, 2] ** 2))


def closest_approach_km(one_km: FloatArray, other_km: FloatArray) -> FloatArray:
    """float64[n]: how near to the Earth's centre the straight line between two positions comes."""
    along = other_km - one_km
    square = np.maximum(np.sum(along**2, axis=1), 1e-12)
    share = np.clip(-np.sum(one_km * along, axis=1) / square, 0.0, 1.0)
    return np.asarray(np.sqrt(np.sum((one_km + share[:, None] * along) ** 2, axis=1)))


def standing_pairs(constellation: Constellation, shell: int, policy: IslPolicy) -> IntArray:
    """int64[k, 2]: the pairs of satellite indices that a policy names once and for all; none for `nearest`.

    Raises ValueError if the shell cannot have the policy, or for mistakes in a file of pairs.
    """
    definition = constellation.shells[shell]
    if policy.kind == "pairs" and policy.pairs_file is not None:
        return read_pairs(policy.pairs_file, constellation, shell)
    if policy.kind in ("none", "nearest"):
        return NO_PAIRS
    if not isinstance(definition, WalkerShell):
        raise ValueError(f"shell {definition.name}: {policy.kind} needs the planes of a Walker shell")
    first = int(np.flatnonzero(constellation.shell_of == shell)[0])
    pairs = [_ring_pairs(definition)]
    if policy.kind == "plus_grid":
        pairs.append(_cross_plane_pairs(definition, policy))
    return unique_pairs(first + np.concatenate(pairs))


def unique_pairs(pairs: IntArray) -> IntArray:
    """Pairs in ascending order, the smaller index first, each once, none of a satellite with itself."""
    apart = pairs[pairs[:, 0] != pairs[:, 1]]
    return np.unique(np.sort(apart, axis=1), axis=0) if len(apart) else NO_PAIRS


def _ring_pairs(shell: WalkerShell) -> IntArray:
    plane, index = np.divmod(np.arange(shell.count), shell.satellites_per_plane)
    following = plane * shell.satellites_per_plane + (index + 1) % shell.satellites_per_plane
    return np.column_stack((np.arange(shell.count), following))


def _cross_plane_pairs(shell: WalkerShell, policy: IslPolicy) -> IntArray:
    if shell.planes == 1:
        return NO_PAIRS
    plane, index = np.divmod(np.arange(shell.count), shell.satellites_per_plane)
    last = plane == shell.planes - 1
    # Once round a delta, phasing adds up to F places: leaving them out would skew the grid at its seam alone.
    gained = last * (shell.phasing if shell.pattern == "walker_delta" else 0)
    abreast = (index + policy.cross_plane_shift + gained) % shell.satellites_per_plane
    pairs = np.column_stack((np.arange(shell.count), (plane + 1) % shell.planes * shell.satellites_per_plane + abreast))
    # With two planes the way round is the way back: the one adjacent pair is linked once.
    closed = policy.seam == "closed" and shell.planes > 2
    return pairs if closed else pairs[~last]


def crosses_planes(constellation: Constellation, pairs: IntArray) -> BoolArray:
    """bool[k]: whether a pair joins two planes of one shell."""
    one, other = pairs[:, 0], pairs[:, 1]
    return np.asarray(
        (constellation.shell_of[one] == constellation.shell_of[other])
        & (constellation.plane_of[one] != constellation.plane_of[other])
    )


def within_plane(constellation: Constellation, pairs: IntArray) -> BoolArray:
    """bool[k]: whether a pair stays within one plane of a Walker shell."""
    one, other = pairs[:, 0], pairs[:, 1]
    same_shell = constellation.shell_of[one] == constellation.shell_of[other]
    plane = constellation.plane_of[one]
    return np.asarray(same_shell & (plane != NO_PLANE) & (plane == constellation.plane_of[other]))


def among(pairs: IntArray, others: IntArray) -> BoolArray:
    """bool[k]: which pairs are among others; both as `unique_pairs` gives them."""
    if not len(others):
        return np.zeros(len(pairs), dtype=np.bool_)
    count = 1 + max(int(pairs.max(initial=0)), int(others.max()))
    return np.isin(pairs @ [count, 1], others @ [count, 1], assume_unique=True)


def nearest_pairs(position_km: FloatArray, here: IntArray, there: IntArray, count: int, limits: IslLimits) -> IntArray:
    """int64[k, 2]: each satellite of `here` with its `count` nearest in `there` that the limits allow.

    Equal distances go to the lower index. Asks a k-d tree for twice as many candidates until nobody lacks.
    """
    here, there = (side[~np.isnan(position_km[side]).any(axis=1)] for side in (here, there))
    if not len(here) or not len(there):
        return NO_PAIRS
    from scipy.spatial import cKDTree  # a third of a second to load, and few policies ask for it

    tree = cKDTree(position_km[there])
    wanted, found, asked = here, [], min(2 * count + 2, len(there))
    while len(wanted):
        row, candidate, exhausted = _candidates(tree, position_km, wanted, there, asked, limits)
        rank = np.arange(len(row)) - np.searchsorted(row, row)
        settled = exhausted | (np.bincount(row, minlength=len(wanted)) >= count)
        found.append(candidate[(rank < count) & settled[row]])
        wanted, asked = wanted[~settled], min(2 * asked, len(there))
    return np.concatenate(found)


def _candidates(
    tree: cKDTree, position_km: FloatArray, here: IntArray, there: IntArray, asked: int, limits: IslLimits
) -> tuple[IntArray, IntArray, BoolArray]:
    """Allowed pairs among the `asked` nearest, nearest first: rows of `here`, pairs, and who has no more."""
    reach_km = limits.max_range_km * (1 + 1e-9)  # the tree's bound is exclusive
    answer = tree.query(position_km[here], k=np.arange(1, asked + 1), distance_upper_bound=reach_km)
    distance, choice = np.asarray(answer[0]), np.asarray(answer[1])
    row, column = np.nonzero(np.isfinite(distance))
    pair = np.column_stack((here[row], there[choice[row, column]]))
    usable = limits.allow(position_km[pair[:, 0]], position_km[pair[:, 1]]) & (pair[:, 0] != pair[:, 1])
    row, column, pair = row[usable], column[usable], pair[usable]
    order = np.lexsort((pair[:, 1], distance[row, column], row))
    exhausted = np.isinf(distance[:, -1]) | (asked == len(there))
    return row[order], pair[order], exhausted


def read_pairs(file: Path, constellation: Constellation, shell: int) -> IntArray:
    """Pairs from a file with two endpoints, or two indices of the shell's satellites, per line.

    Separated by comma or blanks; empty lines and lines after # are skipped. An index counts in plane-major
    order, in element sets in file order; links of satellites that were left out are left out too. Raises
    ValueError with the first mistakes, each naming file and line, and OSError if the file cannot be read.
    """
    numbers = _pair_names(constellation, shell)
    mistakes, pairs = [], []
    for line, text in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        names = re.split(r"[\s,]+", text.split("#")[0].strip())
        if names == [""]:
            continue
        if len(names) != 2 or names[0] == names[1]:
            mistakes.append(f"{file}:{line}: {text.strip()!r} must be two different satellites")
            continue
        strange = [name for name in names if name not in numbers]
        unknown = [name for name in strange if name not in constellation.left_out[shell]]
        if unknown:
            mistakes.append(f"{file}:{line}: {unknown[0]!r} must be a satellite's endpoint or its index")
        elif not strange:
            pairs.append([numbers[name] for name in names])
    if mistakes:
        rest = [f"and {len(mistakes) - 5} more like these"] if len(mistakes) > 5 else []
        raise ValueError("\n".join(mistakes[:5] + rest))
    return unique_pairs(np.array(pairs, dtype=np.int64).reshape(-1, 2))


def _pair_names(constellation: Constellation, shell: int) -> dict[str, int]:
    """What a file of pairs may call a satellite: its endpoint, or its index within the shell."""
    names = {endpoint: number for number, endpoint in enumerate(constellation.endpoints)}
    own = np.flatnonzero(constellation.shell_of == shell)
    walker = isinstance(constellation.shells[shell], WalkerShell)
    indices = own - own[0] if walker else constellation.index_in_plane[own]
    return names | {str(index): int(number) for index, number in zip(indices, own, strict=True)}
