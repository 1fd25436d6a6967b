"""From a scenario and its sky to a machine that is ready to run: explicit wiring, no registry, no branches later."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from consensus.protocols import load_protocol
from consensus.replica import Lottery, ProtocolFacts, Replica, Seat
from consensus.types import Committee, ReplicaId
from network.bus import Bus, Traffic
from network.channel import Channel, Loss, Processing, Propagation, RandomDelay, Transmission
from network.clock import VirtualClock
from network.faults import FaultChannel, Losing, Partition, Slow, Window
from network.plan import Plan
from node.host import Cpu, Host
from node.keys import Ed25519, Modelled, Notary
from node.mempool import Mempool
from node.store import MemoryStore, NoStore
from node.trace import Observer, Trace
from testbed.chance import numpy_random, python_random, seed_bytes
from testbed.checks import Agreement, CertificateSoundness, Check, CommitOrder, NoDoubleVote, Validity
from testbed.digest import Digest
from testbed.ledger import Ledger

if TYPE_CHECKING:
    from testbed.scenario import Fault, Scenario
    from testbed.sky import Sky


@dataclass(frozen=True)
class ActiveFault:
    """A fault of the scenario, and how to ask what it did."""

    kind: str
    target: tuple[str, ...]
    window_s: tuple[float, ...]
    effect: Callable[[], int]
    unit: str

    @property
    def name(self) -> str:
        """How messages call it."""
        return f"{self.kind} of {', '.join(self.target)}"


@dataclass(frozen=True, eq=False)
class Machine:
    """Everything one run consists of."""

    scenario: Scenario
    plan: Plan
    protocol: type[Replica]
    committee: Committee
    clock: VirtualClock
    bus: Bus
    hosts: list[Host]
    notary: Notary
    mempool: Mempool
    traffic: Traffic
    ledger: Ledger
    digest: Digest
    checks: list[Check]
    faults: list[ActiveFault]
    warnings: tuple[str, ...]

    @property
    def facts(self) -> ProtocolFacts:
        """What is known of the protocol before the run."""
        return self.protocol.facts


def milliseconds(value: float) -> int:
    """Milliseconds of a scenario as integer nanoseconds."""
    return round(value * 1e6)


def seconds(value: float) -> int:
    """Seconds of a scenario as integer nanoseconds."""
    return round(value * 1e9)


def assemble(scenario: Scenario, sky: Sky, protocol: type[Replica] | None = None) -> Machine:
    """Wire a run. `protocol` stands in for the scenario's, for tests of deliberately broken ones."""
    protocol = protocol or load_protocol(scenario.consensus.protocol)
    n = len(sky.plan.endpoints)
    committee = committee_of(scenario, protocol, sky.weights)
    scheme_class = Ed25519 if scenario.compute.signatures == "ed25519" else Modelled
    notary = Notary(scheme_class(n, seed_bytes(scenario.seed, "keys")), b"quorbit")
    mempool = _mempool(scenario)
    ledger, digest = Ledger(n), Digest(f"{protocol.facts.name}/{n}".encode())
    checks: list[Check] = [
        Agreement(),
        CommitOrder(n),
        Validity(protocol.facts, committee, notary, mempool),
        NoDoubleVote(protocol.facts, frozenset(range(n))),
        CertificateSoundness(protocol.facts, committee, notary),
    ]
    observers: list[Observer] = [digest, ledger, *checks]
    clock, trace = VirtualClock(), Trace(observers)
    channel, struck = _channel(scenario, sky)
    crashes = _crashes(scenario, sky)
    store_class = MemoryStore if any(end is not None for windows in crashes for _, end in windows) else NoStore
    cpu = Cpu(round(scenario.compute.sign_us * 1e3), round(scenario.compute.verify_us * 1e3))
    spawn = _spawner(scenario, protocol, committee, mempool)
    hosts = [
        Host(
            ReplicaId(i),
            spawn(ReplicaId(i)),
            clock=clock,
            notary=notary,
            store=store_class(),
            trace=trace,
            cpu=cpu,
            windows_down=crashes[i],
        )
        for i in range(n)
    ]
    traffic = Traffic(sky.plan)
    bus = Bus(clock, channel, [host.deliver for host in hosts], traffic)
    for host in hosts:
        host.attach(bus)
    return Machine(
        scenario=scenario,
        plan=sky.plan,
        protocol=protocol,
        committee=committee,
        clock=clock,
        bus=bus,
        hosts=hosts,
        notary=notary,
        mempool=mempool,
        traffic=traffic,
        ledger=ledger,
        digest=digest,
        checks=checks,
        faults=_faults(scenario, sky, struck, hosts),
        warnings=(*sky.warnings, *_quorum_warning(scenario, protocol, n), *_weights_warning(protocol, committee)),
    )


def committee_of(scenario: Scenario, protocol: type[Replica], weights: tuple[float, ...]) -> Committee:
    """The committee: one replica per weight, with the protocol's quorum or the scenario's."""
    return Committee.of(
        len(weights), resilience=protocol.facts.resilience, quorum=scenario.consensus.quorum, weights=weights
    )


def protocol_parameters(scenario: Scenario, protocol: type[Replica]) -> Any:
    """The protocol's own parameters, defaults filled in."""
    return msgspec.convert(scenario.consensus.parameters, protocol.Parameters)


def _quorum_warning(scenario: Scenario, protocol: type[Replica], n: int) -> tuple[str, ...]:
    quorum = scenario.consensus.quorum
    safe = Committee.of(n, resilience=protocol.facts.resilience).quorum
    if quorum is None or quorum == safe or protocol.facts.timeout_deltas is None:
        return ()
    kind = "unsafe" if quorum < safe else "larger than needed"
    return (f"consensus.quorum = {quorum} is {kind} for n = {n}: any two quorums share an honest replica from {safe}",)


def _weights_warning(protocol: type[Replica], committee: Committee) -> tuple[str, ...]:
    if isinstance(protocol.facts.shape, Lottery) or len(set(committee.weights)) == 1:
        return ()
    return (f"committee.weight is a share of hash power: {protocol.facts.name} gives every replica one vote",)


def _mempool(scenario: Scenario) -> Mempool:
    workload = scenario.workload
    rate = workload.transactions_per_s
    if not rate:
        return Mempool(None, workload.transaction_bytes)
    rng = numpy_random(scenario.seed, "workload")

    def gaps(count: int) -> list[int]:
        return [int(gap) for gap in np.rint(rng.exponential(1e9 / rate, count)).astype(np.int64)]

    return Mempool(gaps, workload.transaction_bytes)


def _spawner(
    scenario: Scenario, protocol: type[Replica], committee: Committee, mempool: Mempool
) -> Callable[[ReplicaId], Callable[[], Replica]]:
    parameters = protocol_parameters(scenario, protocol)
    timeout_ms = scenario.consensus.timeout_ms

    def for_replica(me: ReplicaId) -> Callable[[], Replica]:
        def spawn() -> Replica:
            seat = Seat(
                me=me,
                committee=committee,
                delta_ns=milliseconds(scenario.consensus.delta_ms),
                timeout_ns=None if timeout_ms is None else milliseconds(timeout_ms),
                random=python_random(scenario.seed, f"replica/{me}"),
                payloads=mempool.payload,
                block_max_bytes=scenario.workload.block_max_bytes,
                parameters=parameters,
            )
            return protocol(seat)

        return spawn

    return for_replica


def _channel(scenario: Scenario, sky: Sky) -> tuple[Channel, dict[int, FaultChannel]]:
    """The channel stack, innermost first, and the fault channels in it by the number of their fault."""
    network, plan = scenario.network, sky.plan
    channel: Channel
    if network.model in ("normal", "uniform"):
        channel = RandomDelay(plan, delay_draws(scenario, "delay"))
    else:
        channel = Propagation(plan)
        if network.processing_us_per_hop:
            channel = Processing(channel, plan, round(network.processing_us_per_hop * 1e3))
        if not network.laboratory:
            channel = Transmission(channel, plan)
    if network.loss:
        channel = Loss(channel, network.loss, numpy_random(scenario.seed, "loss"))
    struck: dict[int, FaultChannel] = {}
    for number, fault in enumerate(scenario.fault):
        if fault.kind in ("partition", "loss", "slow"):
            channel = struck[number] = _fault_channel(scenario, sky, channel, number, fault)
    return channel, struck


def _faults(scenario: Scenario, sky: Sky, struck: dict[int, FaultChannel], hosts: list[Host]) -> list[ActiveFault]:
    """Every fault of the scenario with how to ask what it did, in the scenario's order."""

    def effect(number: int, fault: Fault) -> tuple[Callable[[], int], str]:
        if fault.kind == "crash":
            targets = [hosts[replica] for replica in sky.target(fault.targets).replicas]
            return (lambda: sum(host.crashes for host in targets)), "crashes"
        if fault.kind == "outage":
            return (lambda: sky.outage_effect(fault)), "endpoints and links out"
        return (lambda: struck[number].affected), "messages"

    return [
        ActiveFault(fault.kind, fault.targets, tuple(fault.window_s), *effect(number, fault))
        for number, fault in enumerate(scenario.fault)
    ]


def delay_draws(scenario: Scenario, consumer: str) -> Callable[[int], np.typing.NDArray[np.float64]]:
    """`draw(count)`: independent one-way delays in ms of a `normal` or `uniform` network, for one consumer."""
    network, rng = scenario.network, numpy_random(scenario.seed, consumer)
    if network.model == "normal":
        mean, std = network.delay_mean_ms or 0.0, network.delay_std_ms or 0.0
        return lambda count: rng.normal(mean, std, count)
    low, high = network.delay_low_ms or 0.0, network.delay_high_ms or 0.0
    return lambda count: rng.uniform(low, high, count)


def _window(fault: Fault) -> Window:
    return Window(seconds(fault.begin_s), None if fault.end_s is None else seconds(fault.end_s))


def _fault_channel(scenario: Scenario, sky: Sky, inner: Channel, number: int, fault: Fault) -> FaultChannel:
    n = len(sky.plan.endpoints)
    target = sky.target(fault.targets)
    at_target = np.zeros(n, dtype=bool)
    at_target[list(target.replicas)] = True
    window = _window(fault)
    if fault.kind == "partition":
        return Partition.between(inner, window, at_target)
    touched = at_target[:, None] | at_target[None, :]
    for one, other in target.pairs:
        touched[one, other] = touched[other, one] = True
    if fault.kind == "slow":
        return Slow(inner, window, touched, milliseconds(fault.delay_ms or 0.0))
    return Losing(inner, window, touched, fault.rate or 0.0, numpy_random(scenario.seed, f"fault/{number}"))


def _crashes(scenario: Scenario, sky: Sky) -> list[list[tuple[int, int | None]]]:
    crashes: list[list[tuple[int, int | None]]] = [[] for _ in sky.plan.endpoints]
    for fault in scenario.fault:
        if fault.kind == "crash":
            window = _window(fault)
            for replica in sorted(sky.target(fault.targets).replicas):
                crashes[replica].append((window.begin_ns, window.end_ns))
    return crashes
