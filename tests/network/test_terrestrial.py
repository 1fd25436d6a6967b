"""Fibre between places."""

import numpy as np
import pytest

from network.ground import GroundStation
from network.terrestrial import fibre_delays_ns, great_circle_km


def test_great_circles():
    places = [
        GroundStation("a", 0, 0),
        GroundStation("b", 0, 90),
        GroundStation("c", 90, 17),
        GroundStation("d", 0, 180),
    ]
    quarter_km = 6371.0088 * np.pi / 2
    assert great_circle_km(places)[0] == pytest.approx([0, quarter_km, quarter_km, 2 * quarter_km])
    assert great_circle_km(places) == pytest.approx(great_circle_km(places).T)


def test_london_to_new_york_over_fibre():
    places = [GroundStation("london", 51.5074, -0.1278), GroundStation("new_york", 40.7128, -74.006)]
    assert great_circle_km(places)[0, 1] == pytest.approx(5570, abs=1)
    # RTT 5.25 + 0.01532 ms/km * 5,570.2 km = 90.59 ms
    assert fibre_delays_ns(places)[0, 1] == pytest.approx(45.293e6, abs=5e3)


def test_within_a_place_it_is_half_the_constant():
    delay_ns = fibre_delays_ns([GroundStation("a", 10, 10), GroundStation("b", 10, 10)])
    assert delay_ns.tolist() == [[2_625_000, 2_625_000], [2_625_000, 2_625_000]]
    assert delay_ns.dtype == np.int64
