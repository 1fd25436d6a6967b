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
from consensus.byzantine.schedule import TIMEOUTS_PER_ROUND, Listener, Partition, Rounds, Schedule, Standpoint
from consensus.byzantine.split import ScheduledTwins, Twins, all_but_last
from consensus.byzantine.withholding import Silent, SilentLeader, Slow, WithholdBlock, WithholdCommit
from consensus.byzantine.wrapper import Byzantine, Part, Scheme
from consensus.replica import Replica, Seat, StateMachine
from consensus.types import ReplicaId

__all__ = [
    "BEHAVIOURS",
    "TIMEOUTS_PER_ROUND",
    "Byzantine",
    "Part",
    "Partition",
    "Rounds",
    "Schedule",
    "Scheme",
    "all_but_last",
    "corrupted",
    "listening",
]

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
    make: Callable[[Seat], StateMachine], protocol: type[Replica], schemes: Sequence[Scheme], deeds: Counter[int]
) -> Callable[[Seat], StateMachine]:
    """What makes a replica that follows all the schemes; a later one edits what the earlier ones say."""
    for scheme in schemes:
        make = partial(_wrap, make, protocol, scheme, deeds, scheme is schemes[-1])
    return make


def _wrap(
    make: Callable[[Seat], StateMachine],
    protocol: type[Replica],
    scheme: Scheme,
    deeds: Counter[int],
    outermost: bool,
    seat: Seat,
) -> StateMachine:
    part = Part(seat, protocol, scheme, deeds, make, outermost)
    if scheme.schedule is None:
        return BEHAVIOURS[scheme.behaviour](part)
    return ScheduledTwins(part._replace(rounds=Rounds(scheme.schedule, protocol, seat.committee)))


def listening(make: Callable[[Seat], StateMachine], rounds: Rounds, twin: ReplicaId) -> Callable[[Seat], StateMachine]:
    """What makes an honest replica that does not hear those from whom it is apart, one of them a `twin`."""
    return lambda seat: Listener(make(seat), Standpoint(rounds, seat.me), twin)
