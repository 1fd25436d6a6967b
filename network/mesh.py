"""The mesh: the links of one moment as a directed graph, with what each can carry.

A plan answers how long from here to there; a mesh is for those who go link by link.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

import numpy as np

from network.plan import UNREACHABLE, FloatArray, IntArray, MatrixPlan
from network.routing import Graph, Ways


class LinkClass(IntEnum):
    """What kind of link carries a message."""

    ISL_IN_PLANE = 0
    ISL_CROSS_PLANE = 1
    ISL_CROSS_SHELL = 2
    GSL_UP = 3
    GSL_DOWN = 4
    TERRESTRIAL = 5


@dataclass(frozen=True, eq=False)
class Mesh:
    """Links at one update step, in the order of the graph's edges; read-only.

    `ways`         the graph and the ways through it, the same object until links are chosen anew or another laser
                   is ready
    `delay_ns`     int64[e], propagation
    `ns_per_byte`  float64[e], the time to transmit one byte, 0 for infinite rates
    `link_class`   int64[e], see `LinkClass`
    `within_ns`    int64[members], the delay between two members at one place; `UNREACHABLE` while the place is down
    """

    ways: Ways
    delay_ns: IntArray
    ns_per_byte: FloatArray
    link_class: IntArray
    within_ns: IntArray

    @property
    def graph(self) -> Graph:
        """Nodes and edges."""
        return self.ways.graph


class MeshPlan(Protocol):
    """Knows the mesh at every time. Nodes keep their numbers; a member sends at one and receives at one."""

    @property
    def node_names(self) -> tuple[str, ...]:
        """The endpoint at each node; a place that does not relay has two nodes of one name."""

    @property
    def senders(self) -> IntArray:
        """int64[members]: the node at which each member sends."""

    @property
    def receivers(self) -> IntArray:
        """int64[members]: the node at which each member receives."""

    def mesh(self, now_ns: int) -> Mesh:
        """The mesh in force; the same object within an update step."""

    def changes_ns(self, until_ns: int) -> list[int]:
        """The times in (0, `until_ns`] at which another mesh may come into force, ascending."""


class PrivateLinks:
    """A matrix of delays as a mesh: every ordered pair of members has a link of its own, and members do not relay."""

    def __init__(self, plan: MatrixPlan) -> None:
        self._plan = plan
        count = len(plan.endpoints)
        members = np.arange(count, dtype=np.int64)
        self.node_names: tuple[str, ...] = plan.endpoints * 2
        self.senders: IntArray = members
        self.receivers: IntArray = members + count
        self._meshes: dict[int, Mesh] = {}

    def mesh(self, now_ns: int) -> Mesh:
        """See `MeshPlan.mesh`."""
        snapshot = self._plan.at(now_ns)
        mesh = self._meshes.get(id(snapshot))
        if mesh is None:
            # The plan keeps its snapshots for good, so their identities are never used again.
            mesh = self._meshes[id(snapshot)] = self._mesh(snapshot.delay_ns, snapshot.ns_per_byte)
        return mesh

    def changes_ns(self, until_ns: int) -> list[int]:
        """See `MeshPlan.changes_ns`."""
        return self._plan.changes_ns(until_ns)

    def _mesh(self, delay_ns: IntArray, ns_per_byte: FloatArray) -> Mesh:
        count = len(delay_ns)
        source, target = np.nonzero((delay_ns != UNREACHABLE) & ~np.eye(count, dtype=np.bool_))
        graph = Graph(2 * count, source, target + count)
        link_ns = delay_ns[source, target][graph.order]
        return Mesh(
            ways=Ways(graph, link_ns),
            delay_ns=link_ns,
            ns_per_byte=ns_per_byte[source, target][graph.order],
            link_class=np.full(len(link_ns), LinkClass.TERRESTRIAL, dtype=np.int64),
            within_ns=np.zeros(count, dtype=np.int64),
        )
