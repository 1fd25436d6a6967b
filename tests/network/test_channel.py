"""Channels: each of the parts of one-way delay alone, and stacked; drops keep their reasons."""

from __future__ import annotations

import numpy as np

from network.channel import Channel, Drop, Loss, Processing, Propagation, RandomDelay, Transmission
from network.plan import UNREACHABLE, IntArray, MatrixPlan, Snapshot

DELAY_NS = np.array([[0, 10, 20, UNREACHABLE], [11, 0, 30, 40], [21, 31, 0, 50], [UNREACHABLE, 41, 51, 0]])
OTHERS = np.array([1, 2, 3])


class ThreeHops:
    """A plan whose routes have as many hops as their target's number."""

    endpoints = ("a", "b", "c", "d")
    constant = True

    def at(self, now_ns: int) -> Snapshot:
        hops = np.tile(np.arange(4), (4, 1))
        return Snapshot(DELAY_NS.copy(), np.where(DELAY_NS > 0, hops, 0), np.full((4, 4), 0.5), None)


def plan() -> MatrixPlan:
    return MatrixPlan(["a", "b", "c", "d"], DELAY_NS)


def carry(channel: Channel, size_bytes: int = 100, now_ns: int = 1000) -> list[int]:
    return channel.carry(0, OTHERS, size_bytes, now_ns).tolist()


def test_propagation_is_the_plans_delay_and_no_route_a_drop() -> None:
    assert carry(Propagation(plan())) == [1010, 1020, Drop.NO_ROUTE]


def test_propagation_answers_for_the_targets_in_their_order() -> None:
    due_ns = Propagation(plan()).carry(1, np.array([3, 0]), 0, 5)
    assert due_ns.tolist() == [45, 16]


def test_processing_counts_every_hop() -> None:
    assert carry(Processing(Propagation(ThreeHops()), ThreeHops(), 7)) == [1017, 1034, Drop.NO_ROUTE]


def test_transmission_takes_the_slowest_links_time_per_byte() -> None:
    assert carry(Transmission(Propagation(ThreeHops()), ThreeHops())) == [1060, 1070, Drop.NO_ROUTE]
    assert carry(Transmission(Propagation(ThreeHops()), ThreeHops()), size_bytes=0) == [1010, 1020, Drop.NO_ROUTE]


def test_an_infinite_rate_costs_nothing() -> None:
    assert carry(Transmission(Propagation(plan()), plan()), size_bytes=10**9) == [1010, 1020, Drop.NO_ROUTE]


def test_random_delays_are_drawn_for_each_message_and_never_negative() -> None:
    def draw(count: int) -> np.typing.NDArray[np.float64]:
        return np.array([-3.0, 0.000001, 2.5])[:count]

    assert carry(RandomDelay(plan(), draw)) == [1000, 1001, Drop.NO_ROUTE]


def test_loss_is_independent_and_has_its_rate() -> None:
    channel = Loss(Propagation(plan()), 0.25, np.random.default_rng(1))
    lost = np.array([carry(channel) for _ in range(4000)])
    assert set(lost[:, 0]) == {1010, Drop.LOSS}
    rates = (lost[:, :2] == Drop.LOSS).mean(axis=0)
    assert abs(rates - 0.25).max() < 4 * (0.25 * 0.75 / 4000) ** 0.5
    both = ((lost[:, 0] == Drop.LOSS) & (lost[:, 1] == Drop.LOSS)).mean()
    assert abs(both - 0.0625) < 0.02
    # What had no route is not lost a second time.
    assert set(lost[:, 2]) == {Drop.NO_ROUTE}


def test_a_stack_adds_up_and_drops_keep_their_codes() -> None:
    inner: Channel = Processing(Propagation(ThreeHops()), ThreeHops(), 7)
    inner = Transmission(inner, ThreeHops())
    assert carry(inner) == [1067, 1084, Drop.NO_ROUTE]
    always = Loss(inner, 1.0, np.random.default_rng(0))
    assert carry(always) == [Drop.LOSS, Drop.LOSS, Drop.NO_ROUTE]
    # Delay added outside does not bring a lost message back.
    assert carry(Processing(always, ThreeHops(), 7)) == [Drop.LOSS, Drop.LOSS, Drop.NO_ROUTE]
    assert carry(Transmission(always, ThreeHops())) == [Drop.LOSS, Drop.LOSS, Drop.NO_ROUTE]


def test_the_plans_arrays_are_not_written_to() -> None:
    one = plan()
    before: IntArray = one.at(0).delay_ns.copy()
    carry(Loss(Processing(Propagation(one), one, 5), 0.5, np.random.default_rng(0)))
    assert (one.at(0).delay_ns == before).all()
