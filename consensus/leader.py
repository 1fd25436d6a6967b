"""Who leads which view."""

from __future__ import annotations

from collections.abc import Callable

from consensus.types import Committee, ReplicaId, View

Leaders = Callable[[Committee, View], ReplicaId]
"""`leaders(committee, view)`."""


def round_robin(committee: Committee, view: View) -> ReplicaId:
    """The leader of `view`: replicas take turns in order of their numbers (PBFT, section 4: p = v mod n)."""
    return ReplicaId(view % committee.n)
