"""Links whose delays fall in steps: what was sent later comes later all the same."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from network.fabric import Fabric
from tests.network.meshes import HandMade, Net, line

STEP_NS = 10_000


def stepping(delays_ns: Sequence[int], rates: Sequence[float], fabric: type[Fabric] = Fabric, **settings) -> Net:
    """A line whose links all have the same delay, another one every `STEP_NS`."""
    steps = [line(*((delay_ns, rate) for rate in rates)) for delay_ns in delays_ns]
    later = [(STEP_NS * number, edges) for number, edges in enumerate(steps[1:], 1)]
    return Net(HandMade(len(rates) + 1, steps[0], *later), fabric, **settings)


def parts_ns(net: Net) -> int:
    delays = net.fabric.account.delays
    return delays.propagation_ns + delays.transmission_ns + delays.queueing_ns + delays.processing_ns


@pytest.mark.parametrize(("rate", "came_ns"), [(0.0, 12_998), (1.0, 13_098)])
def test_what_is_sent_after_a_step_does_not_overtake_what_was_sent_before(rate: float, came_ns: int) -> None:
    """The delay falls by 500 ns between the first two, who were 4 ns apart; nobody is in the third one's way."""
    net = stepping((3_000, 2_500), (rate,))
    for number, at_ns in enumerate((9_998, 10_002, 10_600)):
        net.send(at_ns, 0, 1, 100, number)
    last_ns = 10_600 + 2_500 + round(100 * rate)
    assert net.run() == [(came_ns, 1, 0), (came_ns + 1, 1, 1), (last_ns, 1, 2)]
    delays, link = net.fabric.account.delays, net.link(0, 1)
    # The second waits for the transmitter until the first has left it. That it then flies for longer is no wait.
    waited_ns = max(0, round(100 * rate) - 4)
    held_ns = came_ns + 1 - 10_002 - waited_ns - round(100 * rate)
    assert 2_500 < held_ns < 3_000
    assert delays.propagation_ns == link.propagated_ns == 3_000 + held_ns + 2_500
    assert delays.queueing_ns == link.waited_ns == waited_ns
    assert delays.transmission_ns == 300 * rate
    assert net.missing == 0


def test_what_follows_a_train_comes_after_its_last_packet() -> None:
    """2,000 bytes for both members, in packets of 100 which pass node 1 one after the other. What follows on the link
    in the same nanosecond as the last of them, if not before it, would be handed to member 1 first."""
    net = stepping((5_000, 1_000), (1.0, 1.0), mtu_bytes=100)
    net.spread(9_000, 0, [1, 2], 2_000, "train")
    net.send(10_001, 0, 1, 50, "near")
    net.send(10_001, 0, 2, 50, "far")
    net.run()
    assert [(member, parcel) for _, member, parcel in net.got] == [
        (1, "train"),
        (1, "near"),
        (2, "train"),
        (2, "far"),
    ]
    assert net.times_ns[:2] == [9_000 + 2_000 + 5_000, 9_000 + 2_000 + 5_000 + 1]


def test_a_link_that_comes_back_has_nothing_on_it_to_overtake() -> None:
    slow, fast = line((5_000, 1.0)), line((1_000, 1.0))
    net = Net(HandMade(2, slow, (3_000, {}), (4_000, fast)))
    net.send(2_000, 0, 1, 100, "lost")
    net.send(4_000, 0, 1, 100, "new")
    assert net.run() == [(5_100, 1, "new")]


@st.composite
def steps(draw):
    """Delays, rates, and messages (at, targets, size) from node 0 around the steps."""
    delays_ns = draw(st.lists(st.integers(100, 3_000), min_size=2, max_size=5))
    rates = draw(st.lists(st.sampled_from([0.0, 0.3, 1.0, 2.0, 3.7]), min_size=2, max_size=2))
    near = st.builds(
        lambda step, after_ns: max(0, step * STEP_NS + after_ns),
        st.integers(0, len(delays_ns)),
        st.integers(-3_000, 3_000),
    )
    message = st.tuples(near, st.sampled_from([[1], [2], [1, 2]]), st.integers(1, 900))
    return delays_ns, rates, sorted(draw(st.lists(message, min_size=2, max_size=25)), key=lambda each: each[0])


def play(case, fabric: type[Fabric] = Fabric) -> Net:
    delays_ns, rates, messages = case
    net = stepping(delays_ns, rates, fabric, mtu_bytes=100, processing_ns_per_hop=3)
    for number, (at_ns, targets, size) in enumerate(messages):
        if len(targets) == 1:
            net.send(at_ns, 0, targets[0], size, number)
        else:
            net.spread(at_ns, 0, targets, size, number)
    net.run()
    return net


@given(steps())
def test_every_member_gets_everything_in_order_across_steps(case) -> None:
    delays_ns, _, messages = case
    net = play(case)
    for member in (1, 2):
        wanted = [number for number, (_, targets, _) in enumerate(messages) if member in targets]
        # What comes in one nanosecond has no order.
        assert [
            number for _, number in sorted((due_ns, number) for due_ns, to, number in net.got if to == member)
        ] == wanted
    # What it takes is in the parts of delay to the nanosecond, and light does not take longer than it once did, but for
    # the nanoseconds between those that are held back.
    sent_ns = sum(at_ns * len(targets) for at_ns, targets, _ in messages)
    assert parts_ns(net) == sum(net.times_ns) - sent_ns
    delays = net.fabric.account.delays
    assert min(delays.transmission_ns, delays.queueing_ns) >= 0
    hops = sum(sum(targets) for _, targets, _ in messages)
    assert min(delays_ns) * hops <= delays.propagation_ns <= (max(delays_ns) + len(messages)) * hops
