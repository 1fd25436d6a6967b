"""The scenario reference, `docs/scenario.md`: every key, from the same models that read the files.

`python -m testbed.reference` prints it; a test keeps the file true.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from testbed.schema import scenario_schema

_INTRODUCTION = """\
# Every key of a scenario file

A scenario is one TOML file. Whatever it leaves out takes the default below; `scenario.toml` in a run's folder has
every key filled in. Unknown keys are mistakes. `quorbit schema scenario` prints the same as JSON Schema.
"""

_SECTIONS = (
    ("`[consensus]`", "Consensus"),
    ("`[[committee]]`", "Committee"),
    ('`[[shell]]` with `pattern = "walker_delta"`, the default, or `"walker_star"`', "WalkerDelta", "WalkerStar"),
    ('`[[shell]]` with `pattern = "elements"`', "Elements"),
    ("`[[ground_station]]`", "GroundStation"),
    ("`[network]`", "Network"),
    ("`[network.gsl_rate_mbps]`", "GslRate"),
    ("`[network.gossip]`", "Gossip"),
    ("`[network.shreds]`", "Shreds"),
    ("`[network.compact]`", "Compact"),
    ("`[[network.compact.receiver]]`", "Receiver"),
    ("`[workload]`", "Workload"),
    ("`[[client]]`", "Client"),
    ("`[compute]`", "Compute"),
    ("`[[fault]]`", "Fault"),
    ("`[expect]`", "Expect"),
    ("`[mqtt]`", "Mqtt"),
)
"""Titles, and the tables that each is about: those that share one have the same keys."""


def scenario_markdown() -> str:
    """`docs/scenario.md`."""
    schema = scenario_schema()
    parts = [_INTRODUCTION, "\n".join(["## Top level\n", *_keys(schema)])]
    for title, *names in _SECTIONS:
        tables = [schema["$defs"][name] for name in names]
        parts.append("\n".join([f"## {title}\n", *_descriptions(tables), "", *_keys(*tables)]))
    return "\n".join(parts)


def _descriptions(tables: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What a table is; each of several after its pattern."""
    for table in tables:
        pattern = table["properties"].get("pattern", {}).get("const")
        yield f"- `{pattern}`: {table['description']}" if len(tables) > 1 else table["description"]


def _keys(*tables: Mapping[str, Any]) -> Iterator[str]:
    """The keys of a table, or of several that differ in nothing but defaults."""
    yield "| key | allowed | default | meaning |"
    yield "|---|---|---|---|"
    first = tables[0]
    required = first.get("required", ())
    for key, entry in first["properties"].items():
        if key == "pattern" and "const" in entry:
            continue
        defaults = {_default(table["properties"][key]) for table in tables}
        default = "**required**" if key in required else defaults.pop() if len(defaults) == 1 else "by pattern"
        meaning = entry["description"].replace("\n", " ").replace("|", "\\|")
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
    if entry.get("format") == "folder":
        return "a folder"
    if entry.get("format") == "date-time":
        return "date-time"
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
