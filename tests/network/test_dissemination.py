"""Multicast and floods: how many copies, over which links, and when they arrive."""

from __future__ import annotations

from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from network.carriage import UNDER_WAY, HopByHop
from network.channel import Drop, Entrance
from network.dissemination import Flood, Multicast, Unicast
from network.faults import Losing, Slow, Window
from network.plan import UNREACHABLE, BoolArray
from network.wiring import TREES_KEPT
from tests.network.meshes import HandMade, Net, both_ways, line

ALWAYS = Window(0)


def grid(rows: int, columns: int, rng: np.random.Generator, rate: float = 0.0) -> dict:
    """A torus as of satellites: four neighbours each, delays of 1 to 9 µs that are alike both ways."""
    edges = []
    for row in range(rows):
        for column in range(columns):
            here = row * columns + column
            for there in (row * columns + (column + 1) % columns, (row + 1) % rows * columns + column):
                edges.append((here, there, int(rng.integers(1000, 9000)), rate))
    return both_ways(*edges)


def touching(count: int, *members: int) -> BoolArray:
    """bool[source, target]: passages to these."""
    touched = np.zeros((count, count), dtype=np.bool_)
    touched[:, list(members)] = True
    return touched


def others(net: Net, source: int) -> np.ndarray:
    return np.delete(np.arange(len(net.receivers)), source)


def spread(net: Net, make: Any, source: int, size: int, *, at_ns: int = 0, channel: Any = None, **settings: Any) -> Any:
    """What each member gets when, of one message to all others; and what the sender was told."""
    made = make(net, channel or Entrance(), **settings)
    told = []

    def now(_: Any, now_ns: int) -> None:
        told.extend(made.spread(source, others(net, source), size, "block", now_ns).tolist())

    net.clock.at(at_ns, now)
    net.run()
    assert net.missing == 0
    return {member: due_ns for due_ns, member, _ in net.got}, told


def unicast(net: Net, channel: Any) -> Unicast:
    return Unicast(HopByHop(net.fabric, channel), net.receivers)


def multicast(net: Net, channel: Any) -> Multicast:
    return Multicast(net.fabric, channel, net.receivers)


def flood(net: Net, channel: Any, **settings: Any) -> Flood:
    return Flood(net.clock, net.fabric, channel, net.receivers, **settings)


def shortest_ns(edges: dict, source: int) -> dict[int, int]:
    """By node: the least sum of delays from one."""
    graph = nx.DiGraph()
    graph.add_weighted_edges_from((*ends, delay_ns) for ends, (delay_ns, _) in edges.items())
    return nx.single_source_dijkstra_path_length(graph, source)


# Multicast


@pytest.mark.parametrize("source", [0, 17])
def test_multicast_sends_one_copy_per_link_and_is_as_fast_as_unicast(source):
    edges = grid(5, 6, np.random.default_rng(1))
    routed, tree = Net(HandMade(30, edges)), Net(HandMade(30, edges))
    expected = shortest_ns(edges, source)
    del expected[source]
    assert spread(routed, unicast, source, 10**6)[0] == expected
    assert spread(tree, multicast, source, 10**6)[0] == expected
    # A tree over 30 nodes has 29 links, and each carried it once.
    assert [link.messages for link in tree.fabric.wiring.links if link.messages] == [1] * 29
    assert {link.head for link in tree.fabric.wiring.links if link.messages} == set(expected)
    # Copies of its own for each take as many as all paths have links.
    assert sum(link.messages for link in routed.fabric.wiring.links) >= 2 * 29


def test_multicast_of_many_packets_has_its_closed_form():
    """Each member has all of it after tx(mtu) on all links but the last, and tx(size) there: Σ delays added."""
    #      0 - 1 - 2 - 3
    #           \ 4
    edges = {**line((1000, 2.0), (2000, 2.0), (3000, 2.0)), **both_ways((1, 4, 500, 2.0))}
    net = Net(HandMade(5, edges), mtu_bytes=100, processing_ns_per_hop=10)
    got, told = spread(net, multicast, 0, 1050, at_ns=7)
    assert told == [UNDER_WAY] * 4
    whole_ns, first_ns = 2100, 200
    assert got == {
        1: 7 + whole_ns + 1010,
        2: 7 + first_ns + whole_ns + 3020,
        3: 7 + 2 * first_ns + whole_ns + 6030,
        4: 7 + first_ns + whole_ns + 1520,
    }
    delays = net.fabric.account.delays
    assert delays.propagation_ns == 1000 + 3000 + 6000 + 1500
    assert delays.transmission_ns == 4 * whole_ns + (0 + 1 + 2 + 1) * first_ns
    assert (delays.queueing_ns, delays.processing_ns) == (0, 10 + 20 + 30 + 20)


def test_multicast_packets_go_on_as_they_come_where_links_are_faster():
    """10 packets come at 8 ns a byte, leave at 1: the last is there 100 ns after it came, at members on the way too."""
    edges = {**line((0, 8.0), (0, 1.0), (0, 1.0))}
    net = Net(HandMade(4, edges), mtu_bytes=100)
    got, _ = spread(net, multicast, 0, 1000)
    assert got == {1: 8000, 2: 8100, 3: 8200}
    assert [link.messages for link in net.fabric.wiring.links if link.messages] == [1, 10, 10]


def test_multicast_goes_to_those_it_is_for_and_no_further():
    net = Net(HandMade(6, line(*[(10, 0.0)] * 5)))
    made = multicast(net, Entrance())
    made.spread(2, np.array([1, 4]), 9, "x", 0)
    assert net.run() == [(10, 1, "x"), (20, 4, "x")]
    assert sorted((link.tail, link.head) for link in net.fabric.wiring.links if link.messages) == [
        (2, 1),
        (2, 3),
        (3, 4),
    ]


def test_what_a_channel_loses_grows_no_branch_and_what_it_delays_enters_later():
    net = Net(HandMade(5, line(*[(10, 0.0)] * 4)))
    channel = Losing(Entrance(), ALWAYS, touching(5, 4), 1.0, np.random.default_rng(0))
    got, told = spread(net, multicast, 0, 9, channel=Slow(channel, ALWAYS, touching(5, 2), 500))
    assert got == {1: 10, 3: 30, 2: 520}
    assert told == [UNDER_WAY, UNDER_WAY, UNDER_WAY, Drop.FAULT_LOSS]
    assert net.fabric.account.drops == {"fault_loss": 1}
    # Once for those two, and once more for the one that is late.
    assert [net.link(tail, tail + 1).messages for tail in range(4)] == [2, 2, 1, 0]


def test_only_so_many_trees_are_kept():
    """Where every broadcast loses other copies, no two go along the same tree, and old ones are forgotten."""
    wiring = Net(HandMade(12, line(*[(10, 0.0)] * 11))).fabric.wiring
    first, last = np.array([10]), np.array([11])
    tree = wiring.tree(0, first)
    for bits in range(1, TREES_KEPT):
        wiring.tree(0, np.flatnonzero([bits >> bit & 1 for bit in range(8)]))
    assert wiring.tree(0, first) is tree
    wiring.tree(0, last)
    assert wiring.tree(0, first) is not tree


# Floods


@given(seed=st.integers(0, 2**32), rows=st.integers(3, 6), columns=st.integers(3, 6))
def test_a_flood_arrives_by_shortest_paths_and_crosses_nearly_all_links_twice(seed, rows, columns):
    """E links both ways and n nodes take 2 E - (n - 1) copies: one over each, but not back to where it came from."""
    edges = grid(rows, columns, np.random.default_rng(seed))
    count = rows * columns
    net = Net(HandMade(count, edges))
    source = seed % count
    expected = shortest_ns(edges, source)
    del expected[source]
    assert spread(net, flood, source, 0)[0] == expected
    assert net.fabric.account.entered == net.fabric.account.delivered == len(edges) - (count - 1)
    assert sum(link.messages for link in net.fabric.wiring.links) == len(edges) - (count - 1)


def test_validation_takes_its_time_at_every_node_and_before_handing_over():
    """Equal links, so that hops decide: each takes 1,000 ns to fly, 2 ns a byte for all of it, and 50 to validate."""
    edges = both_ways(*((node, (node + 1) % 8, 1000, 2.0) for node in range(8)))
    net = Net(HandMade(8, edges), mtu_bytes=100)
    got, _ = spread(net, flood, 0, 400, validation_ns=50)
    assert got == {node: min(node, 8 - node) * (1000 + 800 + 50) for node in range(1, 8)}


def test_members_beside_each_other_and_nodes_without_members():
    """Only nodes 0 and 3 have members, two at each; nodes 1 and 2 pass on all the same."""
    net = Net(HandMade(4, line((10, 0.0), (10, 0.0), (10, 0.0)), senders=[0, 0, 3, 3], within_ns=4))
    got, _ = spread(net, flood, 0, 9)
    assert got == {1: 4, 2: 30, 3: 30}
    assert net.fabric.account.entered == 3


def test_members_at_a_place_that_is_down_get_nothing():
    net = Net(HandMade(2, {}, senders=[0, 0, 1], within_ns=UNREACHABLE))
    assert spread(net, flood, 0, 9)[0] == {}


def test_a_station_receives_and_passes_nothing_on():
    """A station sends at node 0 and receives at node 4; two satellites see it. Two members are there."""
    up = {(0, 1): (50, 0.0), (0, 2): (60, 0.0)}
    down = {(1, 4): (50, 0.0), (2, 4): (60, 0.0), (3, 5): (70, 0.0)}
    edges = {**up, **down, **both_ways((1, 2, 5, 0.0), (2, 3, 5, 0.0))}
    places = {"senders": [0, 0, 3, 6], "receivers": [4, 4, 3, 5]}
    net = Net(HandMade(7, edges, **places))
    assert spread(net, flood, 0, 9)[0] == {1: 0, 2: 60, 3: 130}


def test_a_receiver_is_never_called_while_its_neighbour_speaks():
    """Who speaks is in the middle of its step: what it says comes to others as an event, even beside it."""
    for make in (unicast, multicast, flood):
        net = Net(HandMade(1, {}, senders=[0, 0]))
        make(net, Entrance()).spread(0, np.array([1]), 9, "x", 0)
        assert net.got == []
        assert net.run() == [(0, 1, "x")]


def test_what_a_channel_loses_is_passed_on_and_what_it_delays_is_handed_over_later():
    net = Net(HandMade(5, line(*[(10, 0.0)] * 4)))
    channel = Losing(Entrance(), ALWAYS, touching(5, 1), 1.0, np.random.default_rng(0))
    got, told = spread(net, flood, 0, 9, at_ns=100, channel=Slow(channel, ALWAYS, touching(5, 2), 500))
    assert got == {2: 100 + 20 + 500, 3: 130, 4: 140}
    assert told == [Drop.FAULT_LOSS, UNDER_WAY, UNDER_WAY, UNDER_WAY]


def test_floods_wait_in_queues():
    """Two floods at once from one end of a line: the second message waits on each link until the first is through."""
    net = Net(HandMade(3, line((0, 1.0), (0, 1.0))))
    made = flood(net, Entrance())
    for parcel in ("one", "other"):
        made.spread(0, others(net, 0), 1000, parcel, 0)
    assert net.run() == [(1000, 1, "one"), (2000, 1, "other"), (2000, 2, "one"), (3000, 2, "other")]
    assert (net.link(0, 1).waited_ns, net.link(1, 2).waited_ns) == (1000, 0)


@pytest.mark.parametrize("vanished", ["lost", "rerouted"])
def test_a_flood_goes_over_the_links_of_the_moment(vanished):
    """The link from 1 to 2 vanishes under the flood; node 3, on the other side of 1, has a new link to 2."""
    before = both_ways((0, 1, 100, 0.0), (1, 2, 100, 0.0), (1, 3, 100, 0.0))
    after = both_ways((0, 1, 100, 0.0), (1, 3, 100, 0.0), (3, 2, 100, 0.0))
    net = Net(HandMade(4, before, (150, after)), vanished=vanished)
    assert spread(net, flood, 0, 9)[0] == {1: 100, 3: 200, 2: 300}
    assert net.fabric.account.drops == {"link_lost": 1}
