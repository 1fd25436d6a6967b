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
from network.plan import Plan
from node.host import Cpu, Host
from node.keys import Ed25519, Modelled, Notary
from node.mempool import Mempool
from node.store import MemoryStore, NoStore
from node.trace import Observer, Trace
from testbed.chance import numpy_random, python_random, seed_bytes
from testbed.checks import Agreement, CertificateSoundness, Check, CommitOrder, NoDoubleVote, Validity
from testbed.digest import Digest
from testbed.faults import ActiveFault, active_faults, crashes_of, with_faults
from testbed.ledger import Ledger
from testbed.units import milliseconds

if TYPE_CHECKING:
    from testbed.scenario import Scenario
    from testbed.sky import Sky


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
    channel, struck = with_faults(_channel(scenario, sky.plan), scenario, sky)
    crashes = crashes_of(scenario, sky)
    restarts = any(window.end_ns is not None for windows in crashes for window in windows.values())
    store_class = MemoryStore if restarts else NoStore
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
            windows_down=[(window.begin_ns, window.end_ns) for window in crashes[i].values()],
        )
        for i in range(n)
    ]
    traffic = Traffic(sky.plan)
    bus = Bus(clock, channel, [host.deliver for host in hosts], traffic)
    for host in hosts:
        host.attach(bus)
    for host in hosts:
        host.power_on()
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
        faults=active_faults(scenario, sky, struck, crashes, hosts),
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


def _channel(scenario: Scenario, plan: Plan) -> Channel:
    """The channel stack without faults, innermost first."""
    network = scenario.network
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
    return channel


def delay_draws(scenario: Scenario, consumer: str) -> Callable[[int], np.typing.NDArray[np.float64]]:
    """`draw(count)`: independent one-way delays in ms of a `normal` or `uniform` network, for one consumer."""
    network, rng = scenario.network, numpy_random(scenario.seed, consumer)
    if network.model == "normal":
        mean, std = network.delay_mean_ms or 0.0, network.delay_std_ms or 0.0
        return lambda count: rng.normal(mean, std, count)
    low, high = network.delay_low_ms or 0.0, network.delay_high_ms or 0.0
    return lambda count: rng.uniform(low, high, count)
