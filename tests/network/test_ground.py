"""Ground stations: limits of a place, and what stations see."""

import numpy as np
import pytest

from network.ground import GroundStation, above_horizon, elevation_deg, look, positions_itrs_km, up_vectors


@pytest.mark.parametrize(
    ("keys", "what"),
    [
        ({"latitude_deg": 95}, "station x: latitude_deg = 95 must be -90 to 90"),
        ({"longitude_deg": 361}, "longitude_deg = 361 must be -180 to 360"),
        ({"elevation_mask_deg": -1}, "elevation_mask_deg = -1 must be 0 to 90"),
        ({"altitude_m": float("nan")}, "altitude_m = nan must be"),
    ],
)
def test_places_that_cannot_be(keys, what):
    with pytest.raises(ValueError, match=what):
        GroundStation(**({"name": "x", "latitude_deg": 0, "longitude_deg": 0} | keys))


def test_straight_up_and_along_the_horizon():
    place = GroundStation("x", 37.5, -120, 800)
    here, up = positions_itrs_km([place]), up_vectors([place])
    east = np.cross([[0.0, 0.0, 1.0]], up) / np.cos(np.radians(37.5))
    satellites = np.concatenate((here + 550 * up, here + 550 * east, here - 550 * up, here + up + east))
    assert elevation_deg(place, satellites) == pytest.approx([90, 0, -90, 45], abs=1e-6)
    assert look(here, up, here + 550 * up)[0] == pytest.approx([550])


def test_the_sieve_lets_all_visible_satellites_pass():
    places = [GroundStation("a", 10, 20), GroundStation("b", -60, 200, 3000)]
    satellites = np.random.default_rng(1).normal(size=(500, 3))
    satellites *= 7000 / np.linalg.norm(satellites, axis=1)[:, None]
    passed = {tuple(pair) for pair in above_horizon(positions_itrs_km(places), up_vectors(places), satellites).tolist()}
    visible = {
        (number, satellite)
        for number, place in enumerate(places)
        for satellite in np.flatnonzero(elevation_deg(place, satellites) >= 0).tolist()
    }
    assert passed == visible  # none of these 500 is within a metre of the horizon
    assert len(visible) > 20


def test_no_stations_at_all():
    assert positions_itrs_km([]).shape == (0, 3)
    assert up_vectors([]).shape == (0, 3)
