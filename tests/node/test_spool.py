"""Spools: a trace that was written down and read back tells an observer exactly what happened."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from consensus.effects import Reason
from consensus.messages import GENESIS, Block, Payload, Vote
from consensus.protocols import load_protocol
from consensus.types import BlockId, Height, ReplicaId, View
from node.spool import HANDED, Spool, Told, read
from node.trace import Trace
from node.wire import Envelope, decoder
from testbed.digest import Digest
from testbed.result import Result
from tests.spooled import PROTOCOLS, Recorder, Spools, call, careless, crashes, spooled

CRASHES = crashes((2, 0.5, 0.8), (3, 0.9, None), (0, 0.0, 0.3))
Run = tuple[str, Result, Spools]


@pytest.fixture(scope="module", params=PROTOCOLS)
def run(request: pytest.FixtureRequest) -> Run:
    """Crashes, a node that starts late, and signatures that do not verify; signing takes time."""
    compute = {"signatures": "modelled", "sign_us": 100, "verify_us": 50}
    return request.param, *spooled(request.param, CRASHES, protocol_class=careless(request.param), compute=compute)


def told_by(spools: Spools, replica: int, protocol: str) -> list[Told]:
    decode = decoder(load_protocol(protocol).messages).decode
    return list(read(spools.records[replica], ReplicaId(replica), decode))


def test_every_kind_of_event_happens_here(run: Run) -> None:
    """Else what follows would show nothing about it."""
    protocol, _, spools = run
    views = {"entered"} if protocol != "longest_chain" else set()
    assert {name for name, *_ in spools.calls} - views == {
        "sent", "proposed", "held", "adopted", "committed", "rejected", "stopped", "restarted",
    }  # fmt: skip
    assert views <= {name for name, *_ in spools.calls}
    sent = [told for told in spools.calls if told[0] == "sent"]
    # To all and to one, arriving and not.
    assert {told[3] is None for told in sent} == {True, False}


def test_what_is_read_back_is_what_was_told_word_for_word(run: Run) -> None:
    protocol, _, spools = run
    for replica in range(4):
        recorder = Recorder()
        trace = Trace([recorder])
        for told in told_by(spools, replica, protocol):
            told.to(trace)
        assert recorder.calls == spools.of(replica)
        assert len(recorder.calls) > 10


def test_in_the_order_in_which_it_happened_it_has_the_same_digest(run: Run) -> None:
    protocol, result, spools = run
    readers = [iter(told_by(spools, replica, protocol)) for replica in range(4)]
    digest = Digest(f"{spools.watch.facts.name}/4".encode())
    trace = Trace([digest])
    for replica, (event, now_ns, *_) in zip(spools.order, spools.calls, strict=True):
        if event == "stopped":
            trace.tell("stopped", now_ns, ReplicaId(replica))
        else:
            next(readers[replica]).to(trace)
    assert digest.hexdigest() == result.digest
    assert all(next(reader, None) is None for reader in readers)


BLOCK = Block(GENESIS.id, Height(1), View(2**40), ReplicaId(1), Payload(2**62, 3, 2**40))
VOTE = Vote("vote", View(1), Height(1), BlockId(b"b" * 32), signature=b"s" * 64)
decode = decoder(load_protocol("hotstuff").messages).decode


def there_and_back(event: str, *details: Any) -> list[Told]:
    records: list[bytes] = []
    Trace([Spool(records.append)]).tell(event, *details)
    return list(read(records, ReplicaId(1), decode))


@pytest.mark.parametrize(
    ("event", "details"),
    [
        ("sent", (2**60, Envelope(ReplicaId(1), VOTE), np.array([5, -3, 2**62]), 7)),
        ("sent", (5, Envelope(ReplicaId(1), VOTE, ReplicaId(0)), np.array([-1]), 4)),
        ("sent", (5, Envelope(ReplicaId(1), VOTE), np.array([], dtype=np.int64), 4)),
        ("entered", (3, ReplicaId(1), View(2**60), True)),
        ("entered", (3, ReplicaId(1), View(0), False)),
        ("held", (3, ReplicaId(1), BLOCK)),
        ("adopted", (3, ReplicaId(1), GENESIS)),
        ("committed", (0, ReplicaId(1), BLOCK)),
        *(("rejected", (3, ReplicaId(1), ReplicaId(2), reason.name.lower())) for reason in Reason),
        ("restarted", (3, ReplicaId(1))),
    ],
)
def test_each_event_comes_back_as_it_was(event: str, details: tuple[Any, ...]) -> None:
    (told,) = there_and_back(event, *details)
    assert call(told.event, told.now_ns, *told.details) == call(event, *details)
    if event == "sent":
        assert told.details[1].dtype == np.int64


def test_what_only_real_time_has_to_tell_comes_back_too() -> None:
    records: list[bytes] = []
    spool = Spool(records.append)
    spool.handed(5, [0, 12, 2**40])
    spool.entered(6, ReplicaId(1), View(1), False)
    spool.handed(7, [])
    assert list(read(records, ReplicaId(1), decode)) == [
        Told(5, HANDED, (0, 12, 2**40)),
        Told(6, "entered", (1, 1, False)),
        Told(7, HANDED, ()),
    ]


def test_a_death_is_not_for_the_dead_to_write_down() -> None:
    assert there_and_back("stopped", 3, ReplicaId(1)) == []


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"\xc1",
        msgspec.msgpack.encode(None),
        msgspec.msgpack.encode([]),
        msgspec.msgpack.encode([9, 5]),
        msgspec.msgpack.encode([2, 5, "view", True]),
        msgspec.msgpack.encode([5, 5]) + b"\0",
        # A message that this protocol does not have.
        msgspec.msgpack.encode([0, 5, 5, -1, [7], msgspec.msgpack.encode(["Mined", b""])]),
    ],
)
def test_what_no_spool_writes_is_not_read(record: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        list(read([record], ReplicaId(1), decode))


def test_a_record_of_an_event_that_there_is_not_is_not_read() -> None:
    with pytest.raises(msgspec.DecodeError):
        list(read([msgspec.msgpack.encode([3, 5, "stopped", BLOCK])], ReplicaId(1), decode))
