"""A scenario written out again: complete, and independent of the folder it came from."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tomli_w

from testbed.scenario.models import Scenario


def to_toml(scenario: Scenario) -> str:
    """A TOML file with every key that has a value."""
    tables = scenario.model_dump(exclude_none=True)
    return tomli_w.dumps(_each(tables, lambda leaf: str(leaf) if isinstance(leaf, Path) else leaf))


def to_plain(scenario: Scenario) -> dict[str, Any]:
    """The same as values that JSON has."""
    plain: dict[str, Any] = _each(scenario.model_dump(mode="json", exclude_none=True), _finite)
    return plain


def _finite(leaf: Any) -> Any:
    return "inf" if isinstance(leaf, float) and math.isinf(leaf) else leaf


def _each(value: Any, change: Callable[[Any], Any]) -> Any:
    match value:
        case Mapping():
            return {key: _each(item, change) for key, item in value.items()}
        case list() | tuple():
            return [_each(item, change) for item in value]
        case _:
            return change(value)
