"""Element-set files: TLE with two or three lines per satellite, and OMM as JSON, CSV or XML.

Reading is strict: a line that its checksum does not cover, or an OMM record with a field missing, is a
mistake of the file and named by line, because SGP4 itself takes nonsense in silence. So is an orbit that is none.
"""

from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
from sgp4 import omm
from sgp4.api import WGS72, Satrec

MISTAKES_SHOWN: Final = 5
"""A wrong file is often wrong everywhere: so many lines make the point."""

MINUTES_PER_DAY: Final = 1440.0
ROUNDING: Final = 1e-9
"""Degrees that the way into radians and back may add to 180."""

TLE_LENGTH: Final = 69
# Columns (from 0) of what must be a number; the decimal point of the eccentricity is implied.
TLE_NUMBERS: Final[dict[str, dict[str, slice]]] = {
    "1": {"epoch": slice(18, 32)},
    "2": {
        "inclination": slice(8, 16),
        "right ascension": slice(17, 25),
        "eccentricity": slice(26, 33),
        "argument of perigee": slice(34, 42),
        "mean anomaly": slice(43, 51),
        "mean motion": slice(52, 63),
    },
}


class _Mistakes(list[str]):
    """Collects what is wrong with a file, so that all of it is shown at once."""

    def add(self, file: Path, place: str, what: str) -> None:
        if what:
            self.append(f"{file}:{place}: {what}")

    def raise_if_any(self) -> None:
        if self:
            rest = len(self) - MISTAKES_SHOWN
            tail = [f"and {rest} more like these"] if rest > 0 else []
            raise ValueError("\n".join([*self[:MISTAKES_SHOWN], *tail]))


def read_elements(file: Path) -> tuple[Satrec, ...]:
    """All element sets of a file, in its order: OMM by the endings .json, .csv, .xml, else TLE.

    Raises ValueError naming the file and every broken line (the first few, with a count of the rest), and
    OSError if the file cannot be read.
    """
    readers = {".json": _omm_json, ".csv": _omm_csv, ".xml": _omm_xml}
    reader = readers.get(file.suffix.lower())
    satellites = _read_tle(file) if reader is None else _read_omm(file, reader(file))
    if not satellites:
        raise ValueError(f"{file}: holds no element set, where at least one is needed")
    return satellites


def epoch_of(satellite: Satrec) -> datetime:
    """The epoch of an element set, UTC, to the microsecond."""
    days = (satellite.jdsatepoch - 2440587.5) + satellite.jdsatepochF
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=days)


def median_epoch(files: Iterable[Path]) -> datetime:
    """The median epoch of all element sets in the files, to the second: the start if none is given."""
    epochs = [epoch_of(satellite).timestamp() for file in files for satellite in read_elements(file)]
    return datetime.fromtimestamp(round(float(np.median(epochs))), tz=UTC)


def _read_tle(file: Path) -> tuple[Satrec, ...]:
    mistakes = _Mistakes()
    satellites = []
    for number, first, second in _tle_pairs(file, mistakes):
        wrong = [(number, _tle_mistake(first)), (number + 1, _tle_mistake(second))]
        if first[2:7] != second[2:7]:
            what = f"is for satellite {second[2:7].strip()}, but line 1 above it for {first[2:7].strip()}"
            wrong.append((number + 1, what))
        if not any(what for _, what in wrong):
            satellites.append(Satrec.twoline2rv(first, second, WGS72))
            wrong.append((number + 1, _orbit_mistake(satellites[-1])))
        for line, what in wrong:
            mistakes.add(file, str(line), what)
    mistakes.raise_if_any()
    return tuple(satellites)


def _tle_pairs(file: Path, mistakes: _Mistakes) -> Iterator[tuple[int, str, str]]:
    """Pairs of element lines with the number of the first; any other line is a satellite's name."""
    pending: tuple[int, str] | None = None
    for number, raw in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        line = raw.rstrip()
        if line.startswith("2 ") and pending is not None and pending[0] == number - 1:
            yield *pending, line
            pending = None
            continue
        if pending is not None:
            mistakes.add(file, str(pending[0]), "line 1 of an element set is not followed by its line 2")
            pending = None
        if line.startswith("1 "):
            pending = number, line
        elif line.startswith("2 "):
            mistakes.add(file, str(number), "line 2 of an element set does not follow its line 1")
    if pending is not None:
        mistakes.add(file, str(pending[0]), "line 1 of an element set is not followed by its line 2")


def _tle_mistake(line: str) -> str:
    """What is wrong with an element line, or nothing."""
    if len(line) != TLE_LENGTH:
        return f"has {len(line)} characters, where a TLE line has {TLE_LENGTH}"
    digits = sum(int(character) for character in line[:-1] if character in "0123456789")
    expected = (digits + line[:-1].count("-")) % 10
    if line[-1] != str(expected):
        return f"ends in the checksum {line[-1]}, but its characters sum to {expected}"
    for name, columns in TLE_NUMBERS[line[0]].items():
        if not re.fullmatch(r" *[0-9]*\.?[0-9]+ *", line[columns]):
            return f"has {line[columns].strip()!r} where the {name} should be a number"
    return ""


def _orbit_mistake(satellite: Satrec) -> str:
    """What makes an element set no orbit, or nothing. Written so that a value that is not a number passes no test."""
    inclination_deg = math.degrees(satellite.inclo)
    mean_motion = satellite.no_kozai * MINUTES_PER_DAY / math.tau
    if not -ROUNDING <= inclination_deg <= 180 + ROUNDING:
        return f"has the inclination {inclination_deg:g}, which must be between 0 and 180 degrees"
    if not 0 <= satellite.ecco < 1:
        return f"has the eccentricity {satellite.ecco:g}, which must be from 0 to less than 1"
    if not 0 < mean_motion < math.inf:
        return f"has the mean motion {mean_motion:g}, which must be more than 0 revolutions a day"
    others = {
        "right ascension": satellite.nodeo,
        "argument of perigee": satellite.argpo,
        "mean anomaly": satellite.mo,
        "drag term": satellite.bstar,
    }
    return next((f"has no finite {name}" for name, value in others.items() if not math.isfinite(value)), "")


def _omm_json(file: Path) -> Iterable[Mapping[str, Any]]:
    try:
        records = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file}: is not JSON: {error}") from None
    records = records if isinstance(records, list) else [records]
    if not all(isinstance(record, dict) for record in records):
        raise ValueError(f"{file}: must be a list of objects, one for each satellite")
    return records


def _omm_csv(file: Path) -> Iterable[Mapping[str, Any]]:
    with file.open(encoding="utf-8", newline="") as lines:
        return list(omm.parse_csv(lines))


def _omm_xml(file: Path) -> Iterable[Mapping[str, Any]]:
    try:
        return list(omm.parse_xml(file))
    except (ElementTree.ParseError, TypeError) as error:
        raise ValueError(f"{file}: is not an OMM in XML: {error}") from None


def _read_omm(file: Path, records: Iterable[Mapping[str, Any]]) -> tuple[Satrec, ...]:
    mistakes = _Mistakes()
    satellites = []
    for number, record in enumerate(records, start=1):
        satellite = Satrec()
        try:
            omm.initialize(satellite, {**record, "EPOCH": _omm_epoch(str(record["EPOCH"]))})
        except KeyError as error:
            mistakes.add(file, f"record {number}", f"{error.args[0]} is missing")
        except (TypeError, ValueError, OverflowError) as error:
            mistakes.add(file, f"record {number}", str(error))
        else:
            satellites.append(satellite)
            mistakes.add(file, f"record {number}", _orbit_mistake(satellite))
    mistakes.raise_if_any()
    return tuple(satellites)


def _omm_epoch(text: str) -> str:
    """The one spelling sgp4 reads: with a fraction of a second and without a zone (OMM epochs are UTC)."""
    epoch = text.removesuffix("Z")
    return epoch if "." in epoch else f"{epoch}.0"
