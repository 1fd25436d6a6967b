"""Queues on links: against Lindley's recursion to the nanosecond, and against queueing theory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from network.plan import IntArray
from tests.network.meshes import HandMade, Net, both_ways, line

HUGE = 10**9
"""An MTU that no message here reaches: each is one packet."""
NS_PER_BYTE = 100
MEAN = 1000
"""Bytes: 100 µs on a link."""
SERVICE_NS = MEAN * NS_PER_BYTE


def poisson(rng: np.random.Generator, count: int, utilisation: float) -> IntArray:
    """Times at which messages come, int64[count], for a link on which one takes 100 µs on average."""
    return np.cumsum(rng.exponential(SERVICE_NS / utilisation, count)).astype(np.int64)


def exponential(rng: np.random.Generator, count: int) -> IntArray:
    """Sizes in whole bytes, which is a ten-thousandth of the mean too coarse."""
    return np.rint(rng.exponential(MEAN, count)).astype(np.int64)


def lindley(came_ns: IntArray, service_ns: IntArray) -> IntArray:
    """Waiting times in a queue with one server: W[k + 1] = max(0, W[k] + S[k] - A[k]), all at once.

    D. V. Lindley, "The theory of queues with a single server", 1952.
    """
    ahead = np.concatenate(([0], np.cumsum(service_ns[:-1] - np.diff(came_ns))))
    return ahead - np.minimum.accumulate(ahead)


def send_all(net: Net, source: int, target: int, at_ns: IntArray, sizes: IntArray) -> None:
    """Send messages (source, 0), (source, 1), …; each sees to the next, so that the clock's heap stays small."""
    times_ns, bytes_ = at_ns.tolist(), sizes.tolist()

    def now(number: int, now_ns: int) -> None:
        net.fabric.send(source, target, bytes_[number], (source, number), net.receivers, now_ns)
        if number + 1 < len(times_ns):
            net.clock.at(times_ns[number + 1], now, number + 1)

    net.clock.at(times_ns[0], now, 0)


def arrivals_ns(net: Net, source: int) -> IntArray:
    """Of all messages from one source, in the order in which they were sent."""
    mine = sorted((number, due_ns) for due_ns, _, (sender, number) in net.got if sender == source)
    assert [number for number, _ in mine] == list(range(len(mine)))
    return np.array([due_ns for _, due_ns in mine])


def mean_wait_ns(came_ns: IntArray, service_ns: IntArray) -> float:
    """M/G/1 (Pollaczek and Khinchine): λ E[S²] / (2 (1 - λ E[S])), with the moments of this very sample, which takes
    chance out of them."""
    per_ns = (len(came_ns) - 1) / float(came_ns[-1] - came_ns[0])
    square = float((service_ns.astype(float) ** 2).mean())
    return per_ns * square / 2 / (1 - per_ns * float(service_ns.mean()))


@pytest.mark.parametrize("utilisation", [0.5, 0.7])
def test_lindleys_recursion_gives_the_means_of_theory(utilisation):
    """What stands for theory below does so: M/M/1 and M/D/1 within 1 %."""
    rng = np.random.default_rng(1)
    at_ns = poisson(rng, 2_000_000, utilisation)
    scale_ns = SERVICE_NS * utilisation / (1 - utilisation)
    for service_ns, expected_ns in (
        (exponential(rng, len(at_ns)) * NS_PER_BYTE, scale_ns),
        (np.full(len(at_ns), SERVICE_NS), scale_ns / 2),
    ):
        assert lindley(at_ns, service_ns).mean() == pytest.approx(expected_ns, rel=0.01)
        assert mean_wait_ns(at_ns, service_ns) == pytest.approx(expected_ns, rel=0.01)


@pytest.mark.parametrize("utilisation", [0.5, 0.7, 0.95, 1.5])
def test_waits_on_a_tandem_are_lindleys_to_the_nanosecond(utilisation):
    """Messages keep their sizes, so that waits at the second link hang on those at the first: no formula, but Lindley's
    recursion fed with what the first link lets out."""
    rng = np.random.default_rng(2)
    at_ns, sizes = poisson(rng, 8000, utilisation), exponential(rng, 8000)
    rates, delays_ns = (100, 130, 90), (10_000_000, 5, 777)
    net = Net(HandMade(4, line(*zip(delays_ns, map(float, rates), strict=True))), mtu_bytes=HUGE)
    send_all(net, 0, 3, at_ns, sizes)
    net.run()
    waited = []
    for rate, delay_ns in zip(rates, delays_ns, strict=True):
        waited.append(lindley(at_ns, sizes * rate))
        at_ns = at_ns + waited[-1] + sizes * rate + delay_ns
    assert (arrivals_ns(net, 0) == at_ns).all()
    for tail, waits_ns in enumerate(waited):
        link = net.link(tail, tail + 1)
        assert (link.waited_ns, link.longest_wait_ns) == (waits_ns.sum(), waits_ns.max())
    assert net.fabric.account.delays.longest_queueing_ns == sum(waited).max()


@pytest.mark.slow
def test_mm1_waits_on_a_link_and_with_fresh_sizes_on_a_tandem():
    """M/M/1 on both links. By Burke's theorem messages leave as they came, as a Poisson stream; relays that change
    sizes make the second link's service times independent, as Jackson's theorem has it."""
    rng = np.random.default_rng(3)
    count = 400_000
    came_ns, sizes = poisson(rng, count, 0.5), (exponential(rng, count), exponential(rng, count))
    net = Net(HandMade(3, line((50, NS_PER_BYTE), (50, NS_PER_BYTE))), mtu_bytes=HUGE)
    links = net.link(0, 1), net.link(1, 2)
    at_ns, first, second = came_ns.tolist(), sizes[0].tolist(), sizes[1].tolist()

    def begin(number, now_ns):
        net.fabric.hop(links[0], first[number], number, relay, now_ns)
        if number + 1 < count:
            net.clock.at(at_ns[number + 1], begin, number + 1)

    def relay(number, now_ns):
        net.fabric.hop(links[1], second[number], number, lambda number, now_ns: None, now_ns)

    net.clock.at(at_ns[0], begin, 0)
    net.run()
    for link, some in zip(links, sizes, strict=True):
        assert link.waited_ns / count == pytest.approx(mean_wait_ns(came_ns, some * NS_PER_BYTE), rel=0.02)
    assert net.fabric.account.delays.transmission_ns == (sum(first) + sum(second)) * NS_PER_BYTE


@pytest.mark.slow
def test_md1_waits_on_a_link_and_on_a_tandem():
    """Equal sizes wait at the first link as M/D/1 has it, and at an equally fast second one not at all. At a slower
    third one the waits on all links together are those of that link alone (H. D. Friedman, "Reduction methods for
    tandem queuing systems", 1965)."""
    rng = np.random.default_rng(4)
    count = 200_000
    at_ns, sizes = poisson(rng, count, 0.6), np.full(count, MEAN)
    net = Net(HandMade(4, line((7, 90.0), (7, 90.0), (7, 100.0))), mtu_bytes=HUGE)
    send_all(net, 0, 3, at_ns, sizes)
    net.run()
    waited_ns = [net.link(tail, tail + 1).waited_ns for tail in range(3)]
    assert waited_ns[0] / count == pytest.approx(mean_wait_ns(at_ns, sizes * 90), rel=0.02)
    assert waited_ns[1] == 0
    assert sum(waited_ns) / count == pytest.approx(mean_wait_ns(at_ns, sizes * 100), rel=0.02)
    assert sum(waited_ns) == lindley(at_ns, sizes * 100).sum()


# The rate of a link


@pytest.mark.parametrize("ns_per_byte", [8.0, 0.08, 8 / 3, 0.32])
@pytest.mark.parametrize("size", [16, 106, 250, 1500])
def test_a_link_reaches_its_rate_and_never_exceeds_it(size, ns_per_byte):
    """Twice as much as it can carry, for a while; some messages larger than others."""
    rng = np.random.default_rng(5)
    count = 4000
    sizes = rng.integers(size, size + size // 4 + 1, count)
    at_ns = np.sort(rng.integers(0, round(sizes.sum() * ns_per_byte / 2), count))
    net = Net(HandMade(2, line((123, ns_per_byte))))
    send_all(net, 0, 1, at_ns, sizes)
    net.run()
    due_ns = np.array(net.times_ns)
    assert (np.diff(due_ns) >= 0).all()
    # In no window does more arrive than its rate allows, but for the one message whose first bit came before it: bytes
    # up to message j less bytes up to message i, less what t[j] - t[i] allows, for all i < j at once.
    spare_ns = np.cumsum(sizes) * ns_per_byte - due_ns
    assert (spare_ns - np.minimum.accumulate(spare_ns)).max() <= 1 + 1e-6
    # From the second message on it has been busy.
    busy_ns = due_ns[-1] - due_ns[len(due_ns) // 10]
    assert sizes[len(due_ns) // 10 + 1 :].sum() * ns_per_byte / busy_ns == pytest.approx(1, abs=0.001)


@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 200)), min_size=1, max_size=40), st.integers(20, 300))
def test_no_window_sees_more_than_the_rate_behind_any_switch(messages, mtu):
    """Packets and whole messages, from two sides, through one link: whatever the order, its rate holds."""
    edges = both_ways((0, 2, 5, 6.0), (1, 2, 5, 2.0), (2, 3, 11, 4.0))
    net = Net(HandMade(4, edges), mtu_bytes=mtu)
    for number, (at_ns, size) in enumerate(sorted(messages)):
        net.send(at_ns, number % 2, 3, size, size)
    bits_ns = {}
    for due_ns, _, size in net.run():
        bits_ns[due_ns] = bits_ns.get(due_ns, 0) + size * 4
    times_ns, work_ns = np.array(sorted(bits_ns)), np.array([bits_ns[due_ns] for due_ns in sorted(bits_ns)])
    spare_ns = np.cumsum(work_ns) - times_ns
    # A message is there at once when its last byte is: its other bytes may have come long before.
    largest_ns = 4 * sum(size for _, size in messages) if mtu < 200 else 0
    assert (spare_ns - np.minimum.accumulate(spare_ns)).max() <= largest_ns


# Two flows


def test_two_flows_share_a_bottleneck_in_order_of_arrival():
    """Two sources over links of their own, both faster than the shared one; the shares are those of what is offered."""
    rng = np.random.default_rng(6)
    edges = both_ways((0, 2, 1000, 1.0), (1, 2, 1000, 1.0), (2, 3, 50, 10.0), (3, 4, 50, 10.0))
    net = Net(HandMade(5, edges))
    counts, size = (30_000, 10_000), 1000
    flows = [np.sort(rng.integers(0, 200_000_000, count)) for count in counts]
    for source, at_ns in enumerate(flows):
        send_all(net, source, 4, at_ns, np.full(len(at_ns), size))
    net.run()
    # Reference: each waits on its own link, then both together on the shared one.
    came = [at_ns + lindley(at_ns, np.full(len(at_ns), size)) + size + 1000 for at_ns in flows]
    together = np.sort(np.concatenate(came))
    left = together + lindley(together, np.full(len(together), size * 10)) + size * 10
    assert sorted(net.times_ns) == (left + 50 + size * 10 + 50).tolist()
    # While both send, everything that leaves is in proportion to what is offered, and the link never rests.
    end_ns = 200_000_000
    share = [int((arrivals_ns(net, source) < end_ns).sum()) for source in (0, 1)]
    assert sum(share) == pytest.approx(end_ns / (size * 10), rel=0.001)
    assert share[0] / share[1] == pytest.approx(3, rel=0.05)
    assert net.link(3, 4).waited_ns == 0


def test_a_message_that_trickles_in_does_not_block_a_fast_link():
    """1 MB comes in at 8 ns a byte for 8 ms and goes on 80 times as fast; small messages pass between its packets."""
    edges = both_ways((0, 2, 0, 8.0), (1, 2, 0, 0.1), (2, 3, 0, 0.1))
    net = Net(HandMade(4, edges))
    net.send(0, 0, 3, 1_000_000, "large")
    for number in range(700):
        net.send(10_001 + 10_000 * number, 1, 3, 500, "small")
    net.run()
    small = [due_ns for due_ns, _, parcel in net.got if parcel == "small"]
    # 50 ns on each link, and at most one packet of 150 ns before it.
    late_ns = np.array(small) - 10_001 - 10_000 * np.arange(700)
    assert late_ns.min() == 100
    assert late_ns.max() <= 250
    assert net.got[-1][2] == "large"
    # Its last packet holds 1,000 bytes, all there at 8 ms.
    assert 8_000_100 <= net.got[-1][0] <= 8_000_150


# Buffers


def accepted(at_ns: IntArray, service_ns: IntArray, room_ns: int) -> list[int]:
    """Reference: which messages find room, where what is being transmitted takes room until its last byte has left."""
    kept, left_ns, before_ns = [], 0, 0
    for number, (now_ns, work_ns) in enumerate(zip(at_ns.tolist(), service_ns.tolist(), strict=True)):
        left_ns = max(0, left_ns - (now_ns - before_ns))
        before_ns = now_ns
        if left_ns + work_ns <= room_ns:
            left_ns += work_ns
            kept.append(number)
    return kept


@pytest.mark.parametrize("room_bytes", [2000, 5000, 20_000])
def test_finite_buffers_drop_what_finds_no_room(room_bytes):
    rng = np.random.default_rng(7)
    at_ns, sizes = poisson(rng, 10_000, 0.9), exponential(rng, 10_000)
    net = Net(HandMade(2, line((7, NS_PER_BYTE))), mtu_bytes=HUGE, buffer_bytes=lambda kind: room_bytes)
    send_all(net, 0, 1, at_ns, sizes)
    kept = accepted(at_ns, sizes * NS_PER_BYTE, room_bytes * NS_PER_BYTE)
    assert [number for _, _, (_, number) in net.run()] == kept
    assert 0 < len(kept) < 10_000
    assert net.fabric.account.drops == {"buffer_full": 10_000 - len(kept)}
    assert net.link(0, 1).dropped == 10_000 - len(kept)
    assert net.missing == 0


def test_a_burst_fills_a_buffer_to_the_last_byte():
    net = Net(HandMade(2, line((0, 0.29))), buffer_bytes=lambda kind: 100 * 29)
    for number in range(30):
        net.send(0, 0, 1, 100, number)
    assert [number for _, _, number in net.run()] == list(range(29))
    assert net.fabric.account.drops == {"buffer_full": 1}


def md1k_loss(utilisation: float, places: int) -> float:
    """The probability of finding M/D/1 full, with places for so many, the one in service among them.

    From the chain embedded at departures (Kleinrock, Queueing Systems 1, 1975, section 5; Gross and Harris, 5.1.8):
    with π0 the share of departures that leave nobody behind, the loss is 1 - 1 / (π0 + utilisation).
    """
    come = np.zeros(places + 1)
    come[0] = np.exp(-utilisation)
    for count in range(1, places + 1):
        come[count] = come[count - 1] * utilisation / count
    moves = np.zeros((places, places))
    for left in range(places):
        first = max(left - 1, 0)
        for after in range(first, places - 1):
            moves[left, after] = come[after - first]
        moves[left, places - 1] = 1 - moves[left].sum()
    system = np.vstack((moves.T - np.eye(places), np.ones(places)))
    shares = np.linalg.lstsq(system, np.append(np.zeros(places), 1), rcond=None)[0]
    return float(1 - 1 / (shares[0] + utilisation))


@pytest.mark.parametrize(("utilisation", "places"), [(0.8, 2), (1.0, 4), (1.3, 3)])
def test_md1k_loses_what_theory_says(utilisation, places):
    rng = np.random.default_rng(8)
    count = 30_000
    net = Net(HandMade(2, line((7, NS_PER_BYTE))), buffer_bytes=lambda kind: places * MEAN)
    send_all(net, 0, 1, poisson(rng, count, utilisation), np.full(count, MEAN))
    net.run()
    assert net.link(0, 1).dropped / count == pytest.approx(md1k_loss(utilisation, places), rel=0.03)


def test_unstable_load_grows_linearly():
    """At 1.25 times what the link carries, the backlog grows by a quarter of the time."""
    count = 20_000
    net = Net(HandMade(2, line((0, NS_PER_BYTE))))
    at_ns = np.arange(count) * SERVICE_NS * 4 // 5
    send_all(net, 0, 1, at_ns, np.full(count, MEAN))
    for part in (1, 2, 3, 4):
        net.run(int(at_ns[count * part // 4 - 1]))
        assert net.link(0, 1).free_ns - net.clock.now_ns == SERVICE_NS + net.clock.now_ns // 4
        assert net.fabric.under_way() == pytest.approx(count * part / 4 / 5, abs=1)
        assert net.missing == 0
    net.run()
    waits_ns = arrivals_ns(net, 0) - at_ns - SERVICE_NS
    assert (waits_ns == np.arange(count) * SERVICE_NS // 5).all()
