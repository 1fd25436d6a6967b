"""The virtual clock: a total order, one heap entry per broadcast."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from network.clock import VirtualClock


class Log:
    """Notes who got what, when."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    def to(self, name: object) -> Any:
        return lambda parcel, due_ns: self.events.append((due_ns, name, parcel))


def test_events_come_in_order_of_time_and_then_of_scheduling() -> None:
    clock, log = VirtualClock(), Log()
    clock.at(5, log.to("late"))
    clock.schedule([1, 5, 5], [log.to("a"), log.to("b"), log.to("c")], "p")
    clock.at(1, log.to("early"))
    clock.at(5, log.to("last"))
    assert clock.run(10, 100) is False
    assert log.events == [
        (1, "a", "p"),
        (1, "early", None),
        (5, "late", None),
        (5, "b", "p"),
        (5, "c", "p"),
        (5, "last", None),
    ]
    assert clock.now_ns == 10


@given(st.lists(st.lists(st.integers(0, 20), min_size=1, max_size=6), max_size=8))
def test_the_order_is_that_of_single_entries(flights: list[list[int]]) -> None:
    clock, log = VirtualClock(), Log()
    expected = []
    for serial, times in enumerate(flights):
        times.sort()
        clock.schedule(times, [log.to(serial)] * len(times), None)
        expected += [(time, serial, None) for time in times]
    clock.run(20, 10_000)
    assert log.events == sorted(expected, key=lambda event: event[:2])
    assert clock.delivered == len(expected)


def test_a_broadcast_is_one_heap_entry() -> None:
    clock = VirtualClock()
    clock.schedule(list(range(1000)), [lambda parcel, due_ns: None] * 1000, None)
    assert len(clock._heap) == 1


def test_only_parcels_count_as_delivered() -> None:
    clock, log = VirtualClock(), Log()
    clock.schedule([1, 2], [log.to("a"), log.to("b")], None)
    clock.at(1, log.to("alarm"))
    clock.run(5, 100)
    assert (clock.delivered, len(log.events)) == (2, 3)


def test_what_an_event_schedules_for_now_still_happens_now() -> None:
    clock, log = VirtualClock(), Log()
    clock.at(3, lambda parcel, due_ns: clock.at(3, log.to("next")))
    clock.run(3, 100)
    assert log.events == [(3, "next", None)]


def test_some_things_come_before_all_others_at_their_time() -> None:
    clock, log = VirtualClock(), Log()
    clock.at(2, log.to("earlier"))
    clock.at(3, log.to("alarm"))
    clock.schedule([3], [log.to("arrival")], None)
    clock.before(3, log.to("change"))
    clock.run(3, 100)
    assert [event[1] for event in log.events] == ["earlier", "change", "alarm", "arrival"]


def test_what_is_pending_comes_in_order() -> None:
    clock, log = VirtualClock(), Log()
    for time_ns in (5, 3, 9, 3, 1, 7):
        clock.at(time_ns, log.to("x"), time_ns)
    clock.schedule([4, 8], [log.to("a"), log.to("b")], "both")
    assert [parcel for _, parcel in clock.pending()] == [1, 3, 3, "both", "both", 5, 7, 9]
    clock.run(4, 100)
    assert [parcel for _, parcel in clock.pending()] == [5, 7, "both", 9]


def test_the_past_cannot_be_scheduled() -> None:
    clock = VirtualClock()
    clock.at(4, lambda parcel, due_ns: None)
    clock.run(4, 1)
    with pytest.raises(ValueError, match="scheduled at 3 ns, but it is already 4 ns"):
        clock.at(3, lambda parcel, due_ns: None)
    with pytest.raises(ValueError, match="scheduled at 3 ns, but it is already 4 ns"):
        clock.before(3, lambda parcel, due_ns: None)


def test_a_run_goes_in_slices_and_up_to_its_end_only() -> None:
    clock, log = VirtualClock(), Log()
    for time in range(10):
        clock.at(time, log.to(time))
    assert clock.run(7, 3) is True
    assert [event[0] for event in log.events] == [0, 1, 2]
    assert clock.run(7, 100) is False
    assert [event[0] for event in log.events] == list(range(8))
    assert clock.now_ns == 7


def test_stop_ends_the_run_between_two_events() -> None:
    clock, log = VirtualClock(), Log()
    clock.at(1, lambda parcel, due_ns: clock.stop())
    clock.at(1, log.to("after"))
    assert clock.run(9, 100) is False
    assert (log.events, clock.now_ns) == ([], 1)


def test_nothing_to_deliver_is_no_event() -> None:
    clock = VirtualClock()
    clock.schedule([], [], None)
    assert clock.run(5, 1) is False
    assert clock.now_ns == 5
