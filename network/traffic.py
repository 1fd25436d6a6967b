"""Traffic: what every directed link carried, and what never arrived."""

from __future__ import annotations

from collections import Counter

import numpy as np

from network.channel import Drop
from network.plan import FloatArray, IntArray, Plan, Routes

_OPEN_ROUTES = 2


class Traffic:
    """Messages and bytes on every directed link, and drops by reason, for the whole run.

    Counted per pair of members while the routes stand, and laid over the links when they change.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._members = len(plan.endpoints)
        self._open: dict[int, tuple[Routes, FloatArray, FloatArray]] = {}
        self._messages: Counter[tuple[str, str]] = Counter()
        self._bytes: Counter[tuple[str, str]] = Counter()
        self.drops: Counter[str] = Counter()

    def count(self, source: int, targets: IntArray, due_ns: IntArray, size_bytes: int, now_ns: int) -> None:
        """Count one message from a member to others, with its due times, int64[targets], as a channel gave them."""
        reached = targets
        if due_ns.item() < 0 if len(due_ns) == 1 else (due_ns < 0).any():
            arrives = due_ns >= 0
            reached = targets[arrives]
            for code in due_ns[~arrives].tolist():
                self.drops[Drop(code).name.lower()] += 1
        routes = self._plan.at(now_ns).routes
        if routes is None:
            return
        entry = self._open.get(id(routes))
        if entry is None:
            while len(self._open) >= _OPEN_ROUTES:
                self._close(next(iter(self._open)))
            shape = (self._members, self._members)
            entry = self._open[id(routes)] = (routes, np.zeros(shape), np.zeros(shape))
        entry[1][source, reached] += 1
        entry[2][source, reached] += size_bytes

    def per_link(self) -> dict[tuple[str, str], tuple[int, int]]:
        """(messages, bytes) on each directed link that carried any."""
        for key in list(self._open):
            self._close(key)
        return {link: (self._messages[link], self._bytes[link]) for link in sorted(self._messages)}

    def _close(self, key: int) -> None:
        routes, messages, size_bytes = self._open.pop(key)
        for totals, amount in ((self._messages, messages), (self._bytes, size_bytes)):
            for link, value in routes.load(amount).items():
                totals[link] += round(value)
