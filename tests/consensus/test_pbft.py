"""PBFT against its paper: Castro and Liskov, OSDI 1999. One sentence a test."""

from __future__ import annotations

from typing import Any

import pytest

from consensus.effects import Adopted, Broadcast, Committed, Entered, Held, Persist, Reason, Rejected, Send, SetTimer
from consensus.messages import GENESIS, Ancestors, Block, Fetch, genesis_certificate
from consensus.protocols.pbft import COMMIT, PREPARE, REQUEST, Pbft, PbftParameters, PrePrepare
from consensus.protocols.pbft_view_change import NewView, Prepared, ViewChange, surviving
from consensus.types import Height, ReplicaId, View
from tests.consensus.stage import DELTA_NS, certificate, child, seat, spoken, tell, vote

TIMEOUT_NS = 8 * DELTA_NS
ONE = child(GENESIS, 0)


def backup(me: int = 1, **parameters: Any) -> Pbft:
    replica = Pbft(seat(me, PbftParameters(**parameters)))
    replica.start({}, 0)
    return replica


def in_view_0(*heights: int) -> list[Block]:
    blocks = [GENESIS]
    for _ in range(max(heights)):
        blocks.append(child(blocks[-1], 0))
    return [blocks[height] for height in heights]


def change(sender: int, view: int, committed: Any = None, *prepared: Prepared) -> ViewChange:
    return ViewChange(View(view), ReplicaId(sender), committed or genesis_certificate(COMMIT), prepared)


# 4.2 Normal-case operation


def test_the_primary_multicasts_a_pre_prepare() -> None:
    """4.2: "the primary, p, receives a client request, m, it starts a three-phase protocol"."""
    primary = Pbft(seat(0, PbftParameters()))
    assert list(primary.start({}, 0)) == [
        Entered(View(0)),
        SetTimer(REQUEST, TIMEOUT_NS),
        Persist("proposed", ONE),
        Broadcast(PrePrepare(View(0), ONE)),
    ]


def test_a_backup_that_accepts_a_pre_prepare_multicasts_a_prepare() -> None:
    """4.2: "If backup i accepts the pre-prepare message, it enters the prepare phase by multicasting a prepare"."""
    replica = backup()
    effects = tell(replica, 0, PrePrepare(View(0), ONE))
    assert effects[:2] == [Persist(ONE.id, ONE), Held(ONE)]
    assert effects[2].key == "promise"  # type: ignore[union-attr]
    assert effects[3:] == [Adopted(ONE), Broadcast(vote(PREPARE, 0, ONE))]


def test_it_has_not_accepted_another_for_the_same_view_and_number() -> None:
    """4.2: "it has not accepted a pre-prepare message for view v and sequence number n containing a different
    digest"."""
    replica = backup()
    tell(replica, 0, PrePrepare(View(0), ONE))
    assert tell(replica, 0, PrePrepare(View(0), child(GENESIS, 0, count=1))) == [
        Rejected(ReplicaId(0), Reason.EQUIVOCATION)
    ]
    assert tell(replica, 0, PrePrepare(View(0), ONE)) == []


@pytest.mark.parametrize(
    ("sender", "message"),
    [
        (2, PrePrepare(View(0), ONE)),
        (1, PrePrepare(View(0), ONE)),
        (0, PrePrepare(View(0), child(GENESIS, 4))),
        (1, PrePrepare(View(1), ONE)),
    ],
)
def test_only_the_primary_of_the_blocks_view_pre_prepares(sender: int, message: PrePrepare) -> None:
    """4.2: a backup accepts "provided ... it is in view v"; and section 4: the primary is p = v mod |R|."""
    assert tell(backup(3), sender, message) == [Rejected(ReplicaId(sender), Reason.WRONG_LEADER)]


def test_a_block_that_lies_about_its_height_is_not_accepted() -> None:
    """4.2: h and H keep a faulty primary from exhausting sequence numbers; here a height must follow its parent's."""
    lying = Block(GENESIS.id, Height(500), View(0), ReplicaId(0), GENESIS.payload)
    replica = backup()
    effects = tell(replica, 0, PrePrepare(View(0), lying))
    assert effects == [SetTimer("fetch", DELTA_NS)]
    assert not replica.accepted


def prepared_backup() -> Pbft:
    replica = backup()
    tell(replica, 0, PrePrepare(View(0), ONE))
    tell(replica, 1, vote(PREPARE, 0, ONE))
    return replica


def test_prepared_takes_a_quorum_of_prepares_and_the_pre_prepare() -> None:
    """4.2: "Replica i multicasts a COMMIT to the other replicas when prepared(m, v, n, i) becomes true"."""
    replica = prepared_backup()
    assert tell(replica, 2, vote(PREPARE, 0, ONE)) == []
    assert tell(replica, 2, vote(PREPARE, 0, ONE)) == [], "the same vote twice counts once"
    assert spoken(tell(replica, 3, vote(PREPARE, 0, ONE))) == [Broadcast(vote(COMMIT, 0, ONE))]


def test_prepares_may_come_before_the_pre_prepare() -> None:
    replica = backup()
    for sender in (0, 2, 3):
        assert tell(replica, sender, vote(PREPARE, 0, ONE)) == []
    assert spoken(tell(replica, 0, PrePrepare(View(0), ONE)))[-1] == Broadcast(vote(COMMIT, 0, ONE))


def test_prepares_for_another_block_do_not_help() -> None:
    replica = prepared_backup()
    other = child(GENESIS, 0, count=1)
    for sender in (0, 2, 3):
        assert tell(replica, sender, vote(PREPARE, 0, other)) == []


def test_committed_local_takes_prepared_and_a_quorum_of_commits() -> None:
    """4.2: "committed-local(m, v, n, i) is true if prepared(m, v, n, i) is true and i has accepted 2f+1 commits"."""
    replica = prepared_backup()
    for sender in (0, 2, 3):
        assert tell(replica, sender, vote(COMMIT, 0, ONE)) == [], "committed by others, but not yet prepared here"
    tell(replica, 2, vote(PREPARE, 0, ONE))
    effects = spoken(tell(replica, 3, vote(PREPARE, 0, ONE)))
    assert effects == [Broadcast(vote(COMMIT, 0, ONE)), Committed(ONE), SetTimer(REQUEST, TIMEOUT_NS)]


def test_what_is_committed_is_persisted() -> None:
    replica = prepared_backup()
    tell(replica, 2, vote(PREPARE, 0, ONE))
    tell(replica, 3, vote(PREPARE, 0, ONE))
    tell(replica, 0, vote(COMMIT, 0, ONE))
    tell(replica, 1, vote(COMMIT, 0, ONE))
    effects = tell(replica, 2, vote(COMMIT, 0, ONE))
    kept = {effect.key: effect.value for effect in effects if type(effect) is Persist}
    assert (kept["final"].block, kept["final"].height) == (ONE.id, 1)  # type: ignore[attr-defined]
    assert kept["promise"].committed.block == ONE.id  # type: ignore[attr-defined]


def test_a_commit_vote_waits_until_all_below_are_prepared() -> None:
    """Ours, for window > 1: it is what lets a view change drop what lies above a gap."""
    replica = backup(window=2)
    one, two = in_view_0(1, 2)
    tell(replica, 0, PrePrepare(View(0), one))
    tell(replica, 0, PrePrepare(View(0), two))
    for sender in (0, 2, 3):
        assert tell(replica, sender, vote(PREPARE, 0, two)) == []
    tell(replica, 0, vote(PREPARE, 0, one))
    tell(replica, 2, vote(PREPARE, 0, one))
    assert spoken(tell(replica, 3, vote(PREPARE, 0, one))) == [
        Broadcast(vote(COMMIT, 0, one)),
        Broadcast(vote(COMMIT, 0, two)),
    ]


def test_unknown_phases_are_rejected() -> None:
    assert tell(backup(), 2, vote("applaud", 0, ONE)) == [Rejected(ReplicaId(2), Reason.UNKNOWN)]


# 4.3 Garbage collection


def test_checkpoints_are_taken_at_every_interval() -> None:
    """4.3: proofs are generated "periodically, when a request with a sequence number divisible by some constant"."""
    replica = backup(checkpoint_interval=1)
    tell(replica, 0, PrePrepare(View(0), ONE))
    for phase in (PREPARE, COMMIT):
        for sender in (0, 2):
            tell(replica, sender, vote(phase, 0, ONE))
    tell(replica, 3, vote(PREPARE, 0, ONE))
    effects = tell(replica, 3, vote(COMMIT, 0, ONE))
    assert Broadcast(vote("checkpoint", 0, ONE)) in effects


# 4.4 View changes


def test_when_the_timer_expires_a_backup_asks_for_the_next_view_and_votes_no_more() -> None:
    """4.4: "it stops accepting messages (other than checkpoint, view-change, and new-view messages)"."""
    replica = backup()
    effects = spoken(replica.fire(REQUEST, TIMEOUT_NS))
    assert effects == [Entered(View(1), True), SetTimer(REQUEST, 2 * TIMEOUT_NS), Broadcast(change(1, 1))]
    assert not any(isinstance(e, Broadcast) for e in tell(replica, 0, PrePrepare(View(0), ONE)))


def test_the_promise_stands_before_the_view_change() -> None:
    effects = list(backup().fire(REQUEST, TIMEOUT_NS))
    order = [type(effect) for effect in effects]
    assert order.index(Persist) < order.index(Broadcast)


def test_the_new_primary_begins_with_a_quorum_of_view_changes() -> None:
    """4.4: "When the primary p of view v+1 receives 2f valid view-change messages for view v+1 from other replicas"."""
    primary = backup(1)
    primary.fire(REQUEST, TIMEOUT_NS)
    assert tell(primary, 1, change(1, 1)) == []
    assert tell(primary, 2, change(2, 1)) == []
    changes = (change(1, 1), change(2, 1), change(3, 1))
    # 4.5.2: the timer starts when a quorum has asked.
    assert tell(primary, 3, change(3, 1)) == [SetTimer(REQUEST, 2 * TIMEOUT_NS), Broadcast(NewView(View(1), changes))]
    assert tell(primary, 3, change(3, 1))[-1] == Broadcast(NewView(View(1), changes)), "asked again, answered again"


def test_what_was_prepared_survives_under_its_own_name() -> None:
    """4.4: "p creates a new pre-prepare message for view v+1 for each sequence number" with a prepared request."""
    replica = backup(2)
    kept = Prepared(certificate(PREPARE, 0, ONE), ONE)
    message = NewView(View(1), (change(0, 1), change(1, 1, None, kept), change(3, 1)))
    tell(replica, 0, PrePrepare(View(0), ONE))
    effects = spoken(tell(replica, 1, message))
    assert effects == [
        Entered(View(1), True),
        SetTimer(REQUEST, TIMEOUT_NS),
        Adopted(ONE),
        Broadcast(vote(PREPARE, 1, ONE)),
    ]


def test_of_two_prepared_blocks_the_one_of_the_later_view_survives() -> None:
    later = child(GENESIS, 0, count=1)
    changes = [
        change(0, 3, None, Prepared(certificate(PREPARE, 0, ONE), ONE)),
        change(1, 3, None, Prepared(certificate(PREPARE, 2, later), later)),
    ]
    assert [prepared.header for prepared in surviving(changes)[1]] == [later]


def test_the_newest_commit_certificate_is_where_a_new_view_begins() -> None:
    """4.4: min-s is "the sequence number of the latest stable checkpoint in V"."""
    one, two, three = in_view_0(1, 2, 3)
    base = certificate(COMMIT, 0, two)
    changes = [
        change(0, 1, None, *(Prepared(certificate(PREPARE, 0, b), b) for b in (one, two))),
        change(1, 1, base, Prepared(certificate(PREPARE, 0, three), three)),
    ]
    found, kept = surviving(changes)
    assert found == base
    assert [prepared.header for prepared in kept] == [three]


def test_above_a_gap_nothing_survives() -> None:
    _, two = in_view_0(1, 2)
    assert surviving([change(0, 1, None, Prepared(certificate(PREPARE, 0, two), two))])[1] == []


@pytest.mark.parametrize(
    "changes",
    [
        (change(0, 1), change(1, 1)),
        (change(0, 1), change(1, 1), change(1, 1)),
        (change(0, 1), change(1, 1), change(2, 2)),
        (change(0, 1), change(1, 1), change(2, 1, certificate(COMMIT, 0, ONE, 0, 1))),
        (change(0, 1), change(1, 1), change(2, 1, None, Prepared(certificate(PREPARE, 0, ONE, 0, 0, 1), ONE))),
        (change(0, 1), change(1, 1), change(2, 1, None, Prepared(certificate(PREPARE, 1, ONE), ONE))),
        (change(0, 1), change(1, 1), change(2, 1, None, Prepared(certificate(COMMIT, 0, ONE), ONE))),
        (change(0, 1), change(1, 1), change(2, 1, None, Prepared(certificate(PREPARE, 0, ONE), child(GENESIS, 1)))),
    ],
)
def test_a_new_view_that_proves_nothing_is_rejected(changes: tuple[ViewChange, ...]) -> None:
    """4.4: a backup accepts a new-view "if it contains a valid ... set V"."""
    replica = backup(3)
    assert tell(replica, 1, NewView(View(1), changes)) == [Rejected(ReplicaId(1), Reason.WEAK_CERTIFICATE)]
    assert replica.view == 0


def test_a_view_change_in_anothers_name_is_rejected() -> None:
    assert tell(backup(), 2, change(3, 1)) == [Rejected(ReplicaId(2), Reason.WEAK_CERTIFICATE)]


def test_a_pre_prepare_that_overtakes_its_new_view_is_kept_for_it() -> None:
    replica = backup(2)
    block = child(GENESIS, 1)
    assert tell(replica, 1, PrePrepare(View(1), block)) == []
    effects = tell(replica, 1, NewView(View(1), (change(0, 1), change(1, 1), change(3, 1))))
    assert effects[-1] == Broadcast(vote(PREPARE, 1, block))


def test_a_laggard_is_told_how_the_view_began() -> None:
    replica = backup(2)
    message = NewView(View(1), (change(0, 1), change(1, 1), change(3, 1)))
    tell(replica, 1, message)
    assert tell(replica, 3, change(3, 1)) == [Send(ReplicaId(3), message)]


# 4.5.2 Liveness


def test_f_plus_1_others_ahead_are_joined_at_the_lowest_of_their_views() -> None:
    """4.5.2: "if a replica receives a set of f+1 valid view-change messages ... for views greater than its current
    view, it sends a view-change message for the smallest view in the set"."""
    replica = backup(0)
    assert tell(replica, 2, change(2, 5)) == []
    effects = spoken(tell(replica, 3, change(3, 3)))
    assert effects == [Entered(View(3), True), SetTimer(REQUEST, 2 * TIMEOUT_NS), Broadcast(change(0, 3))]


def test_a_lone_replica_repeats_itself_instead_of_running_ahead() -> None:
    """4.5.2: it waits for 2f+1 view-change messages for view v+1 before its timer may take it to view v+2."""
    replica = backup()
    replica.fire(REQUEST, TIMEOUT_NS)
    tell(replica, 1, change(1, 1))
    for _ in range(3):
        assert list(replica.fire(REQUEST, 0)) == [Broadcast(change(1, 1)), SetTimer(REQUEST, 2 * TIMEOUT_NS)]
    assert replica.view == 1


def test_whoever_is_further_ahead_counts_for_moving_on() -> None:
    """Else 1 and 2 would wait in view 1 for ever while 3, who saw their quorum, waits in view 2."""
    replica = backup(1)
    replica.fire(REQUEST, 0)
    tell(replica, 1, change(1, 1))
    tell(replica, 2, change(2, 1))
    tell(replica, 3, change(3, 2))
    replica.fire(REQUEST, 0)
    assert replica.view == 2


def test_the_timer_doubles_with_every_view_that_brings_nothing() -> None:
    """4.5.2: "it waits 2T"; it is back at T once something was committed."""
    replica = backup(3)
    seen = []
    for view in (1, 2, 3):
        seen += [e.delay_ns for e in replica.fire(REQUEST, 0) if type(e) is SetTimer]
        for sender in (0, 1, 3):
            tell(replica, sender, change(sender, view))
    assert seen == [2 * TIMEOUT_NS, 4 * TIMEOUT_NS, 8 * TIMEOUT_NS]


# Catching up


def test_a_replica_that_missed_a_block_fetches_it_and_commits_it_by_proof() -> None:
    replica = backup(3)
    for sender in (0, 1):
        tell(replica, sender, vote(COMMIT, 0, ONE))
    assert tell(replica, 2, vote(COMMIT, 0, ONE)) == [SetTimer("fetch", DELTA_NS)]
    asked = list(replica.fire("fetch", DELTA_NS))
    assert asked[0] == Send(ReplicaId(2), Fetch(ONE.id, Height(1), Height(0)))
    assert Committed(ONE) in tell(replica, 2, Ancestors((ONE,)), DELTA_NS)


def test_while_it_fetches_what_others_committed_it_does_not_suspect_them() -> None:
    replica = backup(3)
    for sender in (0, 1, 2):
        tell(replica, sender, vote(COMMIT, 0, ONE))
    assert list(replica.fire(REQUEST, TIMEOUT_NS)) == [SetTimer(REQUEST, TIMEOUT_NS)]


# Restarts


def restarted(replica: Pbft, effects: list[Any], me: int) -> tuple[Pbft, list[Any]]:
    store = {effect.key: effect.value for effect in effects if type(effect) is Persist}
    again = Pbft(seat(me, PbftParameters()))
    return again, list(again.start(store, 0))


def test_a_restarted_primary_does_not_propose_a_second_block() -> None:
    primary = Pbft(seat(0, PbftParameters()))
    first = list(primary.start({}, 0))
    _, effects = restarted(primary, first, 0)
    assert not [effect for effect in effects if isinstance(effect, Broadcast)]


def test_a_restarted_backup_remembers_what_it_accepted() -> None:
    replica = backup()
    said = tell(replica, 0, PrePrepare(View(0), ONE))
    again, _ = restarted(replica, said, 1)
    other = child(GENESIS, 0, count=1)
    assert tell(again, 0, PrePrepare(View(0), other)) == [Rejected(ReplicaId(0), Reason.EQUIVOCATION)]


def test_a_restarted_backup_remembers_what_survived_into_its_view() -> None:
    replica = backup(2)
    kept = Prepared(certificate(PREPARE, 0, ONE), ONE)
    said = tell(replica, 1, NewView(View(1), (change(0, 1), change(1, 1, None, kept), change(3, 1))))
    assert not [effect for effect in said if isinstance(effect, Broadcast)], "it does not hold the block yet"
    again, effects = restarted(replica, said, 2)
    assert SetTimer("fetch", DELTA_NS) in effects
    usurper = child(GENESIS, 1)
    assert tell(again, 1, PrePrepare(View(1), usurper)) == [Rejected(ReplicaId(1), Reason.EQUIVOCATION)]
