"""Zero-load bounds: the least time in which a protocol's messages can make a block final on given delays.

With nothing but propagation, the fault-free course of a leader-based protocol is order statistics over the delay
matrix, and no simulation is needed. For an all-to-all phase, replica j finishes when the q-th vote has reached it,
its own counting at once; for a chained protocol, the next leader proposes when the q-th vote has reached it.

Everything here is integer nanoseconds. `delays(times)` hands in int64[n, n] whose row i holds the delays from
replica i at `times[i]`, so that delays may change while a block is on its way; `FAR` stands for "never".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from network.plan import UNREACHABLE, Plan

IntArray = npt.NDArray[np.int64]
Delays = Callable[[IntArray], IntArray]

FAR = np.int64(2**61)
"""Later than everything; two of them still fit in an int64."""


def rank(values: IntArray, share: float) -> int:
    """The ⌈share·m⌉-th smallest of m values."""
    position = max(1, int(np.ceil(share * len(values) - 1e-9)))
    return int(np.partition(values, position - 1)[position - 1])


def _reach(sent_ns: IntArray, delays: Delays) -> IntArray:
    """int64[i, j]: when what i sends at `sent_ns[i]` is at j; at i itself at once."""
    arrival: IntArray = np.minimum(sent_ns[:, None] + delays(sent_ns), FAR)
    np.fill_diagonal(arrival, sent_ns)
    return arrival


def _phase(sent_ns: IntArray, quorum: int, delays: Delays) -> IntArray:
    """One all-to-all phase: when each replica has a quorum of votes and has voted itself."""
    arrival = _reach(sent_ns, delays)
    done: IntArray = np.maximum(np.partition(arrival, quorum - 1, axis=0)[quorum - 1], sent_ns)
    return done


def _relay(held_ns: IntArray, done_ns: IntArray, delays: Delays) -> IntArray:
    """When each has a certificate that all send on as soon as they have it, and holds the block."""
    delay_ns = delays(done_ns)
    while True:
        arrival = np.minimum(done_ns[:, None] + delay_ns, FAR).min(axis=0)
        sooner_ns: IntArray = np.maximum(held_ns, np.minimum(done_ns, arrival))
        if (sooner_ns == done_ns).all():
            return done_ns
        done_ns = sooner_ns


def all_to_all(delays: Delays, start_ns: int, leader: int, quorum: int, phases: int, relayed: bool = False) -> IntArray:
    """int64[replicas]: when each commits a block that `leader` proposes at `start_ns`.

    PBFT has two phases, Minimmit one. With `relayed`, certificates of the first are sent on and count (Simplex). Where
    no way round is shorter than the direct one this changes nothing.
    """
    n = len(delays(np.full(1, start_ns)))
    at_ns: IntArray = _reach(np.full(n, start_ns, dtype=np.int64), delays)[leader]
    for phase in range(phases):
        done_ns = _phase(at_ns, quorum, delays)
        at_ns = _relay(at_ns, done_ns, delays) if relayed and phase == 0 else done_ns
    return at_ns


def lockstep(delays: Delays, start_ns: int, leaders: Sequence[int], quorum: int, epoch_ns: int) -> IntArray:
    """int64[replicas]: when each commits a block proposed at `start_ns`, if `leaders` lead the epochs after its own.

    It is final once the next epoch's block has a quorum of votes (Streamlet); one of a later epoch serves as well,
    and is sooner only if votes take longer than epochs.
    """
    n = len(delays(np.full(1, start_ns)))
    final_ns = np.full(n, FAR, dtype=np.int64)
    for later, leader in enumerate(leaders, 1):
        begins_ns = start_ns + later * epoch_ns
        if begins_ns < final_ns.max():
            final_ns = np.minimum(final_ns, all_to_all(delays, begins_ns, leader, quorum, phases=1))
    return final_ns


def chained(delays: Delays, start_ns: int, leaders: Sequence[int], quorum: int) -> IntArray:
    """int64[replicas]: when each commits a block whose chain of proposals the `leaders` make.

    `leaders[0]` proposes it at `start_ns`; each next leader proposes when it holds the block before and a quorum of
    votes for it; a replica commits when the last of these proposals, and all before it, have arrived.
    """
    n = len(delays(np.full(1, start_ns)))
    latest = np.full(n, start_ns, dtype=np.int64)
    proposed_ns = start_ns
    for number, leader in enumerate(leaders):
        held_ns = _reach(np.full(n, proposed_ns, dtype=np.int64), delays)[leader]
        # A replica votes for a block once it also holds the one before.
        latest = held_ns if number == 0 else np.maximum(held_ns, latest)
        if number + 1 < len(leaders):
            collector = leaders[number + 1]
            votes = _reach(latest, delays)[:, collector]
            proposed_ns = max(int(np.partition(votes, quorum - 1)[quorum - 1]), int(latest[collector]))
    return latest


class PlanDelays:
    """Delays of a plan for the bounds: rows at each sender's own time, and nothing to or from who is down."""

    def __init__(self, plan: Plan, up: npt.NDArray[np.bool_] | None = None, offset_ns: int = 0) -> None:
        self._plan = plan
        self._down = None if up is None or up.all() else ~up
        self._offset_ns = offset_ns

    def __call__(self, times_ns: IntArray) -> IntArray:
        n = len(self._plan.endpoints)
        if self._plan.constant:
            delay_ns = self._plan.at(0).delay_ns
        else:
            times_ns = np.broadcast_to(times_ns, (n,))
            snapshots = [self._plan.at(time) if time < FAR else None for time in times_ns.tolist()]
            first = next((snapshot for snapshot in snapshots if snapshot is not None), None)
            if first is None:
                return np.full((n, n), FAR)
            if all(snapshot is first or snapshot is None for snapshot in snapshots):
                delay_ns = first.delay_ns
            else:
                rows = [(snapshot or first).delay_ns[i] for i, snapshot in enumerate(snapshots)]
                delay_ns = np.stack(rows)
        delay_ns = np.where(delay_ns == UNREACHABLE, FAR, delay_ns)
        if self._down is not None:
            delay_ns[self._down, :] = FAR
            delay_ns[:, self._down] = FAR
        return delay_ns


def by_way_of(others: Sequence[int], delays: Delays) -> Delays:
    """The least delays where these replicas pass on what they have, and routes do not lead through them anyway."""

    def least(times_ns: IntArray) -> IntArray:
        delay_ns = delays(times_ns).copy()
        for other in others:
            np.minimum(delay_ns, delay_ns[:, other, None] + delay_ns[other], out=delay_ns)
        return delay_ns

    return least
