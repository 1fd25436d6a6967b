"""Carriages: all at once as a channel says, or hop by hop; without load and limits they are the same."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from network.bus import VirtualBus
from network.carriage import UNDER_WAY, Direct, HopByHop
from network.channel import Channel, Drop, Entrance, Processing, Propagation
from network.clock import VirtualClock
from network.constellation import Constellation
from network.dissemination import Flood, Multicast
from network.fabric import Fabric
from network.faults import Losing, Partition, Slow, Window
from network.ground import GroundStation
from network.isl import IslPolicy
from network.links import LinkRules, Topology
from network.mesh import PrivateLinks
from network.orbit import OrbitPlan
from network.plan import UNREACHABLE, IntArray, MatrixPlan, Outage
from network.walker import WalkerShell
from tests.network.meshes import END_NS, HandMade, Net, line

START = datetime(2026, 11, 22, tzinfo=UTC)
STATIONS = [GroundStation("quito", -0.18, -78.47, elevation_mask_deg=10), GroundStation("pole", 90, 0)]
MEMBERS = (
    *("gs/quito", "sat/s1/03/07", "sat/s1/15/01", "gs/pole", "sat/s1/03/07", "gs/quito"),
    *(f"sat/s1/{plane:02}/{index:02}" for plane in range(0, 20, 3) for index in range(0, 15, 4)),
)


@pytest.fixture(scope="module")
def orbit() -> OrbitPlan:
    """Frozen, and with infinite rates; the pole sees no satellite, and some satellites are down."""
    shell = WalkerShell("s1", "walker_delta", 20, 15, phasing=7, altitude_km=800, inclination_deg=53)
    topology = Topology(Constellation([shell], START), STATIONS, LinkRules({"s1": IslPolicy()}))
    return OrbitPlan(
        MEMBERS,
        topology,
        update_interval_ns=None,
        reconfiguration_interval_ns=None,
        outages=[Outage(0, None, endpoints=frozenset({"sat/s1/06/04", "sat/s1/04/07"}))],
    )


def arrivals(count: int, send: Any, clock: VirtualClock) -> IntArray:
    """int64[source, target]: when a message arrives, -1 if it does not; all sources send at the same time."""
    due_ns = np.full((count, count), -1)

    def receiver(member: int) -> Any:
        def receive(source: int, now_ns: int) -> None:
            assert due_ns[source, member] == -1, "it comes once"
            due_ns[source, member] = now_ns

        return receive

    receivers = [receiver(member) for member in range(count)]
    members = np.arange(count)
    for source in range(count):
        send(source, np.delete(members, source), receivers)
    assert not clock.run(END_NS, 10**9)
    return due_ns


def by_latency(plan: Any, processing_ns: int, size: int) -> IntArray:
    clock = VirtualClock()
    direct = Direct(clock, Processing(Propagation(plan), plan, processing_ns))

    def send(source: int, targets: IntArray, receivers: Any) -> None:
        direct.carry(source, targets, size, source, receivers, 0)

    return arrivals(len(plan.endpoints), send, clock)


def by_links(mesh_plan: Any, processing_ns: int, size: int, how: str) -> IntArray:
    clock = VirtualClock()
    fabric = Fabric(clock, mesh_plan, 0, processing_ns_per_hop=processing_ns)

    def send(source: int, targets: IntArray, receivers: Any) -> None:
        if how == "unicast":
            HopByHop(fabric, Entrance()).carry(source, targets, size, source, receivers, 0)
        elif how == "multicast":
            Multicast(fabric, Entrance(), receivers).spread(source, targets, size, source, 0)
        else:
            Flood(clock, fabric, Entrance(), receivers).spread(source, targets, size, source, 0)

    due_ns = arrivals(len(mesh_plan.senders), send, clock)
    assert fabric.account.missing(fabric.under_way()) == 0
    return due_ns


@pytest.mark.parametrize(
    ("how", "size", "processing_ns"),
    [
        ("unicast", 0, 0),
        ("unicast", 10**6, 1234),
        ("multicast", 0, 0),
        ("multicast", 10**6, 1234),
        # Routes are chosen by delay alone, and a flood is faster where hops cost something.
        ("flood", 10**6, 0),
    ],
)
def test_links_of_infinite_rates_are_latency_to_the_nanosecond(orbit, how, size, processing_ns):
    """Between all pairs: stations, satellites, members at one place, and those that nobody reaches."""
    expected = by_latency(orbit, processing_ns, size)
    assert (by_links(orbit, processing_ns, size, how) == expected).all()
    assert (expected[3] == -1).all()
    assert (expected[:, MEMBERS.index("sat/s1/06/04")] == -1).all()
    assert (expected > 0).mean() > 0.5
    assert expected[0, 5] == expected[5, 0] == expected[1, 4] == 0


def test_private_links_are_latency_to_the_nanosecond():
    rng = np.random.default_rng(1)
    delay_ns = rng.integers(1, 10**9, (12, 12))
    delay_ns[3, 5] = delay_ns[7] = UNREACHABLE
    plan = MatrixPlan([f"lab/{i}" for i in range(12)], delay_ns)
    for how in ("unicast", "multicast"):
        assert (by_links(PrivateLinks(plan), 70, 500, how) == by_latency(plan, 70, 500)).all()


# What a channel does to copies on their way into the fabric


def struck() -> Channel:
    """Of five members, 1 is cut off, what goes to 2 is lost, and 3 is 400 ns late."""
    side = np.zeros((3, 5, 5), dtype=np.bool_)
    for fault in range(3):
        side[fault, :, fault + 1] = True
    always = Window(0)
    channel: Channel = Partition(Entrance(), always, side[0])
    channel = Losing(channel, always, side[1], 1.0, np.random.default_rng(0))
    return Slow(channel, always, side[2], 400)


def test_hop_by_hop_carries_what_the_channel_lets_in_when_it_does():
    net = Net(HandMade(5, line(*[(10, 1.0)] * 4)))
    told = HopByHop(net.fabric, struck()).carry(0, np.array([1, 2, 3, 4]), 5, "x", net.receivers, 0)
    assert told.tolist() == [Drop.PARTITION, Drop.FAULT_LOSS, UNDER_WAY, UNDER_WAY]
    assert net.fabric.account.drops == {"partition": 1, "fault_loss": 1}
    assert net.missing == 0, "what has not entered yet does not count yet"
    assert net.run() == [(4 * 15, 4, "x"), (400 + 3 * 15, 3, "x")]
    assert net.fabric.account.entered == 4
    assert net.missing == 0


def test_a_bus_over_links():
    net = Net(HandMade(3, line((10, 0.0), (10, 0.0))))
    carriage = HopByHop(net.fabric, Entrance())
    spread = Multicast(net.fabric, Entrance(), net.receivers)
    bus = VirtualBus(carriage, net.receivers, spread)
    assert bus.broadcast(0, 100, "to all", 0).tolist() == [UNDER_WAY] * 2
    assert bus.send(2, 0, 100, "to one", 0).tolist() == [UNDER_WAY]
    assert sorted(net.run()) == [(10, 1, "to all"), (20, 0, "to one"), (20, 2, "to all")]
    assert (net.link(0, 1).messages, net.link(1, 0).messages) == (1, 1)
    with pytest.raises(ValueError, match="member 2 sent a message to itself"):
        bus.send(2, 2, 1, "z", 0)


def test_direct_copies_are_counted():
    clock = VirtualClock()
    plan = MatrixPlan(["a", "b", "c"], np.array([[0, 5, 6], [5, 0, UNREACHABLE], [6, 7, 0]]))
    seen = []
    direct = Direct(clock, Propagation(plan), lambda *passage: seen.append(passage))
    got: list[tuple[int, Any]] = []
    actions = [lambda parcel, due_ns: got.append((due_ns, parcel))] * 3
    assert direct.carry(1, np.array([0, 2]), 9, "x", actions, 1).tolist() == [6, Drop.NO_ROUTE]
    clock.run(99, 99)
    assert got == [(6, "x")]
    assert direct.copies == 2
    assert [(source, targets.tolist(), due_ns.tolist(), *rest) for source, targets, due_ns, *rest in seen] == [
        (1, [0, 2], [6, Drop.NO_ROUTE], 9, 1)
    ]
