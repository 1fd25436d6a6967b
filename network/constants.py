"""Physical constants, each with its source, and the one place where kilometres become nanoseconds."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

SPEED_OF_LIGHT_KM_S: Final = 299_792.458
"""Light in vacuum, exact by the definition of the metre (SI). Every radio and laser link runs at it."""

EARTH_EQUATORIAL_RADIUS_KM: Final = 6_378.137
"""WGS84 semi-major axis (NIMA TR8350.2); altitudes of satellites and grazing altitudes count from it."""

EARTH_FLATTENING: Final = 1 / 298.257223563
"""WGS84 flattening (NIMA TR8350.2)."""

EARTH_MEAN_RADIUS_KM: Final = 6_371.0088
"""IUGG mean radius R1, for great-circle distances between fibre sites."""

SECOND_NS: Final = 1_000_000_000
DAY_S: Final = 86_400.0


def propagation_ns(length_km: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Time of light over each length, rounded once to whole nanoseconds; lengths must be finite."""
    return np.rint(length_km * (SECOND_NS / SPEED_OF_LIGHT_KM_S)).astype(np.int64)
