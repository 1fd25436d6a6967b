"""The bus between nodes: due times as the channel gives them, and nothing leaves before what it depends on is kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from consensus.messages import Vote
from consensus.types import BlockId, Height, ReplicaId, View
from network.channel import Drop
from network.plan import IntArray
from node.bus import NodeBus
from node.frames import ALL
from node.wire import Envelope, encode

N = 4


class Stage:
    """A bus whose channel, store and exchange write down what is asked of them, in order."""

    def __init__(self, n: int = N) -> None:
        self.log: list[Any] = []
        self.full = False
        self.bus = NodeBus(n, self, self, self.commit)  # type: ignore[arg-type]

    def carry(self, source: int, targets: IntArray, size_bytes: int, now_ns: int) -> IntArray:
        self.log.append(("carry", source, targets.tolist(), size_bytes, now_ns))
        due_ns = now_ns + 10 * targets
        due_ns[targets == 2] = Drop.PARTITION
        due_ns[targets == 3] = Drop.NO_ROUTE
        return due_ns

    def commit(self) -> None:
        if self.full:
            raise OSError("disk full")
        self.log.append("commit")

    def say(self, to: int, due_ns: tuple[int, ...], message: bytes) -> None:
        self.log.append(("say", to, due_ns, message))


def envelope(number: int, to: int | None = None) -> Envelope:
    vote = Vote("vote", View(number), Height(number), BlockId(b"b" * 32), signature=b"s" * 64)
    return Envelope(ReplicaId(1), vote, None if to is None else ReplicaId(to))


def test_a_broadcast_leaves_with_a_due_time_for_each_of_the_others() -> None:
    stage, parcel = Stage(), envelope(5)
    due_ns = stage.bus.broadcast(1, 777, parcel, 100)
    # Who sent it is told why it never arrives; who receives it, only that it does not.
    assert due_ns.tolist() == [100, Drop.PARTITION, Drop.NO_ROUTE]
    stage.bus.settle()
    assert stage.log == [
        ("carry", 1, [0, 2, 3], 777, 100),
        "commit",
        ("say", ALL, (100, -1, -1), encode(parcel.message)),
    ]


def test_a_message_to_one_leaves_with_its_due_time() -> None:
    stage, parcel = Stage(), envelope(5, to=0)
    assert stage.bus.send(1, 0, 9, parcel, 100).tolist() == [100]
    stage.bus.settle()
    assert stage.log == [("carry", 1, [0], 9, 100), "commit", ("say", 0, (100,), encode(parcel.message))]


def test_a_message_that_never_arrives_is_a_word_all_the_same() -> None:
    """Its number would be missed otherwise."""
    stage, parcel = Stage(), envelope(5, to=3)
    assert stage.bus.send(1, 3, 9, parcel, 100).tolist() == [Drop.NO_ROUTE]
    stage.bus.settle()
    assert stage.log[1:] == ["commit", ("say", 3, (-1,), encode(parcel.message))]


def test_nothing_leaves_before_all_is_committed_and_then_everything_in_order() -> None:
    stage = Stage()
    stage.bus.broadcast(1, 0, envelope(1), 10)
    stage.bus.send(1, 2, 0, envelope(2, to=2), 20)
    stage.bus.broadcast(1, 0, envelope(3), 30)
    assert [entry[0] for entry in stage.log] == ["carry"] * 3
    stage.log.clear()
    stage.bus.settle()
    assert stage.log == [
        "commit",
        ("say", ALL, (10, -1, -1), encode(envelope(1).message)),
        ("say", 2, (-1,), encode(envelope(2).message)),
        ("say", ALL, (30, -1, -1), encode(envelope(3).message)),
    ]
    stage.log.clear()
    stage.bus.settle()
    assert stage.log == []


def test_when_nothing_is_to_leave_nothing_is_committed() -> None:
    stage = Stage()
    stage.bus.settle()
    assert stage.log == []


def test_what_could_not_be_kept_does_not_leave() -> None:
    stage = Stage()
    stage.bus.broadcast(1, 0, envelope(1), 10)
    stage.full = True
    with pytest.raises(OSError, match="disk full"):
        stage.bus.settle()
    assert [entry[0] for entry in stage.log] == ["carry"]


def test_nobody_sends_to_itself_over_the_bus() -> None:
    stage = Stage()
    with pytest.raises(ValueError, match="member 1 sent a message to itself"):
        stage.bus.send(1, 1, 0, envelope(1, to=1), 10)
    stage.bus.settle()
    assert stage.log == []


def test_whoever_is_alone_says_nothing() -> None:
    stage = Stage(n=1)
    assert np.array_equal(stage.bus.broadcast(0, 0, envelope(1), 10), np.empty(0, dtype=np.int64))
    stage.bus.settle()
    assert stage.log == []
