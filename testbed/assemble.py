"""From a scenario and its sky to a machine that is ready to run: explicit wiring, no registry, no branches later."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from consensus.protocols import load_protocol
from consensus.replica import Replica
from consensus.types import ReplicaId
from network.clock import VirtualClock
from network.faults import FaultChannel
from network.stack import channels
from node.chance import seed_bytes
from node.contract import Contract
from node.host import Host
from node.keys import Ed25519, Modelled, Notary
from node.store import MemoryStore, NoStore
from node.trace import Observer, Trace
from testbed.clients import clients_of, intake_of, lanes_of
from testbed.faults import crashes_of, windows_down
from testbed.terms import terms_of
from testbed.transport import Egress, Transport, transport_of
from testbed.watch import Watch, watch_run

if TYPE_CHECKING:
    from testbed.scenario import Scenario
    from testbed.sky import Sky

DOMAIN = b"quorbit"
"""What signatures of a run in virtual time are for."""


@dataclass(frozen=True, eq=False)
class Machine:
    """Everything one run in virtual time consists of."""

    watch: Watch
    clock: VirtualClock
    hosts: list[Host]
    notary: Notary
    struck: dict[int, FaultChannel]
    deeds: Counter[int]
    """What adversaries have done, by the number of their fault."""
    transport: Transport
    egress: Egress


def assemble(
    scenario: Scenario, sky: Sky, protocol: type[Replica] | None = None, observers: Sequence[Observer] = ()
) -> Machine:
    """Wire a run. `protocol` stands in for the scenario's, for tests of deliberately broken ones.

    `observers` watch beside the run's own.
    """
    name = scenario.consensus.protocol if protocol is None else f"{protocol.__module__}:{protocol.__qualname__}"
    protocol = protocol or load_protocol(name)
    terms = terms_of(scenario, sky, protocol)
    n = terms.committee.n
    contract = Contract(name, protocol, n)
    make_scheme = Ed25519.derived if terms.signatures == "ed25519" else Modelled
    notary = Notary(make_scheme(n, seed_bytes(terms.seed, "keys")), DOMAIN)
    lanes = lanes_of(scenario, n) if scenario.client else None
    mempool = terms.mempool() if lanes is None else lanes
    watch = watch_run(sky, protocol, terms, mempool, notary)
    deeds = Counter[int]()
    egress = Egress(n)
    clock = VirtualClock()
    trace = Trace([*watch.observers(), egress, *(() if lanes is None else (lanes,)), *observers])
    channel, struck = channels(terms.conditions, sky.whole_plan, terms.chance)
    down = [windows_down(windows) for windows in crashes_of(scenario, sky)]
    restarts = any(end_ns is not None for windows in down for _, end_ns in windows)
    store_class = MemoryStore if restarts else NoStore
    hosts = [
        Host(
            ReplicaId(i),
            terms.spawner(protocol, ReplicaId(i), mempool.payloads(ReplicaId(i)), deeds),
            clock=clock,
            notary=notary,
            store=store_class(),
            trace=trace,
            cpu=terms.cpu,
            contract=contract,
            windows_down=down[i],
        )
        for i in range(n)
    ]
    intake = None if lanes is None else intake_of(scenario, lanes, hosts, clock, trace)
    transport = transport_of(watch, clock, channel, hosts, intake)
    egress.transport = transport
    for host in hosts:
        host.attach(transport.bus)
    if intake is not None:
        intake.open(transport.bus, clients_of(scenario, sky.whole_plan, n))
    for host in hosts:
        host.power_on()
    return Machine(watch, clock, hosts, notary, struck, deeds, transport, egress)
