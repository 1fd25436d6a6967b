"""Mistakes in `[consensus]`: a protocol that does not exist, parameters it does not have, an impossible quorum."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, get_args, get_origin

import msgspec

from consensus.protocols import load_protocol, protocol_names
from consensus.replica import Lottery, ProtocolFacts
from testbed.scenario.lines import KeyPath
from testbed.scenario.mistakes import Mistake
from testbed.scenario.outside import load_from
from testbed.scenario.places import Places
from testbed.scenario.quantities import did_you_mean

_KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text", "object": "a table"}

PARAMETERS: Final[KeyPath] = ("consensus", "parameters")


def check_protocol(places: Places) -> Iterator[Mistake]:
    """The protocol exists and takes its parameters."""
    consensus = places.draft.consensus
    name = consensus.protocol
    why = _name_mistake(name)
    if why is not None:
        yield Mistake(("consensus", "protocol"), why, name)
        return
    try:
        model = load_from(consensus.protocol_folder, name).Parameters
    except LookupError as error:
        yield Mistake(("consensus", "protocol"), str(error), name)
        return
    yield from _check_parameters(name, model, consensus.parameters)


def _name_mistake(name: str) -> str | None:
    menu = tuple(protocol_names())
    if name in menu or re.fullmatch(r"[\w.]+:\w+", name):
        return None
    names = ", ".join(f'"{known}"' for known in menu)
    return f'must be one of {names}, or "package.module:Class"{did_you_mean(name, menu)}'


def _check_parameters(protocol: str, model: type[msgspec.Struct], parameters: Mapping[str, Any]) -> Iterator[Mistake]:
    """Key by key, so that all mistakes are found; then together, for what the protocol asks of them jointly."""
    fields = {field.name: field for field in msgspec.structs.fields(model)}
    right = {}
    for key, value in parameters.items():
        if key not in fields:
            hint = did_you_mean(key, tuple(fields)) or ";"
            text = f"unknown parameter{hint} {protocol} has {', '.join(fields) or 'none'}"
            yield Mistake((*PARAMETERS, key), text)
        elif (why := _refusal(value, fields[key].type)) is not None:
            yield Mistake((*PARAMETERS, key), why, value)
        else:
            right[key] = value
    if (why := _refusal(right, model)) is not None:
        meant = [key for key in right if key in why]
        if len(meant) == 1:
            yield Mistake((*PARAMETERS, meant[0]), why, right[meant[0]])
        else:
            yield Mistake(PARAMETERS, why)


def _refusal(value: Any, kind: Any) -> str | None:
    """Why a parameter cannot be of this kind, in our words; None if it can."""
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        why = str(error).split(" - at `$")[0].replace("`", "")
    else:
        return None
    if get_origin(kind) is Literal:
        menu = ", ".join(f'"{name}"' for name in get_args(kind))
        return f"must be one of {menu}{did_you_mean(str(value), get_args(kind))}"
    if found := re.fullmatch(r"Expected (.+), got (.+)", why):
        wanted, given = (_in_words(types) for types in found.groups())
        return f"must be {wanted}, not {given}"
    return why


def _in_words(types: str) -> str:
    return " or ".join(_KINDS.get(one, one) for one in types.split(" | ") if one != "null")


def check_quorum(places: Places) -> Iterator[Mistake]:
    """A quorum is not larger than the committee, and belongs to a protocol that counts votes."""
    name, quorum = places.draft.consensus.protocol, places.draft.consensus.quorum
    if quorum is None:
        return
    if is_lottery(name):
        yield Mistake(("consensus", "quorum"), f"{name} has no quorum", quorum)
    elif quorum > places.replicas:
        text = f"must be at most {places.replicas}, the size of the committee"
        yield Mistake(("consensus", "quorum"), text, quorum)


def is_lottery(name: str) -> bool:
    """Whether blocks of this protocol are mined."""
    facts = facts_of(name)
    return facts is not None and isinstance(facts.shape, Lottery)


def facts_of(name: str) -> ProtocolFacts | None:
    """What is known of a protocol; None if there is no such protocol, which has its own check."""
    try:
        return load_protocol(name).facts
    except LookupError:
        return None
