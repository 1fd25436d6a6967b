"""Mistakes in a scenario: where they stand, and one sentence each."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Final

from testbed.scenario.base import UnreadableError
from testbed.scenario.lines import KeyPath, line_of

ABSENT: Final = object()
"""The value of a mistake that is about no particular value."""


class ScenarioError(Exception):
    """A scenario cannot be used. `problems` has one sentence for each mistake, in the order of the file."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


@dataclass(frozen=True)
class Mistake:
    """What is wrong with the value at `path`; `text` completes the sentence "shell[0].planes = 0: …"."""

    path: KeyPath
    text: str
    value: Any = ABSENT

    @property
    def subject(self) -> str:
        """The key as a person writes it, with its value if it is short enough to show."""
        key = key_text(self.path)
        shown = "" if self.value is ABSENT else value_text(self.value)
        return " = ".join(filter(None, (key, shown)))


def readable(mistakes: Iterable[Mistake]) -> Iterator[Mistake]:
    """The mistakes that a check finds before it touches a key that could not be read."""
    try:
        yield from mistakes
    except UnreadableError:
        return


@dataclass(frozen=True)
class Sources:
    """Where each part of a scenario was written: in a file, on the command line, in a table beside the file."""

    name: str
    lines: Mapping[KeyPath, int] = field(default_factory=dict)
    overrides: Mapping[KeyPath, str] = field(default_factory=dict)
    tables: Mapping[KeyPath, tuple[Path, int]] = field(default_factory=dict)

    def error(self, mistakes: Iterable[Mistake], sentences: Iterable[str] = ()) -> ScenarioError:
        """All these mistakes in the order of the file, then what is already a sentence."""
        return ScenarioError([*map(self.sentence, sorted(mistakes, key=self.order)), *sentences])

    def sentence(self, mistake: Mistake) -> str:
        """`scenarios/x.toml:12: shell[0].inclination_deg = 190: must be between 0 and 180 degrees`."""
        override = self._override(mistake.path)
        if override is not None:
            path, written = override
            subject = "" if path == mistake.path else f"{mistake.subject}: "
            return f"--set {written}: {subject}{mistake.text}"
        file, line = self._place(mistake.path)
        place = f"{file}:{line}" if line is not None else file
        return f"{place}: {mistake.subject}: {mistake.text}" if mistake.subject else f"{place}: {mistake.text}"

    def order(self, mistake: Mistake) -> tuple[bool, bool, int]:
        """Sorts mistakes as they stand in the file, then those of tables beside it, then overrides."""
        overridden = self._override(mistake.path) is not None
        file, line = self._place(mistake.path)
        return overridden, file != self.name, line or 0

    def _override(self, path: KeyPath) -> tuple[KeyPath, str] | None:
        for length in range(len(path), 0, -1):
            if path[:length] in self.overrides:
                return path[:length], self.overrides[path[:length]]
        return None

    def _place(self, path: KeyPath) -> tuple[str, int | None]:
        for length in range(len(path), 0, -1):
            if path[:length] in self.tables:
                file, line = self.tables[path[:length]]
                return str(file), line
        return self.name, line_of(path, dict(self.lines))


def key_text(path: KeyPath) -> str:
    """`shell[0].planes` for `("shell", 0, "planes")`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def value_text(value: Any) -> str:
    """A value as TOML writes it; nothing for tables, and long ones cut."""
    text = _toml(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _toml(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return f'"{value}"'
        case list() | tuple():
            return f"[{', '.join(map(_toml, value))}]"
        case dict():
            return "{ … }" if value else "{}"
        case float() if value.is_integer():
            return str(int(value))
        case date():
            return value.isoformat()
        case _:
            return str(value)
