"""Briefs: what a node is told arrives as it was written, and says when to be there."""

from __future__ import annotations

import zlib
from typing import Any

import msgspec
import numpy as np
import pytest

from consensus.types import Committee, ReplicaId
from network.plan import MatrixPlan, Outage
from network.stack import Conditions, Draws, Strike
from network.timetable import Timetable
from node.brief import Brief, brief_for, pack, unpack
from node.cpu import Cpu
from node.terms import Terms

N = 4
S = 1_000_000_000
TERMS = Terms(
    protocol="hotstuff",
    parameters={"block_interval_ms": 20, "propose_empty": True, "share": 0.5, "names": ["a"]},
    committee=Committee.of(N, weights=(1.0, 2.5, 1e-300, 3.0)),
    delta_ns=20_000_000,
    timeout_ns=None,
    seed=2**63,
    duration_ns=10**18,
    transactions_per_s=7.25,
    transaction_bytes=200,
    block_max_bytes=1_000_000,
    signatures="ed25519",
    cpu=Cpu(sign_ns=20_000, verify_ns=50_000, verification="batch", batch_ns=25_000, hash_ps_per_byte=1_300),
    conditions=Conditions(
        draws=Draws("normal", 2.0, 0.5),
        processing_ns_per_hop=7,
        transmission=False,
        loss=0.1,
        strikes=(
            Strike(3, "slow", 0, None, (0, 2), ((1, 3),), delay_ns=5),
            Strike(4, "loss", 1, 2, (1,), probability=0.5),
        ),
    ),
)


def timetable(source: int) -> Timetable:
    rng = np.random.default_rng(1)
    plan = MatrixPlan(
        [f"lab/{i}" for i in range(N)],
        rng.integers(0, 2**62, (N, N)),
        ns_per_byte=rng.random((N, N)),
        outages=[Outage(5, 2**61, endpoints=frozenset({"lab/1"})), Outage(7, None, endpoints=frozenset({"lab/3"}))],
    )
    return Timetable.of(plan, source, 2**62)


def brief(source: int = 2, **changes: Any) -> Brief:
    members = tuple(bytes([i]) * 32 for i in range(N))
    made = brief_for(ReplicaId(source), TERMS, timetable(source), members, ((1 * S, 2 * S), (5 * S, None)), 2.5)
    return msgspec.structs.replace(made, **changes)


def test_a_brief_arrives_as_it_was_written() -> None:
    written = brief()
    arrived = unpack(pack(written))
    assert arrived == written
    assert arrived.terms == TERMS
    assert (arrived.replica, arrived.endpoint, arrived.time_scale) == (2, "lab/2", 2.5)
    assert arrived.members == tuple(bytes([i]) * 32 for i in range(N))
    assert arrived.windows_down == ((1 * S, 2 * S), (5 * S, None))


@pytest.mark.parametrize("source", range(N))
def test_its_timetable_is_the_one_it_was_written_from(source: int) -> None:
    written, arrived = timetable(source), unpack(pack(brief(source))).timetable()
    assert arrived.endpoints == written.endpoints
    for name in ("times_ns", "delay_ns", "hops", "ns_per_byte"):
        there, here = getattr(written, name), getattr(arrived, name)
        assert (here.dtype, here.shape) == (there.dtype, there.shape), name
        assert np.array_equal(here, there), name
    for now_ns in (0, 4, 5, 6, 7, 2**61 - 1, 2**61, 2**62):
        assert arrived.at(now_ns).delay_ns[source].tolist() == written.at(now_ns).delay_ns[source].tolist()


def test_arrays_travel_in_one_byte_order_whatever_the_machine_has() -> None:
    swapped = timetable(1)
    for name in ("times_ns", "delay_ns", "hops", "ns_per_byte"):
        array = getattr(swapped, name)
        object.__setattr__(swapped, name, array.astype(array.dtype.newbyteorder(">")))
    members = tuple(bytes([i]) * 32 for i in range(N))
    assert brief_for(ReplicaId(1), TERMS, swapped, members, (), 1.0) == brief(1, windows_down=(), time_scale=1.0)


@pytest.mark.parametrize(
    ("windows", "passed_ns", "boot_ns"),
    [
        # Whoever is there before the start begins at the start.
        ((), -5, 0),
        ((), 0, 0),
        ((), 7, 7),
        (((0, 9),), -5, 9),
        (((0, None),), -5, None),
        (((3, 9),), -5, 0),
        # A window holds its beginning and not its end.
        (((3, 9),), 2, 2),
        (((3, 9),), 3, 9),
        (((3, 9),), 8, 9),
        (((3, 9),), 9, 9),
        (((3, 9),), 10, 10),
        (((3, None),), 2, 2),
        (((3, None),), 3, None),
        (((3, None),), 10**18, None),
        (((1, 2), (4, 6), (8, None)), 3, 3),
        (((1, 2), (4, 6), (8, None)), 5, 6),
        (((1, 2), (4, 6), (8, None)), 7, 7),
        (((1, 2), (4, 6), (8, None)), 8, None),
    ],
)
def test_a_node_starts_when_it_is_there_and_is_not_to_be_down(
    windows: tuple[tuple[int, int | None], ...], passed_ns: int, boot_ns: int | None
) -> None:
    assert unpack(pack(brief(windows_down=windows))).boot_ns(passed_ns) == boot_ns


def test_what_is_no_brief_is_not_taken_for_one() -> None:
    with pytest.raises(zlib.error):
        unpack(b"nonsense")
    with pytest.raises(msgspec.ValidationError):
        unpack(zlib.compress(msgspec.msgpack.encode({"replica": 1})))
