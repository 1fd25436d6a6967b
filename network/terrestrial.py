"""Fibre between places on the ground, for networks that need no satellites or have both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from network.constants import EARTH_MEAN_RADIUS_KM
from network.ground import GroundStation

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

FIBRE_RTT_MS: Final = 5.25
FIBRE_RTT_MS_PER_KM: Final = 0.01532
"""Round trip over fibre as a line in great-circle distance: the least-absolute-deviations fit to the RTTs between
39 regions of a public cloud. It includes detours, so that light in fibre alone (0.0098 ms per km) is faster."""

MILLISECOND_NS: Final = 1_000_000


def great_circle_km(stations: Sequence[GroundStation]) -> FloatArray:
    """float64[m, m] great-circle distances, by the haversine formula on the mean sphere."""
    latitude = np.radians([station.latitude_deg for station in stations])
    longitude = np.radians([station.longitude_deg for station in stations])
    north = np.sin((latitude[:, None] - latitude[None, :]) / 2) ** 2
    east = np.sin((longitude[:, None] - longitude[None, :]) / 2) ** 2
    haversine = north + np.cos(latitude)[:, None] * np.cos(latitude)[None, :] * east
    return np.asarray(2 * EARTH_MEAN_RADIUS_KM * np.arcsin(np.sqrt(np.clip(haversine, 0.0, 1.0))))


def fibre_delays_ns(stations: Sequence[GroundStation]) -> IntArray:
    """int64[m, m] one-way delays over fibre, half the modelled round trip.

    The diagonal is that of two hosts at the same place, 2.625 ms.
    """
    rtt_ms = FIBRE_RTT_MS + FIBRE_RTT_MS_PER_KM * great_circle_km(stations)
    return np.rint(rtt_ms * (MILLISECOND_NS / 2)).astype(np.int64)
