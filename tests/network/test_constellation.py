"""Constellations: names and order, mixed shells, and satellites that cannot fly."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from sgp4.api import WGS72, Satrec
from sgp4.exporter import export_tle

from network.constellation import NO_PLANE, Constellation, ElementShell
from network.walker import WalkerShell, kozai_mean_motion_rad_min, walker_models
from tests.shared import shared

START = datetime(2026, 11, 22, tzinfo=UTC)


def walker(name="s1", pattern="walker_delta", planes=3, satellites_per_plane=2, phasing=1, **keys):
    keys = {"altitude_km": 550, "inclination_deg": 53} | keys
    return WalkerShell(name, pattern, planes, satellites_per_plane, phasing, **keys)


def test_names_are_plane_major_with_two_digits():
    constellation = Constellation([walker(), walker("big", planes=101, satellites_per_plane=1)], START)
    assert constellation.endpoints[:6] == (
        "sat/s1/00/00", "sat/s1/00/01", "sat/s1/01/00", "sat/s1/01/01", "sat/s1/02/00", "sat/s1/02/01",
    )  # fmt: skip
    assert constellation.endpoints[-1] == "sat/big/100/00"
    assert constellation.plane_of[:7].tolist() == [0, 0, 1, 1, 2, 2, 0]
    assert constellation.index_in_plane[:7].tolist() == [0, 1, 0, 1, 0, 1, 0]
    assert constellation.satellites_of("big").tolist() == list(range(6, 107))
    assert len(constellation) == 107
    with pytest.raises(ValueError, match="'s9' is unknown, where there are s1, big"):
        constellation.satellites_of("s9")


def test_a_star_spreads_over_half_the_circle():
    star = walker_models(walker(pattern="walker_star", planes=6, first_raan_deg=20), START)
    delta = walker_models(walker(planes=6, first_raan_deg=20), START)
    assert np.degrees([model.nodeo for model in star[::2]]) == pytest.approx([20, 50, 80, 110, 140, 170])
    assert np.degrees([model.nodeo for model in delta[::2]]) == pytest.approx([20, 80, 140, 200, 260, 320])


@pytest.mark.parametrize("inclination_deg", [0, 53, 63.4349, 86.4, 97.6, 180])
@pytest.mark.parametrize("altitude_km", [120, 550, 20_200, 50_000])
def test_the_semi_major_axis_is_as_asked(altitude_km, inclination_deg):
    model = walker_models(
        walker(planes=1, satellites_per_plane=1, phasing=0, altitude_km=altitude_km, inclination_deg=inclination_deg),
        START,
    )[0]
    assert model.a * model.radiusearthkm - 6378.137 == pytest.approx(altitude_km, abs=1e-7)
    assert model.no_kozai == pytest.approx(kozai_mean_motion_rad_min(altitude_km, inclination_deg), rel=1e-15)


def test_elements_and_walkers_together_move_as_they_do_apart():
    elements = ElementShell("iridium", shared("data/tle/Iridium.tle"))
    start = datetime(2022, 9, 15, tzinfo=UTC)
    together = Constellation([walker(), elements, walker("s2")], start)
    apart = [Constellation([shell], start) for shell in (walker(), elements, walker("s2"))]
    assert together.endpoints == sum((single.endpoints for single in apart), ())
    alone_km = np.concatenate([single.positions_itrs_km(77.7) for single in apart])
    assert np.array_equal(together.positions_itrs_km(77.7), alone_km)
    assert set(together.plane_of[6:37]) == {NO_PLANE}
    assert together.endpoints[6] == "sat/iridium/24793"


@pytest.mark.parametrize(
    ("name", "flying", "warnings"),
    [
        ("Starlink", 3021, ["2 of 3023 satellites left out: 2 with a mean altitude"]),
        ("Iridium", 31, []),
        ("OneWeb", 426, []),
    ],
)
def test_real_files_fly_at_their_median_epoch(name, flying, warnings):
    constellation = Constellation([ElementShell("s", shared(f"data/tle/{name}.tle"))])
    assert len(constellation) == flying
    assert constellation.start.date() == datetime(2022, 9, 14).date()
    assert len(constellation.warnings) == len(warnings)
    assert all(text in said for text, said in zip(warnings, constellation.warnings, strict=True))
    assert not np.isnan(constellation.positions_itrs_km(0)).any()


def element_file(folder, *sets):
    """A TLE file of (number, eccentricity, revolutions per day, days after START)."""
    lines = []
    for number, eccentricity, revolutions, days in sets:
        model = Satrec()
        epoch = (START + timedelta(days=days)).replace(tzinfo=None) - datetime(1949, 12, 31)
        motion = revolutions * 2 * np.pi / 1440
        model.sgp4init(
            WGS72, "i", number, epoch.total_seconds() / 86400, 1e-4, 0, 0, eccentricity, 0.1, 0.9, 0.2, motion, 0.3
        )
        model.classification, model.intldesg, model.elnum, model.revnum = "U", "20001A", 1, 1
        lines += export_tle(model)
    file = folder / "made.tle"
    file.write_text("\n".join(lines))
    return file


def test_what_cannot_fly_is_left_out_and_counted_once(tmp_path):
    file = element_file(
        tmp_path,
        (1, 0.001, 15, 0),
        (2, 0.001, 16.75, 0),
        (3, 0.9, 15, 0),
        (4, 0.001, 15, 20),
        (1, 0.002, 15, 1),
        (5, 0.001, 0.3, 0),
    )
    constellation = Constellation([ElementShell("s", file)], START)
    assert constellation.endpoints == ("sat/s/4", "sat/s/1")
    assert constellation.index_in_plane.tolist() == [3, 4]
    assert [warning.replace(str(file), "FILE") for warning in constellation.warnings] == [
        "FILE: 4 of 6 satellites left out: 1 refused by SGP4, 2 with a mean altitude outside 120 to 50,000 km,"
        " 1 with a newer element set in the file",
        "FILE: 1 of 2 element sets have an epoch more than 14 days from the start 2026-11-22T00:00:00Z,"
        " the farthest 20 days",
    ]
    assert {"sat/s/2", "sat/s/3", "sat/s/5", "0", "1", "2", "5"} == constellation.left_out[0]


def test_nothing_left(tmp_path):
    file = element_file(tmp_path, (3, 0.9, 15, 0))
    with pytest.raises(ValueError, match="none of its 1 satellites can be flown"):
        Constellation([ElementShell("s", file)], START)


def test_a_satellite_that_decays_on_the_way_is_nowhere():
    constellation = Constellation([ElementShell("s", shared("data/tle/Starlink.tle"))])
    later_km = constellation.positions_itrs_km(100 * 86_400.0)
    assert 0 < np.isnan(later_km).any(axis=1).sum() < len(constellation)


@pytest.mark.parametrize(
    ("keys", "what"),
    [
        ({"planes": 0}, "planes"),
        ({"satellites_per_plane": 0}, "satellites_per_plane"),
        ({"phasing": 3}, "phasing = 3 must be between 0 and planes - 1"),
        ({"altitude_km": 100}, "altitude_km = 100 must be 120 to 50,000"),
        ({"inclination_deg": 190}, "inclination_deg = 190 must be 0 to 180"),
    ],
)
def test_shells_that_cannot_be(keys, what):
    with pytest.raises(ValueError, match=what):
        walker(**keys)


def test_constellations_that_cannot_be():
    with pytest.raises(ValueError, match="same name"):
        Constellation([walker(), walker()], START)
    with pytest.raises(ValueError, match="start is needed"):
        Constellation([walker()])
    with pytest.raises(ValueError, match="time zone"):
        Constellation([walker()], datetime(2026, 1, 1))
