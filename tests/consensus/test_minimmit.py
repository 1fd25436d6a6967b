"""Minimmit, line by line: Chou, Lewis-Pye and O'Grady, arXiv 2508.10862, algorithm 1, with n = 6 and f = 1.

Three votes notarize or nullify, five decide.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
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
    SetTimer,
)
from consensus.messages import GENESIS, Ancestors, Block, Vote, genesis_certificate
from consensus.pacemaker import BftParameters
from consensus.protocols.minimmit import Minimmit, VotePromise
from consensus.protocols.nullify import Nullification, Nullify
from consensus.protocols.simplex_chain import NOTARIZE, Chain, Notarized, Propose
from consensus.types import Committee, Height, ReplicaId, View
from tests.consensus.stage import DELTA_NS, certificate, seat, spoken, tell, vote
from tests.consensus.stage import child as child_of_four

N = 6
TIMER = SetTimer("view", 2 * DELTA_NS + 1)
ROOT = Chain(genesis_certificate(NOTARIZE))


def child(parent: Block, view: int, count: int = 0) -> Block:
    return child_of_four(parent, view, N, count)


FIRST = child(GENESIS, 1)
OTHER = child(GENESIS, 1, count=1)
SECOND = child(FIRST, 2)
AFTER_DUMMY = child(GENESIS, 2)
NOTHING = Vote(NOTARIZE, View(0), Height(0), GENESIS.id)


def dummy(view: int, *signers: int) -> Nullification:
    replicas = tuple(ReplicaId(i) for i in signers or (0, 1, 2))
    return Nullification(View(view), replicas, (b"",) * len(replicas))


def notarized(block: Block, *dummies: int, signers: tuple[int, ...] = ()) -> Chain:
    """The chain of a notarized block and of nullifications of these views."""
    newest = genesis_certificate(NOTARIZE) if block is GENESIS else certificate(NOTARIZE, block.view, block, *signers)
    return Chain(newest, tuple(dummy(view) for view in dummies))


def yes(block: Block) -> Vote:
    return vote(NOTARIZE, block.view, block)


def promised(view: int, last: Block, proposed: int, nullified: int, chain: Chain) -> Persist:
    said = NOTHING if last is GENESIS else yes(last)
    return Persist("promise", VotePromise(View(view), said.view, View(proposed), View(nullified), chain, said))


def fresh(me: int) -> Minimmit:
    return Minimmit(seat(me, BftParameters(), N, committee=Committee.of(N, resilience=5)))


def started(me: int) -> Minimmit:
    replica = fresh(me)
    replica.start({}, 0)
    return replica


def voted_for_first(me: int) -> Minimmit:
    replica = started(me)
    tell(replica, 1, Propose(FIRST, ROOT))
    return replica


def time_out(replica: Minimmit, now_ns: int = 2 * DELTA_NS + 1) -> list[Effect]:
    return list(replica.fire("view", now_ns))


def said(effects: list[Effect], kind: type[Any]) -> list[View]:
    """The views of the votes of one kind."""
    return [e.message.view for e in effects if isinstance(e, Broadcast) and isinstance(e.message, kind)]


# Sizes (section 3): by enumeration, and neither one less nor one more would do


def test_a_notarization_and_a_quorum_share_a_correct_replica_whoever_is_faulty() -> None:
    for n in range(1, 12):
        committee = Committee.of(n, resilience=5)
        size = Minimmit.facts.certificate_size(committee)
        decided = set(range(committee.quorum))  # which quorum is a matter of names
        fewest = min(len(decided & set(some)) for some in combinations(range(n), size))
        assert fewest == committee.f + 1
        assert n == 1 or min(len(decided & set(some)) for some in combinations(range(n), size - 1)) == committee.f


def opinions(replicas: int, largest: int | None = None) -> Iterator[tuple[int, ...]]:
    """All ways to share them among blocks, most votes first."""
    if not replicas:
        yield ()
    for first in range(min(replicas, largest or replicas), 0, -1):
        for rest in opinions(replicas - first, first):
            yield (first, *rest)


def nullifiers(silent: int, votes: tuple[int, ...], faulty: int, size: int) -> int:
    """How many nullify in the end: who did not vote does, and each block's voters upon `size` against it.

    All votes arrive; `faulty` replicas say whatever helps.
    """
    stand = list(votes)
    gave_up = silent + faulty
    while turned := [block for block in stand if gave_up + sum(stand) - block >= size]:
        stand = [block for block in stand if block not in turned]
        gave_up += sum(turned)
    return gave_up


def verdicts(n: int, size: int) -> set[str]:
    """What can go wrong in one view, over all that the correct replicas may do with it."""
    committee = Committee.of(n, resilience=5)
    f, quorum, found = committee.f, committee.quorum, set()
    for silent in range(n - f + 1):
        for votes in opinions(n - f - silent):
            most, *others = [*votes, 0, 0]
            decided = most + f >= quorum
            if decided and others[0] + f >= size:
                found.add("a final block has a rival")
            if decided and nullifiers(silent, votes, f, size) >= size:
                found.add("a final block has a nullification")
            if most < size and nullifiers(silent, votes, 0, size) < size:
                found.add("nobody leaves the view")
    return found


@pytest.mark.parametrize("n", range(1, 17))
def test_2f_1_is_the_one_size_that_is_safe_and_gets_on(n: int) -> None:
    committee = Committee.of(n, resilience=5)
    size = Minimmit.facts.certificate_size(committee)
    assert not verdicts(n, size)
    if n > 5:
        assert verdicts(n, size - 1) == {"a final block has a rival", "a final block has a nullification"}
    if n == 5 * committee.f + 1 and n > 1:
        assert verdicts(n, size + 1) == {"nobody leaves the view"}


# Lines 5-7: proposing


def test_the_leader_proposes_upon_entering_its_view() -> None:
    assert list(fresh(1).start({}, 0)) == [
        Entered(View(1)),
        TIMER,
        promised(1, GENESIS, 1, 0, ROOT),
        Broadcast(Propose(FIRST, ROOT)),
    ]


def test_the_next_leader_proposes_upon_2f_1_votes_and_does_not_wait_for_finality() -> None:
    leader = voted_for_first(2)
    for sender in (0, 1, 1):
        assert tell(leader, sender, yes(FIRST)) == []
    chain = notarized(FIRST, signers=(0, 1, 2))
    assert tell(leader, 2, yes(FIRST)) == [
        promised(2, FIRST, 0, 0, chain),
        Broadcast(Notarized(chain)),
        Adopted(FIRST),
        Entered(View(2)),
        TIMER,
        promised(2, FIRST, 2, 0, chain),
        Broadcast(Propose(SECOND, chain)),
    ]


def test_a_leader_lets_the_interval_pass_since_it_first_saw_the_parent() -> None:
    parameters = BftParameters(block_interval_ms=0.001)
    leader = Minimmit(seat(2, parameters, N, committee=Committee.of(N, resilience=5)))
    leader.start({}, 0)
    tell(leader, 1, Propose(FIRST, ROOT), now_ns=50)
    assert tell(leader, 3, Notarized(notarized(FIRST)), now_ns=200)[-1] == SetTimer("propose", 1000 - (200 - 50))
    assert spoken(list(leader.fire("propose", 1050))) == [Broadcast(Propose(SECOND, notarized(FIRST)))]


# Lines 9-11: voting


def test_a_replica_votes_for_the_first_proposal_only() -> None:
    replica = started(0)
    assert tell(replica, 1, Propose(FIRST, ROOT)) == [
        Persist(FIRST.id, FIRST),
        Held(FIRST),
        promised(1, FIRST, 0, 0, ROOT),
        Broadcast(yes(FIRST)),
    ]
    assert spoken(tell(replica, 1, Propose(OTHER, ROOT))) == [Held(OTHER)]


def test_nobody_votes_in_a_view_that_it_has_nullified() -> None:
    replica = started(0)
    time_out(replica)
    assert spoken(tell(replica, 1, Propose(FIRST, ROOT))) == [Held(FIRST)]


@pytest.mark.parametrize(
    ("sender", "message", "reason"),
    [
        (2, Propose(FIRST, ROOT), Reason.WRONG_LEADER),
        (2, Propose(SECOND, notarized(FIRST, signers=(0, 1))), Reason.WEAK_CERTIFICATE),
        (2, Propose(AFTER_DUMMY, Chain(ROOT.notarization, (dummy(1, 0, 1),))), Reason.WEAK_CERTIFICATE),
        (3, Propose(child(GENESIS, 3), notarized(GENESIS, 2)), Reason.WEAK_CERTIFICATE),
        (2, Propose(AFTER_DUMMY, ROOT), Reason.UNJUSTIFIED_VIEW),
        (3, Propose(child(FIRST, 3), notarized(FIRST)), Reason.UNJUSTIFIED_VIEW),
        (4, Notarized(notarized(FIRST, signers=(0, 1))), Reason.WEAK_CERTIFICATE),
        (4, vote("finalize", 1, FIRST), Reason.UNKNOWN),
    ],
)
def test_what_no_correct_replica_says_is_rejected(sender: int, message: Any, reason: Reason) -> None:
    assert tell(started(0), sender, message) == [Rejected(ReplicaId(sender), reason)]


# Lines 13-14: nullifying a view in which nothing happens


def test_after_two_delta_a_replica_that_has_not_voted_nullifies() -> None:
    """What arrives just at 2Δ is in time, as line 9 stands before line 13."""
    assert time_out(started(0)) == [promised(1, GENESIS, 0, 1, ROOT), Broadcast(Nullify(View(1))), TIMER]


def test_a_replica_that_has_voted_does_not_nullify_however_long_it_takes() -> None:
    replica = voted_for_first(0)
    for timeout in (1, 2, 3):
        assert time_out(replica, timeout * 2 * DELTA_NS) == [Broadcast(yes(FIRST)), TIMER]


def test_what_may_have_been_lost_is_said_again() -> None:
    """Our deviation: the paper's network delivers everything."""
    replica = voted_for_first(0)
    tell(replica, 3, Notarized(notarized(FIRST)))
    assert spoken(time_out(replica)) == [Broadcast(Nullify(View(2))), TIMER]
    again = [Broadcast(Nullify(View(2))), Broadcast(Notarized(notarized(FIRST))), TIMER]
    assert time_out(replica) == again
    tell(replica, 3, Notarized(notarized(FIRST, 2)))
    third = child(FIRST, 3)
    tell(replica, 3, Propose(third, notarized(FIRST, 2)))
    assert time_out(replica) == [Broadcast(yes(third)), Broadcast(Notarized(notarized(FIRST, 2))), TIMER]


# Lines 16-17: nullified


def test_2f_1_nullify_votes_begin_the_next_view() -> None:
    leader = started(2)
    for sender in (0, 0, 1):
        assert tell(leader, sender, Nullify(View(1))) == []
    chain = Chain(ROOT.notarization, (dummy(1, 0, 1, 3),))
    assert tell(leader, 3, Nullify(View(1))) == [
        promised(2, GENESIS, 0, 0, chain),
        Broadcast(Notarized(chain)),
        Entered(View(2), True),
        TIMER,
        promised(2, GENESIS, 2, 0, chain),
        Broadcast(Propose(AFTER_DUMMY, chain)),
    ]


# Lines 19-21: notarized


def test_who_first_hears_of_a_block_by_its_notarization_votes_for_it_in_passing() -> None:
    replica = started(0)
    for sender in (2, 3):
        tell(replica, sender, yes(FIRST))
    assert tell(replica, 4, yes(FIRST)) == [SetTimer("fetch", DELTA_NS)]
    chain = notarized(FIRST, signers=(2, 3, 4))
    assert spoken(tell(replica, 4, Ancestors((FIRST,)))) == [
        Held(FIRST),
        Broadcast(Notarized(chain)),
        Broadcast(yes(FIRST)),
        Adopted(FIRST),
        Entered(View(2)),
        TIMER,
    ]


@pytest.mark.parametrize("nullified", [False, True])
def test_who_has_voted_or_nullified_does_not_vote_in_passing(nullified: bool) -> None:
    replica = started(0)
    tell(replica, 1, Propose(OTHER, ROOT))
    if nullified:
        replica = started(0)
        time_out(replica)
    tell(replica, 3, Notarized(notarized(FIRST)))
    effects = tell(replica, 3, Ancestors((FIRST,)))
    assert (replica.view, said(effects, Vote)) == (2, [])


def test_a_longer_chain_is_followed_at_once_with_a_vote_for_its_newest_block() -> None:
    """Our deviation: the paper goes through one view after the other."""
    replica = voted_for_first(0)
    tell(replica, 2, Propose(SECOND, notarized(FIRST)))
    third = child(SECOND, 3)
    tell(replica, 4, Notarized(notarized(third, 4)))
    effects = tell(replica, 4, Ancestors((third,)))
    assert (replica.view, said(effects, Vote)) == (5, [3])


def test_a_chain_whose_newest_block_is_of_an_earlier_view_gets_no_vote() -> None:
    replica = started(0)
    tell(replica, 3, Notarized(notarized(GENESIS, 1)))
    tell(replica, 4, Notarized(notarized(FIRST, 2)))
    effects = tell(replica, 4, Ancestors((FIRST,)))
    assert (replica.view, said(effects, Vote)) == (3, [])


# Lines 24-28: proof of no progress


GAVE_UP = Nullify(View(1))


def against_first(replica: Minimmit, *messages: Any) -> list[Effect]:
    """What three replicas say, each twice: unless told otherwise, two nullify and one votes for another block."""
    effects: list[Effect] = []
    for sender, message in enumerate(messages or (GAVE_UP, yes(OTHER), GAVE_UP), 3):
        assert not effects
        effects = tell(replica, sender, message)
        assert tell(replica, sender, message) == []
    return effects


@pytest.mark.parametrize(
    "messages",
    [
        (GAVE_UP, yes(OTHER), GAVE_UP),
        (GAVE_UP, GAVE_UP, yes(OTHER)),
        (yes(OTHER), GAVE_UP, yes(child(GENESIS, 1, count=2))),
    ],
)
def test_who_has_voted_nullifies_upon_2f_1_that_nullify_or_vote_for_another_block(messages: Any) -> None:
    effects = against_first(voted_for_first(0), *messages)
    assert effects == [promised(1, FIRST, 0, 1, ROOT), Broadcast(GAVE_UP)]


def test_the_proof_may_be_there_before_the_vote() -> None:
    replica = started(0)
    assert against_first(replica) == []
    assert spoken(tell(replica, 1, Propose(FIRST, ROOT))) == [
        Held(FIRST),
        Broadcast(yes(FIRST)),
        Broadcast(Nullify(View(1))),
    ]


def test_one_replica_counts_once_in_the_proof_whatever_it_says() -> None:
    replica = voted_for_first(0)
    third = child(GENESIS, 1, count=2)
    for sender in (3, 4):
        for message in (Nullify(View(1)), yes(OTHER), yes(third), yes(FIRST)):
            assert said(tell(replica, sender, message), Nullify) == []


def test_other_views_and_other_phases_prove_nothing() -> None:
    replica = voted_for_first(0)
    for sender in (2, 3, 4, 5):
        for message in (yes(AFTER_DUMMY), Nullify(View(2)) if sender < 4 else Nullify(View(3))):
            assert said(tell(replica, sender, message), Nullify) == []
    assert said(tell(replica, 2, GAVE_UP), Nullify) == []
    assert said(tell(replica, 3, yes(OTHER)), Nullify) == []


# Lines 31-32: finalizing


def test_n_f_votes_make_the_block_and_all_below_final_and_2f_1_do_not() -> None:
    replica = voted_for_first(0)
    tell(replica, 2, Propose(SECOND, notarized(FIRST)))
    for sender in (0, 2, 3, 4, 4):
        assert not any(isinstance(effect, Committed) for effect in tell(replica, sender, yes(SECOND)))
    assert replica.view == 3
    assert spoken(tell(replica, 5, yes(SECOND))) == [Committed(FIRST), Committed(SECOND)]
    assert tell(replica, 1, yes(SECOND)) == []


def test_votes_for_two_blocks_do_not_add_up() -> None:
    replica = voted_for_first(0)
    effects = [tell(replica, sender, yes(FIRST if sender < 3 else OTHER)) for sender in range(N)]
    assert not any(isinstance(effect, Committed) for each in effects for effect in each)


# Restarts


def again(me: int, effects: list[Effect]) -> tuple[Minimmit, list[Effect]]:
    store = {effect.key: effect.value for effect in effects if type(effect) is Persist}
    replica = fresh(me)
    return replica, list(replica.start(store, 0))


def test_a_restarted_replica_remembers_what_it_has_voted_for() -> None:
    """It does not vote again, nor nullify when the timer fires; but it does upon proof, against that block."""
    replica, effects = again(0, tell(started(0), 1, Propose(FIRST, ROOT)))
    assert effects == [Entered(View(1)), TIMER]
    assert said(tell(replica, 1, Propose(OTHER, ROOT)), Vote) == []
    assert time_out(replica) == [Broadcast(yes(FIRST)), TIMER]
    assert said(against_first(replica), Nullify) == [1]


def test_a_restarted_replica_that_nullified_does_not_vote() -> None:
    replica, _ = again(0, time_out(started(0)))
    assert said(tell(replica, 1, Propose(FIRST, ROOT)), Vote) == []
    effects = tell(replica, 3, Notarized(notarized(FIRST)))
    assert (replica.view, said(effects, Vote)) == (2, [])


def test_a_restarted_leader_does_not_propose_twice_in_a_view() -> None:
    assert again(1, list(fresh(1).start({}, 0)))[1] == [Entered(View(1)), TIMER]


def test_what_is_promised_stands_before_what_is_said() -> None:
    replica = started(0)
    effects = tell(replica, 1, Propose(FIRST, ROOT)) + against_first(replica)
    effects += tell(replica, 2, Propose(SECOND, notarized(FIRST)))
    kinds = set()
    for position, effect in enumerate(effects):
        if isinstance(effect, Broadcast):
            assert any(isinstance(before, Persist) for before in effects[max(0, position - 2) : position])
            kinds.add(type(effect.message))
    assert kinds == {Vote, Nullify, Notarized}
