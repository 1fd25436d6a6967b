"""The plan of a network in orbit: members at satellites and stations, routed over the links of the moment.

Links and routes are chosen on the reconfiguration grid and hold until its next point, while the delays along them are
refreshed at multiples of the update interval. When an outage begins or ends, links and routes are chosen anew at once;
when a laser has been acquired, routes are (see `network.handover`).
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from network.constants import SECOND_NS
from network.handover import Choices, Handover, grid_ns, remember
from network.isl import crosses_planes
from network.links import LinkRates, Links, Topology
from network.mesh import LinkClass, Mesh
from network.nodes import Fibre, Nodes
from network.plan import UNREACHABLE, Outage, Snapshot
from network.routing import Graph, RouteTrees, Ways, find_routes

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class OrbitRoutes:
    """The routes of one reconfiguration interval; see `network.plan.Routes`."""

    endpoints: tuple[str, ...]
    names: tuple[str, ...]
    trees: RouteTrees
    together: BoolArray

    def path(self, source: int, target: int) -> tuple[str, ...]:
        """See `Routes.path`; for two members at one place, that place."""
        if self.together[source, target]:
            return (self.endpoints[source],)
        edges = self.trees.edges(source, target)
        between = [self.names[self.trees.graph.head[edge]] for edge in edges[:-1]]
        return (self.endpoints[source], *between, self.endpoints[target]) if edges else ()

    def load(self, amount: FloatArray) -> dict[tuple[str, str], float]:
        """See `Routes.load`; links are named by their own ends, in a hybrid network gs/NAME."""
        graph = self.trees.graph
        loads = self.trees.edge_loads(np.where(self.together, 0.0, amount))
        return {
            (self.names[graph.tail[edge]], self.names[graph.head[edge]]): float(loads[edge])
            for edge in np.flatnonzero(loads)
        }


@dataclass(eq=False)
class _Interval:
    """What holds until links are chosen anew or another laser is ready; arrays are in the order of the graph's edges.

    `used` are the edges of all links that make up the graph. Routes between all members cost most: they wait until
    somebody asks.
    """

    links: Links
    used: IntArray
    graph: Graph
    delay_ns: IntArray
    ns_per_byte: FloatArray
    link_class: IntArray
    within_ns: IntArray
    senders: IntArray
    receivers: IntArray

    @cached_property
    def ways(self) -> Ways:
        return Ways(self.graph, self.delay_ns)

    @cached_property
    def trees(self) -> RouteTrees:
        return find_routes(self.graph, self.delay_ns, self.senders, self.receivers)

    @cached_property
    def together(self) -> BoolArray:
        return np.equal(self.senders[:, None], self.senders[None, :])

    @cached_property
    def hops(self) -> IntArray:
        return np.where(self.together, 0, self.trees.hops())

    @cached_property
    def slowest(self) -> FloatArray:
        return np.where(self.together, 0.0, self.trees.slowest(self.ns_per_byte))

    @cached_property
    def within(self) -> IntArray:
        """int64[n, n]: delays between members at one place."""
        delay_ns = np.repeat(self.within_ns[:, None], len(self.within_ns), axis=1)
        np.fill_diagonal(delay_ns, 0)
        return delay_ns


class OrbitPlan:
    """See `network.plan.Plan`. Intervals of None never end: links, or delays, stay as they were at the start."""

    def __init__(
        self,
        endpoints: Sequence[str],
        topology: Topology,
        *,
        rates: LinkRates | None = None,
        ground_relay: bool = False,
        fibre: Fibre | None = None,
        update_interval_ns: int | None = SECOND_NS,
        reconfiguration_interval_ns: int | None = 15 * SECOND_NS,
        reconfiguration_offset_ns: int = 0,
        isl_acquisition_ns: int = 0,
        outages: Sequence[Outage] = (),
    ) -> None:
        """Raises ValueError for an endpoint that is not in the network, and for intervals that are not positive."""
        if any(
            interval is not None and interval <= 0 for interval in (update_interval_ns, reconfiguration_interval_ns)
        ):
            raise ValueError("the update and reconfiguration intervals must be more than 0 ns")
        self.endpoints = tuple(endpoints)
        self.topology = topology
        self._rates = LinkRates() if rates is None else rates
        stations = [station.name for station in topology.stations]
        self._nodes = Nodes(topology.constellation.endpoints, stations, ground_relay=ground_relay, fibre=fibre)
        self.node_names = self._nodes.names
        self.senders = self._nodes.senders(self.endpoints)
        self.receivers = self._nodes.receivers(self.senders)
        self._update_interval_ns = update_interval_ns
        self._outages = tuple(outages)
        boundaries_ns = tuple(sorted({time for outage in outages for time in outage.boundaries_ns}))
        choices = Choices(reconfiguration_interval_ns, reconfiguration_offset_ns, boundaries_ns)
        self.handover = Handover(topology, choices, outages, isl_acquisition_ns)
        self._now = (0, 0, 0)  # the step that was asked for last, and when it ends
        self._intervals: OrderedDict[int, _Interval] = OrderedDict()
        self._routes: OrderedDict[int, OrbitRoutes] = OrderedDict()
        self._snapshots: OrderedDict[int, Snapshot] = OrderedDict()
        self._meshes: OrderedDict[int, Mesh] = OrderedDict()

    @property
    def constant(self) -> bool:
        """True without outages if both intervals are None."""
        moves = self._update_interval_ns is not None or self.handover.choices.interval_ns is not None
        return not moves and not self._outages

    def at(self, now_ns: int) -> Snapshot:
        """See `Plan.at`."""
        begin_ns, instant_ns = self._step(now_ns)
        snapshot = self._snapshots.get(instant_ns)
        if snapshot is None:
            snapshot = remember(self._snapshots, instant_ns, self._snapshot(begin_ns, instant_ns))
        return snapshot

    def mesh(self, now_ns: int) -> Mesh:
        """See `network.mesh.MeshPlan.mesh`."""
        begin_ns, instant_ns = self._step(now_ns)
        mesh = self._meshes.get(instant_ns)
        if mesh is None:
            interval = self._interval(begin_ns)
            mesh = remember(
                self._meshes,
                instant_ns,
                Mesh(
                    ways=interval.ways,
                    delay_ns=self._delays_ns(interval, begin_ns, instant_ns),
                    ns_per_byte=interval.ns_per_byte,
                    link_class=interval.link_class,
                    within_ns=interval.within_ns,
                ),
            )
        return mesh

    def changes_ns(self, until_ns: int) -> list[int]:
        """See `Plan.changes_ns`."""
        times_ns = self.handover.changes_ns(until_ns)
        if self._update_interval_ns is not None:
            times_ns.update(range(self._update_interval_ns, until_ns + 1, self._update_interval_ns))
        return sorted(times_ns)

    def _step(self, now_ns: int) -> tuple[int, int]:
        """Since when the links in force carry, and when their delays were last refreshed."""
        begin_ns, instant_ns, until_ns = self._now
        if not instant_ns <= now_ns < until_ns:
            begin_ns, until_ns = self.handover.span_ns(now_ns)
            instant_ns = max(begin_ns, grid_ns(now_ns, self._update_interval_ns))
            if self._update_interval_ns is not None:
                until_ns = min(until_ns, grid_ns(now_ns, self._update_interval_ns) + self._update_interval_ns)
            self._now = begin_ns, instant_ns, until_ns
        return begin_ns, instant_ns

    def _interval(self, begin_ns: int) -> _Interval:
        interval = self._intervals.get(begin_ns)
        if interval is None:
            interval = remember(self._intervals, begin_ns, self._choose(begin_ns))
        return interval

    def _delays_ns(self, interval: _Interval, begin_ns: int, instant_ns: int) -> IntArray:
        """int64[e]: the edges' delays at an update step."""
        if instant_ns == begin_ns:
            return interval.delay_ns
        links = self.topology.measured_at(instant_ns / SECOND_NS, interval.links)
        return self._nodes.delays_ns(links)[interval.used]

    def _snapshot(self, begin_ns: int, instant_ns: int) -> Snapshot:
        interval = self._interval(begin_ns)
        routes = self._routes.get(begin_ns)
        if routes is None:
            routes = OrbitRoutes(self.endpoints, self.node_names, interval.trees, interval.together)
            remember(self._routes, begin_ns, routes)
        delay_ns = interval.trees.delays_ns(self._delays_ns(interval, begin_ns, instant_ns), UNREACHABLE)
        return Snapshot(
            delay_ns=np.where(interval.together, interval.within, delay_ns),
            hops=interval.hops,
            ns_per_byte=interval.slowest,
            routes=routes,
        )

    def _choose(self, begin_ns: int) -> _Interval:
        """The links that carry from `begin_ns` on, and the ways along them."""
        active = [outage for outage in self._outages if outage.active(begin_ns)]
        down = self._nodes.down(name for outage in active for name in outage.endpoints)
        chosen_ns = self.handover.choices.last_ns(begin_ns)
        links = self.handover.links(chosen_ns)
        if begin_ns > chosen_ns:
            links = self.topology.measured_at(begin_ns / SECOND_NS, links)
        tail, head = self._nodes.edges(links)
        up = ~(down[tail] | down[head])
        if self.handover.acquisition_ns:
            up[: 2 * len(links.isl)] &= np.tile(self.handover.carries_ns(chosen_ns) <= begin_ns, 2)
        for one, other in sorted({link for outage in active for link in outage.links}):
            at_one, at_other = self._nodes.down([one]), self._nodes.down([other])
            up &= ~(at_one[tail] & at_other[head]) & ~(at_other[tail] & at_one[head])
        chosen = np.flatnonzero(up)
        graph = Graph(len(self._nodes), tail[chosen], head[chosen])
        used = chosen[graph.order]
        within_ns = np.array([self._nodes.within_ns(endpoint) for endpoint in self.endpoints], dtype=np.int64)
        within_ns[down[self.senders]] = UNREACHABLE
        return _Interval(
            links=links,
            used=used,
            graph=graph,
            delay_ns=self._nodes.delays_ns(links)[used],
            ns_per_byte=self._nodes.ns_per_byte(links, self._rates)[used],
            link_class=self._classes(links)[used],
            within_ns=within_ns,
            senders=self.senders,
            receivers=self.receivers,
        )

    def _classes(self, links: Links) -> IntArray:
        """int64[e]: what kind each link is, in the order of `Nodes.edges`."""
        shell_of = self.topology.constellation.shell_of
        isl = np.where(
            shell_of[links.isl[:, 0]] != shell_of[links.isl[:, 1]],
            LinkClass.ISL_CROSS_SHELL,
            np.where(
                crosses_planes(self.topology.constellation, links.isl),
                LinkClass.ISL_CROSS_PLANE,
                LinkClass.ISL_IN_PLANE,
            ),
        )
        up, down = (np.full(len(links.gsl), kind) for kind in (LinkClass.GSL_UP, LinkClass.GSL_DOWN))
        fibre = np.full(self._nodes.fibres, LinkClass.TERRESTRIAL)
        return np.concatenate((isl, isl, up, down, fibre)).astype(np.int64)
