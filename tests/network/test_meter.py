"""What each member sends in its busiest second, against lists of what is sent."""

from __future__ import annotations

import random

import pytest

from network import meter as meters
from network.meter import Meter

SECOND = 1_000_000_000


def test_a_peak_is_of_one_whole_second() -> None:
    """Seconds begin when the run does: half a second before and after a border are two of them."""
    meter = Meter(3)
    for member, size_bytes, at_s in ((0, 10, 0.0), (0, 20, 0.999), (0, 25, 1.0), (1, 7, 2.5), (0, 4, 1.5)):
        meter.send(member, size_bytes, round(at_s * SECOND))
    assert meter.peaks().tolist() == [30, 7, 0]
    assert meter.sent == [59, 7, 0]
    meter.send(0, 2, 2 * SECOND - 1)
    assert meter.peaks().tolist() == [31, 7, 0]


def test_seconds_are_closed_and_their_peaks_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if all were kept, as long as nothing is sent earlier than what is open."""
    monkeypatch.setattr(meters, "OPEN_SECONDS", 3)
    rng = random.Random(5)
    sends = [(rng.randrange(4), rng.randrange(1000), at * SECOND // 20 + rng.randrange(SECOND)) for at in range(4000)]
    meter, expected = Meter(4), [[0] * 300 for _ in range(4)]
    for member, size_bytes, at_ns in sends:
        meter.send(member, size_bytes, at_ns)
        expected[member][at_ns // SECOND] += size_bytes
    assert meter.peaks().tolist() == [max(seconds) for seconds in expected]
    assert len(meter._seconds) == 3
