"""From a scenario's tables and units to the terms that hosts and channels work by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from consensus.byzantine import TIMEOUTS_PER_ROUND, Schedule, Scheme
from consensus.pacemaker import epoch_ns
from consensus.protocols import load_protocol
from consensus.replica import Lockstep, ProtocolFacts, Replica
from consensus.types import Committee
from network.faults import Window
from network.internet import InternetRules
from network.stack import Conditions, Draws, Strike
from node.cpu import Cpu
from node.terms import Terms
from testbed.members import places_of
from testbed.tables import read_regions
from testbed.units import milliseconds, seconds

if TYPE_CHECKING:
    from testbed.scenario import Fault, Scenario
    from testbed.sky import Sky


def terms_of(scenario: Scenario, sky: Sky, protocol: type[Replica]) -> Terms:
    """The terms of a scenario's run."""
    timeout_ms, folder = scenario.consensus.timeout_ms, scenario.consensus.protocol_folder
    return Terms(
        protocol=scenario.consensus.protocol,
        protocol_folder=None if folder is None else str(folder),
        parameters=scenario.consensus.parameters,
        committee=committee_of(scenario, protocol, sky.weights),
        delta_ns=milliseconds(scenario.consensus.delta_ms),
        timeout_ns=None if timeout_ms is None else milliseconds(timeout_ms),
        seed=scenario.seed,
        duration_ns=seconds(scenario.duration_s),
        transactions_per_s=scenario.workload.transactions_per_s or 0.0,
        transaction_bytes=scenario.workload.transaction_bytes,
        block_max_bytes=scenario.workload.block_max_bytes,
        signatures=scenario.compute.signatures,
        cpu=cpu_of(scenario),
        conditions=conditions_of(scenario, sky),
        schemes=schemes_of(scenario, sky, protocol),
    )


def cpu_of(scenario: Scenario) -> Cpu:
    """What everything costs that a replica computes."""
    compute = scenario.compute

    def rounded(cost_us: float | None) -> int:
        return round((cost_us or 0.0) * 1e3)

    return Cpu(
        sign_ns=rounded(compute.sign_us),
        verify_ns=rounded(compute.verify_us),
        verification=compute.verification,
        batch_base_ns=rounded(compute.batch_base_us),
        batch_ns=rounded(compute.batch_us),
        aggregate_base_ns=rounded(compute.aggregate_base_us),
        aggregate_ns=rounded(compute.aggregate_us),
        hash_ps_per_byte=round(compute.hash_us_per_mb),  # the same number: 1e-6/1e6 s
        execute_ns=rounded(compute.execute_us),
    )


def committee_of(scenario: Scenario, protocol: type[Replica], weights: tuple[float, ...]) -> Committee:
    """The committee: one replica per weight, with the protocol's quorum or the scenario's."""
    return Committee.of(
        len(weights), resilience=protocol.facts.resilience, quorum=scenario.consensus.quorum, weights=weights
    )


def protocol_parameters(scenario: Scenario, protocol: type[Replica]) -> Any:
    """The protocol's own parameters, defaults filled in."""
    return msgspec.convert(scenario.consensus.parameters, protocol.Parameters)


def epoch_of(scenario: Scenario, facts: ProtocolFacts) -> int | None:
    """How long an epoch lasts, in ns, if the protocol proceeds in lock-step."""
    if not isinstance(facts.shape, Lockstep):
        return None
    timeout_ms = scenario.consensus.timeout_ms
    timeout_ns = None if timeout_ms is None else milliseconds(timeout_ms)
    assert facts.timeout_deltas is not None, "a lock-step protocol has epochs"
    parameters = protocol_parameters(scenario, load_protocol(scenario.consensus.protocol))
    return epoch_ns(timeout_ns, milliseconds(scenario.consensus.delta_ms), facts.timeout_deltas, parameters)


def draws_of(scenario: Scenario) -> Draws | None:
    """How a `normal` or `uniform` network draws its one-way delays; None for all others."""
    network = scenario.network
    if network.model == "normal":
        return Draws("normal", network.delay_mean_ms or 0.0, network.delay_std_ms or 0.0)
    if network.model == "uniform":
        return Draws("uniform", network.delay_low_ms or 0.0, network.delay_high_ms or 0.0)
    return None


def internet_of(scenario: Scenario, endpoints: Sequence[str]) -> InternetRules | None:
    """The regions and uplinks of an `internet` network with members at these endpoints; None for all others."""
    network = scenario.network
    if network.regions_file is None:
        return None
    regions = read_regions(network.regions_file)
    return InternetRules(
        regions=regions,
        places=places_of(scenario, regions, endpoints),
        until_arrival=network.uplink == "until_arrival",
        small_below_bytes=network.small_below_bytes,
        small_message_ns=milliseconds(network.small_message_ms),
        processing_ns=round(network.processing_us_per_hop * 1e3),
    )


def conditions_of(scenario: Scenario, sky: Sky) -> Conditions:
    """What the scenario's network and its faults do to a passage."""
    network = scenario.network
    return Conditions(
        draws=draws_of(scenario),
        internet=internet_of(scenario, sky.whole_plan.endpoints),
        processing_ns_per_hop=round(network.processing_us_per_hop * 1e3),
        transmission=not network.laboratory,
        by_links=network.model == "links",
        loss=network.loss,
        strikes=tuple(
            _strike(sky, number, fault)
            for number, fault in enumerate(scenario.fault)
            if fault.kind in ("partition", "loss", "slow")
        ),
    )


def schemes_of(scenario: Scenario, sky: Sky, protocol: type[Replica]) -> tuple[Scheme, ...]:
    """What the scenario's Byzantine replicas do."""
    view_ns = view_ns_of(scenario, protocol.facts)
    return tuple(
        _scheme(sky, number, fault, view_ns) for number, fault in enumerate(scenario.fault) if fault.kind == "byzantine"
    )


def view_ns_of(scenario: Scenario, facts: ProtocolFacts) -> int:
    """How long a view may last, in ns; 0 where there are none."""
    timeout_ms = scenario.consensus.timeout_ms
    if timeout_ms is not None:
        return milliseconds(timeout_ms)
    return round((facts.timeout_deltas or 0) * milliseconds(scenario.consensus.delta_ms))


def _scheme(sky: Sky, number: int, fault: Fault, view_ns: int) -> Scheme:
    assert fault.behaviour is not None, "a byzantine fault has a behaviour"
    window, victims = window_of(fault), fault.victim_names
    schedule = None
    if fault.leaders is not None and fault.partitions is not None:
        schedule = Schedule(fault.leaders, fault.partitions, TIMEOUTS_PER_ROUND * view_ns)
    return Scheme(
        number=number,
        behaviour=fault.behaviour,
        replicas=tuple(sorted(sky.target(fault.targets).replicas)),
        begin_ns=window.begin_ns,
        end_ns=window.end_ns,
        victims=None if victims is None else tuple(sorted(sky.target(victims).replicas)),
        delay_ns=None if fault.delay_ms is None else milliseconds(fault.delay_ms),
        schedule=schedule,
    )


def window_of(fault: Fault) -> Window:
    """When a fault is on."""
    return Window(seconds(fault.begin_s), None if fault.end_s is None else seconds(fault.end_s))


def _strike(sky: Sky, number: int, fault: Fault) -> Strike:
    target, window = sky.target(fault.targets), window_of(fault)
    assert fault.kind in ("partition", "loss", "slow")
    return Strike(
        number=number,
        kind=fault.kind,
        begin_ns=window.begin_ns,
        end_ns=window.end_ns,
        members=tuple(sorted(target.replicas | target.clients)),
        pairs=tuple(sorted(target.pairs)),
        delay_ns=milliseconds(fault.delay_ms or 0.0),
        probability=fault.rate or 0.0,
    )
