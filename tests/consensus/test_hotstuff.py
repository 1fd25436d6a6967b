"""Chained HotStuff against its paper: Yin et al., PODC 2019 (arXiv 1803.05069). One sentence a test."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from consensus.chained import PHASE
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
from consensus.protocols.hotstuff import HotStuff, HotStuffPromise
from consensus.types import Height, ReplicaId, View
from tests.consensus.stage import DELTA_NS, certificate, chain, child, seat, spoken, tell, timeout_certificate, vote

TIMEOUT_NS = 8 * DELTA_NS
HIGH = genesis_certificate(PHASE)


def started(me: int, **changes: Any) -> HotStuff:
    replica = HotStuff(seat(me, BftParameters(), **changes))
    replica.start({}, 0)
    return replica


def proposal(block: Block, parent: Block | None = None, **proof: Any) -> Proposal:
    justify = HIGH if parent is None else certificate(PHASE, parent.view, parent)
    return Proposal(block, justify, **proof)


def along(replica: HotStuff, blocks: list[Block]) -> list[Effect]:
    """Propose the blocks one after the other; the effects of the last one."""
    effects: list[Effect] = []
    for parent, block in zip([None, *blocks], blocks, strict=False):
        effects = tell(replica, block.proposer, proposal(block, parent))
    return effects


def committed(effects: list[Effect]) -> list[Block]:
    return [effect.block for effect in effects if type(effect) is Committed]


# Algorithm 4, as a leader


def test_the_leader_proposes_with_the_highest_certificate() -> None:
    """Algorithm 4: curProposal <- createLeaf(genericQC.node, client's command, genericQC)."""
    first = child(GENESIS, 1)
    leader = HotStuff(seat(1, BftParameters()))
    assert list(leader.start({}, 0)) == [
        Entered(View(1)),
        SetTimer("view", TIMEOUT_NS),
        Persist("promise", HotStuffPromise(View(1), View(0), View(1), HIGH, None, GENESIS.id, Height(0))),
        Broadcast(proposal(first)),
    ]


def test_the_next_leader_makes_the_certificate_and_proposes_at_once() -> None:
    """Algorithm 4: wait for (n-f) votes, genericQC <- QC(V)."""
    first = child(GENESIS, 1)
    leader = started(2)
    tell(leader, 1, proposal(first))
    assert tell(leader, 0, vote(PHASE, 1, first)) == []
    assert tell(leader, 2, vote(PHASE, 1, first)) == []
    assert tell(leader, 2, vote(PHASE, 1, first)) == [], "the same vote twice counts once"
    effects = spoken(tell(leader, 3, vote(PHASE, 1, first)))
    second = child(first, 2)
    expected = Proposal(second, certificate(PHASE, 1, first, 0, 2, 3))
    assert effects == [Entered(View(2)), SetTimer("view", TIMEOUT_NS), Broadcast(expected)]


def test_votes_may_overtake_the_proposal() -> None:
    first = child(GENESIS, 1)
    leader = started(2)
    for sender in (0, 1):
        tell(leader, sender, vote(PHASE, 1, first))
    assert tell(leader, 3, vote(PHASE, 1, first)) == [SetTimer("fetch", DELTA_NS)]
    effects = tell(leader, 1, proposal(first))
    assert [e.message.block.parent for e in effects if isinstance(e, Broadcast)] == [first.id]  # type: ignore[attr-defined]


def test_votes_go_to_the_next_leader_only() -> None:
    assert tell(started(3), 0, vote(PHASE, 1, child(GENESIS, 1))) == [Rejected(ReplicaId(0), Reason.WRONG_LEADER)]


# Algorithm 4, as a replica


def test_a_replica_votes_once_in_a_view_for_a_safe_block() -> None:
    """Algorithm 4: if safeNode(b*, b*.justify) then send voteMsg(generic, b*) to the next leader."""
    first = child(GENESIS, 1)
    replica = started(0)
    assert tell(replica, 1, proposal(first)) == [
        Persist(first.id, first),
        Held(first),
        Persist("promise", HotStuffPromise(View(1), View(1), View(0), HIGH, None, GENESIS.id, Height(0))),
        Adopted(first),
        Send(ReplicaId(2), vote(PHASE, 1, first)),
    ]
    other = child(GENESIS, 1, count=1)
    assert spoken(tell(replica, 1, proposal(other))) == [Held(other)], "a second proposal of one view gets no vote"


@pytest.mark.parametrize(
    ("sender", "message", "reason"),
    [
        (2, proposal(child(GENESIS, 1)), Reason.WRONG_LEADER),
        (1, proposal(Block(GENESIS.id, Height(1), View(1), ReplicaId(2), GENESIS.payload)), Reason.WRONG_LEADER),
        (1, Proposal(Block(b"no", Height(1), View(1), ReplicaId(1), GENESIS.payload), HIGH), Reason.WRONG_PARENT),  # type: ignore[arg-type]
        (1, proposal(Block(GENESIS.id, Height(7), View(1), ReplicaId(1), GENESIS.payload)), Reason.WRONG_PARENT),
        (2, proposal(child(GENESIS, 2)), Reason.UNJUSTIFIED_VIEW),
        (3, proposal(child(GENESIS, 3), timeout_certificate=timeout_certificate(1)), Reason.UNJUSTIFIED_VIEW),
    ],
)
def test_proposals_that_do_not_hold_together_are_rejected(sender: int, message: Proposal, reason: Reason) -> None:
    assert tell(started(0), sender, message) == [Rejected(ReplicaId(sender), reason)]


@pytest.mark.parametrize("signers", [(0, 1), (0, 0, 1), (1, 1, 1)])
def test_certificates_without_a_quorum_of_distinct_signers_are_rejected(signers: tuple[int, ...]) -> None:
    first = child(GENESIS, 1)
    message = Proposal(child(first, 2), certificate(PHASE, 1, first, *signers))
    assert tell(started(0), 2, message) == [Rejected(ReplicaId(2), Reason.WEAK_CERTIFICATE)]


def test_a_certificate_of_view_0_is_the_one_of_genesis_or_none() -> None:
    first = child(GENESIS, 0)
    message = Proposal(child(first, 1), certificate(PHASE, 0, first))
    assert tell(started(0), 1, message) == [Rejected(ReplicaId(1), Reason.WEAK_CERTIFICATE)]


def test_a_block_is_locked_when_its_child_is_certified() -> None:
    """Section 5: a two-chain locks its first block."""
    replica = started(0)
    blocks = chain(3)
    along(replica, blocks)
    assert (replica.high.block, replica.locked) == (blocks[1].id, blocks[0])


def locked_on_first() -> tuple[HotStuff, list[Block]]:
    replica = started(0)
    blocks = chain(3)
    along(replica, blocks)
    return replica, blocks


def after_timeout(parent: Block, view: int) -> Proposal:
    justify = HIGH if parent is GENESIS else certificate(PHASE, parent.view, parent)
    return Proposal(child(parent, view), justify, timeout_certificate(view - 1))


def test_the_safety_rule_lets_a_replica_vote_for_what_extends_its_lock() -> None:
    """Algorithm 1, safeNode: "node extends from lockedQC.node" (safety rule)."""
    replica, blocks = locked_on_first()
    effects = tell(replica, 1, after_timeout(blocks[0], 5))
    assert isinstance(effects[-1], Send)


def test_a_fork_below_the_lock_gets_no_vote() -> None:
    replica, _ = locked_on_first()
    effects = tell(replica, 1, after_timeout(GENESIS, 5))
    assert not [effect for effect in effects if isinstance(effect, Send)]


def test_the_liveness_rule_lets_a_newer_certificate_overrule_the_lock() -> None:
    """Algorithm 1, safeNode: "qc.viewNumber > lockedQC.viewNumber" (liveness rule)."""
    replica, _ = locked_on_first()
    fork = child(GENESIS, 5)
    tell(replica, 1, Proposal(fork, HIGH, timeout_certificate(4)))
    effects = tell(replica, 2, Proposal(child(fork, 6), certificate(PHASE, 5, fork)))
    assert isinstance(effects[-1], Send)


# Algorithm 5, commit


def test_three_certified_blocks_of_consecutive_views_commit_the_first() -> None:
    """Section 5: a three-chain whose links are direct parents, one view each, decides its first block."""
    replica = started(0)
    blocks = chain(4)
    assert committed(along(replica, blocks[:3])) == []
    assert committed(tell(replica, 0, proposal(blocks[3], blocks[2]))) == [blocks[0]]
    assert replica.tree.final == blocks[0]


@pytest.mark.parametrize("gap", [1, 2, 3])
def test_a_skipped_view_breaks_the_chain(gap: int) -> None:
    """Views of the three blocks must be consecutive: heights are not enough."""
    replica = started(0)
    views = [view if view < gap + 1 else view + 1 for view in (1, 2, 3, 4)]
    blocks = [child(GENESIS, views[0])]
    for view in views[1:]:
        blocks.append(child(blocks[-1], view))
    effects: list[Effect] = []
    for parent, block in zip([None, *blocks], blocks, strict=False):
        skipped = block.view - (parent.view if parent else 0) > 1
        proof = timeout_certificate(block.view - 1) if skipped else None
        effects = tell(replica, block.proposer, proposal(block, parent, timeout_certificate=proof))
    assert committed(effects) == ([blocks[0]] if gap == 3 else [])


def test_a_commit_takes_its_ancestors_along_in_order() -> None:
    replica = started(0)
    first = child(GENESIS, 1)
    tell(replica, 1, proposal(first))
    later = [child(first, 3)]
    for view in (4, 5, 6):
        later.append(child(later[-1], view))
    tell(replica, 3, proposal(later[0], first, timeout_certificate=timeout_certificate(2)))
    effects: list[Effect] = []
    for parent, block in itertools.pairwise(later):
        effects = tell(replica, block.proposer, proposal(block, parent))
    assert committed(effects) == [first, later[0]]


# Pacemaker (DiemBFT v4, section 3)


def test_whoever_gives_up_a_view_says_so_and_votes_in_it_no_more() -> None:
    replica = started(0)
    effects = list(replica.fire("view", TIMEOUT_NS))
    assert type(effects[0]) is Persist
    assert spoken(effects) == [Broadcast(Timeout(View(1), HIGH)), SetTimer("view", TIMEOUT_NS)]
    assert not [e for e in tell(replica, 1, proposal(child(GENESIS, 1))) if isinstance(e, Send)]


def test_a_quorum_of_timeouts_begins_the_next_view_and_its_leader_proposes() -> None:
    leader = started(2)
    tell(leader, 0, Timeout(View(1), HIGH))
    effects = spoken(tell(leader, 1, Timeout(View(1), HIGH)))
    assert effects == [Broadcast(Timeout(View(1), HIGH))], "f+1 are joined"
    effects = spoken(tell(leader, 2, Timeout(View(1), HIGH)))
    gave_up = timeout_certificate(1)
    assert effects == [
        Entered(View(2), True),
        SetTimer("view", TIMEOUT_NS),
        Broadcast(Proposal(child(GENESIS, 2), HIGH, gave_up)),
    ]


def test_timeouts_bring_the_highest_certificate_along() -> None:
    leader = started(3)
    first = child(GENESIS, 1)
    tell(leader, 1, proposal(first))
    tell(leader, 0, Timeout(View(2), certificate(PHASE, 1, first)))
    assert (leader.high.block, leader.view) == (first.id, 2)


def test_a_timeout_shows_a_laggard_how_its_view_began() -> None:
    replica = started(0)
    effects = spoken(tell(replica, 3, Timeout(View(9), HIGH, timeout_certificate(8))))
    assert effects == [Entered(View(9), True), SetTimer("view", TIMEOUT_NS)]


def test_one_byzantine_replica_cannot_make_others_time_out() -> None:
    replica = started(0)
    for view in (1, 2, 50):
        assert tell(replica, 3, Timeout(View(view), HIGH)) == []
    assert replica.view == 1


def test_weak_timeouts_are_rejected() -> None:
    first = child(GENESIS, 1)
    weak = Timeout(View(2), certificate(PHASE, 1, first, 0, 1))
    assert tell(started(0), 3, weak) == [Rejected(ReplicaId(3), Reason.WEAK_CERTIFICATE)]


# Restarts


def again(me: int, effects: list[Effect]) -> tuple[HotStuff, list[Effect]]:
    store = {effect.key: effect.value for effect in effects if type(effect) is Persist}
    replica = HotStuff(seat(me, BftParameters()))
    return replica, list(replica.start(store, 0))


def test_a_restarted_replica_does_not_vote_twice_in_a_view() -> None:
    said = tell(started(0), 1, proposal(child(GENESIS, 1)))
    replica, effects = again(0, said)
    assert spoken(effects) == [Entered(View(1)), SetTimer("view", TIMEOUT_NS)]
    other = child(GENESIS, 1, count=1)
    assert not [e for e in tell(replica, 1, proposal(other)) if isinstance(e, Send)]


def test_a_restarted_leader_does_not_propose_twice_in_a_view() -> None:
    leader = HotStuff(seat(1, BftParameters()))
    _, effects = again(1, list(leader.start({}, 0)))
    assert not [effect for effect in effects if isinstance(effect, Broadcast)]


def test_a_restarted_replica_keeps_its_lock() -> None:
    replica = started(0)
    said: list[Effect] = []
    blocks = chain(3)
    for parent, block in zip([None, *blocks], blocks, strict=False):
        said += tell(replica, block.proposer, proposal(block, parent))
    restarted, _ = again(0, said)
    assert (restarted.locked, restarted.high, restarted.view) == (replica.locked, replica.high, replica.view)
    assert not [e for e in tell(restarted, 1, after_timeout(GENESIS, 5)) if isinstance(e, Send)]
