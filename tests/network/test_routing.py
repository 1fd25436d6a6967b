"""Routing: least delay, then fewest hops, then the lowest next node, against enumeration by hand."""

from datetime import UTC, datetime

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from network.constellation import Constellation
from network.ground import GroundStation
from network.isl import IslPolicy
from network.links import LinkRules, Topology
from network.nodes import Nodes
from network.orbit import OrbitPlan
from network.plan import UNREACHABLE
from network.routing import Graph, find_routes
from network.walker import WalkerShell

START = datetime(2026, 11, 22, tzinfo=UTC)


def routed(edges, nodes, members):
    """Delays, hops and paths between members over {(tail, head): delay}."""
    tail, head = np.array(list(edges), dtype=np.int64).reshape(-1, 2).T
    graph = Graph(nodes, tail, head)
    delay_ns = np.array(list(edges.values()), dtype=np.int64)[graph.order]
    members = np.array(members)
    trees = find_routes(graph, delay_ns, members, members)

    def path(source, target):
        taken = trees.edges(source, target)
        return [int(members[source])] + [int(graph.head[edge]) for edge in taken]

    return trees.delays_ns(delay_ns, UNREACHABLE), trees.hops(), path


def best_by_enumeration(edges, nodes, source, target):
    """The least (delay, hops, path); with equal prefixes the path with the lowest next node sorts first."""
    graph = nx.DiGraph()
    graph.add_nodes_from(range(nodes))
    graph.add_edges_from(edges)
    ways = [
        (sum(edges[step] for step in nx.utils.pairwise(way)), len(way) - 1, way)
        for way in nx.all_simple_paths(graph, source, target)
    ]
    return min(ways, default=(UNREACHABLE, 0, [source]))


small_graphs = st.integers(2, 6).flatmap(
    lambda nodes: st.tuples(
        st.just(nodes),
        st.dictionaries(
            st.tuples(st.integers(0, nodes - 1), st.integers(0, nodes - 1)).filter(lambda pair: pair[0] != pair[1]),
            st.integers(0, 3),
            max_size=16,
        ),
    )
)


@settings(max_examples=150, deadline=None)
@given(small_graphs)
def test_routes_are_the_least_by_delay_hops_and_next_node(drawn):
    nodes, edges = drawn
    delay_ns, hops, path = routed(edges, nodes, range(nodes))
    for source in range(nodes):
        for target in range(nodes):
            if source != target:
                best = best_by_enumeration(edges, nodes, source, target)
                assert (delay_ns[source, target], hops[source, target], path(source, target)) == best
            else:
                assert (delay_ns[source, target], hops[source, target]) == (0, 0)


def test_huge_delays_stay_exact():
    edges = {(0, 1): 10**12 + 1, (1, 2): 10**12 + 2, (0, 2): 2 * 10**12 + 4}
    delay_ns, _, path = routed(edges, 3, [0, 2])
    assert delay_ns[0, 1] == 2 * 10**12 + 3
    assert path(0, 1) == [0, 1, 2]


def test_no_edges_at_all():
    delay_ns, hops, path = routed({}, 3, [0, 2])
    assert delay_ns.tolist() == [[0, UNREACHABLE], [UNREACHABLE, 0]]
    assert hops.tolist() == [[0, 0], [0, 0]]
    assert path(0, 1) == [0]


def test_blocks_of_targets_give_the_same(monkeypatch):
    rng = np.random.default_rng(3)
    edges = {(int(a), int(b)): int(d) for a, b, d in rng.integers(0, 60, (400, 3)) if a != b}
    whole = routed(edges, 60, range(60))
    monkeypatch.setattr("network.routing.STATES_AT_ONCE", 130)
    parts = routed(edges, 60, range(60))
    assert np.array_equal(whole[0], parts[0])
    assert np.array_equal(whole[1], parts[1])
    assert all(whole[2](a, b) == parts[2](a, b) for a in range(60) for b in range(60))


def test_loads_are_what_the_paths_carry():
    rng = np.random.default_rng(4)
    edges = {(int(a), int(b)): int(d) for a, b, d in rng.integers(0, 30, (100, 3)) if a != b}
    tail, head = np.array(list(edges)).T
    graph = Graph(30, tail, head)
    members = np.arange(0, 30, 3)
    trees = find_routes(graph, np.array(list(edges.values()))[graph.order], members, members)
    amount = rng.integers(0, 1000, (10, 10)).astype(np.float64)
    by_hand = np.zeros(len(tail))
    for source in range(10):
        for target in range(10):
            for edge in trees.edges(source, target):
                by_hand[edge] += amount[source, target]
    assert np.array_equal(trees.edge_loads(amount), by_hand)
    assert by_hand.sum() > 0


def test_slowest_link_of_each_route():
    edges = {(0, 1): 1, (1, 2): 1, (2, 0): 9}
    tail, head = np.array(list(edges)).T
    graph = Graph(3, tail, head)
    trees = find_routes(graph, np.array([1, 1, 9])[graph.order], np.arange(3), np.arange(3))
    assert trees.slowest(np.array([5.0, 2.0, 8.0])[graph.order]).tolist() == [[0, 5, 5], [8, 0, 2], [8, 8, 0]]


@pytest.mark.parametrize(
    ("phasing", "mean_ms"), [(0, 60.6), (1, 61.9), (11, 75.9), (17, 86.9), (39, 123.0), (45, 133.0)]
)
def test_phasing_alone_doubles_the_mean_delay(phasing, mean_ms):
    """E7: mean one-way delay between satellites of 1584/72 at 550 km over +Grid links of equal places, 1 %."""
    shell = WalkerShell("s1", "walker_delta", 72, 22, phasing, altitude_km=550, inclination_deg=53)
    constellation = Constellation([shell], START)
    links = Topology(constellation, rules=LinkRules({"s1": IslPolicy()})).links_at(0)
    nodes = Nodes(constellation.endpoints, ())
    graph = Graph(len(nodes), *nodes.edges(links))
    cost = nodes.delays_ns(links)[graph.order].astype(np.float64)
    some = np.arange(0, 1584, 13)  # 13 shares no factor with planes and places: every latitude alike
    assert graph.costs_to(some, cost).sum() / (len(some) * 1583) / 1e6 == pytest.approx(mean_ms, rel=0.01)


CITIES = {
    "virginia": (38.95, -77.45),
    "london": (51.51, -0.13),
    "tokyo": (35.68, 139.77),
    "singapore": (1.35, 103.82),
    "sydney": (-33.87, 151.21),
    "oregon": (45.84, -119.7),
    "frankfurt": (50.11, 8.68),
}


def test_named_routes_over_an_orbit():
    """E6: medians of the round trip over an orbit, 2 ms."""
    shell = WalkerShell("s1", "walker_delta", 72, 22, phasing=39, altitude_km=550, inclination_deg=53)
    stations = [GroundStation(name, *place) for name, place in CITIES.items()]
    topology = Topology(Constellation([shell], START), stations, LinkRules({"s1": IslPolicy()}))
    plan = OrbitPlan([f"gs/{name}" for name in CITIES], topology)
    rtt_ms = np.median([2e-6 * plan.at(180 * 10**9 * step).delay_ns for step in range(32)], axis=0)
    expected = {
        ("virginia", "london"): 44.9,
        ("virginia", "tokyo"): 84,
        ("london", "singapore"): 81,
        ("london", "sydney"): 126,
        ("oregon", "tokyo"): 60,
        ("frankfurt", "london"): 8.8,
    }
    index = {name: number for number, name in enumerate(CITIES)}
    for (one, other), median_ms in expected.items():
        assert rtt_ms[index[one], index[other]] == pytest.approx(median_ms, abs=2)
