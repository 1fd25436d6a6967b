"""Counting votes: one certificate per quorum, from distinct replicas, for one thing."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.messages import GENESIS, Timeout, Vote, genesis_certificate
from consensus.protocols.nullify import Nullify, NullifyTally
from consensus.tally import OPENED, Tally, TimeoutTally
from consensus.types import BlockId, Committee, Height, ReplicaId, View
from tests.consensus.stage import certificate, child, vote

ONE, OTHER = child(GENESIS, 1), child(GENESIS, 1, count=1)


@given(st.integers(1, 200))
def test_any_two_quorums_share_an_honest_replica_and_the_honest_can_make_one(n: int) -> None:
    """n > 3f; two quorums overlap in at least 2q-n > f; without the f faulty there are still q. Both are tight."""
    committee = Committee.of(n)
    f, quorum = committee.f, committee.quorum
    assert n > 3 * f
    assert 2 * quorum - n > f
    assert 2 * (quorum - 1) - n <= f
    assert quorum <= n - f
    assert (quorum == 2 * f + 1) == (n == 3 * f + 1)


@pytest.mark.parametrize("n", range(1, 9))
def test_quorums_intersect_by_enumeration(n: int) -> None:
    committee = Committee.of(n)
    quorums = [set(quorum) for quorum in combinations(range(n), committee.quorum)]
    assert min(len(one & other) for one in quorums for other in quorums) >= committee.f + 1


@pytest.mark.parametrize(("n", "f", "quorum"), [(6, 1, 5), (11, 2, 9), (5, 0, 5)])
def test_committees_of_5f_plus_1_need_all_but_f(n: int, f: int, quorum: int) -> None:
    committee = Committee.of(n, resilience=5)
    assert (committee.f, committee.quorum) == (f, quorum)


def test_a_committee_has_members() -> None:
    with pytest.raises(ValueError, match="at least one replica, not 0"):
        Committee.of(0)


@given(st.permutations([0, 1, 2, 3, 4, 5, 6]), st.integers(1, 7))
def test_the_certificate_comes_exactly_once_with_its_signers_in_order(order: list[int], quorum: int) -> None:
    tally = Tally(quorum)
    made = []
    for sender in [*order, *order]:
        found = tally.add(ReplicaId(sender), vote("prepare", 3, ONE))
        made += [found] if found else []
    assert made == [certificate("prepare", 3, ONE, *sorted(order[:quorum]))]
    assert made[0].proves(quorum)


def test_votes_for_different_things_are_counted_apart() -> None:
    tally = Tally(2)
    different = [vote("prepare", 1, ONE), vote("commit", 1, ONE), vote("prepare", 2, ONE), vote("prepare", 1, OTHER)]
    for sender, one in enumerate(different):
        assert tally.add(ReplicaId(sender), one) is None


def test_rivals_voted_for_another_block_in_the_same_phase_and_view() -> None:
    tally = Tally(3)
    for sender, one in enumerate((ONE, OTHER, OTHER)):
        tally.add(ReplicaId(sender), vote("notarize", 1, one))
    tally.add(ReplicaId(0), vote("notarize", 1, OTHER))
    tally.add(ReplicaId(3), vote("finalize", 1, OTHER))
    tally.add(ReplicaId(4), vote("notarize", 2, OTHER))
    assert tally.rivals(vote("notarize", 1, ONE)) == {0, 1, 2}
    assert tally.rivals(vote("notarize", 1, OTHER)) == {0}
    assert tally.rivals(vote("notarize", 3, ONE)) == set()


def test_what_is_settled_is_forgotten() -> None:
    tally = Tally(2)
    tally.add(ReplicaId(0), vote("prepare", 5, ONE))
    tally.forget_heights(Height(0))
    tally.forget_views(View(5))
    assert tally.add(ReplicaId(1), vote("prepare", 5, ONE)) is not None
    tally.forget_heights(Height(1))
    assert tally.add(ReplicaId(2), vote("prepare", 5, ONE)) is None
    tally.forget_views(View(6))
    assert tally.add(ReplicaId(3), vote("prepare", 5, ONE)) is None


def test_timeouts_become_a_certificate_with_their_views() -> None:
    tally = TimeoutTally(3)
    high = certificate("vote", 4, ONE)
    assert tally.add(ReplicaId(2), Timeout(View(7), high, signature=b"2")) is None
    assert tally.add(ReplicaId(2), Timeout(View(7), high, signature=b"2")) is None
    assert tally.add(ReplicaId(0), Timeout(View(7), genesis_certificate("vote"), signature=b"0")) is None
    assert tally.count(View(7)) == 2
    made = tally.add(ReplicaId(1), Timeout(View(7), high, signature=b"1"))
    assert made is not None
    assert (made.view, made.signers, made.signatures, made.high_views) == (7, (0, 1, 2), (b"0", b"1", b"2"), (0, 4, 4))
    tally.forget_views(View(8))
    assert tally.count(View(7)) == 0


# Whoever votes everywhere


def test_one_replica_cannot_open_more_places_than_so_many_and_others_still_can() -> None:
    tally = Tally(2)
    for view in range(2 * OPENED):
        tally.add(ReplicaId(3), Vote("vote", View(view), Height(1), BlockId(b"x")))
    assert len(tally._votes) == OPENED
    late = Vote("vote", View(2 * OPENED), Height(1), BlockId(b"x"))
    assert tally.add(ReplicaId(3), late) is None
    assert tally.add(ReplicaId(1), late) is None
    # Where somebody else has been first, its vote counts as any other.
    assert tally.add(ReplicaId(3), late) is not None
    # And what is over makes room.
    tally.forget_views(View(2 * OPENED))
    assert tally.add(ReplicaId(3), Vote("vote", View(2 * OPENED + 1), Height(1), BlockId(b"x"))) is None
    assert len(tally._votes) == 2


def test_the_same_holds_for_timeouts_and_for_nullify_votes() -> None:
    timeouts, nullifies = TimeoutTally(2), NullifyTally(2)
    high = genesis_certificate("vote")
    for view in range(OPENED + 10):
        timeouts.add(ReplicaId(3), Timeout(View(view), high))
        nullifies.add(ReplicaId(3), Nullify(View(view)))
    assert len(timeouts._timeouts) == len(nullifies._votes) == OPENED
    assert timeouts.add(ReplicaId(1), Timeout(View(OPENED + 5), high)) is None
    assert timeouts.add(ReplicaId(3), Timeout(View(OPENED + 5), high)) is not None
