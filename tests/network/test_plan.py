"""Plans: what the rest of the testbed sees of the network."""

from datetime import UTC, datetime

import networkx as nx
import numpy as np
import pytest

from network.constants import SECOND_NS, propagation_ns
from network.constellation import Constellation
from network.ground import GroundStation
from network.isl import IslPolicy
from network.links import LinkRates, LinkRules, Topology
from network.nodes import Fibre
from network.orbit import OrbitPlan
from network.plan import UNREACHABLE, MatrixPlan, Outage
from network.terrestrial import fibre_delays_ns
from network.walker import WalkerShell

START = datetime(2026, 11, 22, tzinfo=UTC)
STATIONS = [
    GroundStation("quito", -0.18, -78.47, elevation_mask_deg=10),
    GroundStation("nairobi", -1.29, 36.82, elevation_mask_deg=10),
    GroundStation("tokyo", 35.68, 139.77, elevation_mask_deg=10),
    GroundStation("pole", 90, 0, elevation_mask_deg=10),
]
FOREVER = {"update_interval_ns": None, "reconfiguration_interval_ns": None}


@pytest.fixture(scope="module")
def topology():
    shell = WalkerShell("s1", "walker_delta", 20, 15, phasing=7, altitude_km=800, inclination_deg=53)
    return Topology(Constellation([shell], START), STATIONS, LinkRules({"s1": IslPolicy()}))


@pytest.fixture(scope="module")
def bare(topology):
    """The same without ISLs: everything goes up and straight down again."""
    return Topology(topology.constellation, STATIONS)


MEMBERS = ("gs/quito", "sat/s1/03/07", "gs/tokyo", "sat/s1/15/01", "gs/nairobi")


def by_networkx(topology, at_s, relay=False):
    """The same network, built link by link for networkx."""
    graph = nx.DiGraph()
    links, satellites = topology.links_at(at_s), topology.constellation.endpoints
    for (one, other), delay in zip(links.isl.tolist(), propagation_ns(links.isl_km).tolist(), strict=True):
        graph.add_edge(satellites[one], satellites[other], ns=delay)
        graph.add_edge(satellites[other], satellites[one], ns=delay)
    for (station, satellite), delay in zip(links.gsl.tolist(), propagation_ns(links.gsl_km).tolist(), strict=True):
        name = f"gs/{topology.stations[station].name}"
        graph.add_edge(name, satellites[satellite], ns=delay)
        graph.add_edge(satellites[satellite], name if relay else f"to {name}", ns=delay)
    return graph


def length_ns(graph, path):
    return sum(graph.edges[step]["ns"] for step in nx.utils.pairwise(path))


@pytest.mark.parametrize("relay", [False, True])
@pytest.mark.parametrize("with_isl", [True, False])
def test_delays_are_networkx_shortest_paths(topology, bare, relay, with_isl):
    network = topology if with_isl else bare
    graph = by_networkx(network, 40, relay)
    snapshot = OrbitPlan(MEMBERS, network, ground_relay=relay, reconfiguration_interval_ns=SECOND_NS).at(40 * SECOND_NS)
    for source, start in enumerate(MEMBERS):
        for target, end in enumerate(MEMBERS):
            finish = f"to {end}" if end.startswith("gs/") and not relay else end
            path = snapshot.routes.path(source, target)
            if source == target:
                assert (snapshot.delay_ns[source, target], path) == (0, (start,))
            elif start in graph and finish in graph and nx.has_path(graph, start, finish):
                assert snapshot.delay_ns[source, target] == nx.shortest_path_length(graph, start, finish, "ns")
                assert length_ns(graph, [*path[:-1], finish]) == snapshot.delay_ns[source, target]
                assert len(path) - 1 == snapshot.hops[source, target]
            else:
                assert (snapshot.delay_ns[source, target], path) == (UNREACHABLE, ())
    assert snapshot.reachable.all() == with_isl


def test_stations_relay_only_when_told(topology):
    chain = [GroundStation(f"e{number}", 0, 15 * number, elevation_mask_deg=10) for number in range(12)]
    bent_pipes = Topology(topology.constellation, chain)
    ends = ["gs/e0", "gs/e11", "gs/e1"]
    alone = OrbitPlan(ends, bent_pipes).at(0)
    assert alone.reachable.tolist() == [[True, False, True], [False, True, False], [True, False, True]]
    path = OrbitPlan(ends, bent_pipes, ground_relay=True).at(0).routes.path(0, 1)
    assert [name[:3] for name in path] == ["gs/", "sat"] * (len(path) // 2) + ["gs/"]
    assert len(path) > 5


def test_a_member_nobody_sees(topology):
    snapshot = OrbitPlan(["gs/pole", "sat/s1/00/00"], topology).at(0)
    assert snapshot.delay_ns.tolist() == [[0, UNREACHABLE], [UNREACHABLE, 0]]
    assert snapshot.reachable.tolist() == [[True, False], [False, True]]
    assert snapshot.routes.load(np.ones((2, 2))) == {}


def test_one_object_per_update_step_and_steps_back(topology):
    plan = OrbitPlan(MEMBERS, topology)
    first = plan.at(0)
    assert plan.at(SECOND_NS - 1) is first
    second = plan.at(SECOND_NS)
    assert second is not first
    assert second.routes is first.routes
    assert plan.at(5) is first
    assert plan.at(15 * SECOND_NS).routes is not first.routes
    assert not plan.constant
    with pytest.raises(ValueError, match="read-only"):
        first.delay_ns[0, 1] = 5


def test_delays_move_along_fixed_routes(topology):
    """Between two reconfigurations the path stays, and its delay is that of the links' lengths now."""
    plan = OrbitPlan(MEMBERS, topology)
    path = plan.at(0).routes.path(0, 2)
    for second in (0, 7, 14):
        snapshot = plan.at(second * SECOND_NS + 123)
        measured = topology.measured_at(second, topology.links_at(0))
        lengths = dict(zip(map(tuple, measured.isl.tolist()), measured.isl_km, strict=True))
        index = {name: number for number, name in enumerate(topology.constellation.endpoints)}
        inner = [tuple(sorted((index[one], index[other]))) for one, other in nx.utils.pairwise(path[1:-1])]
        gsl = {tuple(pair): length for pair, length in zip(measured.gsl.tolist(), measured.gsl_km, strict=True)}
        km = [lengths[pair] for pair in inner] + [gsl[0, index[path[1]]], gsl[2, index[path[-2]]]]
        assert snapshot.delay_ns[0, 2] == propagation_ns(np.array(km)).sum()


def test_intervals_that_do_not_divide_each_other(topology):
    plan = OrbitPlan(MEMBERS, topology, update_interval_ns=2 * SECOND_NS, reconfiguration_interval_ns=5 * SECOND_NS)
    seconds = [0, 1, 2, 3, 4, 5, 6, 7]
    snapshots = {id(plan.at(second * SECOND_NS)) for second in seconds[:4]}
    assert len(snapshots) == 2
    five = plan.at(5 * SECOND_NS)
    assert five is not plan.at(4 * SECOND_NS)
    fresh = OrbitPlan(MEMBERS, topology, reconfiguration_interval_ns=5 * SECOND_NS).at(5 * SECOND_NS)
    assert np.array_equal(five.delay_ns, fresh.delay_ns)
    assert plan.at(6 * SECOND_NS) is not five


def test_a_frozen_plan_is_constant(topology):
    plan = OrbitPlan(MEMBERS, topology, **FOREVER)
    assert plan.constant
    assert plan.at(10**15) is plan.at(0)
    assert np.array_equal(plan.at(0).delay_ns, OrbitPlan(MEMBERS, topology).at(0).delay_ns)


def test_two_replicas_at_one_place(topology):
    snapshot = OrbitPlan(["gs/quito", "sat/s1/00/00", "gs/quito", "sat/s1/00/00"], topology).at(0)
    assert snapshot.delay_ns[0, 2] == snapshot.delay_ns[1, 3] == snapshot.hops[0, 2] == 0
    assert snapshot.routes.path(0, 2) == ("gs/quito",)
    assert np.array_equal(snapshot.delay_ns[0], snapshot.delay_ns[2])
    assert snapshot.routes.load(np.array([[0, 0, 5, 0]] + [[0] * 4] * 3, dtype=np.float64)) == {}


def test_load_names_directed_links(topology):
    snapshot = OrbitPlan(MEMBERS, topology).at(0)
    amount = np.zeros((5, 5))
    amount[0, 2], amount[4, 2] = 3.0, 4.0
    expected = {}
    for source, carried in ((0, 3.0), (4, 4.0)):
        for link in nx.utils.pairwise(snapshot.routes.path(source, 2)):
            expected[link] = expected.get(link, 0.0) + carried
    assert snapshot.routes.load(amount) == expected


def test_rates_are_those_of_the_slowest_link(topology):
    rates = LinkRates(isl_gbps=2, gsl_up_mbps=160, gsl_down_mbps=8000)
    slow = OrbitPlan(["gs/quito", "sat/s1/03/07", "sat/s1/15/01"], topology, rates=rates).at(0)
    assert slow.ns_per_byte.tolist() == [[0, 50, 50], [4, 0, 4], [4, 4, 0]]
    assert not OrbitPlan(MEMBERS, topology).at(0).ns_per_byte.any()


def test_outage_of_a_relay_is_routed_round(topology):
    straight = OrbitPlan(MEMBERS, topology).at(0)
    path = straight.routes.path(0, 2)
    outage = Outage(4 * SECOND_NS + 500, 9 * SECOND_NS, endpoints=frozenset({path[3]}))
    plan = OrbitPlan(MEMBERS, topology, outages=[outage])
    assert plan.at(4 * SECOND_NS).routes.path(0, 2) == path
    during = plan.at(4 * SECOND_NS + 500)
    assert path[3] not in during.routes.path(0, 2)
    assert plan.at(8 * SECOND_NS).routes is during.routes
    fresh = OrbitPlan(MEMBERS, topology, reconfiguration_interval_ns=9 * SECOND_NS).at(9 * SECOND_NS)
    assert np.array_equal(plan.at(9 * SECOND_NS).delay_ns, fresh.delay_ns)
    assert not plan.constant
    cut = OrbitPlan(MEMBERS, topology, outages=[Outage(0, None, endpoints=frozenset({path[3]}))]).at(0)
    assert cut.delay_ns[0, 2] > straight.delay_ns[0, 2]


def test_outage_of_a_link_is_routed_round(topology):
    path = OrbitPlan(MEMBERS, topology).at(0).routes.path(0, 2)
    for one, other in ((path[2], path[3]), (path[3], path[2]), (path[1], "gs/quito")):
        outage = Outage(0, None, links=frozenset({(one, other)}))
        round_about = OrbitPlan(MEMBERS, topology, outages=[outage]).at(0).routes
        assert {one, other} not in [set(link) for link in nx.utils.pairwise(round_about.path(0, 2))]
        assert {one, other} not in [set(link) for link in nx.utils.pairwise(round_about.path(2, 0))]


def test_outage_of_a_member(topology):
    outage = Outage(0, SECOND_NS, endpoints=frozenset({"gs/quito", "gs/unknown"}))
    members = ["gs/quito", "gs/quito", "gs/tokyo"]
    plan = OrbitPlan(members, topology, outages=[outage])
    assert plan.at(0).delay_ns.tolist() == [[0, -1, -1], [-1, 0, -1], [-1, -1, 0]]
    assert plan.at(SECOND_NS).reachable.all()


def test_best_satellite_is_chosen_among_those_that_work(topology):
    from network.gsl import GslPolicy

    best = Topology(topology.constellation, STATIONS, LinkRules({"s1": IslPolicy()}, gsl=GslPolicy("best", 1)))
    first = OrbitPlan(MEMBERS, best).at(0).routes.path(0, 2)[1]
    plan = OrbitPlan(MEMBERS, best, outages=[Outage(0, None, endpoints=frozenset({first}))])
    assert plan.at(0).reachable[0, 2]
    assert plan.at(0).routes.path(0, 2)[1] != first


def test_fibre_apart_from_satellites(topology):
    delay_ns = fibre_delays_ns(STATIONS)
    members = ["net/tokyo", "gs/tokyo", "net/quito", "net/tokyo"]
    snapshot = OrbitPlan(members, topology, fibre=Fibre(delay_ns), rates=LinkRates(terrestrial_gbps=8)).at(0)
    assert snapshot.delay_ns[0].tolist() == [0, UNREACHABLE, delay_ns[2, 0], 2_625_000]
    assert snapshot.hops[0, 2] == 1
    assert snapshot.ns_per_byte[0, 2] == 1
    assert snapshot.routes.path(0, 2) == ("net/tokyo", "net/quito")


def test_hybrid_takes_whichever_is_faster(topology):
    delay_ns = fibre_delays_ns(STATIONS)
    members = ["net/tokyo", "gs/quito", "gs/pole", "gs/tokyo"]
    hybrid = OrbitPlan(members, topology, fibre=Fibre(delay_ns, hybrid=True)).at(0)
    space = OrbitPlan(["gs/tokyo", "gs/quito"], topology).at(0)
    assert hybrid.delay_ns[0, 1] <= min(delay_ns[2, 0], space.delay_ns[0, 1])
    assert hybrid.delay_ns[0, 3] == 0
    assert hybrid.reachable.all()  # the pole by fibre
    assert hybrid.routes.path(0, 2)[-1] == "gs/pole"
    slow = Fibre(np.full((4, 4), 10**9), hybrid=True)
    assert OrbitPlan(members, topology, fibre=slow).at(0).delay_ns[0, 1] == space.delay_ns[0, 1]


def test_plans_that_cannot_be(topology):
    with pytest.raises(ValueError, match="'gs/nowhere' is no endpoint"):
        OrbitPlan(["gs/nowhere"], topology)
    with pytest.raises(ValueError, match="net/tokyo"):
        OrbitPlan(["net/tokyo"], topology)
    with pytest.raises(ValueError, match="more than 0"):
        OrbitPlan(MEMBERS, topology, update_interval_ns=0)


def test_matrix_plan():
    plan = MatrixPlan(["lab/0", "lab/1", "lab/2"], np.array([[9, 5, -1], [6, 9, 7], [8, 4, 9]]), ns_per_byte=2.0)
    snapshot = plan.at(123)
    assert plan.constant
    assert snapshot is plan.at(10**18)
    assert snapshot.delay_ns.tolist() == [[0, 5, -1], [6, 0, 7], [8, 4, 0]]
    assert snapshot.hops.tolist() == [[0, 1, 0], [1, 0, 1], [1, 1, 0]]
    assert snapshot.ns_per_byte.tolist() == [[0, 2, 0], [2, 0, 2], [2, 2, 0]]
    assert snapshot.routes is None


def test_matrix_plan_with_outages():
    names = ["net/a", "net/b", "net/c"]
    outages = [
        Outage(10, 20, endpoints=frozenset({"net/b"})),
        Outage(15, None, links=frozenset({("net/c", "net/a")})),
    ]
    plan = MatrixPlan(names, np.full((3, 3), 5), outages=outages, accounted=True)
    assert not plan.constant
    assert plan.at(9).reachable.all()
    assert plan.at(10).delay_ns.tolist() == [[0, -1, 5], [-1, 0, -1], [5, -1, 0]]
    assert plan.at(15).delay_ns.tolist() == [[0, -1, -1], [-1, 0, -1], [-1, -1, 0]]
    assert plan.at(20).delay_ns.tolist() == [[0, 5, -1], [5, 0, 5], [-1, 5, 0]]
    routes = plan.at(20).routes
    assert (routes.path(0, 1), routes.path(0, 2), routes.path(1, 1)) == (("net/a", "net/b"), (), ("net/b",))
    assert routes.load(np.ones((3, 3)))[("net/a", "net/b")] == 1.0
    assert ("net/a", "net/c") not in routes.load(np.ones((3, 3)))


@pytest.mark.parametrize("matrix", [np.zeros((2, 3)), np.full((2, 2), -2)])
def test_matrices_that_cannot_be(matrix):
    with pytest.raises(ValueError, match="delay"):
        MatrixPlan(["a", "b"], matrix.astype(np.int64))
