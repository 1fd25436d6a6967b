"""Virtual time: integer nanoseconds, one heap, a total order.

A broadcast is one heap entry, not n: its arrivals are sorted once and delivered by advancing an index. Events at
the same nanosecond happen in the order in which they were scheduled, so a run can be repeated exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from heapq import heappop, heappush, heapreplace
from typing import Any, Protocol

Action = Callable[[Any, int], Any]
"""`action(parcel, due_ns)`; what it returns is nothing to the clock."""


class Clock(Protocol):
    """Keeps time for those who act in it, whether it jumps or passes."""

    @property
    def now_ns(self) -> int:
        """Nanoseconds since the start: when the event at hand was due."""

    def at(self, due_ns: int, action: Action, parcel: Any = None) -> None:
        """Call `action(parcel, due_ns)` at that time."""


class TimeStandsStillError(RuntimeError):
    """Events cause events without end, and none of them lets time pass."""

    def __init__(self, now_ns: int) -> None:
        super().__init__(
            f"virtual time stands still at {now_ns / 1e9:g} s: blocks are made without any delay between them; "
            "give the network a delay, or let the protocol wait (consensus.parameters.block_interval_ms)"
        )


class Flight:
    """A parcel on its way: when it is due where, earliest first."""

    __slots__ = ("actions", "count", "index", "parcel", "times_ns")

    def __init__(self, times_ns: Sequence[int], actions: Sequence[Action], parcel: Any) -> None:
        self.times_ns = times_ns
        self.actions = actions
        self.count = len(times_ns)
        self.index = 0
        self.parcel = parcel


class VirtualClock:
    """Delivers parcels in order of their due times, jumping from one to the next."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.delivered = 0
        """Parcels delivered; alarms (`at`) are not counted."""
        self._serial = 0
        # An alarm is (due, serial, action, parcel, 0), a parcel alone (due, serial, action, parcel, 1), and a flight
        # (due, serial, None, flight, 1): each ends with how many parcels are delivered when it is due.
        self._heap: list[tuple[int, int, Action | None, Any, int]] = []
        self._stopped = False

    def schedule(self, times_ns: Sequence[int], actions: Sequence[Action], parcel: Any) -> None:
        """Call `actions[i](parcel, times_ns[i])` at each of the ascending times.

        Times before `now_ns` are a bug of the caller's: what is past cannot be delivered.
        """
        if not times_ns:
            return
        if times_ns[0] < self.now_ns:
            raise ValueError(f"scheduled at {times_ns[0]} ns, but it is already {self.now_ns} ns")
        self._serial += 1
        heappush(self._heap, (times_ns[0], self._serial, None, Flight(times_ns, actions, parcel), 1))

    def schedule_one(self, due_ns: int, action: Action, parcel: Any) -> None:
        """The same for a parcel that flies alone, which costs less than a flight of one."""
        if due_ns < self.now_ns:
            raise ValueError(f"scheduled at {due_ns} ns, but it is already {self.now_ns} ns")
        self._serial += 1
        heappush(self._heap, (due_ns, self._serial, action, parcel, 1))

    def at(self, due_ns: int, action: Action, parcel: Any = None) -> None:
        """Call `action(parcel, due_ns)` at one time: an alarm, which is no delivery."""
        if due_ns < self.now_ns:
            raise ValueError(f"scheduled at {due_ns} ns, but it is already {self.now_ns} ns")
        self._serial += 1
        heappush(self._heap, (due_ns, self._serial, action, parcel, 0))

    def before(self, due_ns: int, action: Action) -> None:
        """Call `action(None, due_ns)` at one time, before all else that happens then."""
        if due_ns < self.now_ns:
            raise ValueError(f"scheduled at {due_ns} ns, but it is already {self.now_ns} ns")
        self._serial += 1
        heappush(self._heap, (due_ns, -self._serial, action, None, 0))

    def pending(self) -> Iterator[tuple[Action, Any]]:
        """What has been scheduled and not happened yet, with its parcel; in the order in which alarms are due."""
        for _, _, action, parcel, _ in sorted(self._heap):
            if action is not None:
                yield action, parcel
            else:
                for index in range(parcel.index, parcel.count):
                    yield parcel.actions[index], parcel.parcel

    @property
    def flying(self) -> int:
        """Parcels that have been scheduled and not delivered yet; no alarms."""
        return sum(
            alone if action is not None else parcel.count - parcel.index for _, _, action, parcel, alone in self._heap
        )

    def stop(self) -> None:
        """Make the current `run` return after the event it is in; callable from a signal handler."""
        self._stopped = True

    def run(self, until_ns: int, at_most: int) -> bool:
        """Deliver up to `at_most` parcels and alarms due at or before `until_ns`; returns whether more of them remain.

        When none remain, time stands at `until_ns`.
        """
        heap = self._heap
        budget = at_most
        while heap and budget and not self._stopped:
            due_ns, serial, action, parcel, delivers = heap[0]
            if due_ns > until_ns:
                break
            self.now_ns = due_ns
            budget -= 1
            if action is not None:
                heappop(heap)
                self.delivered += delivers
                action(parcel, due_ns)
                continue
            flight = parcel
            index = flight.index
            following = index + 1
            if following < flight.count:
                flight.index = following
                heapreplace(heap, (flight.times_ns[following], serial, None, flight, 1))
            else:
                heappop(heap)
            self.delivered += 1
            flight.actions[index](flight.parcel, due_ns)
        if self._stopped or (heap and heap[0][0] <= until_ns):
            return not self._stopped
        self.now_ns = max(self.now_ns, until_ns)
        return False
