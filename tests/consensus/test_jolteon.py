"""Jolteon against its paper (arXiv 2106.10362, section 3). One rule a test; what is shared is in `test_hotstuff`."""

from __future__ import annotations

import pytest

from consensus.chained import PHASE, Promise
from consensus.effects import (
    Adopted,
    Broadcast,
    Committed,
    Effect,
    Entered,
    Held,
    Persist,
    Reason,
    Rejected,
    Send,
    SetTimer,
)
from consensus.messages import GENESIS, Block, Proposal, Timeout, genesis_certificate
from consensus.pacemaker import BftParameters
from consensus.protocols.jolteon import Jolteon
from consensus.types import Height, ReplicaId, View
from tests.consensus.stage import DELTA_NS, certificate, chain, child, seat, spoken, tell, timeout_certificate, vote

TIMEOUT_NS = 8 * DELTA_NS
HIGH = genesis_certificate(PHASE)


def started(me: int) -> Jolteon:
    replica = Jolteon(seat(me, BftParameters()))
    replica.start({}, 0)
    return replica


def holding(me: int, *blocks: Block) -> Jolteon:
    """A replica that has been told these blocks, each on the one before."""
    replica = started(me)
    for parent, block in zip([GENESIS, *blocks], blocks, strict=False):
        tell(replica, block.proposer, on(parent, block))
    return replica


def on(parent: Block, block: Block, *high_views: int) -> Proposal:
    """A proposal, after a timeout at which these certificates were reported if there are any."""
    justify = HIGH if parent is GENESIS else certificate(PHASE, parent.view, parent)
    return Proposal(block, justify, timeout_certificate(block.view - 1, *high_views) if high_views else None)


def votes(effects: list[Effect]) -> list[Effect]:
    return [effect for effect in effects if isinstance(effect, Send)]


# Propose


def test_the_leader_of_the_first_round_proposes_at_once() -> None:
    leader = Jolteon(seat(1, BftParameters()))
    assert list(leader.start({}, 0)) == [
        Entered(View(1)),
        SetTimer("view", TIMEOUT_NS),
        Persist("promise", Promise(View(1), View(0), View(1), HIGH, None)),
        Broadcast(Proposal(child(GENESIS, 1), HIGH)),
    ]


def test_the_leader_extends_its_highest_certificate_and_carries_no_timeout_certificate_in_turn() -> None:
    """Propose: B = [id, qc_high, tc, r, v, txn] with tc = ⊥ unless the round was entered by one."""
    first = child(GENESIS, 1)
    leader = holding(2, first)
    tell(leader, 0, vote(PHASE, 1, first))
    tell(leader, 1, vote(PHASE, 1, first))
    made = certificate(PHASE, 1, first, 0, 1, 3)
    assert tell(leader, 3, vote(PHASE, 1, first)) == [
        Entered(View(2)),
        SetTimer("view", TIMEOUT_NS),
        Persist("promise", Promise(View(2), View(1), View(2), made, None)),
        Broadcast(Proposal(child(first, 2), made)),
    ]


def test_after_a_timeout_the_leader_extends_the_highest_certificate_reported_and_carries_the_reports() -> None:
    """Propose: tc = tc_{r-1} if the leader entered round r by it; qc_high is at least every one in it."""
    first = child(GENESIS, 1)
    leader = holding(3, first)
    tell(leader, 0, Timeout(View(2), HIGH))
    newer = Timeout(View(2), certificate(PHASE, 1, first))
    assert spoken(tell(leader, 1, newer)) == [Entered(View(2)), SetTimer("view", TIMEOUT_NS), Broadcast(newer)]
    gave_up = timeout_certificate(2, 0, 1, 1)
    third = Proposal(child(first, 3), newer.high_certificate, gave_up)
    assert tell(leader, 2, newer) == [
        Entered(View(3), True),
        SetTimer("view", TIMEOUT_NS),
        Persist("promise", Promise(View(3), View(2), View(3), newer.high_certificate, gave_up)),
        Broadcast(third),
    ]


# Vote


def test_a_block_right_after_its_certificate_gets_a_vote() -> None:
    """Vote (1): r = qc.r + 1; the vote goes to the leader of r + 1, the promise is durable before it."""
    first, second = chain(2)
    replica = holding(0, first)
    assert tell(replica, 2, on(first, second)) == [
        Persist(second.id, second),
        Held(second),
        Entered(View(2)),
        SetTimer("view", TIMEOUT_NS),
        Persist("promise", Promise(View(2), View(2), View(0), certificate(PHASE, 1, first), None)),
        Adopted(second),
        Send(ReplicaId(3), vote(PHASE, 2, second)),
    ]


def test_a_block_after_a_timeout_gets_a_vote_if_it_extends_the_highest_certificate_reported() -> None:
    """Vote (2): r = tc.r + 1 and qc.r ≥ max{qc_high.r | qc_high ∈ tc}."""
    first = child(GENESIS, 1)
    third = child(first, 3)
    replica = holding(0, first)
    gave_up = timeout_certificate(2, 0, 1, 0)
    assert tell(replica, 3, on(first, third, 0, 1, 0)) == [
        Persist(third.id, third),
        Held(third),
        Entered(View(3), True),
        SetTimer("view", TIMEOUT_NS),
        Persist("promise", Promise(View(3), View(3), View(0), certificate(PHASE, 1, first), gave_up)),
        Adopted(third),
        Send(ReplicaId(0), vote(PHASE, 3, third)),
    ]


@pytest.mark.parametrize("high_views", [(1, 0, 0), (0, 0, 2), (1, 1, 1)])
def test_a_block_that_passes_over_a_certificate_reported_is_rejected(high_views: tuple[int, ...]) -> None:
    """Vote (2), the other way round: there may be a commit on that certificate."""
    replica = started(0)
    assert tell(replica, 3, on(GENESIS, child(GENESIS, 3), *high_views)) == [
        Rejected(ReplicaId(3), Reason.UNJUSTIFIED_VIEW)
    ]
    assert (replica.view, replica.entered_by) == (1, None)


def test_a_replica_may_vote_below_its_own_highest_certificate() -> None:
    """The rule compares with the reports only: a certificate that a quorum has not seen carries no commit."""
    blocks = chain(3)
    replica = holding(0, *blocks)
    assert replica.high.view == 2
    fork = child(blocks[0], 5)
    assert votes(tell(replica, 1, on(blocks[0], fork, 1, 1, 0))) == [Send(ReplicaId(2), vote(PHASE, 5, fork))]


def test_a_timeout_certificate_counts_beside_a_certificate_in_turn_too() -> None:
    """Whoever took it in would report it with too old a certificate of its own, and be rejected."""
    first, second = chain(2)
    assert tell(holding(0, first), 2, on(first, second, 5, 0, 0)) == [
        Rejected(ReplicaId(2), Reason.UNJUSTIFIED_VIEW),
    ]
    assert votes(tell(holding(0, first), 2, on(first, second, 1, 0, 0)))


def test_a_second_block_of_a_round_and_one_after_giving_up_get_no_vote() -> None:
    replica = holding(0, child(GENESIS, 1))
    other = child(GENESIS, 1, count=1)
    assert spoken(tell(replica, 1, on(GENESIS, other))) == [Held(other)]
    replica = started(0)
    replica.fire("view", TIMEOUT_NS)
    assert not votes(tell(replica, 1, on(GENESIS, child(GENESIS, 1))))


# Lock, timeout


def test_timeouts_report_the_highest_certificate() -> None:
    """Timeout: stop voting for round r and multicast ⟨r, qc_high⟩."""
    blocks = chain(3)
    replica = holding(0, *blocks)
    high = certificate(PHASE, 2, blocks[1])
    assert list(replica.fire("view", TIMEOUT_NS)) == [
        Persist("promise", Promise(View(3), View(3), View(0), high, None)),
        Broadcast(Timeout(View(3), high)),
        SetTimer("view", TIMEOUT_NS),
    ]


def test_a_timeout_must_cover_the_timeout_certificate_it_carries() -> None:
    """Else a leader that entered its round by it would have nothing that it may propose."""
    replica = started(2)
    short = Timeout(View(6), HIGH, timeout_certificate(5, 4, 0, 0))
    assert tell(replica, 3, short) == [Rejected(ReplicaId(3), Reason.UNJUSTIFIED_VIEW)]
    assert replica.view == 1
    assert spoken(tell(replica, 3, Timeout(View(6), HIGH, timeout_certificate(5)))) == [
        Entered(View(6), True),
        SetTimer("view", TIMEOUT_NS),
        Broadcast(Proposal(child(GENESIS, 6), HIGH, timeout_certificate(5))),
    ]


# Commit


def test_two_certified_blocks_of_consecutive_rounds_commit_the_first() -> None:
    """Commit: B'.r = B.r + 1, both certified, B' the child of B."""
    first, second, third = chain(3)
    replica = holding(0, first, second)
    assert replica.tree.final == GENESIS
    effects = spoken(tell(replica, 3, on(second, third)))
    assert effects == [
        Held(third),
        Committed(first),
        Entered(View(3)),
        SetTimer("view", TIMEOUT_NS),
        Adopted(third),
        Send(ReplicaId(0), vote(PHASE, 3, third)),
    ]


def test_a_skipped_round_breaks_the_chain_and_the_next_pair_takes_its_ancestors_along() -> None:
    """The rule that Fast-HotStuff first lacked."""
    first = child(GENESIS, 1)
    third = child(first, 3)
    fourth = child(third, 4)
    fifth = child(fourth, 5)
    replica = holding(0, first)
    tell(replica, 3, on(first, third, 1, 0, 0))
    assert not [e for e in tell(replica, 0, on(third, fourth)) if isinstance(e, Committed)]
    committed = [e for e in tell(replica, 1, on(fourth, fifth)) if isinstance(e, Committed)]
    assert committed == [Committed(first), Committed(third)]


# Restarts


def again(me: int, effects: list[Effect]) -> tuple[Jolteon, list[Effect]]:
    store = {effect.key: effect.value for effect in effects if type(effect) is Persist}
    replica = Jolteon(seat(me, BftParameters()))
    return replica, list(replica.start(store, 0))


def test_a_restarted_replica_neither_votes_twice_nor_reports_less() -> None:
    first, second = chain(2)
    replica = started(0)
    said = tell(replica, 1, on(GENESIS, first)) + tell(replica, 2, on(first, second))
    restarted, effects = again(0, said)
    assert spoken(effects) == [Entered(View(2)), SetTimer("view", TIMEOUT_NS)]
    assert not votes(tell(restarted, 2, on(first, child(first, 2, count=1))))
    assert Broadcast(Timeout(View(2), certificate(PHASE, 1, first))) in restarted.fire("view", TIMEOUT_NS)


def test_a_restarted_leader_does_not_propose_twice() -> None:
    leader = Jolteon(seat(1, BftParameters()))
    _, effects = again(1, list(leader.start({}, 0)))
    assert not [effect for effect in effects if isinstance(effect, Broadcast)]


def test_the_height_of_a_block_is_that_of_its_parent_and_one() -> None:
    wrong = Block(GENESIS.id, Height(2), View(1), ReplicaId(1), GENESIS.payload)
    assert tell(started(0), 1, Proposal(wrong, HIGH)) == [Rejected(ReplicaId(1), Reason.WRONG_PARENT)]
