"""Carriages: few copies are carried as many are, and what the channel loses never arrives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from network.carriage import Direct
from network.channel import Drop
from network.clock import VirtualClock
from network.gossip import FAR_NS
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


def test_a_copy_that_another_one_forestalls_counts_but_is_not_handed_over() -> None:
    """Each member is told once, whoever tells it first, and no copy is missing from the books."""
    clock, arrived = VirtualClock(), []
    delays_ns = iter([(30, 20, Drop.LOSS), (10, 20, 50), (40, 5, 40)])

    class Thrice:
        def carry(self, source: int, targets: IntArray, size_bytes: int, now_ns: int) -> IntArray:
            return np.array(next(delays_ns), dtype=np.int64)

    actions = [lambda parcel, now_ns, member=member: arrived.append((now_ns, member, parcel)) for member in range(3)]
    carriage = Direct(clock, Thrice())
    first_ns = [FAR_NS] * 3
    for source in range(3):
        carriage.carry_few(source, range(3), 100, source, actions, 0, first_ns)
    assert first_ns == [10, 5, 40]
    clock.run(1_000, 100)
    assert arrived == [(5, 1, 2), (10, 0, 1), (20, 1, 0), (30, 0, 0), (40, 2, 2), (50, 2, 1)]
    assert (carriage.copies, clock.delivered) == (9, 8)
