"""From a scenario's network to what carries its messages in virtual time: a carriage, perhaps a fabric, and how
broadcasts spread."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from consensus.messages import Block
from consensus.types import ReplicaId
from network.bus import Directions, VirtualBus
from network.carriage import Carriage, Direct, HopByHop
from network.channel import Channel
from network.clock import Action, VirtualClock
from network.compact import Compact, CompactRules
from network.dissemination import Dissemination, Flood, Multicast, Unicast
from network.fabric import Fabric
from network.gossip import Gossip, GossipRules, Receiver
from network.mesh import LinkClass, MeshPlan, PrivateLinks
from network.meter import Meter
from network.orbit import OrbitPlan
from network.plan import MatrixPlan
from network.shreds import ShredRules, Shreds
from node.chance import python_random
from node.clients import Intake
from node.host import Host
from node.trace import Observer
from node.wire import Envelope
from testbed.peers import peers_of
from testbed.scenario.dissemination import WHOLE
from testbed.units import milliseconds, seconds

if TYPE_CHECKING:
    from testbed.scenario import Scenario
    from testbed.sky import Sky
    from testbed.watch import Watch


@dataclass(frozen=True, eq=False)
class Transport:
    """What carries messages in one run."""

    bus: VirtualBus
    carriage: Direct | HopByHop
    fabric: Fabric | None
    dissemination: Dissemination
    meter: Meter
    compact: Compact | None

    @property
    def copies(self) -> int:
        """How many copies have been sent from member to member, where no fabric counts them."""
        return self.carriage.copies if isinstance(self.carriage, Direct) else 0


class Egress(Observer):
    """How much each proposer itself sends, at once, of each proposal."""

    def __init__(self, n: int) -> None:
        self.per_proposal = array("q")
        self.transport: Transport | None = None
        self._directions = Directions(n)
        self._spared_before = 0

    def proposed(self, now_ns: int, replica: ReplicaId, block: Block, message: Any) -> None:
        """The next that anybody sends is the proposal."""
        self._spared_before = self._spared_bytes()

    def sent(self, now_ns: int, envelope: Envelope, due_ns: Any, taken_ns: int) -> None:
        if envelope.to is None and envelope.message.proposes() is not None and self.transport is not None:
            targets = self._directions.targets(envelope.sender, None)
            whole_bytes = self.transport.dissemination.egress_bytes(envelope.sender, targets, envelope.size_bytes)
            self.per_proposal.append(whole_bytes - (self._spared_bytes() - self._spared_before))

    def _spared_bytes(self) -> int:
        compact = None if self.transport is None else self.transport.compact
        return 0 if compact is None else compact.spared_bytes


def transport_of(
    watch: Watch, clock: VirtualClock, channel: Channel, hosts: Sequence[Host], intake: Intake | None = None
) -> Transport:
    """What the scenario's network comes to; `intake` stands before the hosts, where there are clients."""
    scenario, sky = watch.scenario, watch.sky
    meter = Meter(len(sky.whole_plan.endpoints))
    fabric: Fabric | None = None
    carriage: Direct | HopByHop
    if scenario.network.model == "links":
        fabric = fabric_of(scenario, sky, clock, meter, intake)
        carriage = HopByHop(fabric, channel, meter)
    else:
        count = None if _leaves_no_trace(sky) else watch.traffic.count
        carriage = Direct(clock, channel, count, meter)
    receivers: Sequence[Action] = [host.deliver for host in hosts] if intake is None else intake.receivers
    compact = _compact(watch, carriage, hosts) if scenario.network.compact.enabled else None
    bodies: Carriage = carriage if compact is None else compact
    spread: dict[str, Callable[[], Dissemination]] = {
        "unicast": lambda: Unicast(bodies, receivers),
        "multicast": lambda: Multicast(_there(fabric), channel, receivers, meter),
        "flood": lambda: Flood(clock, _there(fabric), channel, receivers, _validation_ns(scenario), meter),
        "gossip": lambda: _gossip(scenario, clock, carriage, bodies, receivers, hosts),
        "shreds": lambda: _shreds(scenario, carriage, receivers, hosts),
    }
    dissemination = spread[scenario.network.dissemination]()
    return Transport(VirtualBus(carriage, receivers, dissemination), carriage, fabric, dissemination, meter, compact)


def mesh_plan_of(sky: Sky) -> MeshPlan:
    """The links behind the delays of a sky."""
    if isinstance(sky.whole_plan, OrbitPlan):
        return sky.whole_plan
    assert isinstance(sky.whole_plan, MatrixPlan), "there is no other plan"
    return PrivateLinks(sky.whole_plan)


def fabric_of(
    scenario: Scenario, sky: Sky, clock: VirtualClock, meter: Meter | None = None, intake: Intake | None = None
) -> Fabric:
    """The links of a scenario."""
    network = scenario.network
    space = (LinkClass.GSL_UP, LinkClass.GSL_DOWN)

    def buffer_bytes(kind: LinkClass) -> float:
        return (network.gsl_buffer_mb if kind in space else network.isl_buffer_mb) * 1e6

    return Fabric(
        clock,
        mesh_plan_of(sky),
        seconds(scenario.duration_s),
        mtu_bytes=network.mtu_bytes,
        buffer_bytes=buffer_bytes,
        processing_ns_per_hop=round(network.processing_us_per_hop * 1e3),
        vanished="lost" if network.vanished_links == "lose" else "rerouted",
        meter=meter,
        **({} if intake is None else {"lost": intake.lost}),
    )


def _there(fabric: Fabric | None) -> Fabric:
    assert fabric is not None, 'only model = "links" has multicast and flood'
    return fabric


def _validation_ns(scenario: Scenario) -> int:
    return round(scenario.network.validation_us * 1e3)


def _gossip(
    scenario: Scenario,
    clock: VirtualClock,
    carriage: Carriage,
    bodies: Carriage,
    receivers: Sequence[Receiver],
    hosts: Sequence[Host],
) -> Gossip:
    table = scenario.network.gossip
    rules = GossipRules(
        push=table.push,
        lazy=table.lazy,
        announcement_bytes=table.announcement_bytes,
        request_bytes=table.request_bytes,
        heartbeat_ns=milliseconds(table.heartbeat_ms),
        retry_ns=milliseconds(table.retry_ms),
        rounds=table.rounds,
        round_ns=milliseconds(table.round_ms),
    )
    in_the_way = scenario.network.model == "internet" and table.announcement_bytes >= scenario.network.small_below_bytes
    return Gossip(
        clock,
        carriage,
        receivers,
        peers_of(scenario, len(hosts)),
        rules,
        python_random(scenario.seed, "gossip"),
        bodies=bodies,
        validation_ns=_validation_ns(scenario),
        up=lambda member: hosts[member].up,
        spare=carriage if isinstance(carriage, Direct) and carriage.untraced and not in_the_way else None,
    )


def _leaves_no_trace(sky: Sky) -> bool:
    """Whether there is nothing to count below the messages: neither links nor losses, nor pairs without a route."""
    network, plan = sky.scenario.network, sky.whole_plan
    faultless = not network.loss and all(fault.kind == "byzantine" for fault in sky.scenario.fault)
    return network.laboratory and faultless and not (plan.at(0).delay_ns < 0).any()


def _shreds(scenario: Scenario, carriage: Carriage, receivers: Sequence[Receiver], hosts: Sequence[Host]) -> Shreds:
    table = scenario.network.shreds
    return Shreds(
        carriage,
        receivers,
        ShredRules(table.data, table.parity, table.fanout, table.header_bytes, table.whole_below_bytes),
        python_random(scenario.seed, "shreds"),
        up=lambda member: hosts[member].up,
    )


def _compact(watch: Watch, carriage: Carriage, hosts: Sequence[Host]) -> Compact:
    scenario = watch.scenario
    table = scenario.network.compact

    def sizes(parcel: Any, size_bytes: int) -> tuple[int, int]:
        """A copy of gossip is (rumour, sender). Only blocks have anything to leave out, and only where references are
        smaller."""
        parcel = parcel[0].parcel if type(parcel) is tuple else parcel
        if type(parcel) is not Envelope or not parcel.message.payload_count:
            return size_bytes, 0
        message = parcel.message
        left_out_bytes = max(0, message.payload_bytes - table.reference_bytes * message.payload_count)
        return size_bytes - left_out_bytes, left_out_bytes

    rules: dict[str | None, CompactRules | None] = {
        kind.name: CompactRules(kind.misses, kind.missing, table.request_bytes) for kind in table.receiver
    }
    rules |= {None: CompactRules(table.misses, table.missing, table.request_bytes), WHOLE: None}
    of_each = [rules[block.receiver] for block in watch.sky.blocks]
    return Compact(
        carriage, sizes, of_each, python_random(scenario.seed, "compact"), up=lambda member: hosts[member].up
    )
