"""The channel stack: a description does what the same channels do when they are put together by hand, and travels."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

import msgspec
import numpy as np
import pytest

from network.channel import Channel, Loss, Processing, Propagation, RandomDelay, Transmission
from network.faults import FaultChannel, Losing, Partition, Slow, Window
from network.internet import Internet, InternetRules, Regions
from network.plan import UNREACHABLE, BoolArray, MatrixPlan, Outage, Snapshot
from network.stack import Conditions, Draws, Strike, channels

N = 5
DELAY_NS = np.arange(N * N).reshape(N, N) * 1_000_003 % 7_000_000 + 1
DELAY_NS[0, 3] = UNREACHABLE
OUTAGE = Outage(4_000, 6_000, endpoints=frozenset({"lab/4"}))


class ManyHops(MatrixPlan):
    """A matrix whose routes have as many hops as the sum of their ends' numbers."""

    def at(self, now_ns: int) -> Snapshot:
        there = super().at(now_ns)
        hops = np.add.outer(np.arange(N), np.arange(N)) * (there.hops > 0)
        return Snapshot(there.delay_ns, hops, there.ns_per_byte)


PLAN = ManyHops([f"lab/{i}" for i in range(N)], DELAY_NS, ns_per_byte=0.37, outages=[OUTAGE])


def chance(consumer: str) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(blake2b(consumer.encode(), digest_size=8).digest()))


def marked(*members: int) -> BoolArray:
    struck = np.zeros(N, dtype=np.bool_)
    struck[list(members)] = True
    return struck


def touching(*members: int, pairs: tuple[tuple[int, int], ...] = ()) -> BoolArray:
    touched = np.zeros((N, N), dtype=np.bool_)
    for one in range(N):
        for other in range(N):
            named = (one, other) in pairs or (other, one) in pairs
            touched[one, other] = one in members or other in members or named
    return touched


def slow(inner: Channel) -> FaultChannel:
    return Slow(inner, Window(1_000, None), touching(3, pairs=((0, 1),)), 250)


def partition(inner: Channel) -> FaultChannel:
    return Partition(inner, Window(2_000, 3_000), marked(0, 2)[:, None] != marked(0, 2)[None, :])


def losing(inner: Channel, number: int) -> FaultChannel:
    touched = touching(1, pairs=((2, 4), (4, 0)))
    return Losing(inner, Window(0, 5_000), touched, 0.4, chance(f"fault/{number}"))


SLOW = Strike(0, "slow", 1_000, None, (3,), ((0, 1),), delay_ns=250)
PARTITION = Strike(2, "partition", 2_000, 3_000, (0, 2))
LOSING = Strike(7, "loss", 0, 5_000, (1,), ((2, 4), (4, 0)), probability=0.4)
NORMAL, UNIFORM = Draws("normal", 2.0, 1.0), Draws("uniform", 1.0, 3.0)
REGIONS = Regions(("here", "there"), ((30.0, 120.0), (80.0, 10.0)), (8.0, 16.0), (80.0, 4.0))
INTERNET = InternetRules(REGIONS, (0, 1, 1, 0, 1), until_arrival=True, small_below_bytes=1_000, processing_ns=2)
Built = tuple[Channel, dict[int, FaultChannel]]


def plain() -> Channel:
    return Transmission(Propagation(PLAN), PLAN)


def normal() -> Channel:
    rng = chance("delay")
    return RandomDelay(PLAN, lambda count: rng.normal(2.0, 1.0, count))


def uniform() -> Channel:
    rng = chance("delay")
    return RandomDelay(PLAN, lambda count: rng.uniform(1.0, 3.0, count))


def everything() -> Built:
    first = slow(Loss(Transmission(Processing(Propagation(PLAN), PLAN, 30), PLAN), 0.2, chance("loss")))
    second = partition(first)
    third = losing(second, 7)
    return third, {0: first, 2: second, 7: third}


def struck(number: int, make: Callable[[Channel], FaultChannel]) -> Built:
    channel = make(plain())
    return channel, {number: channel}


CASES: dict[str, tuple[Conditions, Callable[[], Built]]] = {
    "propagation": (Conditions(transmission=False), lambda: (Propagation(PLAN), {})),
    "transmission": (Conditions(), lambda: (plain(), {})),
    "processing": (
        Conditions(processing_ns_per_hop=30, transmission=False),
        lambda: (Processing(Propagation(PLAN), PLAN, 30), {}),
    ),
    "loss": (Conditions(loss=0.3), lambda: (Loss(plain(), 0.3, chance("loss")), {})),
    "normal": (Conditions(draws=NORMAL, processing_ns_per_hop=30), lambda: (normal(), {})),
    "uniform": (Conditions(draws=UNIFORM, loss=0.3), lambda: (Loss(uniform(), 0.3, chance("loss")), {})),
    "internet": (Conditions(internet=INTERNET), lambda: (Internet(PLAN, INTERNET, chance("delay")), {})),
    "slow": (Conditions(strikes=(SLOW,)), lambda: struck(0, slow)),
    "partition": (Conditions(strikes=(PARTITION,)), lambda: struck(2, partition)),
    "losing": (Conditions(strikes=(LOSING,)), lambda: struck(7, lambda inner: losing(inner, 7))),
    "everything": (
        Conditions(processing_ns_per_hop=30, loss=0.2, strikes=(SLOW, PARTITION, LOSING)),
        everything,
    ),
}


def passages(built: Built) -> list[list[int]]:
    """What becomes of many messages, all faults' counts last."""
    channel, faults = built
    rng = np.random.default_rng(5)
    carried = []
    for now_ns in range(0, 7_000, 19):
        source = int(rng.integers(N))
        targets = np.delete(np.arange(N), source)
        if rng.random() < 0.4:
            targets = targets[rng.integers(N - 1) :][:1]
        carried.append(channel.carry(source, targets, int(rng.integers(2_000)), now_ns).tolist())
    return [*carried, [value for number, fault in faults.items() for value in (number, fault.affected)]]


@pytest.mark.parametrize("name", CASES)
def test_a_description_does_what_the_channels_do_that_it_describes(name: str) -> None:
    conditions, by_hand = CASES[name]
    expected = passages(by_hand())
    assert passages(channels(conditions, PLAN, chance)) == expected


def test_no_two_of_these_descriptions_do_the_same() -> None:
    done = [str(passages(by_hand())) for _, by_hand in CASES.values()]
    assert len(set(done)) == len(CASES)


@pytest.mark.parametrize("name", ["slow", "partition", "losing"])
def test_each_fault_here_strikes_some_and_not_all(name: str) -> None:
    built = CASES[name][1]()
    *carried, (_, affected) = passages(built)
    assert 0 < affected < sum(len(dues) for dues in carried)


@pytest.mark.parametrize("name", CASES)
def test_a_description_survives_its_travel(name: str) -> None:
    conditions, _ = CASES[name]
    for travel in (msgspec.msgpack, msgspec.json):
        arrived = travel.decode(travel.encode(conditions), type=Conditions)
        assert arrived == conditions
        assert passages(channels(arrived, PLAN, chance)) == passages(channels(conditions, PLAN, chance))


def test_chance_is_asked_for_by_name_and_only_for_what_needs_it() -> None:
    asked: list[str] = []

    def remember(consumer: str) -> np.random.Generator:
        asked.append(consumer)
        return chance(consumer)

    channels(Conditions(strikes=(SLOW, PARTITION)), PLAN, remember)
    assert asked == []
    channels(Conditions(draws=UNIFORM, loss=0.1, strikes=(LOSING, SLOW)), PLAN, remember)
    assert asked == ["delay", "loss", "fault/7"]


def test_what_is_struck_by_name_is_found_by_its_number() -> None:
    outermost, faults = channels(Conditions(strikes=(SLOW, PARTITION, LOSING)), PLAN, chance)
    assert {number: type(fault) for number, fault in faults.items()} == {0: Slow, 2: Partition, 7: Losing}
    assert outermost is faults[7]
