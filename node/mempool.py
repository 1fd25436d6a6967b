"""Transactions waiting to be proposed.

Until clients have places, a transaction is known to every replica when it arrives. A chain takes transactions in
order, so a child's payload begins where its parent's ended: no event per transaction, and forks need no bookkeeping.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate

from consensus.messages import Block, Payload

Gaps = Callable[[int], list[int]]
"""`gaps(count)`: the next `count` times between arrivals, in ns."""

_CHUNK = 4096


class Mempool:
    """An arrival process, and the payloads drawn from it."""

    def __init__(self, gaps: Gaps | None, transaction_bytes: int) -> None:
        """`gaps` None means that nobody submits anything."""
        self._gaps = gaps
        self._transaction_bytes = transaction_bytes
        self._arrivals_ns: list[int] = []

    def arrived(self, now_ns: int) -> int:
        """How many transactions have arrived by `now_ns`."""
        if self._gaps is None:
            return 0
        while not self._arrivals_ns or self._arrivals_ns[-1] <= now_ns:
            last = self._arrivals_ns.pop() if self._arrivals_ns else None
            self._arrivals_ns += accumulate(self._gaps(_CHUNK), initial=last)
        return bisect_right(self._arrivals_ns, now_ns)

    def arrivals_ns(self, payload: Payload) -> list[int]:
        """When each transaction of a payload arrived."""
        return self._arrivals_ns[payload.first : payload.end]

    def payload(self, now_ns: int, max_bytes: int, parent: Block) -> Payload:
        """What a child of `parent` may carry now, oldest first."""
        first = parent.payload.end
        room = max_bytes // self._transaction_bytes if self._transaction_bytes else 0
        count = max(0, min(self.arrived(now_ns) - first, room))
        return Payload(first, count, count * self._transaction_bytes)

    def valid(self, payload: Payload, parent: Block, now_ns: int) -> bool:
        """Whether a payload proposed at `now_ns` was submitted by then and follows on its parent's."""
        return (
            payload.first == parent.payload.end
            and payload.count >= 0
            and payload.end <= max(self.arrived(now_ns), parent.payload.end)
            and payload.size_bytes == payload.count * self._transaction_bytes
        )
