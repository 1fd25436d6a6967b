"""Streamlet, sentence by sentence: Chan and Shi, ePrint 2020/088, section 3."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from consensus.effects import Adopted, Broadcast, Committed, Effect, Entered, Held, Persist, Reason, Rejected, SetTimer
from consensus.messages import GENESIS, Block, Payload, Proposal, Vote, genesis_certificate
from consensus.pacemaker import BftParameters
from consensus.protocols.streamlet import PHASE, Echo, Promise, Streamlet
from consensus.types import Height, ReplicaId, View
from tests.consensus.stage import DELTA_NS, certificate, chain, child, seat, spoken, tell, timeout_certificate, vote

EPOCH_NS = 2 * DELTA_NS
ROOT = genesis_certificate(PHASE)
FIRST = child(GENESIS, 1)


def promised(voted: int, proposed: int, longest: Any) -> Persist:
    return Persist("promise", Promise(View(voted), View(proposed), longest))


def started(me: int, epoch: int = 1, parameters: BftParameters | None = None, **changes: Any) -> Streamlet:
    replica = Streamlet(seat(me, parameters or BftParameters(), **changes))
    replica.start({}, (epoch - 1) * EPOCH_NS)
    return replica


def qc(block: Block, *signers: int) -> Any:
    return ROOT if block is GENESIS else certificate(PHASE, block.view, block, *signers)


def proposal(block: Block, parent: Block) -> Proposal:
    return Proposal(block, qc(parent))


def votes_in(effects: list[Effect]) -> list[Vote]:
    said = [effect.message for effect in effects if isinstance(effect, Broadcast)]
    return [message for message in said if isinstance(message, Vote)]


def along(replica: Streamlet, blocks: list[Block]) -> list[Effect]:
    """All that is said while these blocks come, each in its epoch, and the last one's votes."""
    effects: list[Effect] = []
    for parent, block in itertools.pairwise([GENESIS, *blocks]):
        now_ns = (block.view - 1) * EPOCH_NS
        if block.view > replica.view:
            effects += replica.fire("epoch", now_ns)
        effects += tell(replica, block.proposer, proposal(block, parent), now_ns)
    return effects + tell(replica, 3, Echo(qc(blocks[-1])))


# Epochs


def test_an_epoch_lasts_two_delta_on_the_common_clock() -> None:
    replica = Streamlet(seat(0, BftParameters()))
    assert list(replica.start({}, 0)) == [Entered(View(1)), SetTimer("epoch", EPOCH_NS)]
    assert list(replica.fire("epoch", EPOCH_NS)) == [Entered(View(2), True), SetTimer("epoch", EPOCH_NS)]
    late = Streamlet(seat(0, BftParameters()))
    assert list(late.start({}, 5 * EPOCH_NS + 30)) == [Entered(View(6), True), SetTimer("epoch", EPOCH_NS - 30)]


def test_an_epoch_lasts_as_long_as_the_scenario_wants() -> None:
    """`timeout_ms` instead of 2Δ, and never less than `block_interval_ms`."""
    longer = Streamlet(seat(0, BftParameters(), timeout_ns=777))
    assert list(longer.start({}, 0))[-1] == SetTimer("epoch", 777)
    paced = Streamlet(seat(0, BftParameters(block_interval_ms=1)))
    assert list(paced.start({}, 0))[-1] == SetTimer("epoch", 1_000_000)


# Propose


def test_the_leader_extends_a_longest_notarized_chain() -> None:
    """ "The leader proposes a new block extending from one of the longest notarized chains it has seen."""
    leader = started(2)
    tell(leader, 1, proposal(FIRST, GENESIS))
    tell(leader, 3, Echo(qc(FIRST)))
    assert list(leader.fire("epoch", EPOCH_NS)) == [
        Entered(View(2)),
        SetTimer("epoch", EPOCH_NS),
        promised(1, 2, qc(FIRST)),
        Broadcast(proposal(child(FIRST, 2), FIRST)),
    ]


def test_of_equally_long_chains_the_newest_is_extended() -> None:
    leader = started(3)
    other = child(GENESIS, 2)
    along(leader, [FIRST])
    leader.fire("epoch", EPOCH_NS)
    tell(leader, 2, proposal(other, GENESIS))
    tell(leader, 0, Echo(qc(other)))
    assert Broadcast(proposal(child(other, 3), other)) in leader.fire("epoch", 2 * EPOCH_NS)


def test_an_idle_leader_may_leave_its_epoch_out() -> None:
    quiet = BftParameters(propose_empty=False)
    assert not [e for e in Streamlet(seat(1, quiet)).start({}, 0) if isinstance(e, Broadcast)]
    busy = Streamlet(seat(1, quiet, payloads=lambda now_ns, most, parent: Payload(0, 1, 1)))
    assert [e for e in busy.start({}, 0) if isinstance(e, Broadcast)]


# Vote


def test_a_replica_votes_for_the_first_proposal_of_its_epoch() -> None:
    replica = started(0)
    assert tell(replica, 1, proposal(FIRST, GENESIS)) == [
        Persist(FIRST.id, FIRST),
        Held(FIRST),
        promised(1, 0, ROOT),
        Broadcast(vote(PHASE, 1, FIRST)),
    ]
    other = child(GENESIS, 1, count=1)
    assert spoken(tell(replica, 1, proposal(other, GENESIS))) == [Held(other)]


@pytest.mark.parametrize("epoch", [1, 3])
def test_a_proposal_of_another_epoch_gets_no_vote(epoch: int) -> None:
    assert spoken(tell(started(0, epoch), 2, proposal(child(GENESIS, 2), GENESIS))) == [Held(child(GENESIS, 2))]


def test_a_shorter_chain_gets_no_vote_and_its_leader_hears_of_the_longer_one() -> None:
    """ "As long as the proposed block extends from one of the longest notarized chains the voter has seen."""
    replica = started(0)
    along(replica, [FIRST])
    replica.fire("epoch", EPOCH_NS)
    short = child(GENESIS, 2)
    assert spoken(tell(replica, 2, proposal(short, GENESIS))) == [Held(short), Broadcast(Echo(qc(FIRST)))]
    other = child(GENESIS, 2, count=1)
    assert spoken(tell(replica, 2, proposal(other, GENESIS))) == [Held(other)], "once an epoch"


def test_an_older_but_equally_long_chain_gets_a_vote() -> None:
    """Lengths are compared, not epochs."""
    replica = started(0)
    other = child(GENESIS, 2)
    along(replica, [FIRST])
    replica.fire("epoch", EPOCH_NS)
    tell(replica, 2, proposal(other, GENESIS))
    tell(replica, 2, Echo(qc(other)))
    replica.fire("epoch", 2 * EPOCH_NS)
    assert replica.longest == qc(other)
    assert votes_in(tell(replica, 3, proposal(child(FIRST, 3), FIRST))) == [vote(PHASE, 3, child(FIRST, 3))]


@pytest.mark.parametrize(
    ("sender", "message", "reason"),
    [
        (2, proposal(FIRST, GENESIS), Reason.WRONG_LEADER),
        (
            1,
            proposal(Block(GENESIS.id, Height(1), View(1), ReplicaId(2), GENESIS.payload), GENESIS),
            Reason.WRONG_LEADER,
        ),
        (1, proposal(Block(FIRST.id, Height(1), View(1), ReplicaId(1), GENESIS.payload), GENESIS), Reason.WRONG_PARENT),
        (
            1,
            proposal(Block(GENESIS.id, Height(2), View(1), ReplicaId(1), GENESIS.payload), GENESIS),
            Reason.WRONG_PARENT,
        ),
        (2, Proposal(child(FIRST, 2), qc(FIRST, 0, 1)), Reason.WEAK_CERTIFICATE),
        (2, Proposal(child(FIRST, 2), certificate("commit", 1, FIRST)), Reason.WEAK_CERTIFICATE),
        (1, Proposal(child(FIRST, 1), qc(FIRST)), Reason.MALFORMED),
        (1, Proposal(FIRST, ROOT, timeout_certificate(0)), Reason.MALFORMED),
    ],
)
def test_proposals_that_do_not_hold_together_are_rejected(sender: int, message: Proposal, reason: Reason) -> None:
    assert tell(started(0), sender, message) == [Rejected(ReplicaId(sender), reason)]


def test_weak_echoes_and_unknown_votes_are_rejected() -> None:
    assert tell(started(0), 3, Echo(qc(FIRST, 0, 1))) == [Rejected(ReplicaId(3), Reason.WEAK_CERTIFICATE)]
    assert tell(started(0), 3, vote("commit", 1, FIRST)) == [Rejected(ReplicaId(3), Reason.UNKNOWN)]


def test_a_quorum_of_votes_notarizes() -> None:
    replica = started(0)
    tell(replica, 1, proposal(FIRST, GENESIS))
    for sender in (0, 0, 1):
        assert tell(replica, sender, vote(PHASE, 1, FIRST)) == []
    assert tell(replica, 3, vote(PHASE, 1, FIRST)) == [Adopted(FIRST)]
    assert replica.longest == qc(FIRST, 0, 1, 3)


def test_votes_may_overtake_the_proposal() -> None:
    replica = started(0)
    for sender in (1, 2):
        tell(replica, sender, vote(PHASE, 1, FIRST))
    assert tell(replica, 3, vote(PHASE, 1, FIRST)) == [SetTimer("fetch", DELTA_NS)]
    effects = spoken(tell(replica, 1, proposal(FIRST, GENESIS)))
    assert effects == [Held(FIRST), Broadcast(vote(PHASE, 1, FIRST)), Adopted(FIRST)]


# Finalize


def committed(effects: list[Effect]) -> list[Block]:
    return [effect.block for effect in effects if isinstance(effect, Committed)]


def test_three_adjacent_blocks_of_consecutive_epochs_finalize_the_second() -> None:
    """ "… can finalize the second of the three blocks and its entire prefix chain." Genesis is of epoch 0."""
    blocks = chain(4, first_view=2)
    assert committed(along(started(0), blocks[:2])) == []
    assert committed(along(started(0), blocks[:3])) == blocks[:2]
    assert committed(along(started(0), blocks)) == blocks[:3]
    assert committed(along(started(0), chain(2))) == chain(1)


@pytest.mark.parametrize(("views", "final"), [((2, 3, 5), 0), ((2, 4, 5), 0), ((2, 4, 5, 6), 3), ((2, 3, 5, 6, 7), 4)])
def test_epochs_must_be_consecutive(views: tuple[int, ...], final: int) -> None:
    blocks: list[Block] = []
    for view in views:
        blocks.append(child(blocks[-1] if blocks else GENESIS, view))
    assert committed(along(started(0), blocks)) == blocks[:final]


def test_a_chain_that_comes_late_is_looked_through_for_three_in_a_row() -> None:
    """Its newest block is not the last of the three."""
    blocks = chain(3, first_view=2)
    blocks.append(child(blocks[-1], 6))
    replica = started(0)
    effects: list[Effect] = []
    for parent, block in itertools.pairwise([GENESIS, *blocks[:3]]):
        effects += tell(replica, block.proposer, proposal(block, parent))
    assert committed(effects) == []
    assert committed(tell(replica, 2, proposal(blocks[3], blocks[2]))) == blocks[:2]


# Restarts


def again(me: int, effects: list[Effect], now_ns: int = 0) -> tuple[Streamlet, list[Effect]]:
    store = {effect.key: effect.value for effect in effects if type(effect) is Persist}
    replica = Streamlet(seat(me, BftParameters()))
    return replica, list(replica.start(store, now_ns))


def test_a_restarted_replica_does_not_vote_twice_in_an_epoch() -> None:
    replica, effects = again(0, tell(started(0), 1, proposal(FIRST, GENESIS)), 7)
    assert effects == [Entered(View(1)), SetTimer("epoch", EPOCH_NS - 7)]
    assert votes_in(tell(replica, 1, proposal(child(GENESIS, 1, count=1), GENESIS))) == []


def test_a_restarted_leader_does_not_propose_twice_in_an_epoch() -> None:
    leader = Streamlet(seat(1, BftParameters()))
    assert again(1, list(leader.start({}, 0)), 7)[1] == [Entered(View(1)), SetTimer("epoch", EPOCH_NS - 7)]


def test_a_restarted_replica_remembers_how_long_the_chain_was_for_which_it_voted() -> None:
    replica = started(0)
    said = along(replica, chain(2))
    restarted, _ = again(0, said, 2 * EPOCH_NS)
    assert (restarted.longest, restarted.tree.final) == (qc(FIRST), FIRST)
    assert votes_in(tell(restarted, 3, proposal(child(GENESIS, 3), GENESIS))) == []
