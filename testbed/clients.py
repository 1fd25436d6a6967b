"""From a scenario's `[[client]]` tables to what they submit, to whom, and the mempools that take it in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from network.clock import Clock
from network.plan import UNREACHABLE, Plan, Snapshot
from node.chance import numpy_random
from node.clients import Aim, Intake, Stream
from node.host import Host
from node.lanes import Lanes
from node.trace import Trace
from testbed.scenario.workload import Client
from testbed.tables import Transactions, read_transactions
from testbed.units import milliseconds

if TYPE_CHECKING:
    from testbed.scenario import Scenario

_CHUNK = 1024


def lanes_of(scenario: Scenario, n: int) -> Lanes:
    """The replicas' mempools."""
    return Lanes(n, scenario.workload.mempool_max_bytes)


def intake_of(scenario: Scenario, lanes: Lanes, hosts: Sequence[Host], clock: Clock, trace: Trace) -> Intake:
    """What takes transactions in and passes them on, by the scenario's rules. Who lacks a batch asks as those who lack
    a block do: at most once in 2Δ."""
    workload = scenario.workload
    return Intake(
        lanes,
        hosts,
        clock,
        trace,
        share_interval_ns=milliseconds(workload.share_interval_ms) if workload.share == "all" else None,
        patience_ns=2 * milliseconds(scenario.consensus.delta_ms),
    )


def clients_of(scenario: Scenario, whole_plan: Plan, n: int) -> list[tuple[Stream, Aim]]:
    """What each client submits and whom to; `whole_plan` has their places after those of the n replicas."""
    return [
        (_stream(scenario, number, client), _aim(client, whole_plan, n + number, n))
        for number, client in enumerate(scenario.client)
    ]


def _stream(scenario: Scenario, number: int, client: Client) -> Stream:
    size_bytes = scenario.workload.transaction_bytes
    if client.trace is not None:
        read = read_transactions(client.trace, size_bytes)
        return replay(read)
    assert client.transactions_per_s is not None, "a client has a rate or a trace"
    return poisson(numpy_random(scenario.seed, f"client/{number}"), client.transactions_per_s, size_bytes)


def replay(read: Transactions) -> Stream:
    """Transactions at the times they were written down for, some at a time: as Python's own numbers they are large."""
    for begin in range(0, len(read.at_ns), _CHUNK):
        some = slice(begin, begin + _CHUNK)
        yield from zip(read.at_ns[some].tolist(), read.size_bytes[some].tolist(), strict=True)


def poisson(rng: np.random.Generator, rate_per_s: float, size_bytes: int) -> Stream:
    """Transactions without end; gaps are exponential."""
    at_ns = 0
    while True:
        gaps_ns: list[int] = np.rint(rng.exponential(1e9 / rate_per_s, _CHUNK)).astype(np.int64).tolist()
        for gap_ns in gaps_ns:
            at_ns += gap_ns
            yield at_ns, size_bytes


def _aim(client: Client, whole_plan: Plan, source: int, n: int) -> Aim:
    replica = client.replica
    return _nearest(whole_plan, source, n) if replica is None else lambda now_ns: replica


def _nearest(whole_plan: Plan, source: int, n: int) -> Callable[[int], int]:
    """The replica with the least delay now, the lowest of several; replica 0, which it will not reach, if none is."""
    seen: Snapshot | None = None
    chosen = 0

    def nearest(now_ns: int) -> int:
        nonlocal seen, chosen
        snapshot = whole_plan.at(now_ns)
        if snapshot is not seen:
            delay_ns = snapshot.delay_ns[source, :n]
            seen, chosen = snapshot, int(np.where(delay_ns == UNREACHABLE, np.iinfo(np.int64).max, delay_ns).argmin())
        return chosen

    return nearest
