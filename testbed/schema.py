"""`quorbit schema`: the JSON Schema of what goes in and of what comes out."""

import json
from importlib import import_module
from typing import Any, Final

SCHEMAS: Final = {
    "scenario": "testbed.schema:scenario_schema",
    "result": "testbed.metrics_definitions:result_schema",
}
"""Where each schema comes from: a function without arguments that returns it. Imported when asked for."""


def schema_text(which: str | None) -> str:
    """One schema, or all of them under their names."""
    found = schema(which) if which is not None else {name: schema(name) for name in SCHEMAS}
    return json.dumps(found, indent=2, ensure_ascii=False)


def schema(which: str) -> dict[str, Any]:
    """The schema called `which`. Raises KeyError for a name that is not in `SCHEMAS`."""
    module, _, function = SCHEMAS[which].partition(":")
    found: dict[str, Any] = getattr(import_module(module), function)()
    return found


def scenario_schema() -> dict[str, Any]:
    """Every key of a scenario with its meaning, type, range and default."""
    from testbed.scenario import Scenario

    schema: dict[str, Any] = _tidy(Scenario.model_json_schema())
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _tidy(schema: Any) -> Any:
    """Without what TOML cannot say (null) and without titles that only repeat a key."""
    if isinstance(schema, list):
        return [_tidy(item) for item in schema if item != {"type": "null"}]
    if not isinstance(schema, dict):
        return schema
    tidy = {key: _tidy(value) for key, value in schema.items() if not _is_noise(key, value)}
    alternatives = tidy.get("anyOf", ())
    if len(alternatives) == 1:
        del tidy["anyOf"]
        return {**alternatives[0], **tidy}
    return tidy


def _is_noise(key: str, value: Any) -> bool:
    return (key == "title" and isinstance(value, str)) or (key == "default" and value is None)
