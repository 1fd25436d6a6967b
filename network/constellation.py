"""The satellites of a scenario: Walker shells and element sets of mixed epochs, moved by SGP4 in one call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from sgp4.api import Satrec, SatrecArray

from network.constants import DAY_S, EARTH_EQUATORIAL_RADIUS_KM
from network.elements import epoch_of, median_epoch, read_elements
from network.frames import Epoch, itrs_from_teme
from network.walker import HIGHEST_ALTITUDE_KM, LOWEST_ALTITUDE_KM, WalkerShell, walker_models

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

STALE_EPOCH_DAYS: Final = 14.0
"""SGP4 elements drift by kilometres a day; beyond two weeks positions are only indicative."""

NO_PLANE: Final = -1
"""`Constellation.plane_of` for satellites from element sets."""


@dataclass(frozen=True)
class ElementShell:
    """A shell whose satellites come from a file of TLE or OMM element sets of any epochs."""

    name: str
    file: Path


Shell = WalkerShell | ElementShell


@dataclass(frozen=True)
class _Member:
    """One satellite on its way into the constellation."""

    endpoint: str
    model: Satrec
    plane: int
    index: int


class Constellation:
    """All satellites of a scenario, shell after shell; a Walker shell is in plane-major order.

    Arrays are indexed by satellite:
    `endpoints`       sat/SHELL/PLANE/INDEX with two digits at least, or sat/SHELL/NORAD
    `shell_of`        int64[n], index into `shells`
    `plane_of`        int64[n], `NO_PLANE` for element sets
    `index_in_plane`  int64[n]; for element sets the place in the file, dropped satellites counted
    `left_out`        by shell: the endpoints, and the places in the file, of satellites that do not fly
    `warnings`        sentences on satellites left out and on stale epochs
    """

    def __init__(self, shells: Sequence[Shell], start: datetime | None = None) -> None:
        """`start` defaults to the median epoch of the element sets.

        Raises ValueError if two shells share a name, if a file is broken, if no satellite is left of a shell,
        or if `start` is neither given nor to be had from element sets; OSError if a file cannot be read.
        """
        self.shells = tuple(shells)
        if len({shell.name for shell in shells}) < len(shells):
            raise ValueError("two shells have the same name, where each needs its own")
        files = [shell.file for shell in shells if isinstance(shell, ElementShell)]
        if start is None and not files:
            raise ValueError("a start is needed unless a shell has element sets")
        self.epoch = Epoch(median_epoch(files) if start is None else start)
        members: list[list[_Member]] = []
        warnings: list[str] = []
        left_out: list[frozenset[str]] = []
        for shell in self.shells:
            if isinstance(shell, WalkerShell):
                members.append(_walker_members(shell, self.epoch.start))
                left_out.append(frozenset())
            else:
                kept, missing, said = _element_members(shell, self.epoch)
                members.append(kept)
                left_out.append(missing)
                warnings += said
        everyone = [member for shell_members in members for member in shell_members]
        self.endpoints = tuple(member.endpoint for member in everyone)
        self.shell_of: IntArray = np.repeat(np.arange(len(members)), [len(group) for group in members])
        self.plane_of: IntArray = np.array([member.plane for member in everyone], dtype=np.int64)
        self.index_in_plane: IntArray = np.array([member.index for member in everyone], dtype=np.int64)
        self.left_out = tuple(left_out)
        self.warnings = tuple(warnings)
        self._models = SatrecArray([member.model for member in everyone])

    def __len__(self) -> int:
        return len(self.endpoints)

    @property
    def start(self) -> datetime:
        """The time, UTC, from which `at_s` counts."""
        return self.epoch.start

    def satellites_of(self, shell: str) -> IntArray:
        """Indices of a shell's satellites, ascending. Raises ValueError for an unknown name."""
        names = [known.name for known in self.shells]
        if shell not in names:
            raise ValueError(f"shell {shell!r} is unknown, where there are {', '.join(names)}")
        return np.flatnonzero(self.shell_of == names.index(shell))

    def positions_teme_km(self, at_s: float) -> FloatArray:
        """float64[n, 3] in SGP4's own inertial frame; NaN where SGP4 refuses (a satellite that decays)."""
        day, fraction = self.epoch.utc_days(at_s)
        errors, positions, _ = self._models.sgp4(np.array([day]), np.array([fraction]))
        positions = np.asarray(positions)[:, 0, :]
        positions[np.asarray(errors)[:, 0] != 0] = np.nan
        return positions

    def positions_itrs_km(self, at_s: float) -> FloatArray:
        """float64[n, 3], Earth-fixed, `at_s` seconds after the start; NaN where SGP4 refuses."""
        return itrs_from_teme(self.positions_teme_km(at_s), self.epoch.sidereal_angle_rad(at_s))


def _walker_members(shell: WalkerShell, start: datetime) -> list[_Member]:
    return [
        _Member(f"sat/{shell.name}/{plane:02d}/{index:02d}", model, plane, index)
        for number, model in enumerate(walker_models(shell, start))
        for plane, index in [divmod(number, shell.satellites_per_plane)]
    ]


def _element_members(shell: ElementShell, epoch: Epoch) -> tuple[list[_Member], frozenset[str], list[str]]:
    """The satellites of a file that can fly at the start, names of the others, and what to warn of."""
    models = read_elements(shell.file)
    day, fraction = epoch.utc_days(0.0)
    newest: dict[int, tuple[int, Satrec]] = {}
    for place, model in enumerate(models):
        known = newest.get(model.satnum)
        if known is None or epoch_of(model) >= epoch_of(known[1]):
            newest[model.satnum] = place, model
    flying = [(place, model) for place, model in newest.values() if model.sgp4(day, fraction)[0] == 0]
    kept = {place: model for place, model in sorted(flying, key=lambda item: item[0]) if _altitude_is_sane(model)}
    if not kept:
        raise ValueError(f"{shell.file}: none of its {len(models)} satellites can be flown at the start")
    causes = {
        "refused by SGP4": len(newest) - len(flying),
        "with a mean altitude outside 120 to 50,000 km": len(flying) - len(kept),
        "with a newer element set in the file": len(models) - len(newest),
    }
    members = [_Member(f"sat/{shell.name}/{model.satnum}", model, NO_PLANE, place) for place, model in kept.items()]
    gone = {str(place) for place in range(len(models)) if place not in kept}
    gone |= {f"sat/{shell.name}/{model.satnum}" for model in models} - {member.endpoint for member in members}
    return members, frozenset(gone), _element_warnings(shell.file, epoch, list(kept.values()), causes)


def _altitude_is_sane(model: Satrec) -> bool:
    """Whether the mean altitude, as SGP4 last computed it, is between 120 and 50,000 km."""
    altitude_km = model.am * model.radiusearthkm - EARTH_EQUATORIAL_RADIUS_KM
    return bool(LOWEST_ALTITUDE_KM <= altitude_km <= HIGHEST_ALTITUDE_KM)


def _element_warnings(file: Path, epoch: Epoch, kept: list[Satrec], causes: dict[str, int]) -> list[str]:
    warnings = []
    if dropped := sum(causes.values()):
        why = ", ".join(f"{count} {cause}" for cause, count in causes.items() if count)
        warnings.append(f"{file}: {dropped} of {dropped + len(kept)} satellites left out: {why}")
    ages = [abs((epoch_of(model) - epoch.start).total_seconds()) / DAY_S for model in kept]
    if stale := sum(age > STALE_EPOCH_DAYS for age in ages):
        warnings.append(
            f"{file}: {stale} of {len(kept)} element sets have an epoch more than 14 days from the start"
            f" {epoch.start:%Y-%m-%dT%H:%M:%SZ}, the farthest {max(ages):.0f} days"
        )
    return warnings
