"""On which line of a TOML text each key stands.

`tomllib` keeps no positions. This reads a text that `tomllib` has accepted, so it only has to know where things begin
and end, never whether they are right.
"""

import re
from dataclasses import dataclass, field
from typing import TypeAlias

KeyPath: TypeAlias = tuple[str | int, ...]
"""Where a value stands in the document: `("shell", 0, "planes")`."""

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2}(?!"))' r"|'''.*?'''(?:'{0,2}(?!'))" r'|"(?:\\.|[^"\\])*"' r"|'[^']*'",
    re.DOTALL,
)
_PLAIN = re.compile(r"[^,\]}\n#]*")


def index_lines(text: str) -> dict[KeyPath, int]:
    """The line, from 1, of every key, array item and table header in a valid TOML text."""
    scanner = _Scanner(text)
    scanner.read_document()
    return scanner.lines


def line_of(path: KeyPath, lines: dict[KeyPath, int]) -> int | None:
    """The line of a path, or of the nearest thing around it; None if nothing around it has a line."""
    while path not in lines:
        if not path:
            return None
        path = path[:-1]
    return lines[path]


@dataclass
class _Scanner:
    text: str
    at: int = 0
    lines: dict[KeyPath, int] = field(default_factory=dict)
    counted_to: int = 0
    line: int = 1
    array_lengths: dict[KeyPath, int] = field(default_factory=dict)

    def read_document(self) -> None:
        table: KeyPath = ()
        while self.skip(_BLANK) < len(self.text):
            if self.text[self.at] == "[":
                table = self.read_header()
            else:
                self.read_pair(table)

    def read_header(self) -> KeyPath:
        array = self.text.startswith("[[", self.at)
        begin = self.at
        self.at += 2 if array else 1
        keys = self.read_key()
        self.at += 2 if array else 1
        parent = self.descend((), keys[:-1], begin)
        path = (*parent, keys[-1])
        if array:
            self.note(path, begin)
            self.array_lengths[path] = self.array_lengths.get(path, 0) + 1
        path = self.latest(path)
        self.note(path, begin)
        return path

    def read_pair(self, table: KeyPath) -> None:
        begin = self.at
        keys = self.read_key()
        self.at += 1  # the equals sign
        path = (*self.descend(table, keys[:-1], begin), keys[-1])
        self.note(path, begin)
        self.skip(_SPACE)
        self.read_value(path)

    def read_key(self) -> list[str]:
        keys = []
        while True:
            self.skip(_SPACE)
            pattern = _STRING if self.text[self.at] in "\"'" else _BARE_KEY
            word = self.take(pattern)
            keys.append(word[1:-1] if pattern is _STRING else word)
            self.skip(_SPACE)
            if self.text[self.at] != ".":
                return keys
            self.at += 1

    def read_value(self, path: KeyPath) -> None:
        opening = self.text[self.at]
        if opening == "[":
            self.read_items(path)
        elif opening == "{":
            self.read_inline_table(path)
        elif opening in "\"'":
            self.take(_STRING)
        else:
            self.take(_PLAIN)

    def read_items(self, path: KeyPath) -> None:
        self.at += 1
        index = 0
        while self.text[self.skip(_BLANK)] != "]":
            self.note((*path, index), self.at)
            self.read_value((*path, index))
            index += 1
            self.skip_comma()
        self.at += 1

    def read_inline_table(self, path: KeyPath) -> None:
        self.at += 1
        while self.text[self.skip(_BLANK)] != "}":
            self.read_pair(path)
            self.skip_comma()
        self.at += 1

    def descend(self, table: KeyPath, keys: list[str], begin: int) -> KeyPath:
        """Follow dotted keys; through an array of tables they lead to its latest table."""
        for key in keys:
            table = self.latest((*table, key))
            self.note(table, begin)
        return table

    def latest(self, path: KeyPath) -> KeyPath:
        return (*path, self.array_lengths[path] - 1) if path in self.array_lengths else path

    def note(self, path: KeyPath, at: int) -> None:
        if path in self.lines:
            return
        if at >= self.counted_to:
            self.line += self.text.count("\n", self.counted_to, at)
            self.counted_to = at
        self.lines[path] = self.line

    def take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        assert match is not None, f"valid TOML has {pattern.pattern} at offset {self.at}"
        self.at = match.end()
        return match.group()

    def skip(self, pattern: re.Pattern[str]) -> int:
        self.take(pattern)
        return self.at

    def skip_comma(self) -> None:
        if self.text[self.skip(_BLANK)] == ",":
            self.at += 1
