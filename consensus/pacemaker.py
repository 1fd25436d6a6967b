"""When to give up a view: the deadline arithmetic that leader-based protocols share.

A passive value, owned by one replica; only the replica emits.
"""

from __future__ import annotations

import msgspec

from consensus.replica import Seat


class BftParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every leader-based protocol lets a scenario set."""

    block_interval_ms: float = 0
    """A leader lets this much time pass between two blocks; 0 proposes as soon as the protocol allows."""
    propose_empty: bool = True
    """Whether a leader proposes when it has no transactions to propose."""

    def __post_init__(self) -> None:
        if self.block_interval_ms < 0:
            raise ValueError("`block_interval_ms` must not be negative")


def timeout_ns(seat: Seat, default_deltas: float) -> int:
    """How long a view may last: what the scenario says, or the protocol's default in multiples of Δ."""
    return round(default_deltas * seat.delta_ns) if seat.timeout_ns is None else seat.timeout_ns


def epoch_ns(timeout_ns: int | None, delta_ns: int, default_deltas: float, parameters: BftParameters) -> int:
    """How long an epoch of a lock-step protocol lasts: as long as a view may, and as a block must take at least."""
    length_ns = round(default_deltas * delta_ns) if timeout_ns is None else timeout_ns
    return max(1, length_ns, round(parameters.block_interval_ms * 1e6))


class ProposalPace:
    """When a leader may propose: not before the block interval is over, and not an empty block if it need not.

    An idle leader still proposes when half the view's time is over, so that its followers see it alive.
    """

    def __init__(self, seat: Seat, view_timeout_ns: int) -> None:
        self._interval_ns: int = round(seat.parameters.block_interval_ms * 1e6)
        self._propose_empty: bool = seat.parameters.propose_empty
        self._patience_ns = view_timeout_ns // 2
        self._poll_ns = max(1, min(self._patience_ns, seat.delta_ns) // 16)

    @property
    def longest_wait_ns(self) -> int:
        """How long after the beginning of its turn a leader proposes at the latest."""
        return max(self._interval_ns, 0 if self._propose_empty else self._patience_ns + self._poll_ns)

    def wait_ns(self, now_ns: int, since_ns: int, previous_ns: int, anything_to_say: bool) -> int:
        """How long to wait before asking again; 0 means propose now.

        `since_ns` is when this leader's turn began, `previous_ns` when the block before this one was made or
        first seen, `anything_to_say` whether there are transactions to propose or to push towards finality.
        """
        interval_ns = previous_ns + self._interval_ns - now_ns
        if interval_ns > 0:
            return interval_ns
        if self._propose_empty or anything_to_say or now_ns - since_ns >= self._patience_ns:
            return 0
        return self._poll_ns
