"""Time and frames: seconds after the start, and the Earth turning under the orbits.

SGP4 speaks TEME and UTC days; places on the ground are ITRS. TEME is turned into ITRS by the sidereal angle
GMST1982 of UT1 (AIAA 2006-6753, appendix C). Polar motion, under 15 m, is left out as in Skyfield's default.
The time scale is Skyfield's built-in one: nothing is downloaded.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from skyfield.api import load
from skyfield.sgp4lib import theta_GMST1982

from network.constants import DAY_S

FloatArray = npt.NDArray[np.float64]


@cache
def time_scale() -> Any:
    """Skyfield's time scale from its built-in leap seconds and delta T."""
    return load.timescale(builtin=True)


class Epoch:
    """The scenario's start: converts SI seconds after it into the times that orbits and the Earth need."""

    def __init__(self, start: datetime) -> None:
        """Raises ValueError if `start` has no time zone."""
        if start.tzinfo is None:
            raise ValueError(f"the start {start.isoformat()} must carry a time zone, such as Z for UTC")
        self.start = start.astimezone(UTC)
        self._time = time_scale().from_datetime(self.start)

    def skyfield_time(self, at_s: float) -> Any:
        """Skyfield's Time `at_s` seconds after the start."""
        return time_scale().tt_jd(self._time.whole, self._time.tt_fraction + at_s / DAY_S)

    def utc_days(self, at_s: float) -> tuple[float, float]:
        """UTC as a Julian day and a fraction, as SGP4 takes it."""
        time = self.skyfield_time(at_s)
        return float(time.whole), float(time.tai_fraction - time._leap_seconds() / DAY_S)

    def sidereal_angle_rad(self, at_s: float) -> float:
        """Greenwich mean sidereal time of UT1: how far ITRS is turned from TEME."""
        time = self.skyfield_time(at_s)
        return float(theta_GMST1982(time.whole, time.ut1_fraction)[0])


def itrs_from_teme(position_teme_km: FloatArray, sidereal_angle_rad: float) -> FloatArray:
    """Turn float64[n, 3] positions in km from TEME to ITRS."""
    cosine, sine = np.cos(sidereal_angle_rad), np.sin(sidereal_angle_rad)
    x, y, z = position_teme_km.T
    return np.column_stack((cosine * x + sine * y, cosine * y - sine * x, z))
