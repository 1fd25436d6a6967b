"""Simplex, sentence by sentence: Chan and Pass, ePrint 2023/463, section 2."""

from __future__ import annotations

from typing import Any

import pytest

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
from consensus.messages import GENESIS, Block, Fetch, Vote, genesis_certificate
from consensus.pacemaker import BftParameters
from consensus.protocols.nullify import Nullification, Nullify
from consensus.protocols.simplex import FINALIZE, Simplex
from consensus.protocols.simplex_chain import NOTARIZE, Chain, Notarized, Propose
from consensus.protocols.simplex_family import Promise
from consensus.types import Height, ReplicaId, View
from tests.consensus.stage import DELTA_NS, certificate, child, seat, spoken, tell, vote

TIMER = SetTimer("view", 3 * DELTA_NS)
ROOT = Chain(genesis_certificate(NOTARIZE))
FIRST = child(GENESIS, 1)
SECOND = child(FIRST, 2)
AFTER_DUMMY = child(GENESIS, 2)


def dummy(view: int, *signers: int) -> Nullification:
    replicas = tuple(ReplicaId(i) for i in signers or (0, 1, 2))
    return Nullification(View(view), replicas, (b"",) * len(replicas))


def notarized(block: Block, *dummies: int, signers: tuple[int, ...] = ()) -> Chain:
    """The chain of a notarized block and dummy blocks in these views."""
    newest = genesis_certificate(NOTARIZE) if block is GENESIS else certificate(NOTARIZE, block.view, block, *signers)
    return Chain(newest, tuple(dummy(view) for view in dummies))


def promised(view: int, voted: int, proposed: int, nullified: int, chain: Chain) -> Persist:
    return Persist("promise", Promise(View(view), View(voted), View(proposed), View(nullified), chain))


def started(me: int, parameters: BftParameters | None = None, **changes: Any) -> Simplex:
    replica = Simplex(seat(me, parameters or BftParameters(), **changes))
    replica.start({}, 0)
    return replica


def voted_for_first(me: int) -> Simplex:
    replica = started(me)
    tell(replica, 1, Propose(FIRST, ROOT))
    return replica


def votes_of(effects: list[Effect], phase: str) -> list[View]:
    """The views of the votes of one phase."""
    said = [effect.message for effect in effects if isinstance(effect, Broadcast)]
    return [message.view for message in said if isinstance(message, Vote) and message.phase == phase]


# Step 1: leader proposal


def test_the_leader_proposes_upon_entering_its_view() -> None:
    """ "Upon entering iteration h, if player i is the leader L_h, it multicasts a single proposal."""
    leader = Simplex(seat(1, BftParameters()))
    assert list(leader.start({}, 0)) == [
        Entered(View(1)),
        TIMER,
        promised(1, 0, 1, 0, ROOT),
        Broadcast(Propose(FIRST, ROOT)),
    ]


def test_the_next_leader_proposes_at_notarization_and_does_not_wait_for_finality() -> None:
    leader = voted_for_first(2)
    for sender in (0, 1):
        assert tell(leader, sender, vote(NOTARIZE, 1, FIRST)) == []
    chain = notarized(FIRST, signers=(0, 1, 2))
    assert tell(leader, 2, vote(NOTARIZE, 1, FIRST)) == [
        promised(2, 1, 0, 0, chain),
        Broadcast(Notarized(chain)),
        Broadcast(vote(FINALIZE, 1, FIRST)),
        Adopted(FIRST),
        Entered(View(2)),
        TIMER,
        promised(2, 1, 2, 0, chain),
        Broadcast(Propose(SECOND, chain)),
    ]


# Step 2: dummy blocks


def test_a_timer_that_fires_votes_for_the_dummy_block() -> None:
    """ "If this timer fires [3Δ after it entered], player i multicasts a vote for the dummy block."""
    assert list(started(0).fire("view", 3 * DELTA_NS)) == [
        promised(1, 0, 0, 1, ROOT),
        Broadcast(Nullify(View(1))),
        TIMER,
    ]


def test_what_may_have_been_lost_is_said_again() -> None:
    """Our deviation: the paper's network delivers everything."""
    replica = voted_for_first(0)
    tell(replica, 3, Notarized(notarized(FIRST)))
    first = list(replica.fire("view", 3 * DELTA_NS))
    assert spoken(first) == [Broadcast(Nullify(View(2))), TIMER]
    again = list(replica.fire("view", 6 * DELTA_NS))
    assert again == [*first, Broadcast(Notarized(notarized(FIRST)))]


def test_a_quorum_for_the_dummy_block_begins_the_next_view() -> None:
    leader = started(2)
    assert tell(leader, 0, Nullify(View(1))) == []
    assert tell(leader, 0, Nullify(View(1))) == [], "the same vote twice counts once"
    assert tell(leader, 1, Nullify(View(1))) == []
    chain = Chain(ROOT.notarization, (dummy(1, 0, 1, 3),))
    assert tell(leader, 3, Nullify(View(1))) == [
        promised(2, 0, 0, 0, chain),
        Broadcast(Notarized(chain)),
        Entered(View(2), True),
        TIMER,
        promised(2, 0, 2, 0, chain),
        Broadcast(Propose(AFTER_DUMMY, chain)),
    ]


def test_dummy_votes_of_a_later_view_wait_until_it_is_reached() -> None:
    replica = started(0)
    for view in (2, 1):
        for sender in (1, 2):
            tell(replica, sender, Nullify(View(view)))
    assert tell(replica, 3, Nullify(View(2))) == []
    effects = tell(replica, 3, Nullify(View(1)))
    assert [e for e in effects if isinstance(e, Entered)] == [Entered(View(2), True), Entered(View(3), True)]
    assert replica.chain == Chain(ROOT.notarization, (dummy(1, 1, 2, 3), dummy(2, 1, 2, 3)))


def test_the_timer_allows_what_the_scenario_lets_a_leader_wait() -> None:
    replica = Simplex(seat(0, BftParameters(block_interval_ms=1)))
    assert list(replica.start({}, 0))[-1] == SetTimer("view", 3 * DELTA_NS + 1_000_000)
    idle = Simplex(seat(0, BftParameters(propose_empty=False), delta_ns=1600))
    assert list(idle.start({}, 0))[-1] == SetTimer("view", 3 * 1600 + 2400 + 100)


# Step 3: notarizing


def test_a_replica_votes_for_the_first_proposal_only() -> None:
    """ "Upon seeing the first proposal from L_h … multicast ⟨vote, h, b_h⟩."""
    replica = started(0)
    assert tell(replica, 1, Propose(FIRST, ROOT)) == [
        Persist(FIRST.id, FIRST),
        Held(FIRST),
        promised(1, 1, 0, 0, ROOT),
        Broadcast(vote(NOTARIZE, 1, FIRST)),
    ]
    other = child(GENESIS, 1, count=1)
    assert spoken(tell(replica, 1, Propose(other, ROOT))) == [Held(other)]


def test_whoever_voted_for_the_dummy_block_may_still_vote_for_the_block() -> None:
    replica = started(0)
    replica.fire("view", 3 * DELTA_NS)
    assert votes_of(tell(replica, 1, Propose(FIRST, ROOT)), NOTARIZE) == [1]


def test_a_proposal_shows_the_way_into_its_view() -> None:
    """Its chain is what everybody needs to enter: nothing else has to arrive first."""
    replica = voted_for_first(0)
    chain = notarized(FIRST)
    assert tell(replica, 2, Propose(SECOND, chain)) == [
        Persist(SECOND.id, SECOND),
        Held(SECOND),
        promised(2, 1, 0, 0, chain),
        Broadcast(Notarized(chain)),
        Broadcast(vote(FINALIZE, 1, FIRST)),
        Adopted(FIRST),
        Entered(View(2)),
        TIMER,
        promised(2, 2, 0, 0, chain),
        Broadcast(vote(NOTARIZE, 2, SECOND)),
    ]


def test_a_proposal_of_a_view_that_is_over_gets_no_vote() -> None:
    replica = started(0)
    tell(replica, 3, Notarized(notarized(GENESIS, 1)))
    assert spoken(tell(replica, 1, Propose(FIRST, ROOT))) == [Held(FIRST)]


@pytest.mark.parametrize(
    ("sender", "message", "reason"),
    [
        (2, Propose(FIRST, ROOT), Reason.WRONG_LEADER),
        (1, Propose(Block(GENESIS.id, Height(1), View(1), ReplicaId(2), GENESIS.payload), ROOT), Reason.WRONG_LEADER),
        (1, Propose(Block(FIRST.id, Height(1), View(1), ReplicaId(1), GENESIS.payload), ROOT), Reason.WRONG_PARENT),
        (1, Propose(Block(GENESIS.id, Height(2), View(1), ReplicaId(1), GENESIS.payload), ROOT), Reason.WRONG_PARENT),
        (2, Propose(SECOND, notarized(FIRST, signers=(0, 1))), Reason.WEAK_CERTIFICATE),
        (2, Propose(SECOND, Chain(certificate(FINALIZE, 1, FIRST))), Reason.WEAK_CERTIFICATE),
        (2, Propose(AFTER_DUMMY, Chain(ROOT.notarization, (dummy(1, 0, 0, 1),))), Reason.WEAK_CERTIFICATE),
        (3, Propose(child(GENESIS, 3), notarized(GENESIS, 2, 1)), Reason.WEAK_CERTIFICATE),
        (3, Propose(child(GENESIS, 3), notarized(GENESIS, 1, 1)), Reason.WEAK_CERTIFICATE),
        (2, Propose(AFTER_DUMMY, ROOT), Reason.UNJUSTIFIED_VIEW),
        (3, Propose(child(FIRST, 3), notarized(FIRST)), Reason.UNJUSTIFIED_VIEW),
    ],
)
def test_proposals_that_do_not_hold_together_are_rejected(sender: int, message: Propose, reason: Reason) -> None:
    assert tell(started(0), sender, message) == [Rejected(ReplicaId(sender), reason)]


def test_weak_chains_and_unknown_votes_are_rejected() -> None:
    weak = Notarized(notarized(FIRST, signers=(0, 1)))
    assert tell(started(0), 3, weak) == [Rejected(ReplicaId(3), Reason.WEAK_CERTIFICATE)]
    assert tell(started(0), 3, vote("prepare", 1, FIRST)) == [Rejected(ReplicaId(3), Reason.UNKNOWN)]


def test_votes_may_overtake_the_proposal_which_still_gets_its_own() -> None:
    replica = started(0)
    for sender in (1, 2):
        tell(replica, sender, vote(NOTARIZE, 1, FIRST))
    assert tell(replica, 3, vote(NOTARIZE, 1, FIRST)) == [SetTimer("fetch", DELTA_NS)]
    effects = tell(replica, 1, Propose(FIRST, ROOT))
    assert (votes_of(effects, NOTARIZE), votes_of(effects, FINALIZE), replica.view) == ([1], [1], 2)


# Step 4: next view and finalize votes


def test_a_replica_that_nullified_a_view_never_votes_to_finalize_it() -> None:
    """ "If the timer T_h did not fire yet: cancel it (so it never fires) and multicast ⟨finalize, h⟩."""
    replica = voted_for_first(0)
    replica.fire("view", 3 * DELTA_NS)
    chain = notarized(FIRST)
    assert tell(replica, 3, Notarized(chain)) == [
        promised(2, 1, 0, 1, chain),
        Broadcast(Notarized(chain)),
        Adopted(FIRST),
        Entered(View(2)),
        TIMER,
    ]


def test_a_longer_chain_is_followed_at_once_and_its_newest_block_may_be_finalized() -> None:
    """It passes views 1 to 3, whose timers have never fired."""
    replica = voted_for_first(3)
    chain = notarized(FIRST, 2, 3)
    assert tell(replica, 0, Notarized(chain)) == [
        promised(4, 1, 0, 0, chain),
        Broadcast(Notarized(chain)),
        Broadcast(vote(FINALIZE, 1, FIRST)),
        Adopted(FIRST),
        Entered(View(4), True),
        TIMER,
    ]
    assert tell(replica, 2, Notarized(chain)) == [], "once"


def test_of_two_chains_of_one_length_the_later_block_is_kept() -> None:
    replica = voted_for_first(0)
    tell(replica, 3, Notarized(notarized(FIRST)))
    effects = spoken(tell(replica, 3, Notarized(notarized(GENESIS, 1, 2))))
    assert replica.chain == notarized(FIRST, 2)
    assert effects == [Broadcast(Notarized(replica.chain)), Entered(View(3), True), TIMER]


# Step 5: finalizing


def test_a_quorum_of_finalize_votes_makes_the_block_and_all_below_final() -> None:
    replica = voted_for_first(0)
    tell(replica, 2, Propose(SECOND, notarized(FIRST)))
    for sender in (1, 2):
        assert tell(replica, sender, vote(FINALIZE, 2, SECOND)) == []
    effects = tell(replica, 3, vote(FINALIZE, 2, SECOND))
    assert spoken(effects) == [Committed(FIRST), Committed(SECOND)]
    assert tell(replica, 0, vote(FINALIZE, 1, FIRST)) == []


def test_a_final_block_that_is_missing_is_fetched() -> None:
    replica = started(0)
    for sender in (1, 2):
        tell(replica, sender, vote(FINALIZE, 1, FIRST))
    assert tell(replica, 3, vote(FINALIZE, 1, FIRST)) == [SetTimer("fetch", DELTA_NS)]
    asked = list(replica.fire("fetch", DELTA_NS))
    assert asked[0] == Send(ReplicaId(3), Fetch(FIRST.id, Height(1), Height(0)))
    assert Committed(FIRST) in tell(replica, 1, Propose(FIRST, ROOT))


# Restarts


def again(me: int, effects: list[Effect]) -> tuple[Simplex, list[Effect]]:
    store = {effect.key: effect.value for effect in effects if type(effect) is Persist}
    replica = Simplex(seat(me, BftParameters()))
    return replica, list(replica.start(store, 0))


def test_a_restarted_replica_does_not_vote_twice_in_a_view() -> None:
    replica, effects = again(0, tell(started(0), 1, Propose(FIRST, ROOT)))
    assert effects == [Entered(View(1)), TIMER]
    assert votes_of(tell(replica, 1, Propose(child(GENESIS, 1, count=1), ROOT)), NOTARIZE) == []


def test_a_restarted_leader_does_not_propose_twice_in_a_view() -> None:
    leader = Simplex(seat(1, BftParameters()))
    assert again(1, list(leader.start({}, 0)))[1] == [Entered(View(1)), TIMER]


def test_a_restarted_replica_that_nullified_does_not_finalize() -> None:
    replica = started(0)
    said = tell(replica, 1, Propose(FIRST, ROOT)) + list(replica.fire("view", 3 * DELTA_NS))
    restarted, _ = again(0, said)
    assert votes_of(tell(restarted, 3, Notarized(notarized(FIRST))), FINALIZE) == []
    assert restarted.view == 2


def test_a_restarted_replica_that_finalized_does_not_nullify() -> None:
    replica = started(0)
    said = tell(replica, 1, Propose(FIRST, ROOT)) + tell(replica, 3, Notarized(notarized(FIRST)))
    assert votes_of(said, FINALIZE) == [1]
    restarted, effects = again(0, said)
    assert effects == [Entered(View(2)), TIMER]
    assert Broadcast(Nullify(View(2))) in restarted.fire("view", 3 * DELTA_NS)


def test_what_is_promised_stands_before_what_is_said() -> None:
    replica = started(0)
    said = tell(replica, 1, Propose(FIRST, ROOT)) + list(replica.fire("view", 3)) + tell(replica, 2, Nullify(View(1)))
    said += tell(replica, 3, Notarized(notarized(FIRST)))
    for position, effect in enumerate(said):
        if isinstance(effect, Broadcast):
            assert any(isinstance(before, Persist) for before in said[max(0, position - 2) : position])
