"""The menu of protocols: one file each, found by name, by `"package.module:Class"`, or through the entry-point
group `quorbit.protocols`."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points

from consensus.replica import Replica

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
_DECLARED = ("facts", "Parameters", "messages")


def protocol_names() -> list[str]:
    """Every name a scenario may use, ours first."""
    return [*PROTOCOLS, *sorted(entry.name for entry in entry_points(group=ENTRY_POINT_GROUP))]


def load_protocol(name: str) -> type[Replica]:
    """The protocol class of that name or of that `"package.module:Class"`.

    Raises `LookupError` with one sentence for a name that leads nowhere, or to a class that is not yet a protocol.
    """
    path = PROTOCOLS.get(name, name)
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        if entry.name == name and name not in PROTOCOLS:
            path = entry.value
    module_name, colon, class_name = path.partition(":")
    if not colon:
        menu = ", ".join(protocol_names())
        raise LookupError(f"there is no protocol {name!r}: use {menu}, or package.module:Class")
    try:
        found = getattr(import_module(module_name), class_name)
    except Exception as error:  # a module from outside may raise anything while it is imported
        raise LookupError(f"protocol {name!r} cannot be loaded: {_in_words(error)}") from error
    if not (isinstance(found, type) and issubclass(found, Replica)):
        raise LookupError(f"protocol {name!r} is not a subclass of consensus.replica.Replica")
    missing = [*sorted(found.__abstractmethods__), *(each for each in _DECLARED if not hasattr(found, each))]
    if missing:
        raise LookupError(f"protocol {name!r} does not define {', '.join(missing)}")
    return found


def _in_words(error: Exception) -> str:
    """On one line; what is no mere failure to find something says which kind of error it is."""
    text = " ".join(str(error).split())
    if isinstance(error, ImportError | AttributeError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
