import networkx as nx

from testbed.graph import link_graph, write_graph
from testbed.scenario import make_scenario
from testbed.sky import build_sky

SCENARIO = {
    "committee": [{"on": "s1"}],
    "shell": [
        {"pattern": "walker_delta", "planes": 5, "satellites_per_plane": 8, "altitude_km": 1200, "inclination_deg": 60}
    ],
    "ground_station": [{"name": "quito", "latitude_deg": -0.18, "longitude_deg": -78.47, "elevation_mask_deg": 10}],
    "network": {"isl_max_range_km": 9000},
}


def test_the_graph_has_the_plans_delays(tmp_path):
    """The shortest paths that networkx finds are those the plan routes along, within a nanosecond per link."""
    sky = build_sky(make_scenario(SCENARIO))
    graph = link_graph(sky.topology, 0.0)
    file = tmp_path / "links.graphml"
    write_graph(file, graph)
    again = nx.read_graphml(file)
    assert dict(again.nodes(data="kind")) == dict(graph.nodes(data="kind"))
    satellites = [name for name, kind in again.nodes(data="kind") if kind == "satellite"]
    relayed = again.subgraph(satellites)  # stations do not relay
    snapshot = sky.plan.at(0)
    for source in (0, 7, 23):
        found = nx.single_source_dijkstra_path_length(relayed, sky.plan.endpoints[source], weight="delay_ms")
        assert [round(found[name] * 1e6) for name in sky.plan.endpoints] == snapshot.delay_ns[source].tolist()


def test_every_link_says_what_it_is():
    graph = link_graph(build_sky(make_scenario(SCENARIO)).topology, 0.0)
    kinds = {kind for _, _, kind in graph.edges(data="kind")}
    assert kinds == {"ISL", "GSL"}
    for one, other, data in graph.edges(data=True):
        assert data["kind"] == ("GSL" if one.startswith("gs/") or other.startswith("gs/") else "ISL")
        assert abs(data["delay_ms"] - data["length_km"] / 299.792458) < 1e-6
