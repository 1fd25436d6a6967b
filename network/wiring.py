"""The wiring: which links there are now, what each has carried, and which way to go over them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from network.flight import Branches, Link
from network.mesh import LinkClass, MeshPlan
from network.plan import IntArray
from network.routing import NOWHERE

Ways = list[Link | None]

TREES_KEPT: Final = 256
"""Trees from so many different roots to different members are remembered: to 1,584 members, each takes 0.4 MB. Where
the channel loses copies, no tree may ever be asked for again."""


class Wiring:
    """The links of a plan's mesh at one time. A link that comes back is the same link, with an empty queue."""

    def __init__(self, plan: MeshPlan, buffer_bytes: Callable[[LinkClass], float]) -> None:
        """`buffer_bytes` says how much a link of each class can hold."""
        self._plan = plan
        self._buffer_bytes = buffer_bytes
        self._links: dict[tuple[int, int], Link] = {}
        self._present: list[Link] = []
        """In the order of the mesh's edges."""
        self._towards: dict[int, Ways] = {}
        self._trees: dict[tuple[int, bytes], tuple[Branches, list[int]]] = {}
        self._out_of_reach: dict[int, list[int]] = {}
        self.node_names = plan.node_names
        self.senders: list[int] = plan.senders.tolist()
        self.receivers: list[int] = plan.receivers.tolist()
        self._mesh = plan.mesh(0)
        self._choose()
        self._measure()

    @property
    def links(self) -> list[Link]:
        """Every link there has been so far."""
        return list(self._links.values())

    def within_ns(self, member: int) -> int:
        """The delay to another member at the same place, or `UNREACHABLE`."""
        return int(self._mesh.within_ns[member])

    def neighbours(self, node: int) -> list[Link]:
        """The links that leave a node."""
        first = self._mesh.graph.first_edge
        return self._present[first[node] : first[node + 1]]

    def towards(self, target: int) -> Ways:
        """By node: the link to take to get to a node, None where there is no way."""
        ways = self._towards.get(target)
        if ways is None:
            present = self._present
            edges: list[int] = self._mesh.ways.towards(target).tolist()
            ways = self._towards[target] = [None if edge == NOWHERE else present[edge] for edge in edges]
        return ways

    def tree(self, node: int, targets: IntArray) -> tuple[Branches, list[int]]:
        """A tree of least delays from a node to members, and those of them who are not on it: unreachable, or there."""
        key = node, targets.tobytes()
        found = self._trees.get(key)
        if found is None:
            if len(self._trees) >= TREES_KEPT:
                del self._trees[next(iter(self._trees))]
            found = self._trees[key] = self._grow(node, targets.tolist())
        return found

    def out_of_reach(self, node: int) -> list[int]:
        """The members that no way leads to from a node; those beside it need none."""
        found = self._out_of_reach.get(node)
        if found is None:
            entered_by = self._mesh.ways.tree(node)
            pairs = enumerate(zip(self.senders, self.receivers, strict=True))
            found = self._out_of_reach[node] = [
                member
                for member, (sender, receiver) in pairs
                if sender != node and receiver != node and entered_by[receiver] == NOWHERE
            ]
        return found

    def forks(self, member: int, targets: IntArray) -> int:
        """How many links the tree from a member to others begins with."""
        node = self.senders[member]
        return len(self.tree(node, targets)[0].links.get(node, ()))

    def change(self, now_ns: int) -> set[Link]:
        """Take over the mesh of another time; returns the links that have vanished."""
        chosen = self._mesh.ways
        self._mesh = self._plan.mesh(now_ns)
        vanished: set[Link] = set()
        if self._mesh.ways is not chosen:
            before = set(self._present)
            self._choose()
            vanished = before - set(self._present)
            for link in vanished:
                link.cut(now_ns)
        self._measure()
        return vanished

    def _choose(self) -> None:
        mesh, links = self._mesh, self._links
        for before in self._present:
            before.present = False
        self._present = []
        ends = zip(mesh.graph.tail.tolist(), mesh.graph.head.tolist(), strict=True)
        for edge, (key, ns_per_byte) in enumerate(zip(ends, mesh.ns_per_byte.tolist(), strict=True)):
            link = links.get(key)
            if link is None:
                kind = LinkClass(int(mesh.link_class[edge]))
                link = links[key] = Link(*key, kind, ns_per_byte, self._buffer_bytes(kind))
            link.present = True
            self._present.append(link)
        self._towards.clear()
        self._trees.clear()
        self._out_of_reach.clear()

    def _measure(self) -> None:
        for link, delay_ns in zip(self._present, self._mesh.delay_ns.tolist(), strict=True):
            link.delay_ns = delay_ns

    def _grow(self, root: int, targets: Sequence[int]) -> tuple[Branches, list[int]]:
        entered_by: list[int] = self._mesh.ways.tree(root).tolist()
        links: dict[int, list[Link]] = {}
        members: dict[int, list[int]] = {}
        on_tree = {root}
        left_out: list[int] = []
        for target in targets:
            node = self.receivers[target]
            if entered_by[node] == NOWHERE or self.senders[target] == root:
                left_out.append(target)
                continue
            members.setdefault(node, []).append(target)
            while node not in on_tree:
                on_tree.add(node)
                link = self._present[entered_by[node]]
                links.setdefault(link.tail, []).append(link)
                node = link.tail
        return Branches(links, members), left_out
