"""The mesh: the same links, delays and routes as the plan's, for those who go link by link."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from network.constants import SECOND_NS
from network.constellation import Constellation
from network.ground import GroundStation
from network.isl import IslPolicy
from network.links import LinkRates, LinkRules, Topology
from network.mesh import LinkClass, PrivateLinks
from network.orbit import OrbitPlan
from network.plan import UNREACHABLE, MatrixPlan, Outage
from network.routing import NOWHERE
from network.walker import WalkerShell

START = datetime(2026, 11, 22, tzinfo=UTC)
STATIONS = [GroundStation("quito", -0.18, -78.47, elevation_mask_deg=10), GroundStation("pole", 90, 0)]
MEMBERS = ("gs/quito", "sat/s1/03/07", "sat/s1/15/01", "gs/pole", "sat/s1/03/07", "sat/s1/09/11")


@pytest.fixture(scope="module")
def plan():
    shell = WalkerShell("s1", "walker_delta", 20, 15, phasing=7, altitude_km=800, inclination_deg=53)
    topology = Topology(Constellation([shell], START), STATIONS, LinkRules({"s1": IslPolicy()}))
    return OrbitPlan(MEMBERS, topology, rates=LinkRates(100, 160, 1000))


def walk(mesh, edges, node, target):
    """The edges passed from a node to a target, by the next hops towards it."""
    passed = []
    while node != target:
        edge = int(edges[node])
        if edge == NOWHERE:
            return None
        passed.append(edge)
        node = int(mesh.graph.head[edge])
    return passed


@pytest.mark.parametrize("at_s", [0, 7, 20])
def test_next_hops_are_the_routes_and_their_sums_the_delays(plan, at_s):
    snapshot, mesh = plan.at(at_s * SECOND_NS), plan.mesh(at_s * SECOND_NS)
    for target in range(len(MEMBERS)):
        edges = mesh.ways.towards(int(plan.receivers[target]))
        for source in range(len(MEMBERS)):
            if source == target:
                continue
            passed = walk(mesh, edges, int(plan.senders[source]), int(plan.receivers[target]))
            if passed is None:
                assert snapshot.delay_ns[source, target] == UNREACHABLE
                continue
            assert mesh.delay_ns[passed].sum() == snapshot.delay_ns[source, target]
            assert len(passed) == snapshot.hops[source, target]
            if passed:
                names = [plan.node_names[mesh.graph.head[edge]] for edge in passed]
                assert tuple(names) == snapshot.routes.path(source, target)[1:]


def test_a_tree_reaches_everybody_by_a_least_delay(plan):
    mesh = plan.mesh(0)
    for source in range(len(MEMBERS)):
        tree, root = mesh.ways.tree(int(plan.senders[source])), int(plan.senders[source])
        for target in range(len(MEMBERS)):
            node, delay_ns = int(plan.receivers[target]), 0
            while node != root and tree[node] != NOWHERE:
                delay_ns += int(mesh.delay_ns[tree[node]])
                node = int(mesh.graph.tail[tree[node]])
            reached = plan.at(0).delay_ns[source, target]
            if source != target:
                assert (delay_ns if node == root else UNREACHABLE) == reached


def test_links_have_classes_and_rates(plan):
    mesh = plan.mesh(0)
    count = dict(zip(*map(np.ndarray.tolist, np.unique(mesh.link_class, return_counts=True)), strict=True))
    assert count[LinkClass.ISL_IN_PLANE] == count[LinkClass.ISL_CROSS_PLANE] == 2 * 300
    assert count[LinkClass.GSL_UP] == count[LinkClass.GSL_DOWN] > 0
    for kind, ns_per_byte in ((LinkClass.ISL_IN_PLANE, 0.08), (LinkClass.GSL_UP, 50.0), (LinkClass.GSL_DOWN, 8.0)):
        assert mesh.ns_per_byte[mesh.link_class == kind] == pytest.approx(ns_per_byte)
    rings = mesh.graph.tail[mesh.link_class == LinkClass.ISL_IN_PLANE] // 15
    assert (rings == mesh.graph.head[mesh.link_class == LinkClass.ISL_IN_PLANE] // 15).all()


def test_one_mesh_per_update_and_one_graph_per_interval(plan):
    assert plan.mesh(1) is plan.mesh(SECOND_NS - 1)
    assert plan.mesh(SECOND_NS) is not plan.mesh(0)
    assert plan.mesh(SECOND_NS).graph is plan.mesh(0).graph
    assert plan.mesh(15 * SECOND_NS).graph is not plan.mesh(0).graph


def test_private_links_of_a_matrix():
    delay_ns = np.array([[0, 5, UNREACHABLE], [6, 0, 7], [8, 9, 0]])
    plan = MatrixPlan(
        ["a", "b", "c"], delay_ns, ns_per_byte=0.5, outages=[Outage(10, 20, links=frozenset({("a", "b")}))]
    )
    links = PrivateLinks(plan)
    mesh = links.mesh(0)
    found = dict(
        zip(zip(mesh.graph.tail.tolist(), mesh.graph.head.tolist(), strict=True), mesh.delay_ns.tolist(), strict=True)
    )
    assert found == {(0, 4): 5, (1, 3): 6, (1, 5): 7, (2, 3): 8, (2, 4): 9}
    assert links.node_names == ("a", "b", "c", "a", "b", "c")
    assert len(links.mesh(10).delay_ns) == 3
    assert links.mesh(20) is mesh
