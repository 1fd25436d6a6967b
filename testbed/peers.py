"""Who gossips with whom."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import networkx as nx

from network.gossip import Peers, regular_peers
from node.chance import python_random
from testbed.scenario.mistakes import Mistake
from testbed.tables import read_peers

if TYPE_CHECKING:
    from testbed.scenario import Scenario


def peers_of(scenario: Scenario, n: int) -> Peers:
    """Each replica's peers: from a file, or a random graph of the scenario's seed."""
    gossip = scenario.network.gossip
    if gossip.peers_file is None:
        return regular_peers(n, gossip.peers, python_random(scenario.seed, "peers").getrandbits(32))
    peers: list[list[int]] = [[] for _ in range(n)]
    for one, other in read_peers(gossip.peers_file):
        peers[one].append(other)
        peers[other].append(one)
    return [sorted(some) for some in peers]


def peer_mistakes(scenario: Scenario, n: int) -> Iterator[Mistake]:
    """Peers that are no replicas, and replicas that nobody's gossip can reach."""
    gossip = scenario.network.gossip
    if scenario.network.dissemination != "gossip":
        return
    key, value = ("peers", gossip.peers) if gossip.peers_file is None else ("peers_file", gossip.peers_file.name)
    path = ("network", "gossip", key)
    if gossip.peers_file is not None:
        strangers = sorted({peer for pair in read_peers(gossip.peers_file) for peer in pair if peer >= n})
        if strangers:
            yield Mistake(path, f"names replica {strangers[0]}, but replicas are 0 to {n - 1}", value)
            return
    graph = nx.Graph()
    graph.add_nodes_from(range(n))
    graph.add_edges_from((one, other) for one, some in enumerate(peers_of(scenario, n)) for other in some)
    if n and not nx.is_connected(graph):
        lonely = min(set(range(n)) - nx.node_connected_component(graph, 0))
        yield Mistake(path, f"leaves replica {lonely} without a way from replica 0, over any number of peers", value)
