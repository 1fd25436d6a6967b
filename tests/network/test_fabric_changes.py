"""Links that vanish and come back, and the account of all copies through every kind of misfortune."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from network.fabric import Fabric
from network.plan import UNREACHABLE
from tests.network.meshes import END_NS, HandMade, Net, both_ways, line

SHORT = both_ways((0, 1, 1000, 1.0), (1, 2, 1000, 1.0))
"""From node 0 over 1 to 2, or over 3 where that is not possible any more."""
LONG = both_ways((0, 1, 1000, 1.0), (0, 3, 4000, 1.0), (3, 2, 4000, 1.0))
BOTH = {**SHORT, **LONG}


def changing(at_ns: int, vanished: str, **settings) -> Net:
    """The link from 1 to 2 vanishes."""
    return Net(HandMade(4, BOTH, (at_ns, LONG)), vanished=vanished, **settings)


# Lost


def test_what_is_on_a_vanished_link_is_lost_whether_it_flies_or_waits():
    net = changing(1500, "lost")
    for number in range(4):
        net.send(100 * number, 1, 2, 400, number)
    # One has arrived at 1400, one is on its way, one is being transmitted, one waits.
    assert net.run() == [(1400, 2, 0)]
    assert net.fabric.account.drops == {"link_lost": 3}
    assert net.missing == 0


def test_what_is_not_on_a_vanished_link_goes_another_way_by_itself():
    net = changing(1000, "lost")
    net.send(0, 0, 2, 400)
    assert net.run() == [(1400 + 1400 + 4400 + 4400, 2, None)]
    assert net.fabric.account.rerouted == 0


@pytest.mark.parametrize("at_ns", [50, 150, 4_000, 9_900])
@pytest.mark.parametrize("vanished", ["lost", "rerouted"])
@pytest.mark.parametrize("second", [1.0, 0.5, 2.0])
@pytest.mark.parametrize("tree", [False, True])
def test_a_message_is_on_a_link_until_its_last_packet_has_crossed_it(at_ns, vanished, second, tree):
    """10,000 bytes in packets of 100: the first packet is far ahead when the link that the others are on vanishes."""
    edges = {**BOTH, (1, 2): (1000, second)}
    without = {ends: rates for ends, rates in edges.items() if set(ends) != {0, 1}}
    net = Net(HandMade(4, edges, (at_ns, without)), mtu_bytes=100, vanished=vanished)
    if tree:
        net.spread(0, 0, [1, 2], 10_000)
    else:
        net.send(0, 0, 2, 10_000)
    got = {member: due_ns for due_ns, member, _ in net.run()}
    copies = 2 if tree else 1
    if vanished == "lost":
        assert got == {}
        assert net.fabric.account.drops == {"link_lost": copies}
    else:
        # Over 3, again from node 0: whole, or what had not come to node 1 of packets that go on from there one by one.
        here = sum(1100 + 100 * number <= at_ns for number in range(100)) if second < 1.0 else 0
        alone_ns = at_ns + 100 * (100 - here) + 4_000 + 100 + 4_000
        assert got[2] == alone_ns if not tree else alone_ns <= got[2] <= alone_ns + 10_000
        assert len(got) == copies
        assert net.fabric.account.rerouted >= copies
    delays = net.fabric.account.delays
    assert min(delays.transmission_ns, delays.queueing_ns, delays.propagation_ns) >= 0
    assert net.missing == 0


def test_links_that_stay_keep_what_is_on_them_and_their_queues():
    net = changing(600, "lost")
    net.send(0, 0, 1, 500, "flies")
    net.send(0, 0, 1, 500, "waits")
    net.send(700, 0, 1, 500, "later")
    assert net.run() == [(1500, 1, "flies"), (2000, 1, "waits"), (2500, 1, "later")]


def test_a_link_that_comes_back_has_an_empty_queue_and_remembers_what_it_carried():
    net = Net(HandMade(3, SHORT, (1000, line((1000, 1.0))), (2000, SHORT)))
    link = net.link(1, 2)
    net.send(0, 1, 2, 500, "arrives too late")
    net.send(0, 1, 2, 50_000, "waits too long")
    net.send(2000, 1, 2, 500, "new")
    assert net.run() == [(3500, 2, "new")]
    assert net.link(1, 2) is link
    assert (link.messages, link.longest_wait_ns) == (3, 500)
    assert net.fabric.account.drops == {"link_lost": 2}


def test_a_link_has_been_busy_for_as_long_as_it_has_transmitted():
    """400 bytes, then 600 of 3,000 before it vanishes; afterwards 700, seen in the middle of them."""
    net = Net(HandMade(3, SHORT, (1000, line((1000, 1.0))), (2000, SHORT)))
    link = net.link(1, 2)
    net.send(0, 1, 2, 400)
    net.send(0, 1, 2, 3000)
    net.send(2000, 1, 2, 700)
    for now_ns, busy_ns in (
        (300, 300),
        (900, 900),
        (1500, 1000),
        (2000, 1000),
        (2300, 1300),
        (2700, 1700),
        (9000, 1700),
    ):
        net.run(now_ns)
        assert link.busy_ns(now_ns) == busy_ns


def test_without_another_way_what_is_rerouted_has_none():
    net = Net(HandMade(3, SHORT, (1200, line((1000, 1.0)))), vanished="rerouted")
    net.send(0, 1, 2, 500)
    assert net.run() == []
    assert net.fabric.account.drops == {"no_route": 1}
    assert net.missing == 0


# Rerouted


def test_what_is_on_a_vanished_link_begins_anew_at_the_node_before():
    net = changing(1500, "rerouted")
    for number in range(4):
        net.send(100 * number, 1, 2, 400, number)
    # Back to 0, and over 3: each after the other, in their order.
    first_ns = 1500 + 1400 + 4400 + 4400
    assert net.run() == [(1400, 2, 0), *((first_ns + 400 * later, 2, 1 + later) for later in range(3))]
    assert net.fabric.account.rerouted == 3
    assert net.missing == 0


@given(st.lists(st.tuples(st.integers(0, 1500), st.integers(1, 400)), min_size=1, max_size=30))
def test_rerouted_messages_keep_their_order(messages):
    net = changing(1600, "rerouted")
    for number, (at_ns, size) in enumerate(sorted(messages)):
        net.send(at_ns, 1, 2, size, number)
    late = [number for due_ns, _, number in net.run() if due_ns > 1600]
    assert late == sorted(late)
    assert len(net.got) == len(messages)


def test_time_lost_on_a_vanished_link_is_waiting():
    """One message was under way there for 1,100 ns, one waited for 400 and was transmitted for 700."""
    net = changing(1500, "rerouted", processing_ns_per_hop=10)
    net.send(400, 1, 2, 400)
    net.send(400, 1, 2, 4000)
    net.run()
    # The second one waits for the first on the first link of the other way, and its first packet goes ahead.
    assert net.times_ns == [1500 + 1410 + 4410 + 4410, 1500 + 400 + 2510 + 5510 + 8010]
    delays = net.fabric.account.delays
    assert delays.propagation_ns == 2 * 9000
    assert delays.processing_ns == 2 * 3 * 10
    assert delays.queueing_ns == 1100 + 1100 + 400
    assert delays.transmission_ns == 3 * 400 + (2 * 1500 + 4000)


def test_a_tree_does_not_use_links_that_have_vanished_meanwhile():
    for vanished, expected in (("lost", [1]), ("rerouted", [1, 2])):
        net = changing(1200, vanished)
        net.spread(0, 0, [1, 2], 400)
        net.run()
        assert [member for _, member, _ in net.got] == expected
        assert net.missing == 0
    assert net.got[-1][0] == 1400 + 1400 + 4400 + 4400
    assert net.fabric.account.rerouted == 1


def test_packets_that_come_in_for_a_vanished_link_go_on_when_they_are_there():
    """1,000 bytes come to node 1 at 10 ns a byte; the faster link onward vanishes when half of them are there."""
    slow = {(0, 1): (0, 10.0), (1, 3): (50_000, 1.0), (3, 2): (0, 1.0)}
    net = Net(HandMade(4, {**slow, (1, 2): (0, 1.0)}, (5_500, slow)), vanished="rerouted", mtu_bytes=100)
    net.send(0, 0, 2, 1000)
    # The last packet is at node 1 after 10,000 ns, and takes 100 ns on each of two links.
    assert net.run() == [(10_000 + 50_000 + 200, 2, None)]
    assert net.missing == 0


@pytest.mark.parametrize("vanished", ["lost", "rerouted"])
def test_hops_are_lost_with_their_link(vanished):
    net = changing(1500, vanished)
    net.relay(200, [1, 2], 400)
    net.relay(0, [1, 0], 10_000)
    assert net.run() == [(11_000, 0, None)]
    assert net.fabric.account.drops == {"link_lost": 1}
    assert net.missing == 0


# Conservation


class World(random.Random):
    """A random network, and random messages through it."""

    def plan(self) -> HandMade:
        nodes = self.randint(3, 6)
        pairs = [(a, b) for a in range(nodes) for b in range(a)]

        def edges() -> dict:
            some = self.sample(pairs, self.randint(1, len(pairs)))
            return both_ways(*((a, b, self.choice([0, 300, 700]), rate[a, b]) for a, b in some))

        rate = {pair: self.choice([0.0, 1.0, 3.0, 10.0]) for pair in pairs}
        later = [(at_ns, edges()) for at_ns in sorted(self.sample(range(1, 6000), self.randint(0, 5)))]
        # Two members at node 0, and one at node 1 that receives at node 2: nobody passes on there.
        senders, receivers = [0, 0, 1, *range(nodes)], [0, 0, 2, *range(nodes)]
        return HandMade(
            nodes,
            edges(),
            *later,
            senders=senders,
            receivers=receivers,
            within_ns=self.choice([0, 5, UNREACHABLE]),
        )

    def settings(self) -> dict:
        room = self.choice([float("inf"), 150, 600])
        return {
            "mtu_bytes": self.choice([40, 150, 1500]),
            "buffer_bytes": lambda kind: room,
            "vanished": self.choice(["lost", "rerouted"]),
            "processing_ns_per_hop": self.choice([0, 9]),
        }

    def load(self, net: Net) -> None:
        members = range(len(net.receivers))
        for parcel in range(self.randint(1, 25)):
            at_ns, size, source = self.randint(0, 5000), self.randint(1, 400), self.choice(members)
            others = [member for member in members if member != source]
            what = self.random()
            if what < 0.5:
                net.send(at_ns, source, self.choice(others), size, parcel)
            elif what < 0.9:
                net.spread(at_ns, source, sorted(self.sample(others, self.randint(1, len(others)))), size, parcel)
            else:
                net.relay(at_ns, self.choice([(link.tail, link.head) for link in net.fabric.wiring.links]), size)


def misfortunes(seed: int, fabric: type[Fabric] = Fabric) -> tuple[Net, set[int]]:
    """A run, and by how many copies the account was wrong at the moments at which somebody looked."""
    world = World(seed)
    net = Net(world.plan(), fabric, **world.settings())
    world.load(net)
    wrong = set()
    for now_ns in (*sorted(world.sample(range(1, 9000), 12)), END_NS):
        net.run(now_ns)
        wrong.add(net.missing)
    return net, wrong


@given(st.integers(0, 2**32))
def test_every_copy_is_delivered_dropped_or_under_way(seed):
    net, wrong = misfortunes(seed)
    assert wrong == {0}
    assert net.fabric.under_way() == 0
    account = net.fabric.account
    assert account.delivered == len(net.got)
    assert (
        max(Counter((member, parcel) for _, member, parcel in net.got if parcel is not None).values(), default=1) == 1
    )
    delays = account.delays
    assert min(delays.propagation_ns, delays.transmission_ns, delays.queueing_ns, delays.processing_ns) >= 0


class Silent(Fabric):
    """Drops without a word."""

    def _drop(self, flight, reason, members):
        pass


class Stranding(Fabric):
    """Forgets what was on a link that vanishes."""

    def _strand(self, flight, link, now_ns):
        flight.gone = flight.gone or link is not None


class Twice(Fabric):
    """Delivers twice."""

    def _complete(self, flight, now_ns):
        super()._complete(flight, now_ns)
        if flight.message is None:
            super()._complete(flight, now_ns)


class Forking(Fabric):
    """Goes on twice from every node of a tree."""

    def _branch(self, flight, node, now_ns):
        super()._branch(flight, node, now_ns)
        super()._branch(flight, node, now_ns)


class OncePerPacket(Fabric):
    """Counts each lost packet as a message."""

    def _drop(self, flight, reason, members):
        self.account.drops[reason.name.lower()] += len(members)


class Swallowing(Fabric):
    """Loses what crosses its third link."""

    def _arrive(self, flight, now_ns):
        if flight.hops != 2:
            super()._arrive(flight, now_ns)


@pytest.mark.parametrize("mutant", [Silent, Stranding, Twice, Forking, OncePerPacket, Swallowing])
def test_the_account_notices(mutant):
    assert any(misfortunes(seed, mutant)[1] != {0} for seed in range(60))
