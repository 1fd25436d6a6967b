"""Lanes: what replicas keep of what clients send, and which of it they put into blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.messages import GENESIS, AnyPayload, Block, LanePayload
from consensus.types import Height, ReplicaId, View
from node.lanes import Heard, Lanes, end_of

EVERYTHING = 10**9


def child(payload: AnyPayload, parent: Block = GENESIS) -> Block:
    return Block(parent.id, Height(parent.height + 1), View(1), ReplicaId(0), payload)


def filled(*lanes: Sequence[tuple[int, int]], max_bytes: int | None = None) -> Lanes:
    """For each replica (when entered, how long)."""
    pool = Lanes(len(lanes), max_bytes)
    for entered_ns, replica, size_bytes in sorted(
        (entered_ns, replica, size) for replica, lane in enumerate(lanes) for entered_ns, size in lane
    ):
        pool.submit(entered_ns - 1)
        pool.enter(replica, entered_ns - 1, entered_ns, size_bytes)
    return pool


def propose(pool: Lanes, me: int, max_bytes: int = EVERYTHING, parent: Block = GENESIS) -> AnyPayload:
    payload = pool.payloads(ReplicaId(me))(EVERYTHING, max_bytes, parent)
    assert pool.valid(payload, parent, EVERYTHING)
    return payload


TWO = ((10, 100), (30, 100)), ((20, 70), (40, 70))


def test_a_replica_proposes_what_it_has_until_it_hears_of_more() -> None:
    pool = filled(*TWO)
    assert propose(pool, 0) == LanePayload(0, 2, 200, ((0, 0, 2),))
    pool.heard(0, 1).add(0, 1)
    assert propose(pool, 0) == LanePayload(0, 3, 270, ((0, 0, 2), (1, 0, 1)))
    assert propose(pool, 1) == LanePayload(0, 2, 140, ((1, 0, 2),))


@pytest.mark.parametrize(
    ("max_bytes", "lanes"),
    [
        (99, ()),
        (100, ((0, 0, 1),)),
        (169, ((0, 0, 1),)),
        (170, ((0, 0, 1), (1, 0, 1))),
        (269, ((0, 0, 1), (1, 0, 1))),
        (270, ((0, 0, 2), (1, 0, 1))),
        (340, ((0, 0, 2), (1, 0, 2))),
    ],
)
def test_the_oldest_come_first_wherever_they_entered(max_bytes: int, lanes: object) -> None:
    pool = filled(*TWO)
    pool.heard(0, 1).add(0, 2)
    found = propose(pool, 0, max_bytes)
    # A lane from which nothing has ever been taken need not be named.
    assert tuple(span for span in found.lanes if span[2]) == lanes


def test_of_those_that_entered_at_one_instant_the_lowest_lane_comes_first() -> None:
    pool = filled([(5, 10), (5, 10), (9, 10)], [(5, 10), (5, 10)])
    pool.heard(1, 0).add(0, 3)
    assert [propose(pool, 1, 10 * room).lanes for room in (1, 2, 3, 4, 5)] == [
        ((0, 0, 1), (1, 0, 0)),
        ((0, 0, 2), (1, 0, 0)),
        ((0, 0, 2), (1, 0, 1)),
        ((0, 0, 2), (1, 0, 2)),
        ((0, 0, 3), (1, 0, 2)),
    ]


def test_a_child_goes_on_where_its_parent_ended_on_every_branch() -> None:
    pool = filled(*TWO)
    for me in (0, 1):
        pool.heard(me, 1 - me).add(0, 2)
    first = child(propose(pool, 0, 100))
    second = child(propose(pool, 1, 170, first), first)
    assert second.payload == LanePayload(1, 2, 170, ((0, 1, 1), (1, 0, 1)))
    assert propose(pool, 0, parent=second) == LanePayload(3, 1, 70, ((0, 2, 0), (1, 1, 1)))
    assert propose(pool, 0).count == 4, "what a stale block took is there again"
    assert (end_of(second.payload, 0), end_of(second.payload, 1), end_of(second.payload, 2)) == (2, 1, 0)
    assert second.payload.emptied() == LanePayload(1, 0, 0, ((0, 1, 0), (1, 0, 0)))


def test_what_is_in_the_parent_is_known_though_nobody_passed_it_on() -> None:
    """Replica 0 hears of the second transaction of lane 1 alone; the first comes to it in a block."""
    pool = filled(*TWO)
    pool.heard(0, 1).add(1, 2)
    assert propose(pool, 0).lanes == ((0, 0, 2),)
    parent = child(propose(pool, 1, 70))
    assert propose(pool, 0, parent=parent).lanes == ((0, 0, 2), (1, 1, 1))


GOOD = LanePayload(1, 2, 170, ((0, 1, 1), (1, 0, 1)))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"lanes": ((0, 0, 2), (1, 0, 1)), "count": 3, "size_bytes": 270}, "repeats one of its parent's"),
        ({"lanes": ((0, 1, 1), (0, 1, 1), (1, 0, 0))}, "takes one twice"),
        ({"lanes": ((1, 0, 1), (0, 1, 1))}, "is written in another order"),
        ({"lanes": ((1, 0, 1),), "count": 1, "size_bytes": 70}, "forgets a lane"),
        ({"lanes": ((0, 1, 2), (1, 0, 1)), "count": 3, "size_bytes": 270}, "takes what nobody sent"),
        ({"lanes": ((0, 1, 1), (1, 0, 2)), "count": 3, "size_bytes": 240}, "takes what arrives later"),
        ({"lanes": ((0, 1, 1), (1, 1, 1))}, "leaves one out"),
        ({"lanes": ((0, 1, 1), (1, 0, 1), (2, 0, 0))}, "names a replica that does not exist"),
        ({"lanes": ((0, 1, 3), (1, 0, -1))}, "takes less than nothing"),
        ({"size_bytes": 169}, "lies about its size"),
        ({"count": 3}, "lies about its number"),
        ({"first": 2}, "lies about its place"),
    ],
)
def test_what_is_not_valid(change: dict[str, object], what: str) -> None:
    pool = filled(*TWO)
    parent = child(propose(pool, 0, 100))
    assert pool.valid(GOOD, parent, 30)
    assert not pool.valid(replace(GOOD, **change), parent, 30), what  # type: ignore[arg-type]


def test_a_payload_travels_in_a_block() -> None:
    block = child(GOOD)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(block), type=Block) == block
    assert child(replace(GOOD, lanes=((0, 1, 0), (1, 0, 2)))).id != block.id


def test_a_full_mempool_refuses_until_what_it_holds_is_committed() -> None:
    pool = filled([(1, 40), (2, 40), (3, 40), (4, 20)], max_bytes=100)
    assert (len(pool.lanes[0]), pool.drops) == (3, {"mempool_full": 1})
    pool.committed(5, ReplicaId(0), child(propose(pool, 0, 40)))
    assert pool.enter(0, 5, 6, 40)
    assert not pool.enter(0, 5, 6, 1)
    assert (pool.arrived(EVERYTHING), pool.lost(EVERYTHING)) == (4, 0), "refused is not lost"


def test_times_of_transactions_go_lane_by_lane() -> None:
    pool = filled(*TWO)
    assert list(pool.arrivals_ns(GOOD)) == [29, 19]
    assert list(pool.entries_ns(GOOD)) == [30, 20]
    pool.lose("loss", 33)
    assert (pool.lost(32), pool.lost(33), pool.drops["loss"]) == (0, 1, 1)


def test_a_gap_is_seen_and_closed() -> None:
    heard = Heard()
    heard.add(0, 3)
    heard.add(5, 8)
    assert (heard.gap(), heard.end_from(2), heard.end_from(4), heard.end_from(6)) == ((3, 5), 3, 4, 8)
    heard.add(3, 5)
    assert (heard.gap(), heard.end_from(0)) == (None, 8)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 6)), max_size=12))
def test_stretches_are_a_set_of_numbers(told: list[tuple[int, int]]) -> None:
    heard, known = Heard(), set[int]()
    for first, length in told:
        heard.add(first, first + length)
        known.update(range(first, first + length))
    for first in range(40):
        end = first
        while end in known:
            end += 1
        assert heard.end_from(first) == end
    lacking = sorted(set(range(max(known, default=0))) - known)
    gap = heard.gap()
    assert (gap and gap[0]) == (lacking[0] if lacking else None)
