"""CSV tables that a scenario names: ground stations, delay matrices, round-trip times, regions of the Internet.

Delays leave this module as integer nanoseconds. A line that begins with # is a comment. Whatever is wrong with a table
is a `TableError` that names the file and the line.
"""

import csv
import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np

from network.internet import MS_OFF_THE_MEAN, Regions
from network.plan import UNREACHABLE, IntArray

STATION_NUMBERS: Final = ("latitude_deg", "longitude_deg", "altitude_m", "elevation_mask_deg")
_STATION_REQUIRED = ("name", "latitude_deg", "longitude_deg")
_REGION_COLUMNS = ("region", "up_mbps", "down_mbps")
_NS_PER_MS = 1_000_000
_ETERNITY_S = 1e9

Row: TypeAlias = tuple[int, list[str]]
"""A line number, from 1, and the cells on that line without surrounding spaces."""

Pairs: TypeAlias = dict[tuple[str, str], int]


class TableError(ValueError):
    """A table cannot be read; says file, line, and why."""

    def __init__(self, path: Path, line: int, text: str) -> None:
        super().__init__(f"{path}:{line}: {text}")
        self.path, self.line, self.text = path, line, text


@dataclass(frozen=True, eq=False)
class DelayMatrix:
    """One-way delays between places: int64[source, target] in ns, `UNREACHABLE` for no link.

    Labels stand in the order of the file. The diagonal is what the file says, 0 where it says nothing.
    """

    labels: tuple[str, ...]
    delay_ns: IntArray

    def among(self, labels: Sequence[str]) -> IntArray:
        """int64[source, target] between these places, in this order. Raises KeyError for a label that is not here."""
        row = {label: index for index, label in enumerate(self.labels)}
        chosen = np.array([row[label] for label in labels], dtype=np.intp)
        return self.delay_ns[np.ix_(chosen, chosen)]


@dataclass(frozen=True, eq=False)
class Transactions:
    """Transactions by the time they are submitted: int64[transactions] each, times ascending."""

    at_ns: IntArray
    size_bytes: IntArray


def read_transactions(path: Path, default_bytes: int) -> Transactions:
    """A CSV with a column at_s and, if wanted, bytes: one line for each transaction, in any order.

    Line by line, because there may be millions.
    """
    at_ns, size_bytes = array("q"), array("q")
    rows = _rows(path)
    header_line, header = next(rows, (1, []))
    if "at_s" not in header:
        raise TableError(path, header_line, f"needs a column at_s; it has {', '.join(header) or 'none'}")
    for line, cells in rows:
        if len(cells) > len(header):
            raise TableError(path, line, f"has {len(cells)} cells under {len(header)} column names")
        row = dict(zip(header, cells, strict=False))
        written, size = row.get("at_s", ""), row.get("bytes", "")
        at_s = _number_or_text(written)
        if isinstance(at_s, str) or not 0 <= at_s < _ETERNITY_S:
            raise TableError(path, line, f'at_s "{written}" must be a number of seconds, 0 or more')
        if size and not (size.isdecimal() and 0 < int(size) < 1 << 40):
            raise TableError(path, line, f'bytes "{size}" must be a whole number, 1 or more')
        at_ns.append(round(at_s * 1e9))
        size_bytes.append(int(size or default_bytes))
    if not at_ns:
        raise TableError(path, header_line, "has no rows under its header")
    order = np.argsort(np.array(at_ns), kind="stable")
    return Transactions(np.array(at_ns)[order], np.array(size_bytes)[order])


def read_stations(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """Line number and `[[ground_station]]` table for each row of a station CSV.

    Columns name, latitude_deg, longitude_deg and, if wanted, altitude_m and elevation_mask_deg; others are ignored.
    Values are not checked here: cells that are no numbers stay text.
    """
    (header_line, header), *rows = _read(path)
    for column in _STATION_REQUIRED:
        if column not in header:
            raise TableError(path, header_line, f"needs a column {column}; it has {', '.join(header)}")
    columns: tuple[str, ...] = ("name", *STATION_NUMBERS)
    known = [(name, header.index(name)) for name in columns if name in header]
    stations = []
    for line, cells in rows:
        if len(cells) > len(header):
            raise TableError(path, line, f"has {len(cells)} cells under {len(header)} column names")
        filled = [(name, cells[column]) for name, column in known if column < len(cells) and cells[column]]
        stations.append((line, {name: cell if name == "name" else _number_or_text(cell) for name, cell in filled}))
    return stations


def read_peers(path: Path) -> list[tuple[int, int]]:
    """Pairs of replica numbers, two in a line, the smaller first; each pair once."""
    pairs: dict[tuple[int, int], None] = {}
    for line, cells in _read(path):
        numbers = [int(cell) for cell in cells if cell.isdecimal()]
        if len(cells) != 2 or len(numbers) != 2 or numbers[0] == numbers[1]:
            raise TableError(path, line, f"must be two different replica numbers, not {','.join(cells)!r}")
        pairs[min(numbers), max(numbers)] = None
    return list(pairs)


def read_regions(path: Path) -> Regions:
    """Columns region, up_mbps, down_mbps, and for each region the mean latency to it in ms."""
    (line, header), *rows = _read(path)
    names = [cells[0] for _, cells in rows]
    if header != [*_REGION_COLUMNS, *names]:
        wanted = ", ".join(_REGION_COLUMNS)
        raise TableError(path, line, f"needs the columns {wanted}, then one for each region in the order of the rows")
    if len(set(names)) < len(names):
        raise TableError(path, line, "needs a different name for each region")
    numbers = [
        [_region_number(path, line, *pair) for pair in _cells(path, line, header, cells)] for line, cells in rows
    ]
    return Regions(
        names=tuple(names),
        latency_ms=tuple(tuple(row[2:]) for row in numbers),
        up_mbps=tuple(row[0] for row in numbers),
        down_mbps=tuple(row[1] for row in numbers),
    )


def _cells(path: Path, line: int, header: list[str], cells: list[str]) -> list[tuple[str, str]]:
    """(column, cell) for each number of a region."""
    if len(cells) != len(header):
        raise TableError(path, line, f"has {len(cells)} cells under {len(header)} column names")
    return list(zip(header[1:], cells[1:], strict=True))


def _region_number(path: Path, line: int, column: str, cell: str) -> float:
    number, least = _number_or_text(cell), 0 if column in _REGION_COLUMNS else MS_OFF_THE_MEAN
    if isinstance(number, str) or not least < number < math.inf:
        raise TableError(path, line, f'{column} "{cell}" must be a number, more than {least}')
    return number


def read_delays(path: Path) -> DelayMatrix:
    """A matrix of one-way delays in ms, long or wide.

    Long: columns source, target and one_way_ms, or rtt_ms, which is halved; of several at_s only the first is taken.
    Wide: a label row and a label column. A pair that is missing or blank has no link; asymmetry is kept.
    """
    return _read_matrix(path, wide_scale=_NS_PER_MS)


def read_rtts(path: Path) -> DelayMatrix:
    """One-way delays from round-trip times: as `read_delays`, but wide tables hold RTTs, which are halved.

    A round trip has no direction, so a pair given one way only holds both ways.
    """
    matrix = _read_matrix(path, wide_scale=_NS_PER_MS / 2)
    one_way = matrix.delay_ns == UNREACHABLE
    return DelayMatrix(matrix.labels, np.where(one_way, matrix.delay_ns.T, matrix.delay_ns))


def _read_matrix(path: Path, wide_scale: float) -> DelayMatrix:
    rows = _read(path)
    header = [cell.lower() for cell in rows[0][1]]
    if "source" in header and "target" in header:
        labels, pairs = _long(path, header, rows)
    else:
        labels, pairs = _wide(path, rows, wide_scale)
    row = {label: index for index, label in enumerate(labels)}
    delay_ns = np.full((len(labels), len(labels)), UNREACHABLE, dtype=np.int64)
    np.fill_diagonal(delay_ns, 0)
    for (source, target), delay in pairs.items():
        delay_ns[row[source], row[target]] = delay
    return DelayMatrix(tuple(labels), delay_ns)


def _long(path: Path, header: list[str], rows: list[Row]) -> tuple[list[str], Pairs]:
    value_at, scale = _value_column(path, header, rows[0][0])
    source_at, target_at = header.index("source"), header.index("target")
    for line, cells in rows[1:]:
        if len(cells) < len(header):
            raise TableError(path, line, f"has {len(cells)} cells under {len(header)} column names")
    labels: dict[str, None] = {}
    targets: dict[str, None] = {}
    pairs: Pairs = {}
    for line, cells in _first_instant(header, rows[1:]):
        source, target = cells[source_at], cells[target_at]
        if not source or not target:
            raise TableError(path, line, "needs a source and a target")
        if (source, target) in pairs:
            raise TableError(path, line, f"gives {source} to {target} a second time")
        labels[source] = targets[target] = None
        if cells[value_at]:
            pairs[source, target] = _nanoseconds(path, line, cells[value_at], scale)
    return list(labels | targets), pairs


def _value_column(path: Path, header: list[str], line: int) -> tuple[int, float]:
    if "one_way_ms" in header:
        return header.index("one_way_ms"), _NS_PER_MS
    if "rtt_ms" in header:
        return header.index("rtt_ms"), _NS_PER_MS / 2
    raise TableError(path, line, "needs a column one_way_ms or rtt_ms beside source and target")


def _first_instant(header: list[str], rows: list[Row]) -> list[Row]:
    """The rows of the first `at_s`; all of them where there is no such column."""
    if "at_s" not in header:
        return rows
    column = header.index("at_s")
    return [row for row in rows if row[1][column] == rows[0][1][column]]


def _wide(path: Path, rows: list[Row], scale: float) -> tuple[list[str], Pairs]:
    line, (_, *columns) = rows[0]
    labels = [cells[0] for _, cells in rows[1:]]
    if len(set(columns)) < len(columns) or not all(columns):
        raise TableError(path, line, "needs a different label over each column")
    pairs: Pairs = {}
    for line, (source, *cells) in rows[1:]:
        if source not in columns or labels.count(source) > 1:
            raise TableError(path, line, f'label "{source}" must be one of the columns, and once')
        if len(cells) != len(columns):
            raise TableError(path, line, f"has {len(cells)} delays under {len(columns)} labels")
        for target, cell in zip(columns, cells, strict=True):
            if cell:
                pairs[source, target] = _nanoseconds(path, line, cell, scale)
    if missing := [label for label in columns if label not in labels]:
        raise TableError(path, line, f'needs a row for the column "{missing[0]}"')
    return columns, pairs


def _nanoseconds(path: Path, line: int, cell: str, scale: float) -> int:
    milliseconds = _number_or_text(cell)
    if isinstance(milliseconds, str) or not math.isfinite(milliseconds) or milliseconds < 0:
        raise TableError(path, line, f'delay "{cell}" must be a number of ms, 0 or more')
    return round(milliseconds * scale)


def _number_or_text(cell: str) -> float | str:
    try:
        return float(cell)
    except ValueError:
        return cell


def _read(path: Path) -> list[Row]:
    """Every row that is neither blank nor a comment; the first is the header."""
    rows = list(_rows(path))
    if len(rows) < 2:
        raise TableError(path, 1, "has no rows under its header")
    return rows


def _rows(path: Path) -> Iterator[Row]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, skipinitialspace=True)
            for written in reader:
                cells = [cell.strip() for cell in written]
                if any(cells) and not cells[0].startswith("#"):
                    yield reader.line_num, cells
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TableError(path, 1, f"cannot be read as CSV: {error}") from error
