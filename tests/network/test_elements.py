"""Element-set files: what is read, and how a broken file is told."""

import csv
import json
from datetime import UTC, datetime
from xml.etree import ElementTree

import numpy as np
import pytest
from sgp4.exporter import export_omm

from network.constellation import Constellation, ElementShell
from network.elements import epoch_of, median_epoch, read_elements
from tests.shared import shared

ISS = (
    "1 25544U 98067A   08264.51782528 -.00002182  00000-0 -11606-4 0  2927",
    "2 25544  51.6416 247.4627 0006703 130.5360 325.0288 15.72125391563537",
)
VANGUARD = (
    "1 00005U 58002B   00179.78495062  .00000023  00000-0  28098-4 0  4753",
    "2 00005  34.2682 348.7242 1859667 331.7664  19.3264 10.82419157413667",
)


def written(folder, *lines, name="elements.tle"):
    file = folder / name
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def mistakes_of(file):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole text is compared
        read_elements(file)
    return str(caught.value).replace(str(file), "FILE").splitlines()


def test_two_and_three_lines(tmp_path):
    bare = read_elements(written(tmp_path, *ISS, *VANGUARD))
    named = read_elements(written(tmp_path, "ISS (ZARYA)", *ISS, "", "VANGUARD 1", *VANGUARD))
    assert [model.satnum for model in bare] == [model.satnum for model in named] == [25544, 5]
    assert bare[0].inclo == pytest.approx(np.radians(51.6416))
    assert epoch_of(bare[1]).replace(microsecond=0) == datetime(2000, 6, 27, 18, 50, 19, tzinfo=UTC)


@pytest.mark.parametrize(("name", "count"), [("Starlink", 3023), ("Iridium", 31), ("OneWeb", 426)])
def test_real_files(name, count):
    file = shared(f"data/tle/{name}.tle")
    assert len(read_elements(file)) == count
    assert median_epoch([file]).date() == datetime(2022, 9, 14).date()


def changed(line, column, text):
    return line[:column] + text + line[column + len(text) :]


def with_checksum(line):
    digits = sum(int(character) for character in line[:68] if character.isdigit()) + line[:68].count("-")
    return line[:68] + str(digits % 10)


def test_every_broken_line_is_told(tmp_path):
    file = written(
        tmp_path,
        "ISS",
        changed(ISS[0], 20, "9"),
        ISS[1][:-1],
        ISS[0],
        VANGUARD[1],
        VANGUARD[0],
        with_checksum(changed(VANGUARD[1], 8, " 34.2x82")),
    )
    assert mistakes_of(file) == [
        "FILE:2: ends in the checksum 7, but its characters sum to 4",
        "FILE:3: has 68 characters, where a TLE line has 69",
        "FILE:5: is for satellite 00005, but line 1 above it for 25544",
        "FILE:7: has '34.2x82' where the inclination should be a number",
    ]


def test_tle_orbits_that_are_none(tmp_path):
    steep = with_checksum(changed(ISS[1], 8, "181.6416"))
    still = with_checksum(changed(ISS[1], 52, " 0.00000000"))
    edge = with_checksum(changed(ISS[1], 8, "180.0000"))
    assert mistakes_of(written(tmp_path, ISS[0], steep, ISS[0], still, ISS[0], edge)) == [
        "FILE:2: has the inclination 181.642, which must be between 0 and 180 degrees",
        "FILE:4: has the mean motion 0, which must be more than 0 revolutions a day",
    ]


def test_halves_of_element_sets(tmp_path):
    file = written(tmp_path, ISS[1], ISS[0], "name between", VANGUARD[1], VANGUARD[0])
    first, second = (
        "line 1 of an element set is not followed by its line 2",
        "line 2 of an element set does not follow its line 1",
    )
    assert mistakes_of(file) == [f"FILE:1: {second}", f"FILE:2: {first}", f"FILE:4: {second}", f"FILE:5: {first}"]


def test_many_mistakes_are_counted(tmp_path):
    file = written(tmp_path, *[ISS[1]] * 12)
    told = mistakes_of(file)
    assert len(told) == 6
    assert told[-1] == "and 7 more like these"


@pytest.mark.parametrize("text", ["", "just a name\n"])
def test_nothing_in_it(tmp_path, text):
    (tmp_path / "empty.tle").write_text(text)
    assert mistakes_of(tmp_path / "empty.tle") == ["FILE: holds no element set, where at least one is needed"]


ISS_OMM = {
    "OBJECT_NAME": "ISS (ZARYA)", "OBJECT_ID": "1998-067A", "CENTER_NAME": "EARTH", "REF_FRAME": "TEME",
    "TIME_SYSTEM": "UTC", "MEAN_ELEMENT_THEORY": "SGP4", "EPOCH": "2008-09-20T12:25:40.104192",
    "MEAN_MOTION": 15.72125391, "ECCENTRICITY": 0.0006703, "INCLINATION": 51.6416, "RA_OF_ASC_NODE": 247.4627,
    "ARG_OF_PERICENTER": 130.536, "MEAN_ANOMALY": 325.0288, "EPHEMERIS_TYPE": 0, "CLASSIFICATION_TYPE": "U",
    "NORAD_CAT_ID": 25544, "ELEMENT_SET_NO": 292, "REV_AT_EPOCH": 56353, "BSTAR": -1.1606e-05,
    "MEAN_MOTION_DOT": -2.182e-05, "MEAN_MOTION_DDOT": 0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("key", "value", "what"),
    [
        ("INCLINATION", -0.1, "has the inclination -0.1, which must be between 0 and 180 degrees"),
        ("INCLINATION", 180.1, "has the inclination 180.1, which must be between 0 and 180 degrees"),
        ("INCLINATION", float("nan"), "has the inclination nan, which must be between 0 and 180 degrees"),
        ("ECCENTRICITY", 1, "has the eccentricity 1, which must be from 0 to less than 1"),
        ("ECCENTRICITY", -0.001, "has the eccentricity -0.001, which must be from 0 to less than 1"),
        ("MEAN_MOTION", 0, "has the mean motion 0, which must be more than 0 revolutions a day"),
        ("MEAN_MOTION", -15, "has the mean motion -15, which must be more than 0 revolutions a day"),
        ("MEAN_MOTION", float("inf"), "has the mean motion inf, which must be more than 0 revolutions a day"),
        ("RA_OF_ASC_NODE", float("nan"), "has no finite right ascension"),
        ("ARG_OF_PERICENTER", "inf", "has no finite argument of perigee"),
        ("MEAN_ANOMALY", float("-inf"), "has no finite mean anomaly"),
        ("BSTAR", "nan", "has no finite drag term"),
        ("NORAD_CAT_ID", float("inf"), "cannot convert float infinity to integer"),
    ],
)
def test_omm_orbits_that_are_none(tmp_path, key, value, what):
    assert mistakes_of(as_json([ISS_OMM, {**ISS_OMM, key: value}], tmp_path)) == [f"FILE:record 2: {what}"]


@pytest.mark.parametrize("edge", [{"INCLINATION": 0}, {"INCLINATION": 180}, {"ECCENTRICITY": 0}])
def test_the_ends_of_the_ranges_are_in_them(tmp_path, edge):
    assert len(read_elements(as_json([{**ISS_OMM, **edge}], tmp_path))) == 1


@pytest.mark.parametrize("text", ["3", "null", '"ISS"', '["ISS"]', "[[]]", f"[{json.dumps(ISS_OMM)}, 3]"])
def test_omm_json_is_a_list_of_objects(tmp_path, text):
    file = written(tmp_path, text, name="elements.json")
    assert mistakes_of(file) == ["FILE: must be a list of objects, one for each satellite"]


def omm_records():
    file = shared("data/tle/Iridium.tle")
    return [export_omm(model, f"IRIDIUM {model.satnum}") for model in read_elements(file)[:4]]


def as_json(records, folder):
    return written(folder, json.dumps(records), name="elements.json")


def as_csv(records, folder):
    file = folder / "elements.csv"
    with file.open("w", newline="") as lines:
        table = csv.DictWriter(lines, list(records[0]))
        table.writeheader()
        table.writerows(records)
    return file


def as_xml(records, folder):
    root = ElementTree.Element("ndm")
    for record in records:
        segment = ElementTree.SubElement(ElementTree.SubElement(root, "omm"), "segment")
        metadata, data = ElementTree.SubElement(segment, "metadata"), ElementTree.SubElement(segment, "data")
        parts = {
            "metadata": metadata,
            "mean": ElementTree.SubElement(data, "meanElements"),
            "tle": ElementTree.SubElement(data, "tleParameters"),
        }
        for key, value in record.items():
            part = "metadata" if key.startswith("OBJECT") else "tle" if key in ("BSTAR", "EPHEMERIS_TYPE") else "mean"
            ElementTree.SubElement(parts[part], key).text = str(value)
    file = folder / "elements.xml"
    ElementTree.ElementTree(root).write(file)
    return file


@pytest.mark.parametrize("write", [as_json, as_csv, as_xml])
def test_omm_flies_as_its_tle(tmp_path, write):
    file = write(omm_records(), tmp_path)
    start = datetime(2022, 9, 15, tzinfo=UTC)
    from_omm = Constellation([ElementShell("s", file)], start)
    from_tle = Constellation([ElementShell("s", shared("data/tle/Iridium.tle"))], start)
    assert from_omm.endpoints == from_tle.endpoints[:4]
    apart_km = from_omm.positions_itrs_km(60) - from_tle.positions_itrs_km(60)[:4]
    assert np.abs(apart_km).max() < 1e-4


def test_omm_epochs_in_other_spellings(tmp_path):
    records = omm_records()[:2]
    records[0]["EPOCH"], records[1]["EPOCH"] = "2022-09-14T12:00:00", "2022-09-14T12:00:00.000000Z"
    assert {epoch_of(model) for model in read_elements(as_json(records, tmp_path))} == {
        datetime(2022, 9, 14, 12, tzinfo=UTC)
    }


def test_broken_omm(tmp_path):
    records = omm_records()
    del records[1]["MEAN_MOTION"]
    records[2]["ECCENTRICITY"] = "many"
    assert mistakes_of(as_json(records, tmp_path)) == [
        "FILE:record 2: MEAN_MOTION is missing",
        "FILE:record 3: could not convert string to float: 'many'",
    ]
    assert "is not JSON" in mistakes_of(written(tmp_path, "{", name="broken.json"))[0]
    assert "is not an OMM in XML" in mistakes_of(written(tmp_path, "<ndm>", name="broken.xml"))[0]
    assert mistakes_of(written(tmp_path, "<ndm/>", name="empty.xml"))[0].startswith("FILE: holds no element set")
