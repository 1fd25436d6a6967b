"""Faults: each alone and stacked, inside its window only; each counts what it did."""

from __future__ import annotations

import numpy as np
import pytest

from network.channel import Channel, Drop, Propagation
from network.faults import FaultChannel, Losing, Partition, Slow, Window
from network.plan import BoolArray, MatrixPlan

OTHERS = np.array([1, 2, 3])
EVERYWHERE = np.ones((4, 4), dtype=bool)
WINDOW = Window(100, 200)


def flat(n: int = 4) -> Channel:
    return Propagation(MatrixPlan([f"lab/{i}" for i in range(n)], np.full((n, n), 10) - 10 * np.eye(n, dtype=int)))


def carry(channel: Channel, now_ns: int = 150, source: int = 0) -> list[int]:
    return channel.carry(source, np.delete(np.arange(4), source), 0, now_ns).tolist()


def at(*members: int) -> BoolArray:
    marked = np.zeros(4, dtype=bool)
    marked[list(members)] = True
    return marked


def test_a_window_holds_its_beginning_and_not_its_end() -> None:
    assert [now in WINDOW for now in (99, 100, 199, 200)] == [False, True, True, False]
    assert 10**18 in Window(100)


def test_a_partition_separates_two_sides_in_both_directions() -> None:
    channel = Partition.between(flat(), WINDOW, at(0, 1))
    assert carry(channel) == [160, Drop.PARTITION, Drop.PARTITION]
    assert carry(channel, source=3) == [Drop.PARTITION, Drop.PARTITION, 160]
    assert channel.affected == 4


def test_slow_delays_what_it_touches() -> None:
    channel = Slow(flat(), WINDOW, at(2)[:, None] | at(2)[None, :], 5)
    assert carry(channel) == [160, 165, 160]
    assert carry(channel, source=2) == [165, 165, 165]
    assert channel.affected == 4


def test_losing_drops_a_share() -> None:
    channel = Losing(flat(), Window(0), EVERYWHERE, 0.5, np.random.default_rng(1))
    lost = sum(carry(channel).count(Drop.FAULT_LOSS) for _ in range(1000))
    assert channel.affected == lost
    assert abs(lost / 3000 - 0.5) < 0.04


@pytest.mark.parametrize("now_ns", [99, 200])
def test_outside_its_window_a_fault_does_nothing(now_ns: int) -> None:
    channels: list[FaultChannel] = [
        Partition.between(flat(), WINDOW, at(0)),
        Slow(flat(), WINDOW, EVERYWHERE, 5),
        Losing(flat(), WINDOW, EVERYWHERE, 1.0, np.random.default_rng(0)),
    ]
    for channel in channels:
        assert carry(channel, now_ns) == [now_ns + 10] * 3
        assert channel.affected == 0


def test_a_fault_that_touches_nobody_counts_nothing() -> None:
    channel = Slow(flat(), WINDOW, ~EVERYWHERE, 5)
    assert carry(channel) == [160] * 3
    assert channel.affected == 0


def test_stacked_faults_keep_the_first_reason_and_do_not_count_what_is_gone() -> None:
    split = Partition.between(flat(), WINDOW, at(0, 1))
    late = Slow(split, WINDOW, EVERYWHERE, 5)
    lossy = Losing(late, WINDOW, EVERYWHERE, 1.0, np.random.default_rng(0))
    assert carry(late) == [165, Drop.PARTITION, Drop.PARTITION]
    assert carry(lossy) == [Drop.FAULT_LOSS, Drop.PARTITION, Drop.PARTITION]
    assert (split.affected, late.affected, lossy.affected) == (4, 2, 1)


def test_the_base_has_no_behaviour_of_its_own() -> None:
    with pytest.raises(TypeError, match="abstract"):
        FaultChannel(flat(), WINDOW, EVERYWHERE)  # type: ignore[abstract]
