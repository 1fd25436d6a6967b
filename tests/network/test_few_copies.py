"""Carriages: few copies are carried as many are, and what the channel loses never arrives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from network.carriage import Direct
from network.channel import Drop
from network.clock import VirtualClock
from network.plan import IntArray

DELAYS_NS = {1: 30, 2: int(Drop.LOSS), 3: 10, 4: 30}


class Listed:
    """Delays by target."""

    def carry(self, source: int, targets: IntArray, size_bytes: int, now_ns: int) -> IntArray:
        return np.array([DELAYS_NS[target] for target in targets.tolist()], dtype=np.int64)


class Quick(Listed):
    """The same, with an answer of its own for few targets."""

    def carry_few(self, source: int, targets: Sequence[int], size_bytes: int, now_ns: int) -> list[int]:
        return [DELAYS_NS[target] for target in targets]


@pytest.mark.parametrize("channel", [Listed(), Quick()])
@pytest.mark.parametrize("at_once", [1, 4, None])
def test_copies_arrive_when_the_channel_says_so(channel: Any, at_once: int | None) -> None:
    """In order of time, then of targets; each is counted, lost ones too, and what is lost never arrives."""
    clock, arrived, counted = VirtualClock(), [], []

    def count(source: int, targets: IntArray, due_ns: IntArray, size_bytes: int, now_ns: int) -> None:
        counted.extend((source, *pair, size_bytes) for pair in zip(targets.tolist(), due_ns.tolist(), strict=True))

    def action(member: int) -> Any:
        return lambda parcel, now_ns: arrived.append((now_ns, member, parcel))

    actions = [action(member) for member in range(5)]
    carriage = Direct(clock, channel, count)
    if at_once:
        few = [list(DELAYS_NS)[first : first + at_once] for first in range(0, 4, at_once)]
        due_ns = [ns for some in few for ns in carriage.carry_few(0, some, 100, "news", actions, 0)]
    else:
        due_ns = carriage.carry(0, np.array(list(DELAYS_NS)), 100, "news", actions, 0).tolist()
    assert due_ns == list(DELAYS_NS.values())
    clock.run(1_000, 100)
    assert arrived == [(10, 3, "news"), (30, 1, "news"), (30, 4, "news")]
    assert counted == [(0, target, delay_ns, 100) for target, delay_ns in DELAYS_NS.items()]
    assert carriage.copies == 4
    assert clock.delivered == 3


def test_nobody_to_send_to_is_nothing_to_send() -> None:
    clock = VirtualClock()
    assert not len(Direct(clock, Listed()).carry(0, np.zeros(0, dtype=np.int64), 100, "news", [], 0))
    assert not list(clock.pending())
