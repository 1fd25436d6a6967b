"""From a TOML file to a `Scenario`, or to all the mistakes in it at once."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from testbed.scenario.compute import fill_in
from testbed.scenario.crosscheck import cross_check
from testbed.scenario.draft import Reader
from testbed.scenario.lines import KeyPath, index_lines
from testbed.scenario.mistakes import Mistake, ScenarioError, Sources
from testbed.scenario.models import DEFAULT_START, Scenario
from testbed.scenario.outside import remember_folder
from testbed.scenario.overrides import apply_overrides
from testbed.scenario.quantities import existing_file
from testbed.tables import TableError, read_stations

_ARRAYS = frozenset({"committee", "shell", "ground_station", "client", "fault"})


def load_scenario(path: str | Path, overrides: Sequence[str] = ()) -> Scenario:
    """Read a scenario file. Overrides are `key=value` as after `--set`.

    Relative paths in the file are taken from its folder. Raises ScenarioError with every mistake.
    """
    path = Path(path)
    text = _read_text(path)
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError([_not_toml(path, text, error)]) from None
    return _build(tables, path.parent, overrides, Sources(str(path), index_lines(text)))


def make_scenario(tables: Mapping[str, Any], overrides: Sequence[str] = (), *, folder: str | Path = ".") -> Scenario:
    """The scenario of tables that are already in memory, in the layout of the TOML file.

    Relative paths are taken from `folder`. Raises ScenarioError with every mistake.
    """
    return _build(deepcopy(dict(tables)), Path(folder), overrides, Sources("scenario"))


def _build(tables: dict[str, Any], folder: Path, overrides: Sequence[str], sources: Sources) -> Scenario:
    _name_shells(tables)  # before the overrides, which may speak of shell.s1
    placed, problems = apply_overrides(tables, overrides, _ARRAYS)
    shells = _name_shells(tables)
    if all(shell.get("pattern") != "elements" for shell in shells):
        tables.setdefault("start", DEFAULT_START)
    fill_in(tables)
    if tables.get("client"):
        # Each client has its own rate, so the default of all of them together must not stand there.
        workload = tables.setdefault("workload", {})
        if isinstance(workload, dict):
            workload.setdefault("transactions_per_s", None)
    remember_folder(tables, folder)
    station_lines, mistakes = _read_station_table(tables, folder)
    sources = Sources(sources.name, sources.lines, placed, station_lines)
    reader = Reader(folder)
    draft = reader.scenario(tables)
    mistakes += reader.mistakes
    mistakes += cross_check(draft)
    if mistakes or problems:
        raise sources.error(mistakes, problems)
    scenario = Scenario.model_validate(tables, context={"folder": folder})
    scenario._sources = sources
    return scenario


def _name_shells(tables: dict[str, Any]) -> list[dict[str, Any]]:
    """Call shells without a name s1, s2, … in order; all shells that are tables."""
    written = tables.get("shell", [])
    shells = [shell for shell in written if isinstance(shell, dict)] if isinstance(written, list) else []
    for number, shell in enumerate(shells, start=1):
        shell.setdefault("name", f"s{number}")
    return shells


def _read_station_table(tables: dict[str, Any], folder: Path) -> tuple[dict[KeyPath, tuple[Path, int]], list[Mistake]]:
    """Append the stations of a `ground_stations` CSV to `ground_station`; where each came from, and mistakes."""
    file = tables.get("ground_stations")
    stations = tables.get("ground_station", [])
    if not isinstance(file, str) or not isinstance(stations, list):
        return {}, []  # its own type is a mistake that the reader finds
    try:
        rows = read_stations(existing_file(Path(file), {"folder": folder}))
    except TableError as error:
        return {}, [Mistake(("ground_stations",), f"line {error.line} {error.text}", file)]
    except ValueError:
        return {}, []  # likewise: no such file
    del tables["ground_stations"]
    shown = folder / file
    lines: dict[KeyPath, tuple[Path, int]] = {
        ("ground_station", len(stations) + index): (shown, line) for index, (line, _) in enumerate(rows)
    }
    tables["ground_station"] = [*stations, *(table for _, table in rows)]
    return lines, []


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ScenarioError([f"{path}: no such file"]) from None
    except IsADirectoryError:
        raise ScenarioError([f"{path}: must be a TOML file, this is a folder"]) from None
    except UnicodeDecodeError:
        raise ScenarioError([f"{path}: not TOML: it is not UTF-8 text"]) from None
    except OSError as error:
        raise ScenarioError([f"{path}: cannot be read: {error.strerror}"]) from None


def _not_toml(path: Path, text: str, error: tomllib.TOMLDecodeError) -> str:
    """Python 3.11 has the position only in the words of the error."""
    why = re.sub(r" \(at .*\)$", "", str(error))
    found = re.search(r"at line (\d+), column (\d+)", str(error))
    line, column = found.groups() if found else (str(text.count("\n") + 1), "")
    where = f" (column {column})" if column else " (at the end of the file)"
    return f"{path}:{line}: not TOML: {why[:1].lower()}{why[1:]}{where}"
