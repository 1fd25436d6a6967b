"""The menu of protocols: one file each, found by name, by `"package.module:Class"`, or through the entry-point
group `quorbit.protocols`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module, invalidate_caches
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import Any, Union

import msgspec

from consensus.messages import Message
from consensus.replica import ProtocolFacts, Replica

PROTOCOLS = {
    "pbft": "consensus.protocols.pbft:Pbft",
    "hotstuff": "consensus.protocols.hotstuff:HotStuff",
    "jolteon": "consensus.protocols.jolteon:Jolteon",
    "hotstuff2": "consensus.protocols.hotstuff2:HotStuff2",
    "tendermint": "consensus.protocols.tendermint:Tendermint",
    "simplex": "consensus.protocols.simplex:Simplex",
    "streamlet": "consensus.protocols.streamlet:Streamlet",
    "minimmit": "consensus.protocols.minimmit:Minimmit",
    "longest_chain": "consensus.protocols.longest_chain:LongestChain",
}
ENTRY_POINT_GROUP = "quorbit.protocols"


def protocol_names() -> list[str]:
    """Every name a scenario may use, ours first."""
    return [*PROTOCOLS, *sorted({entry.name for entry in _entries()} - PROTOCOLS.keys())]


def hidden_entries() -> list[str]:
    """One sentence for each entry point that no name leads to, because one of ours has it."""
    return [
        f"the entry point {_described(entry)} is hidden by Quorbit's own {entry.name}; say {entry.value!r} instead"
        for entry in _entries()
        if entry.name in PROTOCOLS
    ]


def look_in(folder: str) -> None:
    """Find modules of protocols in this folder too, if they are nowhere else."""
    if folder not in sys.path:
        sys.path.append(folder)
    invalidate_caches()


def load_protocol(name: str) -> type[Replica]:
    """The protocol class of that name or of that `"package.module:Class"`.

    Raises `LookupError` with one sentence for a name that leads nowhere, or to a class that is not yet a protocol.
    """
    module_name, colon, class_name = _path(name).partition(":")
    if not colon:
        menu = ", ".join(protocol_names())
        raise LookupError(f"there is no protocol {name!r}: use {menu}, or package.module:Class")
    try:
        found = getattr(import_module(module_name), class_name)
    except (Exception, SystemExit) as error:  # a module from outside may raise anything while it is imported
        raise LookupError(f"protocol {name!r} cannot be loaded: {_in_words(error)}") from error
    if not (isinstance(found, type) and issubclass(found, Replica)):
        raise LookupError(f"protocol {name!r} is not a subclass of consensus.replica.Replica")
    missing = [*sorted(found.__abstractmethods__), *(each for each in _DECLARED if not hasattr(found, each))]
    if missing:
        raise LookupError(f"protocol {name!r} does not define {', '.join(missing)}")
    for each, wrong in _DECLARED.items():
        if why := wrong(getattr(found, each)):
            raise LookupError(f"protocol {name!r} declares {each} that are {why}")
    return found


def _entries() -> EntryPoints:
    return entry_points(group=ENTRY_POINT_GROUP)


def _path(name: str) -> str:
    """`"package.module:Class"` for a name; a name that leads nowhere stays as it is."""
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    found = [entry for entry in _entries() if entry.name == name]
    paths = {entry.value for entry in found}
    if len(paths) > 1:
        described = ", ".join(sorted(map(_described, found)))
        raise LookupError(f"protocol {name!r} is ambiguous: there are the entry points {described}")
    return paths.pop() if paths else name


def _described(entry: EntryPoint) -> str:
    owner = f" of {entry.dist.name} {entry.dist.version}" if entry.dist else ""
    return f"{entry.name} = {entry.value!r}{owner}"


def _fault_in_facts(facts: Any) -> str | None:
    if not isinstance(facts, ProtocolFacts):
        return "no consensus.replica.ProtocolFacts"
    # A msgspec struct does not look at what it is made of; whoever reads it does.
    return None if facts.resilience in (3, 5) else f"of resilience {facts.resilience!r}, which must be 3 or 5"


def _fault_in_parameters(parameters: Any) -> str | None:
    right = isinstance(parameters, type) and issubclass(parameters, msgspec.Struct)
    return None if right else "no subclass of msgspec.Struct"


def _fault_in_messages(messages: Any) -> str | None:
    kinds = messages if isinstance(messages, tuple) else ()
    if not kinds or not all(isinstance(kind, type) and issubclass(kind, Message) for kind in kinds):
        return "no tuple of subclasses of consensus.messages.Message"
    try:
        msgspec.msgpack.Decoder(Union[kinds])  # noqa: UP007 - of types that are only known now
    except TypeError as error:
        return f"not to be told apart on the wire: {_in_words(error)}"
    return None


_DECLARED: dict[str, Callable[[Any], str | None]] = {
    "facts": _fault_in_facts,
    "Parameters": _fault_in_parameters,
    "messages": _fault_in_messages,
}
"""What a protocol's class must say about itself, and what says what is wrong with that."""


def _in_words(error: BaseException) -> str:
    """On one line; what is no mere failure to find something says which kind of error it is."""
    text = " ".join(str(error).split())
    if isinstance(error, ImportError | AttributeError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
