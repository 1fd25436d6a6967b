"""The scenario reference, `docs/scenario.md`: every key, from the same models that read the files.

`python -m testbed.reference` prints it; a test keeps the file true.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from testbed.schema import scenario_schema

_INTRODUCTION = """\
# Every key of a scenario file

A scenario is one TOML file. Whatever it leaves out takes the default below; `scenario.toml` in a run's folder has
every key filled in. Unknown keys are mistakes. `quorbit schema scenario` prints the same as JSON Schema.
"""

_SECTIONS = (
    ("Top level", "", None),
    ("`[consensus]`", "Consensus", None),
    ("`[[committee]]`", "Committee", None),
    ('`[[shell]]` with `pattern = "walker_delta"` or `"walker_star"`', "WalkerDelta", "seam"),
    ('`[[shell]]` with `pattern = "elements"`', "Elements", None),
    ("`[[ground_station]]`", "GroundStation", None),
    ("`[network]`", "Network", None),
    ("`[workload]`", "Workload", None),
    ("`[compute]`", "Compute", None),
    ("`[[fault]]`", "Fault", None),
    ("`[expect]`", "Expect", None),
    ("`[mqtt]`", "Mqtt", None),
)


def scenario_markdown() -> str:
    """`docs/scenario.md`."""
    schema = scenario_schema()
    parts = [_INTRODUCTION]
    for title, name, pattern_dependent in _SECTIONS:
        table = schema["$defs"][name] if name else schema
        parts.append("\n".join(_section(title, table, pattern_dependent)))
    return "\n".join(parts)


def _section(title: str, table: Mapping[str, Any], pattern_dependent: str | None) -> Iterator[str]:
    yield f"## {title}\n"
    if title != "Top level":
        yield f"{table['description']}\n"
    yield "| key | allowed | default | meaning |"
    yield "|---|---|---|---|"
    required = table.get("required", ())
    for key, entry in table["properties"].items():
        if key == "pattern" and "const" in entry:
            continue
        default = "**required**" if key in required else _default(entry)
        if key == pattern_dependent:
            default = "by pattern"
        meaning = entry.get("description", "").replace("\n", " ").replace("|", "\\|")
        yield f"| `{key}` | {_allowed(entry)} | {default} | {meaning} |"
    yield ""


def _default(entry: Mapping[str, Any]) -> str:
    if "default" not in entry:
        return "" if "$ref" not in entry else "see below"
    value = entry["default"]
    return "inf" if value == float("inf") else f"`{json.dumps(value, ensure_ascii=False)}`" if value != "" else ""


def _allowed(entry: Mapping[str, Any]) -> str:
    if "enum" in entry:
        return ", ".join(f"`{value}`" for value in entry["enum"])
    if "const" in entry:
        return f"`{entry['const']}`"
    for several in ("anyOf", "oneOf"):
        if several in entry:
            return " or ".join(dict.fromkeys(_allowed(one) for one in entry[several]))
    if "$ref" in entry:
        return "a table"
    if entry.get("format") == "path":
        return "a file"
    kind = {"integer": "whole number", "array": "list", "object": "table", "string": "text"}.get(
        entry.get("type", ""), entry.get("type", "")
    )
    return " ".join([kind, *_limits(entry)]).strip()


def _limits(entry: Mapping[str, Any]) -> Iterator[str]:
    for key, sign in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<")):
        if key in entry:
            yield f"{sign} {entry[key]:g}"


if __name__ == "__main__":
    print(scenario_markdown(), end="")
