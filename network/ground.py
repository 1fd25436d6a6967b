"""Ground stations: WGS84 places and what they see.

Elevation is the geometric angle above the plane normal to the ellipsoid at the station, as in Skyfield's
`altaz`: no refraction, no aberration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
import numpy.typing as npt

from network.constants import EARTH_EQUATORIAL_RADIUS_KM, EARTH_FLATTENING

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class GroundStation:
    """A place on the WGS84 ellipsoid and the elevation under which it sees nothing.

    Raises ValueError for a place or a mask that cannot be.
    """

    name: str
    latitude_deg: float
    longitude_deg: float
    altitude_m: float = 0.0
    elevation_mask_deg: float = 25.0

    def __post_init__(self) -> None:
        limits = {
            "latitude_deg": (-90.0, 90.0),
            "longitude_deg": (-180.0, 360.0),
            "altitude_m": (-500.0, 100_000.0),
            "elevation_mask_deg": (0.0, 90.0),
        }
        for key, (lowest, highest) in limits.items():
            value = getattr(self, key)
            if not (isfinite(value) and lowest <= value <= highest):
                raise ValueError(f"station {self.name}: {key} = {value:g} must be {lowest:g} to {highest:g}")


def positions_itrs_km(stations: Sequence[GroundStation]) -> FloatArray:
    """float64[m, 3] Earth-fixed positions on WGS84 (Bowring; exact in this direction)."""
    latitude, longitude, altitude_km = _places(stations)
    e2 = EARTH_FLATTENING * (2 - EARTH_FLATTENING)
    normal_km = EARTH_EQUATORIAL_RADIUS_KM / np.sqrt(1 - e2 * np.sin(latitude) ** 2)
    across_km = (normal_km + altitude_km) * np.cos(latitude)
    along_axis_km = (normal_km * (1 - e2) + altitude_km) * np.sin(latitude)
    return np.column_stack((across_km * np.cos(longitude), across_km * np.sin(longitude), along_axis_km))


def up_vectors(stations: Sequence[GroundStation]) -> FloatArray:
    """float64[m, 3] unit vectors normal to the ellipsoid, Earth-fixed."""
    latitude, longitude, _ = _places(stations)
    across = np.cos(latitude)
    return np.column_stack((across * np.cos(longitude), across * np.sin(longitude), np.sin(latitude)))


def look(station_itrs_km: FloatArray, up: FloatArray, satellite_itrs_km: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Slant ranges in km and sines of the elevation, float64[k] each, from k stations to as many satellites."""
    line_km = satellite_itrs_km - station_itrs_km
    range_km = np.sqrt(np.sum(line_km**2, axis=1))
    return range_km, np.sum(up * line_km, axis=1) / range_km


def above_horizon(station_itrs_km: FloatArray, up: FloatArray, satellite_itrs_km: FloatArray) -> IntArray:
    """int64[k, 2]: pairs of a station and a satellite that may see each other, by at most a metre too many.

    A coarse sieve of all m times n pairs: what passes is to be looked at with `look`.
    """
    horizon_km = np.sum(up * station_itrs_km, axis=1) - 0.001
    return np.argwhere(up @ satellite_itrs_km.T > horizon_km[:, None])


def elevation_deg(station: GroundStation, satellite_itrs_km: FloatArray) -> FloatArray:
    """float64[n] elevations of satellites above a station's horizon."""
    _, sine = look(positions_itrs_km([station]), up_vectors([station]), satellite_itrs_km)
    return np.asarray(np.degrees(np.arcsin(np.clip(sine, -1.0, 1.0))))


def _places(stations: Sequence[GroundStation]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Latitudes and longitudes in radians, altitudes in km."""
    latitude = np.radians(np.array([station.latitude_deg for station in stations], dtype=np.float64))
    longitude = np.radians(np.array([station.longitude_deg for station in stations], dtype=np.float64))
    return latitude, longitude, np.array([station.altitude_m for station in stations]) / 1000
