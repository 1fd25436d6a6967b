"""`--set key=value`: one key of a scenario, said on the command line.

Keys are dotted and reach into arrays by index or by name: `consensus.delta_ms`, `shell.0.planes`, `shell[0].planes`,
`shell.s1.planes`. Values are TOML; a bare word is text. A file that exists where the command runs is taken from there.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from testbed.scenario.lines import KeyPath
from testbed.scenario.mistakes import key_text

_BARE_WORD = re.compile(r"[^\s\"'\[\]{}=,#]+")
FILE_KEYS = frozenset({"file", "isl", "terrestrial", "ground_stations", "trace", "regions_file", "peers_file"})
"""Keys that can name a file."""


def apply_overrides(
    tables: dict[str, Any], overrides: Sequence[str], arrays: frozenset[str]
) -> tuple[dict[KeyPath, str], list[str]]:
    """Write each override into `tables`. Returns where each went and a sentence for each that is no override.

    `arrays` names the top-level keys that are arrays of tables; setting their next index appends a table.
    """
    placed: dict[KeyPath, str] = {}
    problems = []
    for written in overrides:
        try:
            placed[_apply(tables, written, arrays)] = written
        except ValueError as error:
            problems.append(f"--set {written}: {error}")
    return placed, problems


def _apply(tables: dict[str, Any], written: str, arrays: frozenset[str]) -> KeyPath:
    key, equals, value = written.partition("=")
    names = re.sub(r"\[(\w+)\]", r".\1", key.strip()).split(".")
    if not equals or not all(names):
        raise ValueError("must be key=value, such as consensus.delta_ms=250")
    holder: Any = tables
    path: KeyPath = ()
    for name in names[:-1]:
        part = _part(holder, name, path)
        if isinstance(holder, dict):
            holder.setdefault(part, [] if not path and part in arrays else {})
        elif part == len(holder):
            holder.append({})
        holder = holder[part]
        path = (*path, part)
    last = _part(holder, names[-1], path)
    if isinstance(holder, list) and last == len(holder):
        holder.append(None)
    holder[last] = _value(value.strip(), last)
    return (*path, last)


def _part(holder: Any, name: str, path: KeyPath) -> str | int:
    """One step into a table (its key) or an array (an index, or the `name` of the table there)."""
    if isinstance(holder, dict):
        return name
    if not isinstance(holder, list):
        raise ValueError(f"{key_text(path)} is a value and has no keys")
    index = int(name) if name.isdecimal() else _index_named(holder, name)
    if not 0 <= index <= len(holder):
        raise ValueError(f"{key_text(path)} has {len(holder)} entries and none called {name}")
    return index


def _index_named(holder: list[Any], name: str) -> int:
    for index, table in enumerate(holder):
        if isinstance(table, Mapping) and table.get("name") == name:
            return index
    return -1


def _value(written: str, key: str | int) -> Any:
    try:
        value = tomllib.loads(f"value = {written}")
    except tomllib.TOMLDecodeError:
        value = {"value": written} if _BARE_WORD.fullmatch(written) else {}
    if value.keys() != {"value"}:
        raise ValueError(f"{written!r} is not a TOML value; text needs quotes if it has spaces or signs")
    found = value["value"]
    if key in FILE_KEYS and isinstance(found, str) and Path(found).is_file():
        return str(Path(found).absolute())
    return found
