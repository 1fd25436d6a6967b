"""The plan of a network in orbit: members at satellites and stations, routed over the links of the moment.

Links and routes are chosen at multiples of the reconfiguration interval and hold until the next one, while the
delays along them are refreshed at multiples of the update interval. Both grids begin at the scenario's start.
When an outage begins or ends, links and routes are chosen anew at once.
"""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from network.constants import SECOND_NS
from network.links import LinkRates, Links, Topology
from network.nodes import Fibre, Nodes
from network.plan import UNREACHABLE, Outage, Snapshot, boundaries_ns
from network.routing import Graph, RouteTrees, find_routes

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

KEPT: Final = 4
"""Snapshots, and intervals, that are remembered: callers step back by an update when their clocks run ahead."""


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


@dataclass(frozen=True, eq=False)
class _Interval:
    """What holds from one choice of links to the next; `used` are the edges that make up the graph, in its order."""

    links: Links
    used: IntArray
    hops: IntArray
    ns_per_byte: FloatArray
    within_ns: IntArray
    routes: OrbitRoutes


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
        self._senders = self._nodes.senders(self.endpoints)
        self._together: BoolArray = np.equal(self._senders[:, None], self._senders[None, :])
        self._update_interval_ns = update_interval_ns
        self._reconfiguration_interval_ns = reconfiguration_interval_ns
        self._outages = tuple(outages)
        self._boundaries_ns = sorted({time for outage in outages for time in outage.boundaries_ns})
        self._intervals: OrderedDict[int, _Interval] = OrderedDict()
        self._snapshots: OrderedDict[int, Snapshot] = OrderedDict()

    @property
    def constant(self) -> bool:
        """True without outages if both intervals are None."""
        moves = self._update_interval_ns is not None or self._reconfiguration_interval_ns is not None
        return not moves and not self._outages

    def at(self, now_ns: int) -> Snapshot:
        """See `Plan.at`."""
        begin_ns = self._interval_begin_ns(now_ns)
        instant_ns = max(begin_ns, _grid(now_ns, self._update_interval_ns))
        snapshot = self._snapshots.get(instant_ns)
        if snapshot is None:
            snapshot = self._snapshots[instant_ns] = self._snapshot(begin_ns, instant_ns)
            _forget_oldest(self._snapshots)
        return snapshot

    def changes_ns(self, until_ns: int) -> list[int]:
        """See `Plan.changes_ns`."""
        times_ns = set(boundaries_ns(self._outages, until_ns))
        for interval_ns in (self._update_interval_ns, self._reconfiguration_interval_ns):
            if interval_ns is not None:
                times_ns.update(range(interval_ns, until_ns + 1, interval_ns))
        return sorted(times_ns)

    def _interval_begin_ns(self, now_ns: int) -> int:
        begin_ns = _grid(now_ns, self._reconfiguration_interval_ns)
        passed = bisect_right(self._boundaries_ns, now_ns)
        return max(begin_ns, self._boundaries_ns[passed - 1]) if passed else begin_ns

    def _snapshot(self, begin_ns: int, instant_ns: int) -> Snapshot:
        interval = self._intervals.get(begin_ns)
        if interval is None:
            interval = self._intervals[begin_ns] = self._choose(begin_ns)
            _forget_oldest(self._intervals)
        links = interval.links
        if instant_ns != begin_ns:
            links = self.topology.measured_at(instant_ns / SECOND_NS, links)
        delay_ns = interval.routes.trees.delays_ns(self._nodes.delays_ns(links)[interval.used], UNREACHABLE)
        return Snapshot(
            delay_ns=np.where(self._together, interval.within_ns, delay_ns),
            hops=interval.hops,
            ns_per_byte=interval.ns_per_byte,
            routes=interval.routes,
        )

    def _choose(self, begin_ns: int) -> _Interval:
        """Links and routes for the interval that begins at `begin_ns`."""
        active = [outage for outage in self._outages if outage.active(begin_ns)]
        down = self._nodes.down(name for outage in active for name in outage.endpoints)
        links = self.topology.links_at(begin_ns / SECOND_NS, without=down[: len(self.topology.constellation)])
        tail, head = self._nodes.edges(links)
        up = ~(down[tail] | down[head])
        for one, other in sorted({link for outage in active for link in outage.links}):
            at_one, at_other = self._nodes.down([one]), self._nodes.down([other])
            up &= ~(at_one[tail] & at_other[head]) & ~(at_other[tail] & at_one[head])
        chosen = np.flatnonzero(up)
        graph = Graph(len(self._nodes), tail[chosen], head[chosen])
        used = chosen[graph.order]
        trees = find_routes(
            graph, self._nodes.delays_ns(links)[used], self._senders, self._nodes.receivers(self._senders)
        )
        return _Interval(
            links=links,
            used=used,
            hops=np.where(self._together, 0, trees.hops()),
            ns_per_byte=np.where(self._together, 0.0, trees.slowest(self._nodes.ns_per_byte(links, self._rates)[used])),
            within_ns=self._within_ns(down),
            routes=OrbitRoutes(self.endpoints, self._nodes.names, trees, self._together),
        )

    def _within_ns(self, down: BoolArray) -> IntArray:
        """int64[n, n]: delays between members at one place, which an outage of the place cuts as well."""
        delay_ns = np.array([self._nodes.within_ns(endpoint) for endpoint in self.endpoints], dtype=np.int64)
        delay_ns[down[self._senders]] = UNREACHABLE
        within_ns = np.repeat(delay_ns[:, None], len(delay_ns), axis=1)
        np.fill_diagonal(within_ns, 0)
        return within_ns


def _grid(now_ns: int, interval_ns: int | None) -> int:
    """The last multiple of the interval that is not after `now_ns`."""
    return 0 if interval_ns is None else now_ns - now_ns % interval_ns


def _forget_oldest(memory: OrderedDict[int, Snapshot] | OrderedDict[int, _Interval]) -> None:
    if len(memory) > KEPT:
        memory.popitem(last=False)
