"""What a CPU charges: signatures alone, in batches and in aggregates, bytes, transactions; and its books."""

from __future__ import annotations

from typing import Any

import pytest

from consensus.messages import (
    GENESIS,
    Block,
    Payload,
    Proposal,
    QuorumCertificate,
    TimeoutCertificate,
    Vote,
    genesis_certificate,
)
from consensus.protocols.pbft_view_change import NewView, ViewChange
from consensus.types import Height, ReplicaId, View
from node.cpu import Cpu, Processor, Work
from node.wire import Envelope

BATCH = Cpu(verify_ns=1_000, verification="batch", batch_base_ns=70, batch_ns=500)
AGGREGATE = Cpu(verify_ns=1_000, verification="aggregate", aggregate_base_ns=9_000, aggregate_ns=3)
SINGLE = Cpu(verify_ns=1_000)


def signatures(count: int, of: int = 0) -> tuple[bytes, ...]:
    return tuple(b"%d of %d" % (i, of) for i in range(count))


def certificate(signers: int, of: int = 1) -> QuorumCertificate:
    replicas = tuple(map(ReplicaId, range(signers)))
    return QuorumCertificate(View(of), replicas, signatures(signers, of), "vote", Height(of), GENESIS.id)


def vote(i: int, of: int = 1) -> Envelope:
    """The i-th of those that a certificate is made of."""
    signature = signatures(i + 1, of)[i]
    return Envelope(ReplicaId(i), Vote("vote", View(of), Height(of), GENESIS.id, signature=signature))


def proposal(justify: QuorumCertificate, timeout: TimeoutCertificate | None = None) -> Envelope:
    block = Block(GENESIS.id, Height(2), View(2), ReplicaId(0), Payload(0, 0, 0))
    return Envelope(ReplicaId(0), Proposal(block, justify, timeout, signature=b"mine"))


def timeout_certificate(signers: int) -> TimeoutCertificate:
    replicas = tuple(map(ReplicaId, range(signers)))
    return TimeoutCertificate(View(1), replicas, signatures(signers, 9), (View(0),) * signers)


def checked(cpu: Cpu, *envelopes: Envelope) -> list[int]:
    """What each costs one replica that receives them in this order."""
    processor = Processor(cpu)
    return [processor.check(envelope, 0, 0) for envelope in envelopes]


@pytest.mark.parametrize(
    ("cpu", "costs_ns"),
    [
        (SINGLE, [1_000, 1_000 * 6, 1_000 * 12]),
        # A signature alone is no batch; the message's own belongs to its batch.
        (BATCH, [1_000, 70 + 500 * 6, 70 + 500 * 12]),
        # The message's own is one alone; each certificate is one aggregate.
        (AGGREGATE, [1_000, 1_000 + 9_000 + 3 * 5, 1_000 + 9_000 + 3 * 5 + 9_000 + 3 * 6]),
    ],
)
def test_a_vote_a_certificate_and_two_are_counted_to_the_nanosecond(cpu: Cpu, costs_ns: list[int]) -> None:
    envelopes = vote(0, of=8), proposal(certificate(5)), proposal(certificate(5), timeout_certificate(6))
    assert [checked(cpu, envelope)[0] for envelope in envelopes] == costs_ns


@pytest.mark.parametrize(
    ("cpu", "costs_ns"),
    [
        (SINGLE, [1_000, 1_000, 1_000 * (1 + 3), 0]),
        (BATCH, [1_000, 1_000, 70 + 500 * (1 + 3), 0]),
        # In part is not possible: all five signers are paid for.
        (AGGREGATE, [1_000, 1_000, 1_000 + 9_000 + 3 * 5, 0]),
    ],
)
def test_what_was_seen_is_free_and_an_aggregate_is_seen_whole_or_not(cpu: Cpu, costs_ns: list[int]) -> None:
    assert checked(cpu, vote(0), vote(1), proposal(certificate(5)), proposal(certificate(5))) == costs_ns


@pytest.mark.parametrize("cpu", [SINGLE, BATCH, AGGREGATE])
def test_whoever_has_seen_every_vote_pays_for_the_message_alone(cpu: Cpu) -> None:
    assert checked(cpu, *map(vote, range(5)), proposal(certificate(5)))[-1] == 1_000


def test_the_genesis_certificate_is_nobodys_and_free() -> None:
    assert checked(AGGREGATE, proposal(genesis_certificate("vote"))) == [1_000]


def test_signatures_outside_certificates_are_no_aggregate() -> None:
    """A new view of PBFT: two view changes, signed each, that carry the same certificate."""
    changes = tuple(
        ViewChange(replica=ReplicaId(i), view=View(1), committed=certificate(3), prepared=(), signature=b"%d" % i)
        for i in range(2)
    )
    envelope = Envelope(ReplicaId(1), NewView(view=View(1), changes=changes, signature=b"mine"))
    assert checked(AGGREGATE, envelope) == [3 * 1_000 + 9_000 + 3 * 3]
    assert checked(SINGLE, envelope) == [6 * 1_000]


@pytest.mark.parametrize(
    ("ps_per_byte", "size_bytes", "cost_ns"),
    [(1_300, 10**6, 1_300_000), (1, 499, 0), (1, 500, 1), (3, 500, 2), (0, 10**9, 0)],
)
def test_hashing_is_rounded_once_a_message(ps_per_byte: int, size_bytes: int, cost_ns: int) -> None:
    assert Cpu(hash_ps_per_byte=ps_per_byte).hashing_ns(size_bytes) == cost_ns


def test_what_comes_for_the_mempool_is_hashed_in_its_turn() -> None:
    """10 ns for the first, at once; 20 for the second, which came with it and waits; then a message, for a signature
    and its bytes."""
    processor, signed = Processor(Cpu(verify_ns=1_000, hash_ps_per_byte=100)), vote(0)
    assert processor.take(100, 5, 5) == 15
    assert processor.take(200, 5, processor.busy_until_ns) == 35
    assert processor.check(signed, 30, processor.busy_until_ns) == 1_035 + round(signed.size_bytes / 10)
    work = processor.work(10**9)
    assert (work.messages, work.queued_ns, work.queued_max_ns) == (3, 10 + 5, 10)
    assert work.hash_ns == work.busy_ns - 1_000 == 30 + round(signed.size_bytes / 10)


@pytest.mark.parametrize(
    ("costs", "takes_time"),
    [
        ({}, False),
        ({"sign_ns": 1}, True),
        ({"verify_ns": 1}, True),
        ({"hash_ps_per_byte": 1}, True),
        ({"execute_ns": 1}, True),
        ({"verification": "batch"}, False),
        ({"verification": "batch", "batch_base_ns": 1}, True),
        ({"verification": "batch", "batch_ns": 1}, True),
        ({"verification": "aggregate", "aggregate_base_ns": 1}, True),
        ({"verification": "aggregate", "aggregate_ns": 1}, True),
        # Of the other ways of verifying nothing is used.
        ({"batch_ns": 1, "batch_base_ns": 1, "aggregate_ns": 1, "aggregate_base_ns": 1}, False),
    ],
)
def test_a_cpu_knows_whether_anything_takes_time(costs: dict[str, Any], takes_time: bool) -> None:
    assert Cpu(**costs).takes_time is takes_time


def test_the_books_tell_what_was_asked_what_was_done_and_who_waited() -> None:
    processor = Processor(Cpu(sign_ns=10, verify_ns=100, hash_ps_per_byte=1_000, execute_ns=7))
    first, second = vote(0), vote(1)
    assert first.size_bytes == second.size_bytes
    size = first.size_bytes
    assert processor.check(first, due_ns=50, now_ns=50) == 150 + size
    assert processor.check(second, due_ns=60, now_ns=150 + size) == 250 + 2 * size
    assert processor.seal(first, 250 + 2 * size) == 260 + 3 * size
    processor.owe(Block(GENESIS.id, Height(1), View(1), ReplicaId(0), Payload(0, 3, 0)))
    assert processor.execute(260 + 3 * size) == 281 + 3 * size == processor.busy_until_ns
    asked = Work(
        sign_ns=10,
        verify_ns=200,
        hash_ns=3 * size,
        execute_ns=21,
        messages=2,
        queued_ns=90 + size,
        queued_max_ns=90 + size,
    )
    assert processor.work(281 + 3 * size) == asked
    assert processor.work(281 + 3 * size).busy_ns == 231 + 3 * size
    processor.crash(281 + 3 * size - 5)
    assert processor.work(281 + 3 * size - 5).undone_ns == 5
    assert processor.work(10**6).undone_ns == 5
    assert processor.work(10**6).busy_ns == 226 + 3 * size
    # And it has forgotten what it had seen.
    assert processor.check(first, 10**6 - 1, 10**6) == 10**6 + 100 + size
    work = processor.work(10**7)
    assert (work.queued_ns, work.queued_max_ns) == (91 + size, 90 + size)
