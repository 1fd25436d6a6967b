"""`quorbit protocols`: the menu, from what each protocol says about itself.

Plain text, because it must begin within 0.4 s: nothing here imports numpy, pydantic or rich.
"""

import json
import sys
from collections.abc import Iterator
from typing import Any

import msgspec

from consensus.byzantine import BEHAVIOURS
from consensus.protocols import hidden_entries, load_protocol, protocol_names
from testbed.commands.terminal import MISTAKE

_LABELS = {
    "paper": "paper",
    "fault_bound": "faults",
    "responsive": "responsive",
    "commit_delays": "commits after",
    "period": "a block every",
    "messages_per_block": "messages a block",
    "view_change": "view change",
}


def show_protocols(as_json: bool) -> int:
    """Print every protocol's facts and parameters; an installed one that is broken is one sentence, and exit code 2."""
    described, broken = [], []
    for name in protocol_names():
        try:
            described.append(describe(name))
        except LookupError as error:
            broken.append(str(error))
        else:
            if not as_json:
                print("\n".join(_lines(described[-1])), end="\n\n", flush=True)
    if as_json:
        print(json.dumps(described, indent=2, ensure_ascii=False))
    for sentence in (*hidden_entries(), *broken):
        print(sentence, file=sys.stderr)
    return MISTAKE if broken else 0


def show_adversaries(as_json: bool) -> int:
    """Print what a `[[fault]]` of kind byzantine can make replicas do."""
    menu = [
        {"behaviour": name, "does": each.does, "protocols": each.suits, "keys": list(each.takes)}
        for name, each in BEHAVIOURS.items()
    ]
    if as_json:
        print(json.dumps(menu, indent=2, ensure_ascii=False))
        return 0
    for each in menu:
        only = "" if each["protocols"] == "all" else f" [protocols with {each['protocols']}]"
        keys = f" (keys: {', '.join(each['keys'])})" if each["keys"] else ""
        print(f"{each['behaviour']:<17} {each['does']}{keys}{only}")
    return 0


def describe(name: str) -> dict[str, Any]:
    """The facts of one protocol and its parameters with their defaults."""
    protocol = load_protocol(name)
    facts = protocol.facts
    return {
        "name": name,
        **{key: getattr(facts, key) for key in _LABELS},
        "timeout_deltas": facts.timeout_deltas,
        "parameters": {field.name: _default(field) for field in msgspec.structs.fields(protocol.Parameters)},
    }


def _default(field: msgspec.structs.FieldInfo) -> Any:
    return None if field.default is msgspec.NODEFAULT else field.default


def _lines(described: dict[str, Any]) -> Iterator[str]:
    yield described["name"]
    for key, label in _LABELS.items():
        yield f"  {label:<17} {described[key]}"
    if described["timeout_deltas"] is not None:
        yield f"  {'timeout':<17} {described['timeout_deltas']:g} × delta_ms"
    shown = ", ".join(f"{name} = {_value_text(value)}" for name, value in described["parameters"].items())
    yield f"  {'parameters':<17} {shown}"


def _value_text(value: Any) -> str:
    return "default" if value is None else json.dumps(value)
