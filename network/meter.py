"""Meters: how much each member sends and receives, in bytes of messages, whatever links they cross."""

from __future__ import annotations

import numpy as np

from network.plan import IntArray


class Meter:
    """Bytes that each member has put on the network itself, and bytes that have come for it."""

    def __init__(self, members: int) -> None:
        self.sent: list[int] = [0] * members
        self.came: list[int] = [0] * members
        """One by one,"""
        self.came_together: IntArray = np.zeros(members, dtype=np.int64)
        """and with copies for others."""

    @property
    def received(self) -> list[int]:
        """All that has come for each member."""
        both: list[int] = (self.came_together + self.came).tolist()
        return both
