"""One run in virtual time: assemble, let the clock run, fold the trace into a result."""

from __future__ import annotations

import gc
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from network.clock import TimeStandsStillError
from node.guard import PATIENCE_S, Guard
from testbed.assemble import Machine, assemble
from testbed.faults import fault_effects
from testbed.fold import Account, fold
from testbed.load import carried_by
from testbed.result import Result
from testbed.units import seconds

if TYPE_CHECKING:
    from consensus.replica import Replica
    from node.trace import Observer
    from testbed.scenario import Scenario
    from testbed.sky import Sky

_SLICE = 2_000
"""Deliveries between two looks at the wall clock."""
_STANDSTILL = 100_000
_STANDSTILL_ROUNDS = 20
"""So many deliveries, and so many from all to all, without time passing mean that it never will."""


@dataclass(frozen=True)
class Progress:
    """How far a run has come."""

    virtual_s: float
    duration_s: float
    blocks: int
    deliveries: int
    wall_s: float


def simulate(
    scenario: Scenario,
    *,
    progress: Callable[[Progress], None] | None = None,
    sky: Sky | None = None,
    protocol: type[Replica] | None = None,
    observers: Sequence[Observer] = (),
    enough: Callable[[], bool] | None = None,
    patience_s: float = PATIENCE_S,
    last_resort: Callable[[str], None] | None = None,
) -> Result:
    """Run a scenario in virtual time and return what happened.

    `sky` reuses one that was built before; `protocol` runs a class that has no name yet; `observers` are told of
    everything that happens. Ctrl-C, or `enough` once it is true, ends the run early: the result holds what was
    measured so far and is marked partial. Raises `ScenarioError` for mistakes that only the geometry shows, such as a
    committee larger than its shell, `TimeStandsStillError` where nothing takes time, and `ProtocolError` for a protocol
    that breaks, or one of whose handlers takes longer than `patience_s` on the wall; `last_resort` is told, in another
    thread, if the handler cannot be interrupted either.
    """
    if sky is None:
        from testbed.sky import build_sky

        sky = build_sky(scenario)
    machine = assemble(sky.scenario, sky, protocol, observers)
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    with _interrupt_stops(machine), no_collection():
        with Guard(patience_s, last_resort):
            partial = _run(machine, seconds(scenario.duration_s), progress, enough, wall_s)
        # Still uninterrupted: a second Ctrl-C must not lose what the first one saved.
        return fold(
            machine.watch, _account(machine, partial, time.perf_counter() - wall_s, time.process_time() - cpu_s)
        )


def _account(machine: Machine, partial: bool, wall_s: float, cpu_s: float) -> Account:
    watch, clock, hosts = machine.watch, machine.clock, machine.hosts
    reached_ns = clock.now_ns if partial else seconds(watch.scenario.duration_s)
    affected = machine.deeds | {number: channel.affected for number, channel in machine.struck.items()}
    return Account(
        bus="virtual",
        reached_ns=reached_ns,
        partial=partial,
        wall_s=wall_s,
        cpu_s=cpu_s,
        peak_rss_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
        deliveries=clock.delivered,
        verifications=machine.notary.verifications,
        work=[host.processor.work(reached_ns) for host in hosts],
        receiver_down=sum(host.receiver_down for host in hosts),
        carried=carried_by(machine, reached_ns),
        effects=fault_effects(watch.scenario, watch.sky, affected, [host.crashes_ns for host in hosts]),
    )


def _run(
    machine: Machine,
    end_ns: int,
    progress: Callable[[Progress], None] | None,
    enough: Callable[[], bool] | None,
    began_s: float,
) -> bool:
    """Run to the end; returns whether it was stopped before."""
    clock = machine.clock
    patience = _STANDSTILL + _STANDSTILL_ROUNDS * len(machine.hosts) ** 2
    before_ns, idle = -1, 0
    while clock.run(end_ns, _SLICE):
        idle = idle + _SLICE if clock.now_ns == before_ns else 0
        before_ns = clock.now_ns
        if idle > patience:
            raise TimeStandsStillError(clock.now_ns)
        if progress is not None:
            progress(_progress(machine, end_ns, began_s))
        if enough is not None and enough():
            break
    if progress is not None:
        progress(_progress(machine, end_ns, began_s))
    return clock.now_ns < end_ns


def _progress(machine: Machine, end_ns: int, began_s: float) -> Progress:
    clock = machine.clock
    return Progress(
        clock.now_ns / 1e9,
        end_ns / 1e9,
        len(machine.watch.ledger.blocks),
        clock.delivered,
        time.perf_counter() - began_s,
    )


@contextmanager
def _interrupt_stops(machine: Machine) -> Iterator[None]:
    """Make Ctrl-C end the run between two events instead of in the middle of one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(signum: int, frame: Any) -> None:
        machine.clock.stop()

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def no_collection() -> Iterator[None]:
    """Events make millions of short-lived tuples and no cycles: looking for some costs a tenth of the run."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
