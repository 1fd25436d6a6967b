"""HotStuff-2 against its paper (ePrint 2023/397). One rule a test; what is shared is in `test_hotstuff`."""

from __future__ import annotations

import pytest

from consensus.chained import PHASE
from consensus.effects import Adopted, Broadcast, Committed, Effect, Entered, Held, Persist, Send, SetTimer
from consensus.messages import GENESIS, Block, Proposal, Timeout, genesis_certificate
from consensus.pacemaker import BftParameters
from consensus.protocols.hotstuff2 import HotStuff2, HotStuff2Promise
from consensus.types import ReplicaId, View
from tests.consensus.stage import DELTA_NS, certificate, chain, child, seat, spoken, tell, timeout_certificate, vote

TIMEOUT_NS = 10 * DELTA_NS
WAIT_NS = 2 * DELTA_NS
HIGH = genesis_certificate(PHASE)


def started(me: int, protocol: type[HotStuff2] = HotStuff2) -> HotStuff2:
    replica = protocol(seat(me, BftParameters()))
    replica.start({}, 0)
    return replica


def holding(me: int, *blocks: Block, protocol: type[HotStuff2] = HotStuff2) -> HotStuff2:
    """A replica that has been told these blocks, each on the one before."""
    replica = started(me, protocol)
    for parent, block in zip([GENESIS, *blocks], blocks, strict=False):
        tell(replica, block.proposer, on(parent, block))
    return replica


def on(parent: Block, block: Block, timed_out: bool = False) -> Proposal:
    """A proposal, in turn or after a timeout."""
    justify = HIGH if parent is GENESIS else certificate(PHASE, parent.view, parent)
    return Proposal(block, justify, timeout_certificate(block.view - 1) if timed_out else None)


def votes(effects: list[Effect]) -> list[Effect]:
    return [effect for effect in effects if isinstance(effect, Send)]


# Propose


def test_a_leader_that_holds_the_certificate_of_the_view_before_proposes_at_once() -> None:
    """Propose: no wait with C_{v-1}, that is what makes it responsive."""
    first = child(GENESIS, 1)
    leader = holding(2, first)
    tell(leader, 0, vote(PHASE, 1, first))
    tell(leader, 1, vote(PHASE, 1, first))
    made = certificate(PHASE, 1, first, 0, 1, 3)
    assert tell(leader, 3, vote(PHASE, 1, first)) == [
        Entered(View(2)),
        SetTimer("view", TIMEOUT_NS),
        Persist("promise", HotStuff2Promise(View(2), View(1), View(2), made, None, View(0))),
        Broadcast(Proposal(child(first, 2), made)),
    ]


def waiting(protocol: type[HotStuff2] = HotStuff2) -> tuple[HotStuff2, Block]:
    """Leader 3 of view 3, to whom 0, 1 and itself have reported nothing; it holds a block that 2 knows certified."""
    first = child(GENESIS, 1)
    leader = holding(3, first, protocol=protocol)
    tell(leader, 0, Timeout(View(2), HIGH))
    effects = spoken(tell(leader, 1, Timeout(View(2), HIGH)))
    assert effects == [Broadcast(Timeout(View(2), HIGH))]
    return leader, first


def test_a_leader_that_enters_by_a_timeout_waits_for_the_locks_of_all_honest_replicas() -> None:
    """Propose: otherwise it waits, here P + Δ = 2Δ, and then proposes on the highest certificate it has heard of."""
    leader, first = waiting()
    assert tell(leader, 3, Timeout(View(2), HIGH), 50) == [
        Entered(View(3), True),
        SetTimer("view", TIMEOUT_NS),
        SetTimer("propose", WAIT_NS),
    ]
    lock = certificate(PHASE, 1, first)
    assert tell(leader, 2, Timeout(View(2), lock), 50 + WAIT_NS - 1) == []
    gave_up = timeout_certificate(2)
    signed = (ReplicaId(0), ReplicaId(1), ReplicaId(3))
    gave_up = type(gave_up)(View(2), signed, gave_up.signatures, gave_up.high_views)
    assert list(leader.fire("propose", 50 + WAIT_NS)) == [
        Persist("promise", HotStuff2Promise(View(3), View(2), View(3), lock, gave_up, View(0))),
        Broadcast(Proposal(child(first, 3), lock, gave_up)),
    ]


def test_a_leader_woken_too_early_goes_on_waiting() -> None:
    leader, _ = waiting()
    tell(leader, 3, Timeout(View(2), HIGH), 50)
    assert list(leader.fire("propose", 50 + 60)) == [SetTimer("propose", WAIT_NS - 60)]


def test_the_certificate_of_the_view_before_ends_the_wait() -> None:
    """Votes of view 2 that come late: with C_{v-1} in hand there is nothing left to wait for."""
    first, second = chain(2)
    leader = holding(3, first, second)
    for sender in (0, 1):
        tell(leader, sender, Timeout(View(2), certificate(PHASE, 1, first)))
    tell(leader, 3, Timeout(View(2), certificate(PHASE, 1, first)))
    assert leader.view == 3
    for sender in (0, 1):
        assert tell(leader, sender, vote(PHASE, 2, second), 20) == []
    made = certificate(PHASE, 2, second)
    assert spoken(tell(leader, 2, vote(PHASE, 2, second), 30)) == [
        Committed(first),
        Broadcast(Proposal(child(second, 3), made)),
    ]
    assert list(leader.fire("propose", WAIT_NS)) == []


class Hasty(HotStuff2):
    """Proposes as soon as it has entered."""

    def _hold_back_ns(self) -> int:
        return 0


@pytest.mark.parametrize(("protocol", "voted"), [(HotStuff2, True), (Hasty, False)])
def test_without_the_wait_a_leader_passes_over_a_lock_and_gets_no_vote_there(
    protocol: type[HotStuff2], voted: bool
) -> None:
    """Replica 2 alone has voted in view 2, for a child of block 1; its timeout is the last to come."""
    first, second = chain(2)
    locked = holding(2, first, second)
    assert locked.locked == 1
    leader, _ = waiting(protocol)
    effects = tell(leader, 3, Timeout(View(2), HIGH), 50)
    effects += tell(leader, 2, Timeout(View(2), certificate(PHASE, 1, first)), 50 + DELTA_NS)
    effects += leader.fire("propose", 50 + WAIT_NS)
    [said] = [effect.message for effect in effects if isinstance(effect, Broadcast)]
    assert bool(votes(tell(locked, 3, said))) == voted


# Vote and lock


def test_a_replica_votes_at_or_above_its_lock_and_locks_what_is_under_its_vote() -> None:
    """Vote: the parent's certificate ranks no lower than the lock; the vote locks it, durably before it leaves."""
    first, second = chain(2)
    replica = holding(0, first)
    assert tell(replica, 2, on(first, second)) == [
        Persist(second.id, second),
        Held(second),
        Entered(View(2)),
        SetTimer("view", TIMEOUT_NS),
        Persist(
            "promise", HotStuff2Promise(View(2), View(2), View(0), certificate(PHASE, 1, first), None, locked=View(1))
        ),
        Adopted(second),
        Send(ReplicaId(3), vote(PHASE, 2, second)),
    ]
    same_rank = child(first, 5)
    assert votes(tell(replica, 1, on(first, same_rank, timed_out=True))) == [
        Send(ReplicaId(2), vote(PHASE, 5, same_rank))
    ]


def test_a_block_below_the_lock_gets_no_vote() -> None:
    replica = holding(0, *chain(3))
    assert replica.locked == 2
    fork = child(GENESIS, 5)
    assert spoken(tell(replica, 1, on(GENESIS, fork, timed_out=True))) == [
        Held(fork),
        Entered(View(5), True),
        SetTimer("view", TIMEOUT_NS),
    ]


def test_a_certificate_that_is_only_heard_of_locks_nothing() -> None:
    """Else one Byzantine replica could lock an honest one on something its leader has had no chance to hear of."""
    first = child(GENESIS, 1)
    replica = holding(0, first)
    tell(replica, 3, Timeout(View(4), certificate(PHASE, 1, first)))
    assert (replica.high.view, replica.locked) == (1, 0)
    assert votes(tell(replica, 1, on(GENESIS, child(GENESIS, 5), timed_out=True)))


# Commit


def test_certificates_of_two_consecutive_views_commit_the_first_block() -> None:
    first, second, third = chain(3)
    replica = holding(0, first, second)
    assert [e for e in tell(replica, 3, on(second, third)) if isinstance(e, Committed)] == [Committed(first)]


def test_a_skipped_view_breaks_the_chain_and_the_next_pair_takes_its_ancestors_along() -> None:
    first = child(GENESIS, 1)
    third = child(first, 3)
    fourth = child(third, 4)
    fifth = child(fourth, 5)
    replica = holding(0, first)
    tell(replica, 3, on(first, third, timed_out=True))
    assert not [e for e in tell(replica, 0, on(third, fourth)) if isinstance(e, Committed)]
    committed = [e for e in tell(replica, 1, on(fourth, fifth)) if isinstance(e, Committed)]
    assert committed == [Committed(first), Committed(third)]


# Restarts


def test_a_restarted_replica_keeps_its_lock_and_votes_once() -> None:
    first, second = chain(2)
    replica = started(0)
    said = tell(replica, 1, on(GENESIS, first)) + tell(replica, 2, on(first, second))
    store = {effect.key: effect.value for effect in said if type(effect) is Persist}
    restarted = HotStuff2(seat(0, BftParameters()))
    effects = list(restarted.start(store, 0))
    assert spoken(effects) == [Entered(View(2)), SetTimer("view", TIMEOUT_NS)]
    assert (restarted.locked, restarted.high, restarted.voted) == (1, replica.high, 2)
    assert not votes(tell(restarted, 2, on(first, child(first, 2, count=1))))
    assert not votes(tell(restarted, 1, on(GENESIS, child(GENESIS, 5), timed_out=True)))


def test_a_leader_restarted_while_it_waits_waits_anew() -> None:
    leader, _ = waiting()
    tell(leader, 3, Timeout(View(2), HIGH), 50)
    store = {"promise": leader._promise()}
    restarted = HotStuff2(seat(3, BftParameters()))
    assert list(restarted.start(store, 90)) == [
        Entered(View(3), True),
        SetTimer("view", TIMEOUT_NS),
        SetTimer("propose", WAIT_NS),
    ]
