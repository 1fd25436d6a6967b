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
MOST = 256
"""More frames than this do not wait: nobody has vouched for them yet."""


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
        self._waiting: deque[tuple[int, Arrival]] = deque()
        self._serial = 0

    def put(self, topic: str, payload: bytes) -> None:
        """Take a frame in. Raises `Refused` for bytes that are none, or for a word without a due time for us."""
        frame = parse(payload)
        look_ns = 0
        if isinstance(frame.body, Word):
            look_ns = self._due_ns(frame, frame.body) - self._ahead_ns
        self._serial += 1
        self._waiting.append((self._serial, Arrival(topic, payload, frame)))
        if look_ns <= self._clock.passed_ns or len(self._waiting) > MOST:
            self._hand_on(self._serial, 0)
        else:
            self._clock.at(look_ns, self._hand_on, self._serial)

    def _hand_on(self, serial: Any, _: int) -> None:
        waiting = self._waiting
        while waiting and waiting[0][0] <= serial:
            self._accept(waiting.popleft()[1])
