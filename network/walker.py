"""Walker shells as mean elements for SGP4.

A shell i:T/P/F has P evenly spaced planes of S = T/P satellites, evenly spaced in mean anomaly; the phasing F
says how far each plane is ahead of the one before it, in units of 360/T degrees. A `walker_delta` spreads its
planes over 360 degrees of right ascension, a `walker_star` over 180, so that in a star the last plane and the
first fly past each other: the seam.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from math import cos, radians, tau
from typing import Final, Literal

from sgp4.api import WGS72, Satrec

from network.constants import DAY_S, EARTH_EQUATORIAL_RADIUS_KM

LOWEST_ALTITUDE_KM: Final = 120.0
HIGHEST_ALTITUDE_KM: Final = 50_000.0

SGP4_DAY_ZERO: Final = datetime(1949, 12, 31)
"""`sgp4init` counts its epochs from here; it takes any other count without complaint."""


@dataclass(frozen=True)
class WalkerShell:
    """A Walker delta or star shell of circular orbits.

    `altitude_km` is the mean semi-major axis above the equatorial radius, after SGP4's conversion of the mean
    motion from Kozai to Brouwer. Raises ValueError for a shell that cannot exist.
    """

    name: str
    pattern: Literal["walker_delta", "walker_star"]
    planes: int
    satellites_per_plane: int
    phasing: int
    altitude_km: float
    inclination_deg: float
    first_raan_deg: float = 0.0

    def __post_init__(self) -> None:
        if self.planes < 1 or self.satellites_per_plane < 1:
            raise ValueError(f"shell {self.name}: planes and satellites_per_plane must be at least 1")
        if not 0 <= self.phasing < self.planes:
            raise ValueError(f"shell {self.name}: phasing = {self.phasing} must be between 0 and planes - 1")
        if not LOWEST_ALTITUDE_KM <= self.altitude_km <= HIGHEST_ALTITUDE_KM:
            raise ValueError(f"shell {self.name}: altitude_km = {self.altitude_km} must be 120 to 50,000")
        if not 0 <= self.inclination_deg <= 180:
            raise ValueError(f"shell {self.name}: inclination_deg = {self.inclination_deg} must be 0 to 180")

    @property
    def count(self) -> int:
        """T, the number of satellites."""
        return self.planes * self.satellites_per_plane


def walker_models(shell: WalkerShell, epoch: datetime) -> list[Satrec]:
    """One SGP4 model per satellite, plane-major, with `epoch` (UTC) as the epoch of the elements."""
    epoch_days = (epoch.replace(tzinfo=None) - SGP4_DAY_ZERO).total_seconds() / DAY_S
    inclination_rad = radians(shell.inclination_deg)
    mean_motion = kozai_mean_motion_rad_min(shell.altitude_km, shell.inclination_deg)
    spread_rad = tau if shell.pattern == "walker_delta" else tau / 2
    models = []
    for plane in range(shell.planes):
        raan_rad = (radians(shell.first_raan_deg) + spread_rad * plane / shell.planes) % tau
        for index in range(shell.satellites_per_plane):
            # Counted in whole 360/T, so that the spacing is even to the last bit.
            parts = (index * shell.planes + shell.phasing * plane) % shell.count
            models.append(_circular(epoch_days, inclination_rad, raan_rad, tau * parts / shell.count, mean_motion))
    return models


def kozai_mean_motion_rad_min(altitude_km: float, inclination_deg: float) -> float:
    """The mean motion to hand to SGP4 so that its Brouwer mean semi-major axis is as asked; circular orbits.

    Inverts `initl` of Vallado et al., "Revisiting Spacetrack Report #3" (AIAA 2006-6753), by iteration: the
    correction is of the order of J2, so each round gains about three digits.
    """
    gravity = _circular(0.0, 0.0, 0.0, 0.0, 0.05)  # any orbit: it carries the constants of WGS72
    axis = (EARTH_EQUATORIAL_RADIUS_KM + altitude_km) / gravity.radiusearthkm
    brouwer = float(gravity.xke / axis**1.5)
    d1 = 0.75 * gravity.j2 * (3.0 * cos(radians(inclination_deg)) ** 2 - 1.0)
    kozai = brouwer
    for _ in range(8):
        ak = (gravity.xke / kozai) ** (2 / 3)
        first = d1 / ak**2
        adel = ak * (1.0 - first**2 - first * (1.0 / 3.0 + 134.0 * first**2 / 81.0))
        kozai = brouwer * (1.0 + d1 / adel**2)
    return float(kozai)


def _circular(
    epoch_days: float, inclination_rad: float, raan_rad: float, anomaly_rad: float, mean_motion_rad_min: float
) -> Satrec:
    model = Satrec()
    model.sgp4init(
        WGS72,
        "i",  # improved mode
        1,  # catalogue number: unused
        epoch_days,
        0.0,  # no drag: bstar and both derivatives of the mean motion
        0.0,
        0.0,
        0.0,  # eccentricity
        0.0,  # argument of perigee: anomalies count from the ascending node
        inclination_rad,
        anomaly_rad,
        mean_motion_rad_min,
        raan_rad,
    )
    return model
