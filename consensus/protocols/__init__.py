"""The menu of protocols: one file each, found by name, by `"package.module:Class"`, or through the entry-point
group `quorbit.protocols`."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points

from consensus.replica import Replica

PROTOCOLS = {
    "pbft": "consensus.protocols.pbft:Pbft",
    "hotstuff": "consensus.protocols.hotstuff:HotStuff",
    "longest_chain": "consensus.protocols.longest_chain:LongestChain",
}
ENTRY_POINT_GROUP = "quorbit.protocols"


def protocol_names() -> list[str]:
    """Every name a scenario may use, ours first."""
    return [*PROTOCOLS, *sorted(entry.name for entry in entry_points(group=ENTRY_POINT_GROUP))]


def load_protocol(name: str) -> type[Replica]:
    """The protocol class of that name or of that `"package.module:Class"`.

    Raises `LookupError` with one sentence for a name that leads nowhere.
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
    except (ImportError, AttributeError) as error:
        raise LookupError(f"protocol {name!r} cannot be loaded: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Replica)):
        raise LookupError(f"protocol {name!r} is not a subclass of consensus.replica.Replica")
    return found
