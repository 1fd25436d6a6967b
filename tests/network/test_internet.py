"""The Internet of regions: latencies with the right mean, one uplink for each member, and who waits for it."""

from __future__ import annotations

import numpy as np
import pytest

from network.channel import Drop
from network.internet import Internet, InternetRules, Regions
from network.plan import IntArray, MatrixPlan, Outage

MS = 1_000_000
REGIONS = Regions(("here", "there"), ((30.0, 120.0), (80.0, 10.0)), (8.0, 16.0), (80.0, 4.0))
PLACES = (0, 0, 1)
BYTES = 1_000_000
HERE_TO_HERE_MS = 1_000
"""Eight megabits at the sender's 8 Mbit/s;"""
HERE_TO_THERE_MS = 2_000
"""at the receiver's 4 Mbit/s."""


def internet(seed: int = 1, outages: tuple[Outage, ...] = (), **rules: int | bool) -> Internet:
    plan = MatrixPlan(["lab/0", "lab/1", "lab/2"], np.zeros((3, 3), dtype=np.int64), outages=outages)
    return Internet(plan, InternetRules(REGIONS, PLACES, **rules), np.random.default_rng(seed))


def members(*some: int) -> IntArray:
    return np.array(some, dtype=np.int64)


@pytest.mark.parametrize(("source", "target", "mean_ms"), [(0, 1, 30.0), (0, 2, 120.0), (2, 0, 80.0)])
def test_latencies_are_pareto_with_the_mean_of_their_regions(source: int, target: int, mean_ms: float) -> None:
    """And 5 ms below it at least; an array of targets is drawn as single ones are."""
    channel = internet()
    many = channel.carry(source, np.full(40_000, target), 100, 0) / MS
    single = np.array([channel.carry_few(source, (target,), 100, 0)[0] for _ in range(40_000)]) / MS
    shape, least = 0.2 * mean_ms, mean_ms - 5
    for drawn in (many, single):
        assert drawn.min() >= least
        assert drawn.mean() == pytest.approx(mean_ms, rel=0.01)
        assert np.quantile(drawn, 0.9) == pytest.approx(least * 10 ** (1 / shape), rel=0.01)


def test_a_large_message_takes_its_time_on_the_slower_of_uplink_and_downlink() -> None:
    assert internet().carry_few(0, (1,), BYTES, 0)[0] // MS in range(HERE_TO_HERE_MS + 25, HERE_TO_HERE_MS + 200)
    assert internet().carry_few(0, (2,), BYTES, 0)[0] // MS in range(HERE_TO_THERE_MS + 115, HERE_TO_THERE_MS + 400)


def test_an_uplink_is_free_again_when_the_message_has_been_sent() -> None:
    """Two copies leave one after the other; latency keeps nobody waiting."""
    alone = [internet().carry(0, members(1, 1), 100, 0)[number] for number in (0, 1)]
    due_ns = internet(seed=3).carry(0, members(1, 1), BYTES, 0)
    first_ns = internet(seed=3).carry_few(0, (1,), BYTES, 0)[0]
    assert due_ns[0] == first_ns
    assert due_ns[0] / MS >= HERE_TO_HERE_MS + 25
    assert 2 * HERE_TO_HERE_MS + 25 <= due_ns[1] / MS < 2 * HERE_TO_HERE_MS + 200
    assert max(alone) < HERE_TO_HERE_MS * MS


def test_simblocks_uplink_is_free_again_when_the_message_has_arrived() -> None:
    """The second one starts when the first is there."""
    due_ns = internet(until_arrival=True).carry(0, members(2, 1), BYTES, 0)
    assert due_ns[1] >= due_ns[0] + (HERE_TO_HERE_MS + 25) * MS


def test_an_uplink_that_has_rested_is_free_at_once() -> None:
    channel = internet()
    channel.carry_few(0, (1,), BYTES, 0)[0]
    later_ns = 60_000 * MS
    assert channel.carry_few(0, (1,), BYTES, later_ns)[0] < later_ns + (HERE_TO_HERE_MS + 200) * MS


def test_members_of_one_region_have_an_uplink_each() -> None:
    channel = internet(until_arrival=True)
    channel.carry_few(0, (2,), BYTES, 0)[0]
    assert channel.carry_few(1, (2,), BYTES, 0)[0] < (HERE_TO_THERE_MS + 400) * MS


def test_small_messages_do_not_wait_and_take_no_time_to_send() -> None:
    channel = internet(small_below_bytes=500, small_message_ns=10 * MS)
    channel.carry_few(0, (1,), BYTES, 0)[0]
    assert 35 * MS <= channel.carry_few(0, (1,), 499, 0)[0] < 300 * MS
    assert channel.carry_few(0, (1,), 500, 0)[0] > HERE_TO_HERE_MS * MS


def test_processing_comes_before_sending() -> None:
    """It keeps the uplink too; small messages only come later."""
    plain, slow = internet(), internet(processing_ns=7 * MS)
    assert slow.carry_few(0, (1,), 100, 0)[0] - plain.carry_few(0, (1,), 100, 0)[0] == 7 * MS
    late_ns = slow.carry(0, members(1, 1), BYTES, 0) - plain.carry(0, members(1, 1), BYTES, 0)
    assert late_ns.tolist() == [7 * MS, 14 * MS]


def test_an_outage_cuts_members_off() -> None:
    """Nothing that is cut takes the uplink."""
    channel = internet(outages=(Outage(0, 10 * MS, frozenset({"lab/2"})),))
    assert channel.carry(0, members(1, 2), 100, 0)[1] == Drop.NO_ROUTE
    assert channel.carry_few(0, (2,), BYTES, 0)[0] == Drop.NO_ROUTE
    assert channel.carry_few(0, (1,), BYTES, 0)[0] < (HERE_TO_HERE_MS + 200) * MS
    assert channel.carry_few(0, (2,), 100, 10 * MS)[0] > 0
