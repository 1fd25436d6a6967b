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


class ProposalPace(msgspec.Struct, frozen=True):
    """When a leader may propose: not before the block interval is over, and not an empty block if it need not.

    An idle leader still proposes when half the view's time is over, so that its followers see it alive.
    """

    interval_ns: int
    propose_empty: bool
    patience_ns: int
    poll_ns: int

    @classmethod
    def of(cls, seat: Seat, view_timeout_ns: int) -> ProposalPace:
        """That of a replica whose views last so long."""
        own, patience_ns = seat.parameters, view_timeout_ns // 2
        poll_ns = max(1, min(patience_ns, seat.delta_ns) // 16)
        return cls(round(own.block_interval_ms * 1e6), own.propose_empty, patience_ns, poll_ns)

    @property
    def longest_wait_ns(self) -> int:
        """How long after the beginning of its turn a leader proposes at the latest."""
        return max(self.interval_ns, 0 if self.propose_empty else self.patience_ns + self.poll_ns)

    def wait_ns(self, now_ns: int, since_ns: int, previous_ns: int, anything_to_say: bool) -> int:
        """How long to wait before asking again; 0 means propose now.

        `since_ns` is when this leader's turn began, `previous_ns` when the block before this one was made or
        first seen, `anything_to_say` whether there are transactions to propose or to push towards finality.
        """
        interval_ns = previous_ns + self.interval_ns - now_ns
        if interval_ns > 0:
            return interval_ns
        if self.propose_empty or anything_to_say or now_ns - since_ns >= self.patience_ns:
            return 0
        return self.poll_ns
