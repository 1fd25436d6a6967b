"""The inbox: frames wait here until shortly before they matter.

A broadcast reaches all its receivers at the same moment, and they share a machine: were all to verify it at once, who
needs it first might get it last. Their due times differ, so each verifies it a little before its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from network.realtime import RealTimeClock
from node.frames import Frame, Word, parse

AHEAD_NS = 12_000_000
"""How long before it is due a word is looked at, on the wall: enough for a certificate of a hundred signatures."""
MOST, MOST_BYTES = 256, 16 << 20
"""More frames than this, or more bytes, do not wait: nobody has vouched for them yet,"""
LONGEST_NS = 1_000_000_000
"""and none waits longer on the wall: what it says about itself may be a lie."""


class Arrival(NamedTuple):
    """A frame that is not to be believed yet."""

    topic: str
    payload: bytes
    frame: Frame


class Inbox:
    """Hands arrivals on in the order in which they came, none later than `AHEAD_NS` before it is due."""

    def __init__(
        self, clock: RealTimeClock, due_ns: Callable[[Frame, Word], int], accept: Callable[[Arrival], None]
    ) -> None:
        self._clock = clock
        self._due_ns = due_ns
        self._accept = accept
        self._ahead_ns = clock.emulated_ns(AHEAD_NS)
        self._longest_ns = clock.emulated_ns(LONGEST_NS)
        self._waiting_bytes = 0
        self._waiting: deque[tuple[int, Arrival]] = deque()
        self._serial = 0

    def put(self, topic: str, payload: bytes) -> None:
        """Take a frame in. Raises `Refused` for bytes that are none, or for a word without a due time for us."""
        frame = parse(payload)
        passed_ns, look_ns = self._clock.passed_ns, 0
        if isinstance(frame.body, Word):
            look_ns = min(self._due_ns(frame, frame.body) - self._ahead_ns, passed_ns + self._longest_ns)
        self._serial += 1
        self._waiting.append((self._serial, Arrival(topic, payload, frame)))
        self._waiting_bytes += len(payload)
        if look_ns <= passed_ns or len(self._waiting) > MOST or self._waiting_bytes > MOST_BYTES:
            self.hand_on()
        else:
            self._clock.at(look_ns, self._ring, self._serial)

    def hand_on(self, up_to: int | None = None) -> None:
        """Hand on what waits, all of it or what came no later than number `up_to`."""
        waiting = self._waiting
        while waiting and (up_to is None or waiting[0][0] <= up_to):
            _, arrival = waiting.popleft()
            self._waiting_bytes -= len(arrival.payload)
            self._accept(arrival)

    def _ring(self, serial: Any, _: int) -> None:
        self.hand_on(serial)
