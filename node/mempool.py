"""Transactions waiting to be proposed.

Without clients, a transaction is known to every replica when it arrives. A chain takes transactions in order, so a
child's payload begins where its parent's ended: no event per transaction, and forks need no bookkeeping. With clients,
`node.lanes` does the same for each place where transactions enter.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Protocol

from consensus.messages import AnyPayload, Block, Payload
from consensus.replica import Payloads
from consensus.types import ReplicaId

Gaps = Callable[[int], list[int]]
"""`gaps(count)`: the next `count` times between arrivals, in ns."""

_CHUNK = 4096


class Pool(Protocol):
    """What is known of all transactions of a run, wherever they come from."""

    @property
    def drops(self) -> Counter[str]:
        """How many transactions never got into a mempool, by reason."""

    def payloads(self, me: ReplicaId) -> Payloads:
        """Where replica `me` gets its payloads from."""

    def valid(self, payload: AnyPayload, parent: Block, now_ns: int) -> bool:
        """Whether a payload proposed at `now_ns` was submitted by then and follows on its parent's."""

    def arrived(self, now_ns: int) -> int:
        """How many transactions were submitted by `now_ns`."""

    def lost(self, now_ns: int) -> int:
        """How many of them were lost by then on their way to a mempool; not those that one refused."""

    def arrivals_ns(self, payload: AnyPayload) -> Sequence[int]:
        """When each transaction of a payload was submitted."""

    def entries_ns(self, payload: AnyPayload) -> Sequence[int]:
        """When each of them was in a replica's mempool, in the same order."""


class Mempool:
    """An arrival process, and the payloads drawn from it."""

    def __init__(self, gaps: Gaps | None, transaction_bytes: int) -> None:
        """`gaps` None means that nobody submits anything."""
        self._gaps = gaps
        self._transaction_bytes = transaction_bytes
        self._arrivals_ns: list[int] = []
        self.drops = Counter[str]()

    def payloads(self, me: ReplicaId) -> Payloads:
        """See `Pool.payloads`: here everybody knows the same."""
        return self.payload

    def arrived(self, now_ns: int) -> int:
        """How many transactions have arrived by `now_ns`."""
        if self._gaps is None:
            return 0
        while not self._arrivals_ns or self._arrivals_ns[-1] <= now_ns:
            last = self._arrivals_ns.pop() if self._arrivals_ns else None
            self._arrivals_ns += accumulate(self._gaps(_CHUNK), initial=last)
        return bisect_right(self._arrivals_ns, now_ns)

    def lost(self, now_ns: int) -> int:
        """See `Pool.lost`: nothing has far to go."""
        return 0

    def arrivals_ns(self, payload: AnyPayload) -> list[int]:
        """When each transaction of a payload arrived."""
        return self._arrivals_ns[payload.first : payload.end]

    entries_ns = arrivals_ns

    def payload(self, now_ns: int, max_bytes: int, parent: Block) -> Payload:
        """What a child of `parent` may carry now, oldest first."""
        first = parent.payload.end
        room = max_bytes // self._transaction_bytes if self._transaction_bytes else 0
        count = max(0, min(self.arrived(now_ns) - first, room))
        return Payload(first, count, count * self._transaction_bytes)

    def valid(self, payload: AnyPayload, parent: Block, now_ns: int) -> bool:
        """Whether a payload proposed at `now_ns` was submitted by then and follows on its parent's."""
        return (
            payload.first == parent.payload.end
            and payload.count >= 0
            and payload.end <= max(self.arrived(now_ns), parent.payload.end)
            and payload.size_bytes == payload.count * self._transaction_bytes
        )
