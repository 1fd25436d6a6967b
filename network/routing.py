"""Least-delay routes, exact in integer nanoseconds.

A route is the least by (delay, hops, lowest next index), so that it does not hang on the order in which a
queue was emptied. Dijkstra runs on `delay * 4096 + 1` per link, which orders by delay and then by hops and is
exact in float64 below 2**53: routes of up to 2,199 s and 4,095 hops.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import dijkstra

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

HOPS: Final = 4096
"""Weights count delay in units of this, so that the rest counts hops."""

STATES_AT_ONCE: Final = 200_000
"""(target, node) pairs worked on together, which bounds the memory of large networks."""

NOWHERE: Final = -1


class Graph:
    """A directed graph whose edges are sorted by (tail, head); of a pair of nodes at most one edge each way.

    `tail`, `head`  int64[e], node indices
    `order`         int64[e], the place that each edge had in the arrays the graph was made from
    """

    def __init__(self, nodes: int, tail: IntArray, head: IntArray) -> None:
        self.nodes = nodes
        given = coo_array((np.arange(len(tail)), (tail, head)), shape=(nodes, nodes)).tocsr()
        given.sort_indices()
        self.order: IntArray = given.data
        self.tail, self.head = tail[self.order], head[self.order]
        self.first_edge: IntArray = given.indptr.astype(np.int64)
        # A node that no edge enters is on nobody's way: it need not be in the queue.
        self._entered = np.bincount(head, minlength=nodes) > 0
        inner = np.flatnonzero(self._entered[self.tail])
        back = coo_array((inner, (self.head[inner], self.tail[inner])), shape=(nodes, nodes)).tocsr()
        self._back_edge, self._back_head, self._back_first = back.data, back.indices, back.indptr

    def costs_from(self, source: int, cost: FloatArray) -> FloatArray:
        """float64[node]: the least cost to each node from one, inf where there is no way."""
        forward: Any = csr_array((cost, self.head, self.first_edge), shape=(self.nodes, self.nodes))
        return np.asarray(dijkstra(forward, directed=True, indices=[source])).ravel()

    def costs_to(self, targets: IntArray, cost: FloatArray) -> FloatArray:
        """float64[target, node]: the least cost from each node to each target, inf where there is no way."""
        shape = self.nodes, self.nodes
        reverse = csr_array((cost[self._back_edge], self._back_head, self._back_first), shape=shape)
        best = np.asarray(dijkstra(reverse, directed=True, indices=targets))
        outer = np.flatnonzero(~self._entered[self.tail])
        if len(outer):
            begins = np.flatnonzero(np.diff(self.tail[outer], prepend=NOWHERE))
            ahead = best[:, self.head[outer]] + cost[outer]
            best[:, self.tail[outer[begins]]] = np.minimum.reduceat(ahead, begins, axis=1)
            best[np.arange(len(targets)), targets] = 0.0
        return best


@dataclass(frozen=True, eq=False)
class RouteTrees:
    """Every target's tree of least-delay routes, cut down to the nodes on members' routes.

    A state is a node on the way to a target. States are sorted by their hops to go, so that delays and loads
    pass from level to level.

    `edge`       int64[s], the edge taken from the state, `NOWHERE` at the target itself
    `following`  int64[s], the state that edge leads to
    `level`      int64[h + 2], where the states with 0, 1, … h hops to go begin, and the end
    `state`      int64[source, target], the state a route begins in, `NOWHERE` without a route
    """

    graph: Graph
    edge: IntArray
    following: IntArray
    level: IntArray
    state: IntArray

    def hops(self) -> IntArray:
        """int64[source, target], 0 without a route."""
        return np.where(self.state == NOWHERE, 0, np.searchsorted(self.level, self.state, side="right") - 1)

    def delays_ns(self, delay_ns: IntArray, unreachable: int) -> IntArray:
        """int64[source, target]: sums along the routes of the edges' present delays, int64[edge]."""
        total = np.zeros(len(self.edge), dtype=np.int64)
        for begin, end in self._levels():
            total[begin:end] = delay_ns[self.edge[begin:end]] + total[self.following[begin:end]]
        return np.where(self.state == NOWHERE, unreachable, total[self.state])

    def slowest(self, ns_per_byte: FloatArray) -> FloatArray:
        """float64[source, target]: the largest of float64[edge] along each route, 0 without a route."""
        worst = np.zeros(len(self.edge))
        for begin, end in self._levels():
            here = ns_per_byte[self.edge[begin:end]]
            worst[begin:end] = np.maximum(here, worst[self.following[begin:end]])
        return np.where(self.state == NOWHERE, 0.0, worst[self.state])

    def edges(self, source: int, target: int) -> list[int]:
        """The edges of one route, in order; none without a route."""
        state = int(self.state[source, target])
        found: list[int] = []
        while state != NOWHERE and self.edge[state] != NOWHERE:
            found.append(int(self.edge[state]))
            state = int(self.following[state])
        return found

    def edge_loads(self, amount: FloatArray) -> FloatArray:
        """float64[edge]: amounts per member pair, float64[source, target], summed over the edges they cross."""
        routed = self.state != NOWHERE
        load = np.bincount(self.state[routed], weights=amount[routed], minlength=len(self.edge)).astype(np.float64)
        for begin, end in reversed(self._levels()):
            # All states of a level lead to the level below it.
            load += np.bincount(self.following[begin:end], weights=load[begin:end], minlength=len(load))
        moving = self.edge != NOWHERE
        loads = np.bincount(self.edge[moving], weights=load[moving], minlength=len(self.graph.tail))
        return loads.astype(np.float64)

    def _levels(self) -> list[tuple[int, int]]:
        """Beginnings and ends of the states with 1, 2, … hops to go."""
        bounds: list[int] = self.level.tolist()
        return list(pairwise(bounds))[1:]


class Ways:
    """Least-delay ways over one graph, found when somebody asks: for whoever goes hop by hop.

    They are the routes of `find_routes`, chosen by the delays int64[edge] given here.
    """

    def __init__(self, graph: Graph, delay_ns: IntArray) -> None:
        self.graph = graph
        self._cost = (delay_ns * HOPS + 1).astype(np.float64)
        self._towards: dict[int, IntArray] = {}
        self._trees: dict[int, IntArray] = {}

    def towards(self, target: int) -> IntArray:
        """int64[node]: the edge to take from each node to get to one, `NOWHERE` there and where there is no way."""
        found = self._towards.get(target)
        if found is None:
            best = self.graph.costs_to(np.array([target]), self._cost).ravel()
            there = np.isfinite(best)
            there[target] = False
            nodes = np.flatnonzero(there)
            found = np.full(self.graph.nodes, NOWHERE)
            found[nodes] = _next_edges(self.graph, self._cost, best, np.zeros(len(nodes), dtype=np.int64), nodes)
            self._towards[target] = found
        return found

    def tree(self, source: int) -> IntArray:
        """int64[node]: the edge by which a tree of least delay from one node enters each, `NOWHERE` outside it.

        Among equals the lowest-numbered node before wins.
        """
        found = self._trees.get(source)
        if found is None:
            best = self.graph.costs_from(source, self._cost)
            ahead = best[self.graph.tail] + self._cost
            tight = np.flatnonzero(np.isfinite(ahead) & (ahead == best[self.graph.head]))
            found = np.full(self.graph.nodes, NOWHERE)
            # Edges ascend by tail, and of several the last written stays.
            found[self.graph.head[tight][::-1]] = tight[::-1]
            self._trees[source] = found
        return found


def find_routes(graph: Graph, delay_ns: IntArray, sources: IntArray, targets: IntArray) -> RouteTrees:
    """Routes between members, whose nodes are `sources[i]` when they send and `targets[i]` when they receive.

    `delay_ns` is int64[edge]. Routes to the same node are worked out once, however many members are there.
    """
    cost = (delay_ns * HOPS + 1).astype(np.float64)
    ends, row_of_target = np.unique(targets, return_inverse=True)
    rows_at_once = max(1, STATES_AT_ONCE // graph.nodes)
    blocks = [
        _walk(graph, cost, ends[begin : begin + rows_at_once], sources) for begin in range(0, len(ends), rows_at_once)
    ]
    before = np.cumsum([0] + [len(block.edge) for block in blocks])
    hops = np.concatenate([block.hops for block in blocks])
    order = np.argsort(hops, kind="stable")
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    following = np.concatenate([block.following + first for block, first in zip(blocks, before, strict=False)])
    state = np.concatenate(
        [
            np.where(block.state == NOWHERE, NOWHERE, place[block.state + first])
            for block, first in zip(blocks, before, strict=False)
        ]
    )
    return RouteTrees(
        graph=graph,
        edge=np.concatenate([block.edge for block in blocks])[order],
        following=place[following[order]],
        level=np.searchsorted(hops[order], np.arange(hops.max() + 2)),
        state=state[row_of_target].T,
    )


@dataclass(frozen=True, eq=False)
class _Block:
    """The states on the way to some of the targets, in no order; arrays as in `RouteTrees`.

    `hops` is int16[s], the hops to go; `state` is int64[target, source].
    """

    edge: IntArray
    following: IntArray
    hops: npt.NDArray[np.int16]
    state: IntArray


def _walk(graph: Graph, cost: FloatArray, ends: IntArray, sources: IntArray) -> _Block:
    """Follow the best ways from all sources to a block of targets, each shared stretch once."""
    best = graph.costs_to(ends, cost).ravel()
    first_code = np.arange(len(ends)) * graph.nodes
    wanted = first_code[:, None] + sources[None, :]
    state = np.full(best.size, NOWHERE)
    # From the targets too, so that there is a state even if nobody gets there.
    frontier = _unseen(np.concatenate((wanted[np.isfinite(best[wanted])], first_code + ends)), state, 0)
    codes: list[IntArray] = []
    nexts: list[IntArray] = []
    edges: list[IntArray] = []
    count = 0
    while len(frontier):
        count += len(frontier)
        row, node = np.divmod(frontier, graph.nodes)
        edge = np.full(len(frontier), NOWHERE)
        following = frontier.copy()
        moving = node != ends[row]
        edge[moving] = _next_edges(graph, cost, best, first_code[row[moving]], node[moving])
        following[moving] += graph.head[edge[moving]] - node[moving]
        codes.append(frontier)
        nexts.append(following)
        edges.append(edge)
        frontier = _unseen(following, state, count)
    hops = (best[np.concatenate(codes)].astype(np.int64) % HOPS).astype(np.int16)
    return _Block(np.concatenate(edges), state[np.concatenate(nexts)], hops, state[wanted])


def _unseen(codes: IntArray, state: IntArray, count: int) -> IntArray:
    """Number the codes that have no state yet from `count` on, and return each of them once."""
    codes = codes[state[codes] == NOWHERE]
    number = np.arange(count, count + len(codes))
    state[codes] = number  # where a code repeats, one of its numbers stays
    codes = codes[state[codes] == number]
    state[codes] = np.arange(count, count + len(codes))
    return codes


def _next_edges(graph: Graph, cost: FloatArray, best: FloatArray, first_code: IntArray, node: IntArray) -> IntArray:
    """int64[s]: the edge from each node to its lowest-numbered neighbour on a least-cost way to its target.

    `best` is flat; `first_code` says where the row of each node's target begins.
    """
    first = graph.first_edge[node]
    count = graph.first_edge[node + 1] - first
    owner = np.repeat(np.arange(len(node)), count)
    begin = np.cumsum(count) - count
    edge = np.arange(len(owner)) + (first - begin)[owner]
    ahead = cost[edge] + best[first_code[owner] + graph.head[edge]]
    tight = ahead == best[first_code + node][owner]
    # Edges ascend by head within a node, so the first tight one has the lowest next index.
    found = np.flatnonzero(tight)
    chosen = np.full(len(node), NOWHERE)
    chosen[owner[found][::-1]] = edge[found][::-1]
    return chosen
