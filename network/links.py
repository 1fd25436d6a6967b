"""Which links exist at a time: ISLs by policy and limits, GSLs by elevation mask or range."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

import numpy as np
import numpy.typing as npt

from network.constellation import Constellation
from network.ground import GroundStation
from network.gsl import GroundSegment, GslPolicy
from network.isl import (
    NO_PAIRS,
    IslLimits,
    IslPolicy,
    among,
    crosses_planes,
    lengths_km,
    nearest_pairs,
    standing_pairs,
    unique_pairs,
    within_plane,
)
from network.terminals import admitted

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class LinkRules:
    """All link policies of a network. `isl` is by shell name; a shell that is left out has no ISLs.

    `isl_terminals` is how many lasers each satellite has, None for as many as its links need.
    """

    isl: Mapping[str, IslPolicy] = field(default_factory=dict)
    isl_limits: IslLimits = field(default_factory=IslLimits)
    gsl: GslPolicy = field(default_factory=GslPolicy)
    isl_terminals: int | None = None


@dataclass(frozen=True)
class LinkRates:
    """Bit rates; infinite ones are legal."""

    isl_gbps: float = inf
    gsl_up_mbps: float = inf
    gsl_down_mbps: float = inf
    terrestrial_gbps: float = inf


@dataclass(frozen=True, eq=False)
class Links:
    """The links of one time.

    `isl`     int64[k, 2], pairs of satellite indices, the smaller first, ascending
    `isl_km`  float64[k], their lengths
    `gsl`     int64[m, 2], pairs of station and satellite indices, ascending
    `gsl_km`  float64[m], their lengths
    """

    isl: IntArray
    isl_km: FloatArray
    gsl: IntArray
    gsl_km: FloatArray


class Topology:
    """A constellation, its ground stations, and the rules by which they are linked."""

    def __init__(
        self,
        constellation: Constellation,
        stations: Sequence[GroundStation] = (),
        rules: LinkRules | None = None,
    ) -> None:
        """Raises ValueError for a policy that its shell cannot have, for broken files of pairs and for names
        that match no shell, OSError for files that cannot be read."""
        self.constellation = constellation
        self.stations = tuple(stations)
        self.rules = LinkRules() if rules is None else rules
        self._ground = GroundSegment(constellation, self.stations, self.rules.gsl)
        self._last_km: tuple[float, FloatArray] | None = None
        self._pairs = NO_PAIRS
        self._searches: list[tuple[IntArray, IntArray, int]] = []
        for name, policy in self.rules.isl.items():
            self._add_policy(name, policy)
        self._pairs = unique_pairs(self._pairs)
        self.permanent = self._permanent()

    def links_at(self, at_s: float, without: BoolArray | None = None, isl: IntArray | None = None) -> Links:
        """The links `at_s` seconds after the start; satellites masked by `without`, bool[n], have none.

        `isl` are the ISLs if they are chosen already, as by `isl_at` with the same arguments.
        """
        position_km = self._positions_km(at_s, without)
        isl = self._isl(position_km, NO_PAIRS) if isl is None else isl
        return self._measured(isl, self._ground.links(at_s, position_km), position_km)

    def isl_at(self, at_s: float, without: BoolArray | None = None, existing: IntArray = NO_PAIRS) -> IntArray:
        """int64[k, 2]: the ISLs alone. Where terminals are short, `existing` pairs go before new ones."""
        return self._isl(self._positions_km(at_s, without), existing)

    def _permanent(self) -> IntArray:
        """int64[k, 2]: pairs within a plane that stand; none where a satellite has too few lasers to hold its own."""
        pairs, lasers = self._pairs[within_plane(self.constellation, self._pairs)], self.rules.isl_terminals
        return pairs if lasers is None or np.bincount(pairs.ravel()).max(initial=0) <= lasers else NO_PAIRS

    def _positions_km(self, at_s: float, without: BoolArray | None) -> FloatArray:
        # ISLs and GSLs of one time are asked for one after the other.
        if self._last_km is None or self._last_km[0] != at_s:
            self._last_km = at_s, self.constellation.positions_itrs_km(at_s)
        position_km = self._last_km[1]
        return position_km if without is None else np.where(without[:, None], np.nan, position_km)

    def measured_at(self, at_s: float, links: Links) -> Links:
        """The same links with the lengths they have at another time.

        A satellite that SGP4 gives up in between keeps its links as they were: it goes when links are chosen.
        """
        now = self._measured(links.isl, links.gsl, self.constellation.positions_itrs_km(at_s))
        return Links(
            links.isl,
            np.where(np.isnan(now.isl_km), links.isl_km, now.isl_km),
            links.gsl,
            np.where(np.isnan(now.gsl_km), links.gsl_km, now.gsl_km),
        )

    def _measured(self, isl: IntArray, gsl: IntArray, position_km: FloatArray) -> Links:
        return Links(
            isl,
            lengths_km(position_km[isl[:, 0]], position_km[isl[:, 1]]),
            gsl,
            lengths_km(self._ground.position_km[gsl[:, 0]], position_km[gsl[:, 1]]),
        )

    def _add_policy(self, name: str, policy: IslPolicy) -> None:
        """Sort a shell's policy into pairs that stand, with their polar cut-off, and searches for the nearest."""
        own = self.constellation.satellites_of(name)
        if policy.kind == "nearest":
            self._searches.append((own, own, policy.isl_per_satellite))
        shell = int(self.constellation.shell_of[own[0]])
        self._pairs = np.concatenate((self._pairs, standing_pairs(self.constellation, shell, policy)))
        for other in policy.links_to:
            if other == name:
                raise ValueError(f"shell {name}: links_to must name other shells")
            self._searches.append((own, self.constellation.satellites_of(other), 1))

    def _isl(self, position_km: FloatArray, existing: IntArray) -> IntArray:
        limits = self.rules.isl_limits
        found = [nearest_pairs(position_km, here, there, count, limits) for here, there, count in self._searches]
        pairs = unique_pairs(np.concatenate((self._pairs, *found))) if found else self._pairs
        allowed = limits.allow(position_km[pairs[:, 0]], position_km[pairs[:, 1]])
        allowed &= ~self._cut_off(position_km, pairs)
        return self._with_terminals(pairs[allowed], position_km, existing)

    def _with_terminals(self, pairs: IntArray, position_km: FloatArray, existing: IntArray) -> IntArray:
        """Permanent pairs get their lasers first, then those that exist, then the shortest."""
        if self.rules.isl_terminals is None:
            return pairs
        newcomer = 2 - 2 * among(pairs, self.permanent)
        newcomer[among(pairs, existing) & (newcomer > 0)] = 1
        length_km = lengths_km(position_km[pairs[:, 0]], position_km[pairs[:, 1]])
        order = np.lexsort((length_km, newcomer))  # stable: equal lengths keep the ascending order of pairs
        room = np.full(len(position_km), self.rules.isl_terminals, dtype=np.int64)
        return pairs[np.sort(order[admitted(pairs[order], room)])]

    def _cut_off(self, position_km: FloatArray, pairs: IntArray) -> BoolArray:
        """bool[k]: cross-plane pairs with an end beyond their shell's polar cut-off."""
        cut = np.zeros(len(pairs), dtype=np.bool_)
        for name, policy in self.rules.isl.items():
            if policy.polar_cutoff_deg is None:
                continue
            ours = np.isin(pairs[:, 0], self.constellation.satellites_of(name))
            ours &= crosses_planes(self.constellation, pairs)
            sine = np.abs(position_km[:, 2]) / np.sqrt(np.sum(position_km**2, axis=1))
            polar = sine > np.sin(np.radians(policy.polar_cutoff_deg))
            cut |= ours & (polar[pairs[:, 0]] | polar[pairs[:, 1]])
        return cut
