"""Hand-made meshes, a fabric over each, and packets followed one by one: what tests of the fabric share."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from heapq import heappop, heappush
from typing import Any

import numpy as np

from network.clock import VirtualClock
from network.fabric import Fabric
from network.flight import Link
from network.mesh import LinkClass, Mesh
from network.plan import IntArray
from network.routing import Graph, Ways

END_NS = 10**15

Edges = Mapping[tuple[int, int], tuple[int, float]]
"""(tail, head): (delay in ns, ns per byte)."""


def line(*links: tuple[int, float]) -> dict[tuple[int, int], tuple[int, float]]:
    """Nodes in a row, with links both ways."""
    edges = {}
    for tail, link in enumerate(links):
        edges[tail, tail + 1] = edges[tail + 1, tail] = link
    return edges


def both_ways(*edges: tuple[int, int, int, float]) -> dict[tuple[int, int], tuple[int, float]]:
    """Links both ways from (one end, other end, delay in ns, ns per byte)."""
    return {ends: (delay_ns, rate) for a, b, delay_ns, rate in edges for ends in ((a, b), (b, a))}


class HandMade:
    """A plan of meshes: `edges` from the start, and other ones from later times on. One member per node if none are
    placed."""

    def __init__(
        self,
        nodes: int,
        edges: Edges,
        *later: tuple[int, Edges],
        senders: Sequence[int] | None = None,
        receivers: Sequence[int] | None = None,
        within_ns: int = 0,
    ) -> None:
        self.node_names = tuple(f"n/{node}" for node in range(nodes))
        self.senders: IntArray = np.array(range(nodes) if senders is None else senders, dtype=np.int64)
        self.receivers: IntArray = self.senders if receivers is None else np.array(receivers, dtype=np.int64)
        self._within_ns = np.full(len(self.senders), within_ns, dtype=np.int64)
        self._times_ns = [0, *(time_ns for time_ns, _ in later)]
        self._meshes = [self._mesh(some) for some in (edges, *(some for _, some in later))]

    def mesh(self, now_ns: int) -> Mesh:
        return self._meshes[bisect_right(self._times_ns, now_ns) - 1]

    def changes_ns(self, until_ns: int) -> list[int]:
        return [time_ns for time_ns in self._times_ns if 0 < time_ns <= until_ns]

    def _mesh(self, edges: Edges) -> Mesh:
        ends = np.array(list(edges), dtype=np.int64).reshape(-1, 2)
        graph = Graph(len(self.node_names), ends[:, 0], ends[:, 1])
        delay_ns = np.array([delay_ns for delay_ns, _ in edges.values()], dtype=np.int64)[graph.order]
        ns_per_byte = np.array([rate for _, rate in edges.values()], dtype=np.float64)[graph.order]
        kinds = np.full(len(edges), LinkClass.TERRESTRIAL, dtype=np.int64)
        return Mesh(Ways(graph, delay_ns), delay_ns, ns_per_byte, kinds, self._within_ns)


class Net:
    """A fabric, its clock, and all that has arrived: (when, at which member, what)."""

    def __init__(self, plan: HandMade, fabric: type[Fabric] = Fabric, **settings: Any) -> None:
        self.clock = VirtualClock()
        self.fabric = fabric(self.clock, plan, END_NS, **settings)
        self.got: list[tuple[int, int, Any]] = []
        self.receivers = [self._receiver(member) for member in range(len(plan.senders))]

    def _receiver(self, member: int) -> Any:
        return lambda parcel, due_ns: self.got.append((due_ns, member, parcel))

    def send(self, at_ns: int, source: int, target: int, size_bytes: int, parcel: Any = None) -> None:
        def now(_: Any, now_ns: int) -> None:
            self.fabric.send(source, target, size_bytes, parcel, self.receivers, now_ns)

        self.clock.at(at_ns, now)

    def spread(self, at_ns: int, source: int, targets: Sequence[int], size_bytes: int, parcel: Any = None) -> None:
        def now(_: Any, now_ns: int) -> None:
            self.fabric.spread(source, np.array(targets), size_bytes, parcel, self.receivers, now_ns)

        self.clock.at(at_ns, now)

    def relay(self, at_ns: int, path: Sequence[int], size_bytes: int) -> None:
        """From node to node, whole at each."""

        def on(left: Sequence[int], now_ns: int) -> None:
            if len(left) > 1:
                self.fabric.hop(self.link(left[0], left[1]), size_bytes, left[1:], on, now_ns)
            else:
                self.got.append((now_ns, left[0], None))

        self.clock.at(at_ns, on, path)

    def run(self, until_ns: int = END_NS) -> list[tuple[int, int, Any]]:
        """All that has arrived by then."""
        assert not self.clock.run(until_ns, 10**9)
        return self.got

    def link(self, tail: int, head: int) -> Link:
        return next(link for link in self.fabric.wiring.links if (link.tail, link.head) == (tail, head))

    @property
    def times_ns(self) -> list[int]:
        return [due_ns for due_ns, _, _ in self.got]

    @property
    def missing(self) -> int:
        return self.fabric.account.missing(self.fabric.under_way())


def packet_by_packet(edges: Edges, mtu: int, messages: Sequence[tuple[int, Sequence[int], int]]) -> list[int]:
    """When each message, (at, path of nodes, size), is complete at the end of its path: every packet alone, every link
    first come first served, a packet at a node once its last byte is."""
    heap: list[tuple[int, int, int, int, int]] = []
    serial = 0
    for number, (at_ns, _, size) in enumerate(messages):
        for begin in range(0, max(size, 1), mtu):
            heappush(heap, (at_ns, serial, number, min(mtu, size - begin), 0))
            serial += 1
    free_ns = dict.fromkeys(edges, 0)
    done_ns = [0] * len(messages)
    while heap:
        now_ns, _, number, size, place = heappop(heap)
        path = messages[number][1]
        if place == len(path) - 1:
            done_ns[number] = now_ns
            continue
        ends = path[place], path[place + 1]
        delay_ns, rate = edges[ends]
        if rate:
            free_ns[ends] = now_ns = max(now_ns, free_ns[ends]) + round(size * rate)
        heappush(heap, (now_ns + delay_ns, serial, number, size, place + 1))
        serial += 1
    return done_ns
