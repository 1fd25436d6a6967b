"""Reads tables into models key by key, so that one bad key does not hide the next.

The result is a draft: a model built without validation that lacks the keys that could not be read. Touching one of
those raises `UnreadableError`, which is how cross-checks know to keep quiet about what is already a mistake.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from testbed.scenario.base import Table
from testbed.scenario.lines import KeyPath
from testbed.scenario.mistakes import ABSENT, Mistake
from testbed.scenario.models import Scenario
from testbed.scenario.quantities import MISTAKE, did_you_mean
from testbed.scenario.space import PATTERNS, Elements, WalkerDelta, WalkerStar, pattern_of

AnyTable = TypeVar("AnyTable", bound=Table)

SHELL_KINDS: Mapping[str, type[Table]] = {
    "walker_delta": WalkerDelta,
    "walker_star": WalkerStar,
    "elements": Elements,
}
MISSING = {
    "on": 'missing; "laboratory", "ground", "terrestrial" or the name of a shell',
    "file": "missing; the element sets of the shell",
    "committee": "missing; a scenario needs at least one [[committee]] block",
    "at": "missing; the endpoint of the client, such as gs/tokyo",
    "target": "missing; what the fault strikes, such as replica/3",
}


@dataclass
class Reader:
    """Collects the mistakes of one scenario. `folder` is where its relative paths begin."""

    folder: Path
    mistakes: list[Mistake] = field(default_factory=list)

    def scenario(self, tables: Mapping[str, Any]) -> Scenario:
        """A draft of the whole scenario."""
        return self.table(Scenario, tables, ())

    def table(self, model: type[AnyTable], keys: Mapping[str, Any], path: KeyPath) -> AnyTable:
        """A draft of one table."""
        self._unknown_keys(model, keys, path)
        values: dict[str, Any] = {}
        unreadable: list[str] = []
        for name, hint in _hints(model).items():
            if name in keys:
                value = self._value(hint, keys[name], (*path, name))
            elif model.model_fields[name].is_required():
                value = self._fail((*path, name), MISSING.get(name, "missing; it has no default"), ABSENT)
            else:
                continue
            if value is ABSENT:
                unreadable.append(name)
            else:
                values[name] = value
        draft = model.model_construct(**values)
        for name in unreadable:
            draft.__dict__.pop(name, None)
        return draft

    def _value(self, hint: Any, value: Any, path: KeyPath) -> Any:
        """The value as its model has it, or ABSENT."""
        if (item := _table_in_array(hint)) is not None:
            return self._array(item, value, path)
        if isinstance(hint, type) and issubclass(hint, Table):
            return self._table_or_mistake(hint, value, path)
        try:
            return _adapter(hint).validate_python(value, context={"folder": self.folder})
        except ValidationError as error:
            for one in error.errors():
                text = one["msg"] if one["type"] == MISTAKE else f"cannot be used: {one['msg'].lower()}"
                self._fail(path, text, value)
            return ABSENT

    def _array(self, item: Any, value: Any, path: KeyPath) -> Any:
        name = path[-1]
        if not isinstance(value, list):
            return self._fail(path, f"must be an array of tables, written as [[{name}]]", value)
        drafts = tuple(self._item(item, keys, (*path, index)) for index, keys in enumerate(value))
        if name == "committee" and not drafts:
            return self._fail(path, "needs at least one block", value)
        return ABSENT if any(draft is ABSENT for draft in drafts) else drafts

    def _item(self, item: Any, keys: Any, path: KeyPath) -> Any:
        if isinstance(item, type) and issubclass(item, Table):
            return self._table_or_mistake(item, keys, path)
        if not isinstance(keys, Mapping):
            return self._table_or_mistake(WalkerDelta, keys, path)
        pattern = pattern_of(keys)
        if pattern is None:
            return self._shell_of_no_pattern(keys, path)
        return self.table(SHELL_KINDS[pattern], keys, path)

    def _shell_of_no_pattern(self, keys: Mapping[str, Any], path: KeyPath) -> Table:
        """The other keys of a shell with a wrong pattern, read as the kind of shell that it looks like."""
        menu = ", ".join(f'"{name}"' for name in PATTERNS)
        hint = did_you_mean(str(keys["pattern"]), PATTERNS)
        self._fail((*path, "pattern"), f"must be one of {menu}{hint}", keys["pattern"])
        likely = SHELL_KINDS["elements" if "file" in keys else "walker_delta"]
        others = {key: value for key, value in keys.items() if key != "pattern"}
        draft = self.table(likely, others, path)
        draft.__dict__.pop("pattern", None)
        return draft

    def _table_or_mistake(self, model: type[Table], value: Any, path: KeyPath) -> Any:
        if not isinstance(value, Mapping):
            return self._fail(path, "must be a table of keys", value)
        return self.table(model, value, path)

    def _unknown_keys(self, model: type[Table], keys: Mapping[str, Any], path: KeyPath) -> None:
        known = tuple(model.model_fields)
        for key in keys:
            if key not in known:
                hint = did_you_mean(key, known) or _where_known(key, model)
                self._fail((*path, key), f"unknown key{hint}", ABSENT)

    def _fail(self, path: KeyPath, text: str, value: Any) -> Any:
        self.mistakes.append(Mistake(path, text, value))
        return ABSENT


@cache
def _hints(model: type[Table]) -> dict[str, Any]:
    hints = get_type_hints(model, include_extras=True)
    return {name: hints[name] for name in model.model_fields}


@cache
def _adapter(hint: Any) -> TypeAdapter[Any]:
    return TypeAdapter(hint)


def _table_in_array(hint: Any) -> Any:
    """X for `tuple[X, ...]` where X is a table or a union of tables, else None."""
    while get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    if get_origin(hint) is not tuple:
        return None
    item = get_args(hint)[0]
    return item if _is_table(item) else None


def _is_table(hint: Any) -> bool:
    while get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    if get_origin(hint) in (Union, UnionType):
        return all(map(_is_table, get_args(hint)))
    return isinstance(hint, type) and issubclass(hint, Table)


def _where_known(key: str, model: type[Table]) -> str:
    """For a key of another table, or of another kind of shell: which."""
    patterns = [f'"{name}"' for name, kind in SHELL_KINDS.items() if key in kind.model_fields]
    if patterns and model in SHELL_KINDS.values():
        return f"; it belongs to pattern = {' or '.join(patterns)}"
    for name, hint in _hints(Scenario).items():
        item = _table_in_array(hint)
        models = SHELL_KINDS.values() if name == "shell" else [item or hint]
        for model in models:
            if isinstance(model, type) and issubclass(model, Table) and key in model.model_fields:
                return f"; it belongs in {f'[[{name}]]' if item else f'[{name}]'}"
    return ""
