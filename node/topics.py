"""Topics: where on a broker a run's frames go. A node publishes under its own name only."""

from __future__ import annotations

from node.frames import ALL, LAUNCHER


def root(run: str) -> str:
    """What all topics of a run begin with."""
    return f"quorbit/{run}"


def commission(run: str, replica: int) -> str:
    """Where the launcher leaves a node's commission."""
    return f"{root(run)}/commission/{replica}"


def notice(run: str) -> str:
    """Where the launcher says how the run stands."""
    return f"{root(run)}/notice"


def farewell(run: str) -> str:
    """Where the broker says that the launcher has gone without a word."""
    return f"{root(run)}/farewell"


def outgoing(run: str, sender: int, to: int) -> str:
    """Where a node says something to another, to `ALL`, or to the `LAUNCHER`."""
    return f"{root(run)}/from/{sender}/{_name(to)}"


def incoming(run: str, receiver: int, n: int) -> list[str]:
    """What a node, or the `LAUNCHER`, listens to: everybody's words but its own."""
    to = (LAUNCHER,) if receiver == LAUNCHER else (ALL, receiver)
    return [outgoing(run, sender, each) for sender in range(n) if sender != receiver for each in to]


def sender_of(topic: str) -> str:
    """The sender that a topic of `outgoing` belongs to, as it stands there."""
    return topic.split("/")[3] if topic.count("/") == 4 else ""


def launcher_writes(run: str) -> tuple[str, ...]:
    """The filters of what only the launcher may publish."""
    return (f"{root(run)}/commission/#", notice(run), farewell(run))


def node_writes(run: str, replica: int) -> tuple[str, ...]:
    """The filters of what only this node may publish."""
    return (f"{root(run)}/from/{replica}/#",)


def _name(member: int) -> str:
    return {ALL: "all", LAUNCHER: "launcher"}.get(member, str(member))
