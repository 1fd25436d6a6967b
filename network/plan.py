"""The plan: how long from here to there, now, along which links.

Everything outside the geometry sees the network through these types. Kilometres and degrees stop here:
a plan answers in integer nanoseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

UNREACHABLE: Final = -1
"""The delay of a pair with no route."""


class Routes(Protocol):
    """The routes of one reconfiguration interval, shared by all snapshots in it."""

    def path(self, source: int, target: int) -> tuple[str, ...]:
        """Names of the endpoints from member `source` to member `target`, both included; () if no route."""

    def load(self, amount: FloatArray) -> dict[tuple[str, str], float]:
        """Sum an amount per member pair, float64[source, target], over the directed links it crosses."""


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Delays between all members at one update step. All arrays are [source, target] and read-only.

    `delay_ns` is the propagation delay over the route, `UNREACHABLE` without one, 0 on the diagonal.
    `hops` counts the links of the route, 0 on the diagonal and where there is none.
    `ns_per_byte` is the transmission time of one byte on the route's slowest link, 0 for infinite rates.
    `routes` is None where there are no links to account for (laboratory networks).
    """

    delay_ns: IntArray
    hops: IntArray
    ns_per_byte: FloatArray
    routes: Routes | None = None

    def __post_init__(self) -> None:
        for array in (self.delay_ns, self.hops, self.ns_per_byte):
            array.setflags(write=False)

    @property
    def reachable(self) -> BoolArray:
        """bool[source, target]: whether a route exists; true on the diagonal."""
        return np.not_equal(self.delay_ns, UNREACHABLE)


class Plan(Protocol):
    """Answers delay questions for the members of a committee."""

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The members' endpoints in replica order; two replicas may share one."""

    @property
    def constant(self) -> bool:
        """Whether `at` gives the same snapshot at every time."""

    def at(self, now_ns: int) -> Snapshot:
        """The snapshot in force `now_ns` after the start; the same object within an update step."""

    def changes_ns(self, until_ns: int) -> list[int]:
        """The times in (0, `until_ns`] at which another snapshot may come into force, ascending."""


@dataclass(frozen=True)
class Outage:
    """Endpoints and links that carry nothing in [begin_ns, end_ns); `end_ns` None lasts for ever.

    A link is an unordered pair of endpoints: both directions are down.
    """

    begin_ns: int
    end_ns: int | None
    endpoints: frozenset[str] = frozenset()
    links: frozenset[tuple[str, str]] = frozenset()

    def active(self, now_ns: int) -> bool:
        """Whether `now_ns` lies in the window."""
        return self.begin_ns <= now_ns and (self.end_ns is None or now_ns < self.end_ns)

    @property
    def boundaries_ns(self) -> tuple[int, ...]:
        """The times at which the network changes because of this outage."""
        return (self.begin_ns,) if self.end_ns is None else (self.begin_ns, self.end_ns)


def boundaries_ns(outages: Sequence[Outage], until_ns: int) -> list[int]:
    """The times in (0, `until_ns`] at which outages begin or end, ascending."""
    times_ns = {time_ns for outage in outages for time_ns in outage.boundaries_ns}
    return sorted(time_ns for time_ns in times_ns if 0 < time_ns <= until_ns)


@dataclass(frozen=True)
class DirectRoutes:
    """One private link per pair of members, as over fibre: every reachable pair is one hop."""

    endpoints: tuple[str, ...]
    reachable: BoolArray

    def path(self, source: int, target: int) -> tuple[str, ...]:
        """See `Routes.path`."""
        if source == target:
            return (self.endpoints[source],)
        if not self.reachable[source, target]:
            return ()
        return self.endpoints[source], self.endpoints[target]

    def load(self, amount: FloatArray) -> dict[tuple[str, str], float]:
        """See `Routes.load`. Members at the same place share no link, so their traffic is not counted."""
        loads: dict[tuple[str, str], float] = {}
        for source, target in np.argwhere((amount != 0) & self.reachable).tolist():
            link = self.endpoints[source], self.endpoints[target]
            if link[0] != link[1]:
                loads[link] = loads.get(link, 0.0) + float(amount[source, target])
        return loads


_NONE: Final = frozenset[int]()


class MatrixPlan:
    """A plan from a fixed matrix of one-way delays: laboratory networks and fibre.

    Every pair has a link of its own and members do not relay, so an outage of an endpoint cuts its pairs, an
    outage of a link its one pair, and nothing goes round them.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        delay_ns: IntArray,
        *,
        ns_per_byte: float | FloatArray = 0.0,
        outages: Sequence[Outage] = (),
        accounted: bool = False,
    ) -> None:
        """`delay_ns` is int64[n, n], row = source, `UNREACHABLE` for no link; the diagonal is taken as 0.

        With `accounted` snapshots carry routes, so that traffic per link can be reported.
        """
        self.endpoints = tuple(endpoints)
        self._delay_ns = _checked_delays(delay_ns, len(self.endpoints))
        self._ns_per_byte = np.broadcast_to(np.asarray(ns_per_byte, dtype=np.float64), self._delay_ns.shape)
        self._outages = tuple(outages)
        self._accounted = accounted
        self._snapshots: dict[frozenset[int], Snapshot] = {}

    @property
    def constant(self) -> bool:
        """True unless there are outages."""
        return not self._outages

    def at(self, now_ns: int) -> Snapshot:
        """See `Plan.at`."""
        active = _NONE
        if self._outages:
            active = frozenset(index for index, outage in enumerate(self._outages) if outage.active(now_ns))
        if active not in self._snapshots:
            self._snapshots[active] = self._snapshot(active)
        return self._snapshots[active]

    def changes_ns(self, until_ns: int) -> list[int]:
        """See `Plan.changes_ns`."""
        return boundaries_ns(self._outages, until_ns)

    def _snapshot(self, active: frozenset[int]) -> Snapshot:
        delay_ns = self._delay_ns.copy()
        for index in sorted(active):
            delay_ns[self._cut(self._outages[index])] = UNREACHABLE
        np.fill_diagonal(delay_ns, 0)
        reachable = delay_ns != UNREACHABLE
        linked = reachable & ~np.eye(len(delay_ns), dtype=np.bool_)
        return Snapshot(
            delay_ns=delay_ns,
            hops=linked.astype(np.int64),
            ns_per_byte=np.where(linked, self._ns_per_byte, 0.0),
            routes=DirectRoutes(self.endpoints, reachable) if self._accounted else None,
        )

    def _cut(self, outage: Outage) -> BoolArray:
        """bool[n, n]: the pairs that the outage takes away."""
        out = np.array([endpoint in outage.endpoints for endpoint in self.endpoints], dtype=np.bool_)
        cut: BoolArray = out[:, None] | out[None, :]
        for one, other in sorted(outage.links):
            at_one = np.array([endpoint == one for endpoint in self.endpoints], dtype=np.bool_)
            at_other = np.array([endpoint == other for endpoint in self.endpoints], dtype=np.bool_)
            cut |= (at_one[:, None] & at_other[None, :]) | (at_other[:, None] & at_one[None, :])
        return cut


class Among:
    """The first `count` members of a plan, by themselves: see `Plan`. The committee, where clients come after it."""

    def __init__(self, plan: Plan, count: int) -> None:
        self.endpoints = plan.endpoints[:count]
        self._plan = plan
        self._snapshots: WeakKeyDictionary[Snapshot, Snapshot] = WeakKeyDictionary()

    @property
    def constant(self) -> bool:
        """See `Plan.constant`."""
        return self._plan.constant

    def at(self, now_ns: int) -> Snapshot:
        """See `Plan.at`."""
        whole = self._plan.at(now_ns)
        snapshot = self._snapshots.get(whole)
        if snapshot is None:
            of = slice(len(self.endpoints))
            snapshot = self._snapshots[whole] = Snapshot(
                whole.delay_ns[of, of], whole.hops[of, of], whole.ns_per_byte[of, of], whole.routes
            )
        return snapshot

    def changes_ns(self, until_ns: int) -> list[int]:
        """See `Plan.changes_ns`."""
        return self._plan.changes_ns(until_ns)


def _checked_delays(delay_ns: IntArray, count: int) -> IntArray:
    delays = np.array(delay_ns, dtype=np.int64)
    if delays.shape != (count, count):
        raise ValueError(f"a delay matrix for {count} members must be {count} x {count}, not {delays.shape}")
    if (delays < UNREACHABLE).any():
        raise ValueError("a delay must be at least 0 ns, or UNREACHABLE for no link")
    return delays
