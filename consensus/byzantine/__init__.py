"""The menu of adversaries: what a replica may do instead of what its protocol says.

Each wraps a replica and edits what it asks for; several can be wrapped around one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

from consensus.byzantine.confusion import Amnesia, ClockSkew
from consensus.byzantine.lying import DoubleVote, Equivocate, Flood, Fork, InflateView, Replay, WrongSignature
from consensus.byzantine.mining import PrivateAttack, SelfishMining
from consensus.byzantine.split import Twins
from consensus.byzantine.withholding import Silent, SilentLeader, Slow, WithholdBlock, WithholdCommit
from consensus.byzantine.wrapper import Byzantine, Part, Scheme
from consensus.replica import ProtocolFacts, Seat, StateMachine

__all__ = ["BEHAVIOURS", "Byzantine", "Part", "Scheme", "corrupted"]

BEHAVIOURS: dict[str, type[Byzantine]] = {
    behaviour.name: behaviour
    for behaviour in (
        Silent,
        SilentLeader,
        Slow,
        WithholdBlock,
        WithholdCommit,
        Equivocate,
        DoubleVote,
        Fork,
        Amnesia,
        Twins,
        ClockSkew,
        Replay,
        WrongSignature,
        InflateView,
        Flood,
        SelfishMining,
        PrivateAttack,
    )
}


def corrupted(
    make: Callable[[Seat], StateMachine], facts: ProtocolFacts, schemes: Sequence[Scheme], deeds: Counter[int]
) -> Callable[[Seat], StateMachine]:
    """What makes a replica that follows all the schemes; a later one edits what the earlier ones say."""
    for scheme in schemes:
        make = partial(_wrap, make, facts, scheme, deeds, scheme is schemes[-1])
    return make


def _wrap(
    make: Callable[[Seat], StateMachine],
    facts: ProtocolFacts,
    scheme: Scheme,
    deeds: Counter[int],
    outermost: bool,
    seat: Seat,
) -> StateMachine:
    return BEHAVIOURS[scheme.behaviour](Part(seat, facts, scheme, deeds, make, outermost))
