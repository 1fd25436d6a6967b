"""The network as a graph, for people and for the tools they like: networkx objects, GraphML files."""

from __future__ import annotations

from pathlib import Path

import networkx as nx

from network.constants import propagation_ns
from network.links import Topology
from network.terrestrial import MILLISECOND_NS


def link_graph(topology: Topology, at_s: float) -> nx.Graph:
    """Satellites, stations and the links between them `at_s` seconds after the start.

    Nodes carry `kind` ("satellite" or "station"); edges carry `kind` ("ISL" or "GSL"), `length_km` and `delay_ms`.
    """
    links = topology.links_at(at_s)
    satellites = topology.constellation.endpoints
    stations = [f"gs/{station.name}" for station in topology.stations]
    graph = nx.Graph(at_s=at_s)
    graph.add_nodes_from(satellites, kind="satellite")
    graph.add_nodes_from(stations, kind="station")
    for kind, firsts, pairs, lengths_km in (
        ("ISL", satellites, links.isl, links.isl_km),
        ("GSL", stations, links.gsl, links.gsl_km),
    ):
        delays_ns = propagation_ns(lengths_km)
        for (one, other), length_km, delay_ns in zip(
            pairs.tolist(), lengths_km.tolist(), delays_ns.tolist(), strict=True
        ):
            graph.add_edge(
                firsts[one], satellites[other], kind=kind, length_km=length_km, delay_ms=delay_ns / MILLISECOND_NS
            )
    return graph


def write_graph(file: Path, graph: nx.Graph) -> None:
    """Write GraphML, which networkx, Gephi and Cytoscape read. Raises OSError."""
    with file.open("wb") as stream:
        nx.write_graphml_xml(graph, stream)
