"""What the committee is given to order: `[workload]`, and the `[[client]]`s that submit it from their places."""

from typing import Annotated, Literal

from testbed.scenario.base import Table
from testbed.scenario.quantities import Choice, Count, DataFile, Milliseconds, PerSecond, Positive, Text, WholeOrZero


class Workload(Table):
    """Transactions that arrive for ordering."""

    transactions_per_s: PerSecond | None = 1000.0
    """Mean rate of Poisson arrivals; every replica knows a transaction as soon as it arrives. Each [[client]] has a
    rate of its own instead."""
    transaction_bytes: Count = 250
    """Size of each transaction."""
    block_max_bytes: WholeOrZero = 1_000_000
    """The most bytes of transactions that a block carries. How soon the next block may follow is the protocol's
    parameter: `consensus.parameters` block_interval_ms, or block_interval_s for longest_chain."""
    mempool_max_bytes: Count | None = None
    """Transactions that a replica keeps, of those that came to it from clients, until it has committed them; who finds
    it full is dropped. No limit when left out."""
    share: Annotated[Literal["none", "all"], Choice()] = "all"
    """Whether a replica passes what clients send to it on to all others, so that any leader can propose it, or
    proposes it alone when it leads."""
    share_interval_ms: Milliseconds = 50.0
    """share = "all": how long a replica collects transactions before it passes them on together (50 ms is the default
    of Diem's shared mempool)."""


class Client(Table):
    """Somebody at a place who submits transactions to a replica."""

    at: Text
    """An endpoint: sat/SHELL/PLANE/INDEX, gs/NAME, net/NAME, or, in a laboratory, the place of a replica, lab/0."""
    to: Text = "nearest"
    """nearest, the replica with the least delay when the transaction is sent, be it up or not; or one of them, such as
    replica/3."""
    transactions_per_s: Positive | None = None
    """Mean rate of Poisson arrivals."""
    trace: DataFile | None = None
    """Instead of a rate: a CSV with a column at_s and, if wanted, bytes; one line for each transaction."""

    @property
    def replica(self) -> int | None:
        """Whom it submits to; None for the nearest."""
        return None if self.to == "nearest" else int(self.to.removeprefix("replica/"))
