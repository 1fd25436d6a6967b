"""The guard on a node's clock: what breaks in a protocol ends its run, and not only the event it was in."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from consensus.effects import Effect, SetTimer
from consensus.protocols.hotstuff import HotStuff
from consensus.types import ReplicaId
from network.realtime import RealTimeClock
from node.contract import Contract, ProtocolError
from node.cpu import Cpu
from node.guard import PATIENCE, PATIENCE_S, Guard, patience_s
from node.host import Host
from node.keys import Modelled, Notary
from node.store import MemoryStore
from node.trace import Trace


class Lazy:
    """A replica that sets a timer and does something when it fires."""

    def __init__(self, deed: Callable[[], Any]) -> None:
        self._deed = deed

    def start(self, recovered: Any, now_ns: int) -> Sequence[Effect]:
        return (SetTimer("late", 1_000_000),)

    def receive(self, sender: ReplicaId, message: Any, now_ns: int) -> Sequence[Effect]:
        return ()

    def fire(self, timer: str, now_ns: int) -> Sequence[Effect]:
        self._deed()
        return ()

    submit = receive


async def live(deed: Callable[[], Any]) -> None:
    """A host on a clock that runs in real time, as a node has it, for a second."""
    clock = RealTimeClock(time.time_ns(), 1_000_000_000)
    host = Host(
        ReplicaId(2),
        lambda: Lazy(deed),  # type: ignore[arg-type, return-value]
        clock=clock,
        notary=Notary(Modelled(4, b"seed"), b"d"),
        store=MemoryStore(),
        trace=Trace([]),
        cpu=Cpu(),
        contract=Contract("lazy", HotStuff, 4),
    )
    host.power_on()
    with Guard(0.2):
        await clock.run(lambda: None)


@pytest.mark.parametrize(
    ("deed", "why"),
    [
        (lambda: [].pop(), "raised IndexError: pop from empty list"),
        (lambda: sys.exit(0), "raised SystemExit: 0"),
        (lambda: time.sleep(60), f"has not returned within 0.2 s ({PATIENCE} sets how long it may take)"),
    ],
)
async def test_a_node_whose_protocol_breaks_ends_with_one_sentence(deed: Callable[[], Any], why: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        await live(deed)
    assert str(caught.value) == f"protocol lazy, replica 2, on_timer('late') at 0.001 s: {why}"


def test_the_patience_is_the_environments() -> None:
    assert patience_s({}) == PATIENCE_S
    assert patience_s({PATIENCE: "2.5"}) == 2.5
    for text in ("", "0", "-1", "nan", "ten"):
        with pytest.raises(ValueError, match=f"{PATIENCE}={text}: must be a number of seconds, more than 0"):
            patience_s({PATIENCE: text})


def test_what_is_no_protocols_fault_is_left_alone() -> None:
    for error in (KeyboardInterrupt, ZeroDivisionError):
        with pytest.raises(error), Guard():
            raise error
