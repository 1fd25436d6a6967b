"""Tendermint against its paper: arXiv 1807.04938, algorithm 1. One rule a test, by its lines."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from consensus.chain import FinalMark
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
from consensus.messages import GENESIS, Block, Payload, QuorumCertificate, Vote, genesis_certificate
from consensus.protocols.tendermint import Tendermint
from consensus.protocols.tendermint_messages import (
    NIL,
    PRECOMMIT,
    PREVOTE,
    Promise,
    RoundCertificate,
    Standing,
    TendermintParameters,
    TendermintProposal,
)
from consensus.tally import OPENED
from consensus.types import BlockId, Height, ReplicaId, View
from tests.consensus.stage import DELTA_NS, certificate, seat, spoken, tell, vote

PROPOSE_NS, VOTE_NS, GROWTH_NS = 4 * DELTA_NS, 2 * DELTA_NS, DELTA_NS
REPEAT_NS = PROPOSE_NS + 2 * VOTE_NS + 4 * DELTA_NS
NOTHING_YET = genesis_certificate(PRECOMMIT)


def at(height: int, round_number: int) -> int:
    """The view of a round: four replicas may lead a height a million times each."""
    return height * 4_000_001 + round_number


def block(height: int, round_number: int, parent: Block = GENESIS, count: int = 0) -> Block:
    """What the proposer of that round makes."""
    view = at(height, round_number)
    return Block(parent.id, Height(height), View(view), ReplicaId(view % 4), Payload(parent.payload.end, count, count))


FIRST = block(1, 0)
OTHER = block(1, 0, count=1)


def started(me: int, **changes: Any) -> Tendermint:
    replica = Tendermint(seat(me, TendermintParameters(), **changes))
    replica.start({}, 0)
    return replica


def proposal(of: Block, round_number: int = 0, valid_round: int | None = None) -> TendermintProposal:
    valid = None if valid_round is None else View(at(of.height, valid_round))
    return TendermintProposal(View(at(of.height, round_number)), of, valid)


def ballot(phase: str, round_number: int, of: Block | None, height: int = 1) -> Vote:
    return Vote(phase, View(at(height, round_number)), Height(height), NIL if of is None else of.id)


def hear(replica: Tendermint, message: Vote, *senders: int) -> list[Effect]:
    """The same vote of several replicas; the effects of the last one."""
    effects: list[Effect] = []
    for sender in senders:
        effects = tell(replica, sender, message)
    return effects


def promise(
    round_number: int = 0,
    locked: QuorumCertificate | None = None,
    valid: QuorumCertificate | None = None,
    height: int = 1,
    over: RoundCertificate | None = None,
    committed: QuorumCertificate = NOTHING_YET,
    **cast: Block | None,
) -> Persist:
    said = {phase: NIL if of is None else of.id for phase, of in cast.items()}
    return Persist("promise", Promise(View(at(height, round_number)), said, locked, valid, committed, over))


def polka(round_number: int, of: Block, *signers: int) -> QuorumCertificate:
    return certificate(PREVOTE, at(of.height, round_number), of, *signers)


def locked_on_first(me: int) -> Tendermint:
    """A replica that has precommitted the block of round 0, and is in round 1 without a decision."""
    replica = started(me)
    tell(replica, 1, proposal(FIRST))
    hear(replica, ballot(PREVOTE, 0, FIRST), 0, 1, 2)
    hear(replica, ballot(PRECOMMIT, 0, None), 0, 1, 2)
    replica.fire("precommit", VOTE_NS)
    return replica


# Lines 11 to 21: rounds


def test_the_proposer_proposes_a_new_block() -> None:
    """Lines 14 to 19: proposer(h, round) broadcasts PROPOSAL with getValue() and validRound -1."""
    proposer = Tendermint(seat(1, TendermintParameters()))
    assert list(proposer.start({}, 0)) == [
        Entered(View(4_000_001)),
        SetTimer("repeat", REPEAT_NS),
        SetTimer("propose", PROPOSE_NS),
        Persist("proposed", proposal(FIRST)),
        Broadcast(proposal(FIRST)),
    ]


def test_the_others_wait_for_the_proposal() -> None:
    """Line 21: schedule OnTimeoutPropose(h, round) after timeoutPropose(round)."""
    replica = Tendermint(seat(0, TendermintParameters()))
    assert list(replica.start({}, 0)) == [
        Entered(View(4_000_001)),
        SetTimer("repeat", REPEAT_NS),
        SetTimer("propose", PROPOSE_NS),
    ]


def test_a_proposer_proposes_its_valid_block_again_and_shows_the_polka() -> None:
    """Line 16: if validValue ≠ nil, propose it, with validRound; in place of gossip comes the proof."""
    replica = started(2)
    tell(replica, 1, proposal(FIRST))
    hear(replica, ballot(PREVOTE, 0, FIRST), 0, 1, 2)
    hear(replica, ballot(PRECOMMIT, 0, None), 0, 1, 3)
    over = RoundCertificate(View(4_000_001), *_replicas(0, 1, 3), Height(1), (NIL,) * 3)
    again = proposal(FIRST, 1, valid_round=0)
    assert list(replica.fire("precommit", VOTE_NS)) == [
        Entered(View(4_000_002), timed_out=True),
        SetTimer("repeat", REPEAT_NS + 3 * GROWTH_NS),
        Broadcast(Standing(NOTHING_YET, polka(0, FIRST), over)),
        Persist("proposed", again),
        Broadcast(again),
    ]
    assert again.proposes() is None, "it is proposed for the second time"


def _replicas(*signers: int) -> tuple[tuple[ReplicaId, ...], tuple[bytes, ...]]:
    return tuple(map(ReplicaId, signers)), (b"",) * len(signers)


def test_proposers_take_turns_by_height_and_round() -> None:
    replica = started(0)
    assert [replica.leader(at(h, r)) for h, r in ((1, 0), (1, 1), (1, 3), (2, 0), (2, 1))] == [1, 2, 0, 2, 3]
    assert (replica.height_of(at(7, 2)), replica.round_of(at(7, 2))) == (7, 2)


def test_timeouts_grow_with_the_round() -> None:
    """Section 3: timeoutX(r) = initial + r · growth, of each of the three."""
    parameters = TendermintParameters(
        timeout_propose_ms=3, timeout_prevote_ms=2, timeout_precommit_ms=1, timeout_growth_ms=0.5
    )
    replica = Tendermint(seat(3, parameters))
    assert SetTimer("propose", 3_000_000) in replica.start({}, 0)
    hear(replica, ballot(PREVOTE, 2, None), 0)
    assert SetTimer("propose", 4_000_000) in hear(replica, ballot(PREVOTE, 2, None), 1)
    replica.fire("propose", 0)
    assert SetTimer("prevote", 3_000_000) in hear(replica, ballot(PREVOTE, 2, FIRST), 3)
    hear(replica, ballot(PRECOMMIT, 2, None), 0, 1)
    assert SetTimer("precommit", 2_000_000) in hear(replica, ballot(PRECOMMIT, 2, None), 2)


def test_timeout_ms_stretches_all_timeouts() -> None:
    replica = Tendermint(seat(1, TendermintParameters(), timeout_ns=1000))
    assert SetTimer("propose", 1000) in replica.start({}, 0)
    tell(replica, 1, proposal(FIRST))
    hear(replica, ballot(PREVOTE, 0, None), 0, 2)
    assert SetTimer("prevote", 500) in hear(replica, ballot(PREVOTE, 0, FIRST), 1)


@pytest.mark.parametrize(
    ("parameters", "why"),
    [
        ({"timeout_propose_ms": 0.0}, "`timeout_propose_ms` must be greater than 0"),
        ({"timeout_precommit_ms": -1.0}, "`timeout_precommit_ms` must be greater than 0"),
        ({"timeout_growth_ms": -0.5}, "`timeout_growth_ms` must not be negative"),
        ({"block_interval_ms": -1.0}, "`block_interval_ms` must not be negative"),
    ],
)
def test_impossible_timeouts_are_refused(parameters: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=f"^{why}$"):
        TendermintParameters(**parameters)


def test_a_block_interval_holds_the_proposer_back_and_gives_it_the_time() -> None:
    replica = Tendermint(seat(1, TendermintParameters(block_interval_ms=1)))
    assert list(replica.start({}, 0))[1:] == [
        SetTimer("repeat", REPEAT_NS + 1_000_000),
        SetTimer("propose", PROPOSE_NS + 1_000_000),
        SetTimer("pace", 1_000_000),
    ]
    assert Broadcast(proposal(FIRST)) in replica.fire("pace", 1_000_000)


# Lines 22 to 33: prevotes


def test_a_new_valid_block_gets_a_prevote() -> None:
    """Line 22: upon PROPOSAL(h, round, v, -1) from the proposer while step = propose: prevote id(v)."""
    assert tell(started(0), 1, proposal(FIRST)) == [
        Persist(FIRST.id, FIRST),
        Held(FIRST),
        Adopted(FIRST),
        promise(prevote=FIRST),
        Broadcast(ballot(PREVOTE, 0, FIRST)),
    ]


def test_a_second_proposal_of_one_round_is_rejected() -> None:
    replica = started(0)
    tell(replica, 1, proposal(FIRST))
    assert tell(replica, 1, proposal(OTHER)) == [Rejected(ReplicaId(1), Reason.EQUIVOCATION)]
    assert tell(replica, 1, proposal(FIRST)) == []


@pytest.mark.parametrize(
    "wrong",
    [
        Block(GENESIS.id, Height(1), View(4_000_001), ReplicaId(2), GENESIS.payload),
        Block(GENESIS.id, Height(2), View(4_000_001), ReplicaId(1), GENESIS.payload),
        Block(GENESIS.id, Height(1), View(4_000_002), ReplicaId(2), GENESIS.payload),
    ],
)
def test_an_invalid_block_gets_nil(wrong: Block) -> None:
    """Line 23: valid(v); the block is the proposer's own, of this round and this height."""
    assert tell(started(0), 1, TendermintProposal(View(4_000_001), wrong)) == [
        Rejected(ReplicaId(1), Reason.MALFORMED),
        promise(prevote=None),
        Broadcast(ballot(PREVOTE, 0, None)),
    ]


def test_a_block_beside_the_chain_gets_nil() -> None:
    """Line 23: valid(v) includes that it extends the block decided last."""
    replica = started(0)
    tell(replica, 1, proposal(FIRST))
    hear(replica, ballot(PRECOMMIT, 0, FIRST), 1, 2, 3)
    beside = Block(OTHER.id, Height(2), View(at(2, 0)), ReplicaId(2), GENESIS.payload)
    assert tell(replica, 2, TendermintProposal(View(at(2, 0)), beside)) == [SetTimer("fetch", DELTA_NS)]
    replica.hold(OTHER)
    assert spoken(tell(replica, 2, TendermintProposal(View(at(2, 0)), beside)))[-1] == Broadcast(
        ballot(PREVOTE, 0, None, height=2)
    )


def test_only_the_proposer_proposes() -> None:
    assert tell(started(0), 2, proposal(FIRST)) == [Rejected(ReplicaId(2), Reason.WRONG_LEADER)]


def test_who_votes_in_every_round_there_is_does_not_fill_the_memory_of_others() -> None:
    replica = started(2)
    for round_number in range(1, OPENED + 50):
        hear(replica, ballot(PREVOTE, round_number, None), 3)
    assert len(replica.ballots) <= OPENED + 2  # its own two, still empty
    # Another one is heard there all the same, and f+1 of them are followed.
    hear(replica, ballot(PREVOTE, 9, None), 0)
    assert replica.view == at(1, 9)


def test_a_locked_replica_prevotes_nil_for_another_block() -> None:
    """Line 23: lockedRound = -1 or lockedValue = v, else nil."""
    replica = locked_on_first(0)
    assert spoken(tell(replica, 2, proposal(block(1, 1), 1)))[1:] == [Broadcast(ballot(PREVOTE, 1, None))]


def test_a_locked_replica_prevotes_its_block() -> None:
    """Line 23, lockedValue = v, though the proposer does not know of the polka."""
    replica = locked_on_first(0)
    assert replica.locked == polka(0, FIRST)
    twin = TendermintProposal(View(at(1, 1)), FIRST)
    assert spoken(tell(replica, 2, twin)) == [
        Rejected(ReplicaId(2), Reason.MALFORMED),
        Broadcast(ballot(PREVOTE, 1, None)),
    ], "but only as an old one"
    replica = locked_on_first(0)
    assert spoken(tell(replica, 2, proposal(FIRST, 1, valid_round=0)))[-1] == Broadcast(ballot(PREVOTE, 1, FIRST))


def test_an_old_block_waits_for_its_polka() -> None:
    """Line 28: upon PROPOSAL(h, round, v, vr) and 2f+1 PREVOTE(h, vr, id(v)) while step = propose."""
    replica = started(0)
    hear(replica, ballot(PRECOMMIT, 1, None), 2, 3)
    assert spoken(tell(replica, 2, proposal(FIRST, 1, valid_round=0))) == [Held(FIRST)]
    hear(replica, ballot(PREVOTE, 0, FIRST), 1, 2)
    assert spoken(hear(replica, ballot(PREVOTE, 0, FIRST), 3)) == [
        Adopted(FIRST),
        Broadcast(ballot(PREVOTE, 1, FIRST)),
    ]


@pytest.mark.parametrize(("newer", "answer"), [(True, "block"), (False, "nil")])
def test_a_polka_of_a_later_round_overrules_the_lock(newer: bool, answer: str) -> None:
    """Line 29: lockedRound ≤ vr; a polka older than the lock does not."""
    replica = locked_on_first(0)
    second = block(1, 1)
    if newer:
        # Round 2 proposes the block of round 1, of which a polka is known; the lock is of round 0.
        tell(replica, 3, Standing(NOTHING_YET, polka(1, second)))
    else:
        # The lock moves on to round 1; round 2 proposes a block with a polka of round 0.
        tell(replica, 2, proposal(FIRST, 1, valid_round=0))
        hear(replica, ballot(PREVOTE, 1, FIRST), 0, 1, 2)
        assert replica.locked == polka(1, FIRST)
        replica.polkas[View(at(1, 0))] = polka(0, OTHER)
    hear(replica, ballot(PRECOMMIT, 2, None), 2, 3)
    old = proposal(second, 2, valid_round=1) if newer else proposal(OTHER, 2, valid_round=0)
    expected = old.block if answer == "block" else None
    assert spoken(tell(replica, 3, old))[-1] == Broadcast(ballot(PREVOTE, 2, expected))


# Lines 34 to 46: precommits


def test_a_quorum_of_mixed_prevotes_starts_the_prevote_timeout_once() -> None:
    """Line 34: upon 2f+1 PREVOTE(h, round, *) while step = prevote for the first time."""
    replica = started(0)
    tell(replica, 1, proposal(FIRST))
    hear(replica, ballot(PREVOTE, 0, FIRST), 0, 1)
    assert tell(replica, 2, ballot(PREVOTE, 0, None)) == [SetTimer("prevote", VOTE_NS)]
    assert tell(replica, 3, ballot(PREVOTE, 0, None)) == []


def test_a_polka_locks_and_is_precommitted() -> None:
    """Line 36: lockedValue, lockedRound, validValue, validRound; precommit id(v); all durable before it is said."""
    replica = started(0)
    tell(replica, 1, proposal(FIRST))
    hear(replica, ballot(PREVOTE, 0, FIRST), 0, 2)
    seen = polka(0, FIRST, 0, 2, 3)
    assert tell(replica, 3, ballot(PREVOTE, 0, FIRST)) == [
        SetTimer("prevote", VOTE_NS),
        promise(locked=seen, valid=seen, prevote=FIRST, precommit=FIRST),
        Broadcast(ballot(PRECOMMIT, 0, FIRST)),
    ]
    assert tell(replica, 1, ballot(PREVOTE, 0, FIRST)) == []


def test_a_polka_after_the_precommit_makes_valid_but_does_not_lock() -> None:
    """Lines 36 to 43: validValue is set while step = precommit too."""
    replica = started(0)
    tell(replica, 1, proposal(FIRST))
    replica.fire("propose", 0)
    hear(replica, ballot(PREVOTE, 0, FIRST), 0, 1)
    tell(replica, 2, ballot(PREVOTE, 0, None))
    assert spoken(replica.fire("prevote", 0)) == [Broadcast(ballot(PRECOMMIT, 0, None))]
    seen = polka(0, FIRST, 0, 1, 3)
    assert tell(replica, 3, ballot(PREVOTE, 0, FIRST)) == [promise(valid=seen, prevote=FIRST, precommit=None)]
    assert replica.locked is None


def test_a_polka_without_its_proposal_locks_nothing() -> None:
    """Line 36 needs the proposal; prevote and precommit are nil by timeout (lines 57 and 61)."""
    replica = started(0)
    assert list(replica.fire("propose", PROPOSE_NS)) == [promise(prevote=None), Broadcast(ballot(PREVOTE, 0, None))]
    hear(replica, ballot(PREVOTE, 0, FIRST), 1, 2)
    assert tell(replica, 3, ballot(PREVOTE, 0, FIRST)) == [SetTimer("prevote", VOTE_NS)]
    assert list(replica.fire("prevote", VOTE_NS)) == [
        promise(prevote=None, precommit=None),
        Broadcast(ballot(PRECOMMIT, 0, None)),
    ]


def test_a_quorum_for_nil_is_precommitted_at_once() -> None:
    """Line 44: upon 2f+1 PREVOTE(h, round, nil) while step = prevote: precommit nil."""
    replica = started(0)
    replica.fire("propose", PROPOSE_NS)
    hear(replica, ballot(PREVOTE, 0, None), 0, 1)
    assert tell(replica, 2, ballot(PREVOTE, 0, None)) == [
        SetTimer("prevote", VOTE_NS),
        promise(prevote=None, precommit=None),
        Broadcast(ballot(PRECOMMIT, 0, None)),
    ]


def test_timeouts_of_steps_that_are_over_do_nothing() -> None:
    """Lines 57 and 61: only while the step, the round and the height are still the same."""
    replica = started(0)
    tell(replica, 1, proposal(FIRST))
    hear(replica, ballot(PREVOTE, 0, FIRST), 0, 1, 2)
    assert list(replica.fire("propose", PROPOSE_NS)) == []
    assert list(replica.fire("prevote", VOTE_NS)) == []
    tell(replica, 1, ballot(PRECOMMIT, 0, FIRST))
    hear(replica, ballot(PRECOMMIT, 0, FIRST), 2, 3)
    assert replica.height == 2
    tell(replica, 2, proposal(block(2, 0, FIRST)))
    for stale in ("prevote", "precommit"):
        assert list(replica.fire(stale, VOTE_NS)) == []


# Lines 47 to 67: decisions, later rounds


def test_a_quorum_of_mixed_precommits_starts_the_precommit_timeout_and_then_the_next_round() -> None:
    """Lines 47 and 65."""
    replica = started(0)
    hear(replica, ballot(PRECOMMIT, 0, None), 1, 2)
    assert tell(replica, 3, ballot(PRECOMMIT, 0, FIRST)) == [SetTimer("precommit", VOTE_NS)]
    assert list(replica.fire("precommit", VOTE_NS)) == [
        Entered(View(4_000_002), timed_out=True),
        SetTimer("repeat", REPEAT_NS + 3 * GROWTH_NS),
        SetTimer("propose", PROPOSE_NS + GROWTH_NS),
    ]


def test_a_quorum_of_precommits_decides() -> None:
    """Lines 49 to 54: decision, next height, locks reset, round 0."""
    replica = started(0)
    tell(replica, 1, proposal(FIRST))
    hear(replica, ballot(PREVOTE, 0, FIRST), 0, 1, 2)
    hear(replica, ballot(PRECOMMIT, 0, FIRST), 0, 1)
    assert tell(replica, 3, ballot(PRECOMMIT, 0, FIRST)) == [
        Committed(FIRST),
        Persist("final", FinalMark(FIRST.id, Height(1))),
        promise(committed=certificate(PRECOMMIT, 4_000_001, FIRST, 0, 1, 3), prevote=FIRST, precommit=FIRST),
        Entered(View(8_000_002)),
        SetTimer("repeat", REPEAT_NS),
        SetTimer("propose", PROPOSE_NS),
    ]
    assert (replica.locked, replica.valid) == (None, None)
    assert tell(replica, 2, ballot(PRECOMMIT, 0, FIRST)) == [], "what is over is over"


def test_any_rounds_quorum_decides_even_before_the_block_is_there() -> None:
    """Line 49: upon PROPOSAL(h, r, v, *) and 2f+1 PRECOMMIT(h, r, id(v)), for any r."""
    replica = started(0)
    hear(replica, ballot(PRECOMMIT, 3, FIRST), 1, 2, 3)
    assert replica.view == at(1, 3)
    effects = spoken(tell(replica, 1, proposal(FIRST)))
    assert effects[:3] == [Held(FIRST), Committed(FIRST), Entered(View(8_000_002))]


def test_f_plus_1_replicas_in_a_later_round_are_followed() -> None:
    """Line 55: f+1 messages of any kind; one replica alone moves nobody, whatever it says."""
    replica = started(0)
    assert tell(replica, 3, ballot(PREVOTE, 5, None)) == []
    assert tell(replica, 3, ballot(PRECOMMIT, 5, None)) == []
    assert tell(replica, 1, ballot(PREVOTE, 6, None)) == []
    assert spoken(tell(replica, 2, ballot(PRECOMMIT, 5, None))) == [
        Entered(View(4_000_006), timed_out=True),
        SetTimer("repeat", REPEAT_NS + 15 * GROWTH_NS),
        SetTimer("propose", PROPOSE_NS + 5 * GROWTH_NS),
    ]


def test_a_proposal_counts_for_its_round() -> None:
    """Line 55: a proposal is a message of that round too, and is answered as soon as the round begins."""
    replica = started(0)
    later = block(1, 2)
    tell(replica, 3, proposal(later, 2))
    assert spoken(tell(replica, 1, ballot(PREVOTE, 2, None)))[-1] == Broadcast(ballot(PREVOTE, 2, later))


def test_votes_of_the_next_height_are_kept_for_it() -> None:
    replica = started(0)
    second = block(2, 1, FIRST)
    tell(replica, 1, proposal(FIRST))
    tell(replica, 3, proposal(second, 1))
    hear(replica, ballot(PREVOTE, 1, second, height=2), 1)
    hear(replica, ballot(PRECOMMIT, 0, FIRST), 1, 2)
    effects = spoken(tell(replica, 3, ballot(PRECOMMIT, 0, FIRST)))
    assert [effect.view for effect in effects if type(effect) is Entered] == [at(2, 0), at(2, 1)]
    assert effects[-1] == Broadcast(ballot(PREVOTE, 1, second, height=2))


def test_a_proof_of_a_later_height_decides_all_below() -> None:
    replica = started(0)
    second = block(2, 0, FIRST)
    tell(replica, 1, proposal(FIRST))
    tell(replica, 2, proposal(second))
    effects = hear(replica, ballot(PRECOMMIT, 0, second, height=2), 1, 2, 3)
    assert [effect.block for effect in effects if type(effect) is Committed] == [FIRST, second]
    assert replica.view == at(3, 0)


# What votes count


def test_a_second_vote_for_one_place_is_rejected_and_the_first_counts() -> None:
    replica = started(0)
    tell(replica, 1, proposal(FIRST))
    hear(replica, ballot(PREVOTE, 0, FIRST), 0, 2)
    tell(replica, 3, ballot(PREVOTE, 0, None))
    assert tell(replica, 3, ballot(PREVOTE, 0, FIRST)) == [Rejected(ReplicaId(3), Reason.EQUIVOCATION)]
    assert tell(replica, 3, ballot(PREVOTE, 0, None)) == []
    assert replica.step == PREVOTE


@pytest.mark.parametrize(
    "wrong", [ballot("commit", 0, FIRST), Vote(PREVOTE, View(4_000_001), Height(2), FIRST.id), vote(PREVOTE, 1, FIRST)]
)
def test_votes_that_contradict_themselves_are_rejected(wrong: Vote) -> None:
    assert tell(started(0), 3, wrong) == [Rejected(ReplicaId(3), Reason.MALFORMED)]


# In place of gossip


def test_a_replica_that_is_stuck_says_everything_again() -> None:
    replica = locked_on_first(0)
    replica.fire("propose", PROPOSE_NS)
    over = RoundCertificate(View(4_000_001), *_replicas(0, 1, 2), Height(1), (NIL,) * 3)
    assert list(replica.fire("repeat", REPEAT_NS)) == [
        Broadcast(Standing(NOTHING_YET, polka(0, FIRST), over)),
        Broadcast(ballot(PREVOTE, 1, None)),
        SetTimer("repeat", REPEAT_NS + 3 * GROWTH_NS),
    ]


def test_the_end_of_a_round_can_be_proved() -> None:
    """Line 65, with the wait behind it: whoever was alone in an earlier round comes along."""
    over = RoundCertificate(View(at(1, 3)), *_replicas(0, 1, 2), Height(1), (NIL, FIRST.id, NIL))
    replica = started(3)
    assert tell(replica, 2, Standing(NOTHING_YET, None, over))[0] == Entered(View(at(1, 4)), timed_out=True)
    assert tell(replica, 2, Standing(NOTHING_YET, None, over)) == []
    assert [statement for _, statement, _ in over.evidence()] == [
        ballot(PRECOMMIT, 3, None),
        ballot(PRECOMMIT, 3, FIRST),
        ballot(PRECOMMIT, 3, None),
    ]


def test_whoever_has_decided_more_helps_a_laggard() -> None:
    ahead = started(0)
    tell(ahead, 1, proposal(FIRST))
    hear(ahead, ballot(PRECOMMIT, 0, FIRST), 1, 2, 3)
    proof = Standing(certificate(PRECOMMIT, 4_000_001, FIRST, 1, 2, 3))
    assert tell(ahead, 3, Standing(NOTHING_YET)) == [Send(ReplicaId(3), proof)]
    assert tell(ahead, 3, proof) == []
    behind = started(3)
    assert tell(behind, 0, proof) == [SetTimer("fetch", DELTA_NS)]
    assert Committed(FIRST) in tell(behind, 1, proposal(FIRST))


WEAK = [
    Standing(certificate(PRECOMMIT, 4_000_001, FIRST, 0, 1)),
    Standing(certificate(PRECOMMIT, 4_000_001, FIRST, 0, 0, 1)),
    Standing(certificate(PREVOTE, 4_000_001, FIRST)),
    Standing(certificate(PRECOMMIT, 8_000_002, FIRST)),
    Standing(msgspec.structs.replace(certificate(PRECOMMIT, 4_000_001, FIRST), block=NIL)),
    Standing(msgspec.structs.replace(NOTHING_YET, block=FIRST.id)),
    Standing(NOTHING_YET, certificate(PRECOMMIT, 4_000_001, FIRST)),
    Standing(NOTHING_YET, polka(0, FIRST, 0, 1)),
    Standing(NOTHING_YET, msgspec.structs.replace(polka(0, FIRST), block=NIL)),
    Standing(NOTHING_YET, None, RoundCertificate(View(4_000_001), *_replicas(0, 1), Height(1), (NIL,) * 2)),
    Standing(NOTHING_YET, None, RoundCertificate(View(8_000_002), *_replicas(0, 1, 2), Height(1), (NIL,) * 3)),
]


@pytest.mark.parametrize("weak", WEAK)
def test_weak_proofs_are_rejected(weak: Standing) -> None:
    assert tell(started(0), 3, weak) == [Rejected(ReplicaId(3), Reason.WEAK_CERTIFICATE)]


def test_a_round_certificate_needs_a_block_per_signer() -> None:
    with pytest.raises(ValueError, match="one block per signer"):
        RoundCertificate(View(1), *_replicas(0, 1), Height(1), (BlockId(b""),))


# Restarts


def store(effects: list[Effect]) -> dict[str | bytes, Any]:
    """What outlives a crash, through the encoding that nodes keep it in."""
    kept: dict[str | bytes, Any] = {}
    for effect in effects:
        if type(effect) is Persist:
            kept[effect.key] = msgspec.msgpack.decode(msgspec.msgpack.encode(effect.value), type=type(effect.value))
    return kept


def again(me: int, effects: list[Effect]) -> tuple[Tendermint, list[Effect]]:
    replica = Tendermint(seat(me, TendermintParameters()))
    return replica, list(replica.start(store(effects), 0))


def test_a_restarted_replica_says_its_votes_again_and_no_others() -> None:
    said = tell(started(0), 1, proposal(FIRST))
    replica, effects = again(0, said)
    assert effects == [
        Entered(View(4_000_001)),
        SetTimer("repeat", REPEAT_NS),
        Broadcast(Standing(NOTHING_YET)),
        Broadcast(ballot(PREVOTE, 0, FIRST)),
    ]
    assert not [e for e in tell(replica, 1, proposal(OTHER)) if isinstance(e, Broadcast)]
    assert list(replica.fire("propose", PROPOSE_NS)) == []


def test_a_restarted_proposer_proposes_the_same_block_again() -> None:
    proposer = Tendermint(seat(1, TendermintParameters()))
    said = list(proposer.start({}, 0))
    replica = Tendermint(seat(1, TendermintParameters(), payloads=lambda now_ns, most, parent: Payload(0, 9, 9)))
    assert list(replica.start(store(said), 0)) == [
        Entered(View(4_000_001)),
        SetTimer("repeat", REPEAT_NS),
        Broadcast(proposal(FIRST)),
    ]


def test_a_restarted_replica_keeps_its_locks_its_round_and_the_proof_of_it() -> None:
    first = started(0)
    said = tell(first, 1, proposal(FIRST))
    for message in (ballot(PREVOTE, 0, FIRST), ballot(PRECOMMIT, 0, None)):
        said += [effect for sender in range(3) for effect in tell(first, sender, message)]
    said += first.fire("precommit", VOTE_NS)
    said += first.fire("propose", PROPOSE_NS)
    replica, effects = again(0, said)
    assert (replica.view, replica.locked, replica.valid) == (at(1, 1), polka(0, FIRST), polka(0, FIRST))
    over = RoundCertificate(View(4_000_001), *_replicas(0, 1, 2), Height(1), (NIL,) * 3)
    assert effects[-2:] == [
        Broadcast(Standing(NOTHING_YET, polka(0, FIRST), over)),
        Broadcast(ballot(PREVOTE, 1, None)),
    ]


def test_a_replica_that_restarts_after_a_decision_begins_the_next_height() -> None:
    first = started(0)
    said = tell(first, 1, proposal(FIRST))
    for sender in (1, 2, 3):
        said += tell(first, sender, ballot(PRECOMMIT, 0, FIRST))
    replica, effects = again(0, said)
    assert (replica.view, replica.step, replica.tree.final) == (at(2, 0), "propose", FIRST)
    assert Broadcast(Standing(certificate(PRECOMMIT, 4_000_001, FIRST, 1, 2, 3))) in effects
