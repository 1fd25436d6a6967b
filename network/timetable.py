"""A timetable: a plan as one member needs it, written down for a whole run.

Whoever has the geometry writes it; whoever only sends needs nothing else.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from network.plan import FloatArray, IntArray, Plan, Snapshot


@dataclass(frozen=True, eq=False)
class Timetable:
    """See `network.plan.Plan`; knows the routes of one member only, `source`.

    `times_ns` is int64[steps], ascending from 0: from each of them the same row of `delay_ns` and `hops`, both
    int64[steps, n], and of `ns_per_byte`, float64[steps, n], is in force. Snapshots show that row for every source.
    """

    endpoints: tuple[str, ...]
    times_ns: IntArray
    delay_ns: IntArray
    hops: IntArray
    ns_per_byte: FloatArray
    _snapshots: dict[int, Snapshot] = field(default_factory=dict, init=False)

    @cached_property
    def _times_ns(self) -> list[int]:
        return self.times_ns.tolist()  # type: ignore[no-any-return]

    @classmethod
    def of(cls, plan: Plan, source: int, until_ns: int) -> Timetable:
        """What member `source` finds in the plan from 0 to `until_ns`."""
        times_ns = [0, *plan.changes_ns(until_ns)]
        rows = [plan.at(time_ns) for time_ns in times_ns]
        return cls(
            plan.endpoints,
            np.array(times_ns, dtype=np.int64),
            np.stack([row.delay_ns[source] for row in rows]),
            np.stack([row.hops[source] for row in rows]),
            np.stack([row.ns_per_byte[source] for row in rows]),
        )

    @property
    def constant(self) -> bool:
        """See `Plan.constant`."""
        return len(self.times_ns) == 1

    def changes_ns(self, until_ns: int) -> list[int]:
        """See `Plan.changes_ns`."""
        return [time_ns for time_ns in self.times_ns.tolist() if 0 < time_ns <= until_ns]

    def at(self, now_ns: int) -> Snapshot:
        """See `Plan.at`."""
        step = max(0, bisect_right(self._times_ns, now_ns) - 1)
        if step not in self._snapshots:
            self._snapshots.clear()
            self._snapshots[step] = self._snapshot(step)
        return self._snapshots[step]

    def _snapshot(self, step: int) -> Snapshot:
        count = len(self.endpoints)
        return Snapshot(
            np.broadcast_to(self.delay_ns[step], (count, count)),
            np.broadcast_to(self.hops[step], (count, count)),
            np.broadcast_to(self.ns_per_byte[step], (count, count)),
        )
