"""The fabric against closed forms, and against packets followed one by one."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.network.meshes import HandMade, Net, both_ways, line, packet_by_packet

MTU = 1500
SECOND = 10**9


# A relay that needs all of it first


@pytest.mark.parametrize(
    ("megabytes", "gbps", "expected_ns"),
    [
        (1, 1, 192_000_000),
        (1, 25, 7_680_000),
        (1, 100, 1_920_000),
        (16, 1, 3_072_000_000),
        (16, 25, 122_880_000),
        (16, 100, 30_720_000),
    ],
)
def test_whole_blocks_over_24_hops(megabytes, gbps, expected_ns):
    """Store-and-forward: 24 transmissions of all of it, and the propagation."""
    delay_ns = 4_000_003
    net = Net(HandMade(25, line(*[(delay_ns, 8 / gbps)] * 24)))
    net.relay(17, range(25), megabytes * 10**6)
    assert net.run() == [(17 + expected_ns + 24 * delay_ns, 24, None)]
    assert net.missing == 0


# Switched in packets


@pytest.mark.parametrize("gbps", [1, 25, 100])
@pytest.mark.parametrize("size", [40, MTU, MTU + 25, 1_000_000, 16_000_000])
def test_packets_over_equal_links(size, gbps):
    """The first packet is transmitted at every hop, the rest only once: Σ delays + (H - 1) tx(mtu) + tx(size)."""
    delay_ns, ns_per_byte = 1_234_567, 8 / gbps
    net = Net(HandMade(25, line(*[(delay_ns, ns_per_byte)] * 24)))
    net.send(0, 0, 24, size)
    expected_ns = 24 * delay_ns + 23 * round(min(size, MTU) * ns_per_byte) + round(size * ns_per_byte)
    assert net.run() == [(expected_ns, 24, None)]


@pytest.mark.parametrize(
    "rates",
    [
        pytest.param((8.0, 2.0, 4.0, 1.0), id="bottleneck-first"),
        pytest.param((1.0, 8.0, 2.0, 4.0), id="bottleneck-second"),
        pytest.param((2.0, 1.0, 8.0, 4.0, 1.0), id="bottleneck-in-the-middle"),
        pytest.param((1.0, 2.0, 4.0, 8.0), id="bottleneck-last"),
        pytest.param((4.0, 8.0, 8.0, 1.0, 8.0), id="several"),
        pytest.param((0.0, 4.0, 0.0, 8.0, 0.0), id="infinite-rates-between"),
        pytest.param((8.0, 0.0, 0.0, 2.0), id="infinite-rates-behind"),
        pytest.param((0.0, 0.0), id="only-infinite-rates"),
    ],
)
@pytest.mark.parametrize("packets", [1, 2, 7, 300])
def test_packets_over_unequal_links(rates, packets):
    """The slowest link works without a pause: Σ delays + Σ tx(mtu) + (N - 1) tx(mtu) of the slowest."""
    links = [(1000 * hop, rate) for hop, rate in enumerate(rates, 1)]
    net = Net(HandMade(len(rates) + 1, line(*links)))
    net.send(5, 0, len(rates), packets * MTU)
    expected_ns = sum(delay_ns for delay_ns, _ in links) + round(MTU * (sum(rates) + (packets - 1) * max(rates)))
    assert net.run() == [(5 + expected_ns, len(rates), None)]
    assert net.missing == 0


LINKS = st.tuples(st.integers(0, 500), st.sampled_from([0.0, 1.0, 2.0, 3.0, 7.0]))


@given(links=st.lists(LINKS, min_size=1, max_size=7), size=st.integers(1, 400), mtu=st.integers(1, 60))
def test_one_message_over_any_chain_is_like_its_packets(links, size, mtu):
    edges, last = line(*links), len(links)
    net = Net(HandMade(last + 1, edges), mtu_bytes=mtu)
    net.send(3, 0, last, size)
    net.run()
    assert net.times_ns == packet_by_packet(edges, mtu, [(3, range(last + 1), size)])


@st.composite
def crossing_flows(draw):
    """A chain, and messages of one packet each that enter and leave it anywhere."""
    links = draw(st.lists(LINKS, min_size=1, max_size=5))
    messages = []
    for at_ns in sorted(draw(st.lists(st.integers(0, 600), min_size=1, max_size=25))):
        first, last = sorted(draw(st.lists(st.integers(0, len(links)), min_size=2, max_size=2, unique=True)))
        messages.append((at_ns, range(first, last + 1), draw(st.integers(1, 60))))
    return links, messages


@given(crossing_flows())
def test_single_packets_are_served_in_order_of_arrival(flows):
    links, messages = flows
    edges = line(*links)
    net = Net(HandMade(len(links) + 1, edges), mtu_bytes=60)
    for number, (at_ns, path, size) in enumerate(messages):
        net.send(at_ns, path[0], path[-1], size, number)
    due_ns = {number: due_ns for due_ns, _, number in net.run()}
    assert [due_ns[number] for number in range(len(messages))] == packet_by_packet(edges, 60, messages)


@given(
    access=st.lists(st.sampled_from([6.0, 9.0, 12.0]), min_size=2, max_size=2),
    beyond=st.lists(st.sampled_from([3.0, 6.0, 9.0]), max_size=2),
    sizes=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 900), st.integers(1, 300)), min_size=1, max_size=12),
)
def test_a_fast_link_fed_by_slow_ones_serves_packet_by_packet(access, beyond, sizes):
    """Messages that trickle in do not hold up what they share a faster link with."""
    # Everything happens in multiples of 3 ns, and what comes from the second node one nanosecond later: no ties.
    edges = both_ways(
        (0, 2, 300, access[0]),
        (1, 2, 301, access[1]),
        (2, 3, 600, 3.0),
        *((3 + hop, 4 + hop, 300, rate) for hop, rate in enumerate(beyond)),
    )
    last = 3 + len(beyond)
    messages = [(3 * at, (source, *range(2, last + 1)), size) for source, at, size in sorted(sizes, key=lambda s: s[1])]
    net = Net(HandMade(last + 1, edges), mtu_bytes=40)
    for number, (at_ns, path, size) in enumerate(messages):
        net.send(at_ns, path[0], last, size, number)
    due_ns = {number: due_ns for due_ns, _, number in net.run()}
    assert [due_ns[number] for number in range(len(messages))] == packet_by_packet(edges, 40, messages)
    assert net.missing == 0


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 300), st.integers(1, 300)), min_size=1, max_size=10))
def test_messages_at_equal_rates_wait_for_whole_messages(sizes):
    """Where rates are equal a message keeps together: two that compete are served one after the other, not packet by
    packet in turn. What the shared link does in all is the same: its last byte leaves when it would have left."""
    edges = both_ways((0, 2, 10, 3.0), (1, 2, 10, 3.0), (2, 3, 50, 3.0))
    messages = [(at_ns, (source, 2, 3), size) for source, at_ns, size in sorted(sizes, key=lambda s: s[1])]
    net = Net(HandMade(4, edges), mtu_bytes=40)
    for at_ns, path, size in messages:
        net.send(at_ns, path[0], 3, size)
    expected_ns = packet_by_packet(edges, 40, messages)
    assert max(net.run())[0] == max(expected_ns)
    assert net.link(2, 3).bytes == sum(size for _, _, size in messages)
    # In no order of service do fewer bytes wait: the work is conserved, so at the end of a busy time all is out.
    lone = [number for number, (_, path, _) in enumerate(messages) if path[0] == 0]
    if len(lone) in (0, len(messages)):
        assert net.times_ns == expected_ns


# The parts of delay


def test_each_part_of_delay_alone():
    """Three links of 2, 8 and 1 ns per byte; 100-byte packets; 7 ns at each hop; a message of one packet before."""
    net = Net(HandMade(4, line((1000, 2.0), (2000, 8.0), (3000, 1.0))), mtu_bytes=100, processing_ns_per_hop=7)
    net.send(0, 1, 2, 100)
    assert net.run(9_000) == [(800 + 2000 + 7, 2, None)]
    delays = net.fabric.account.delays
    assert (delays.propagation_ns, delays.transmission_ns, delays.queueing_ns, delays.processing_ns) == (
        2000,
        800,
        0,
        7,
    )
    at_ns = 10_000
    net.send(at_ns, 0, 3, 100)
    # The first comes to node 1 at +1207, and the other one finds 200 ns of work there.
    net.send(at_ns + 607, 1, 2, 100)
    net.run()
    assert net.times_ns[1:] == [at_ns + 607 + 800 + 2007, at_ns + 1207 + 200 + 800 + 2007 + 100 + 3007]
    assert delays.propagation_ns == 2000 + 2000 + 6000
    assert delays.transmission_ns == 800 + 800 + (200 + 800 + 100)
    assert delays.queueing_ns == delays.longest_queueing_ns == 200
    assert delays.processing_ns == 7 + 7 + 21
    assert (net.link(1, 2).waited_ns, net.link(1, 2).longest_wait_ns) == (200, 200)
    assert (net.link(1, 2).messages, net.link(1, 2).bytes) == (3, 300)


@given(crossing_flows())
def test_the_parts_of_delay_add_up(flows):
    links, messages = flows
    net = Net(HandMade(len(links) + 1, line(*links)), mtu_bytes=60, processing_ns_per_hop=5)
    for at_ns, path, size in messages:
        net.send(at_ns, path[0], path[-1], size)
    net.run()
    delays = net.fabric.account.delays
    hops = [list(pairwise(path)) for _, path, _ in messages]
    took_ns = sum(net.times_ns) - sum(at_ns for at_ns, _, _ in messages)
    assert delays.propagation_ns == sum(links[tail][0] for path in hops for tail, _ in path)
    assert delays.processing_ns == 5 * sum(map(len, hops))
    assert delays.transmission_ns == sum(
        round(size * links[tail][1]) for path, (_, _, size) in zip(hops, messages, strict=True) for tail, _ in path
    )
    assert delays.queueing_ns == took_ns - delays.propagation_ns - delays.processing_ns - delays.transmission_ns
    assert delays.queueing_ns == sum(link.waited_ns for link in net.fabric.wiring.links)


# Long links


def test_a_link_of_100_ms_carries_its_full_rate():
    """1 Gbps, 1250-byte messages without a pause: 10 µs each, and every one 100 ms late, in order."""
    net = Net(HandMade(2, line((SECOND // 10, 8.0))))
    for number in range(30_000):
        net.send(number * 10_000, 0, 1, 1250, number)
    assert net.run() == [(number * 10_000 + 10_000 + SECOND // 10, 1, number) for number in range(30_000)]
    assert net.link(0, 1).waited_ns == 0


# Ends of ways


def test_where_there_is_no_way_copies_are_dropped():
    net = Net(HandMade(3, line((5, 1.0))))
    net.send(0, 0, 2, 10)
    net.spread(1, 0, [1, 2], 10)
    assert net.run() == [(16, 1, None)]
    assert net.fabric.account.drops == {"no_route": 2}
    assert net.missing == 0


def test_members_at_one_place_need_no_link():
    net = Net(HandMade(2, line((5, 1.0)), senders=[0, 0, 1], within_ns=3))
    net.send(0, 0, 1, 10, "beside")
    net.spread(10, 1, [0, 2], 10, "all")
    assert net.run() == [(3, 1, "beside"), (13, 0, "all"), (25, 2, "all")]
    assert net.link(0, 1).messages == 1


def test_members_at_one_station_need_no_link_either():
    """A station sends at one node and receives at another: the way up and down again is none of theirs."""
    edges = {(0, 1): (50, 1.0), (1, 2): (50, 1.0), (1, 3): (50, 1.0)}
    net = Net(HandMade(4, edges, senders=[0, 0, 1], receivers=[2, 2, 1], within_ns=3))
    net.send(0, 0, 1, 10, "one")
    net.spread(1000, 0, [1, 2], 10, "all")
    assert net.run() == [(3, 1, "one"), (1003, 1, "all"), (1060, 2, "all")]
    assert net.missing == 0
