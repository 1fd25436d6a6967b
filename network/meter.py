"""Meters: how much each member sends and receives, in bytes of messages, whatever links they cross."""

from __future__ import annotations

from array import array

import numpy as np

from network.constants import SECOND_NS
from network.plan import IntArray

OPEN_SECONDS = 600
"""Seconds still counted in: what is sent is never so far out of order, and memory stays the same in a long run."""


class Meter:
    """Bytes that each member has put on the network itself, and bytes that have come for it."""

    def __init__(self, members: int) -> None:
        self.sent: list[int] = [0] * members
        self.came: list[int] = [0] * members
        """What has come, one by one,"""
        self.came_together: IntArray = np.zeros(members, dtype=np.int64)
        """and with copies for others."""
        self._peaks = np.zeros(members, dtype=np.int64)
        self._seconds: dict[int, array[int]] = {}

    @property
    def received(self) -> list[int]:
        """All that has come for each member."""
        both: list[int] = (self.came_together + self.came).tolist()
        return both

    def send(self, member: int, size_bytes: int, now_ns: int) -> None:
        """Count what a member puts on the network. Hosts' own clocks run ahead, so times need not ascend."""
        self.sent[member] += size_bytes
        second = now_ns // SECOND_NS
        (self._seconds.get(second) or self._open(second))[member] += size_bytes

    def peaks(self) -> IntArray:
        """int64[members]: the most that each has sent within one second, from a whole one to the next."""
        peaks = self._peaks.copy()
        for row in self._seconds.values():
            np.maximum(peaks, row, out=peaks)
        return peaks

    def _open(self, second: int) -> array[int]:
        if len(self._seconds) == OPEN_SECONDS:
            np.maximum(self._peaks, self._seconds.pop(min(self._seconds)), out=self._peaks)
        row = self._seconds[second] = array("q", bytes(8 * len(self.sent)))
        return row
