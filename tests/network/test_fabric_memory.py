"""What the fabric keeps: what is under way, and nothing of what has been."""

from __future__ import annotations

import gc
import tracemalloc

from network.fabric import Fabric
from network.flight import Flight, Packets
from tests.network.meshes import HandMade, Net, line

WAVE_NS = 10_000_000
SLOW_THEN_FAST = ((10_000, 8.0), (10_000, 1.0), (10_000, 4.0))
"""Behind the first link messages go on in packets."""


def alive() -> int:
    gc.collect()
    return sum(isinstance(each, Flight | Packets) for each in gc.get_objects())


def waves(count: int, size: int, fabric: type[Fabric] = Fabric) -> tuple[list[int], list[int], list[int]]:
    """So many waves of so many messages, each over before the next one: after every wave, the flights that are left
    and the bytes; and the flights in the middle of it."""
    net = Net(HandMade(4, line(*SLOW_THEN_FAST)), fabric, mtu_bytes=100)
    others, left, bytes_left, flying = alive(), [], [], []
    tracemalloc.start()
    for wave in range(count):
        for _ in range(size):
            net.fabric.send(0, 3, 250, None, net.receivers, net.clock.now_ns)
        net.run(net.clock.now_ns + 20_000)
        flying.append(alive() - others)
        net.run((wave + 1) * WAVE_NS)
        assert len(net.got) == size
        net.got.clear()
        left.append(alive() - others)
        bytes_left.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    return left, bytes_left, flying


def test_memory_grows_with_messages_in_flight_and_not_with_messages_sent() -> None:
    left, bytes_left, small = waves(7, 100)
    assert set(left) == {0}
    # Less than two bytes for each of the 500 messages after the second wave.
    assert bytes_left[-1] - bytes_left[1] < 1_000
    _, _, large = waves(2, 400)
    assert min(small) >= 100
    assert min(large) - max(small) >= 300


class Keeping(Fabric):
    """Keeps what has arrived."""

    def __init__(self, *args, **settings):
        super().__init__(*args, **settings)
        self.kept = []

    def _complete(self, flight, now_ns):
        super()._complete(flight, now_ns)
        self.kept.append(flight)


class Noting(Fabric):
    """Keeps a number for everything that has arrived."""

    def __init__(self, *args, **settings):
        super().__init__(*args, **settings)
        self.noted = []

    def _complete(self, flight, now_ns):
        super()._complete(flight, now_ns)
        self.noted.append(now_ns)


def test_a_fabric_that_keeps_what_has_been_is_seen() -> None:
    left, _, _ = waves(3, 100, Keeping)
    assert 0 < left[0] < left[1] < left[2]
    _, bytes_left, _ = waves(7, 100, Noting)
    assert bytes_left[-1] - bytes_left[1] > 10_000
