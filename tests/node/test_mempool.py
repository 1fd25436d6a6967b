"""The mempool: transactions in order of arrival, each once along a chain."""

from consensus.messages import GENESIS, Block, Payload
from consensus.types import Height, ReplicaId, View
from node.mempool import Mempool


def every(gap_ns: int, transaction_bytes: int = 100) -> Mempool:
    return Mempool(lambda count: [gap_ns] * count, transaction_bytes)


def child(payload: Payload) -> Block:
    return Block(GENESIS.id, Height(1), View(1), ReplicaId(1), payload)


def test_arrivals_accumulate_and_may_be_asked_out_of_order() -> None:
    pool = every(10)
    assert [pool.arrived(now) for now in (0, 9, 10, 99, 100, 50, 10**6)] == [0, 0, 1, 9, 10, 5, 10**5]
    assert pool.arrivals_ns(Payload(3, 2, 200)) == [40, 50]


def test_a_payload_takes_the_oldest_that_its_chain_has_not() -> None:
    pool = every(10)
    first = pool.payload(55, 300, GENESIS)
    assert first == Payload(0, 3, 300)
    assert pool.payload(55, 300, child(first)) == Payload(3, 2, 200)
    assert pool.payload(20, 300, child(first)) == Payload(3, 0, 0)


def test_nobody_submits_anything() -> None:
    pool = Mempool(None, 100)
    assert pool.payload(10**9, 10**6, GENESIS) == Payload(0, 0, 0)
    assert pool.valid(Payload(0, 0, 0), GENESIS, 10**9)


def test_valid_payloads_follow_their_parents_and_were_submitted_by_then() -> None:
    pool = every(10)
    assert pool.valid(Payload(0, 5, 500), GENESIS, 50)
    assert not pool.valid(Payload(0, 6, 600), GENESIS, 50), "not yet submitted"
    assert not pool.valid(Payload(1, 2, 200), GENESIS, 50), "leaves one out"
    assert not pool.valid(Payload(0, 2, 200), child(Payload(0, 1, 100)), 50), "repeats one"
    assert not pool.valid(Payload(0, 2, 201), GENESIS, 50), "lies about its size"
    assert not pool.valid(Payload(0, -1, -100), GENESIS, 50)


def test_blocks_without_room_are_empty() -> None:
    assert every(10).payload(100, 99, GENESIS) == Payload(0, 0, 0)
    assert every(10, 0).payload(100, 99, GENESIS) == Payload(0, 0, 0)
