"""Real time: the same alarms as in virtual time, rung when the wall has got there.

An action is told when it was due, and time stands at that instant while it acts, so that what it causes is dated
from then: lateness does not add up from hop to hop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

from network.clock import Action

_LINGER_NS = 250_000_000
"""How long after the end, on the wall, what was due before it may still come."""
_BATCH = 32
"""Alarms rung before the sockets get their turn again."""


class RealTimeClock:
    """Rings alarms in order of their due times, each when it is due or as soon after as the machine allows."""

    def __init__(self, start_unix_ns: int, end_ns: int, time_scale: float = 1.0) -> None:
        """Zero is the Unix time `start_unix_ns`, and nothing happens after `end_ns`.

        `time_scale` is how many seconds pass on the wall for one of ours.
        """
        self.now_ns = 0
        self._loop = asyncio.get_running_loop()
        self._scale = time_scale
        # The wall clock says when zero is, because other machines must agree; from then on it may be set, we not.
        self._origin_ns = time.monotonic_ns() + start_unix_ns - time.time_ns()
        self._end_ns = end_ns
        self._heap: list[tuple[int, int, Action, Any]] = []
        self._serial = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ns = 0
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._settle: Callable[[], None] = lambda: None

    @property
    def passed_ns(self) -> int:
        """How much time has passed since zero, by the wall: negative before it."""
        return int((time.monotonic_ns() - self._origin_ns) / self._scale)

    @property
    def end_ns(self) -> int:
        """When it ends."""
        return self._end_ns

    def emulated_ns(self, wall_ns: int) -> int:
        """So much time on the wall, in ours."""
        return round(wall_ns / self._scale)

    def at(self, due_ns: int, action: Action, parcel: Any = None) -> None:
        """Call `action(parcel, due_ns)` at that time, or as soon as possible if it is past."""
        self._serial += 1
        heappush(self._heap, (due_ns, self._serial, action, parcel))
        if self._timer is not None and due_ns < self._timer_ns:
            self._arm()

    async def run(self, settle: Callable[[], None]) -> None:
        """Ring alarms until the end; `settle` is called after each, before anything else can happen."""
        self._settle = settle
        self._arm()
        try:
            await self._over
        finally:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def stop(self) -> None:
        """End now instead."""
        self._end_ns = min(self._end_ns, max(0, self.passed_ns))
        if self._timer is not None:
            self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        last_ns = self._end_ns + self.emulated_ns(_LINGER_NS)
        due_ns = self._heap[0][0] if self._heap and self._heap[0][0] <= self._end_ns else last_ns
        self._timer_ns = due_ns
        wait_ns = self._origin_ns + due_ns * self._scale - time.monotonic_ns()
        self._timer = self._loop.call_later(max(0.0, wait_ns / 1e9), self._ring)

    def _ring(self) -> None:
        try:
            self._ring_due()
        except BaseException as error:  # whatever it is ends this clock's run, and not the loop
            if not self._over.done():
                self._over.set_exception(error)

    def _ring_due(self) -> None:
        heap = self._heap
        for _ in range(_BATCH):
            if not heap or heap[0][0] > min(self.passed_ns, self._end_ns):
                break
            due_ns, _, action, parcel = heappop(heap)
            self.now_ns = max(self.now_ns, due_ns)
            action(parcel, due_ns)
            self._settle()
        over = self.passed_ns >= self._end_ns + self.emulated_ns(_LINGER_NS)
        ended = over and not (heap and heap[0][0] <= self._end_ns)
        if not ended:
            self._arm()
        elif not self._over.done():
            self.now_ns = self._end_ns
            self._over.set_result(None)
