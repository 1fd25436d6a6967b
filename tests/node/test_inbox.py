"""The inbox: what arrives is looked at in the order in which it came, a little before it matters and not sooner."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node import inbox as inbox_module
from node.frames import ALL, Body, Frame, Greeting, Refusal, Refused, Word, seal
from node.inbox import AHEAD_NS, LONGEST_NS, Arrival, Inbox
from node.signing import SigningKey

KEY = SigningKey(b"k" * 32)
GREETING = Greeting(0, (0, 0), ((0, 1, 1), (0, 1, 1)), 0)
MS = 1_000_000
TOPIC = "quorbit/r/from/1/all"


class HandClock:
    """Real time that passes when it is told to."""

    def __init__(self, passed_ns: int = 0, scale: float = 1.0) -> None:
        self.passed_ns = passed_ns
        self._scale = scale
        self._alarms: list[tuple[int, int, Callable[[Any, int], None], Any]] = []
        self._set = 0

    def emulated_ns(self, wall_ns: int) -> int:
        return round(wall_ns / self._scale)

    def at(self, due_ns: int, action: Callable[[Any, int], None], parcel: Any = None) -> None:
        self._set += 1
        heappush(self._alarms, (due_ns, self._set, action, parcel))

    def pass_to(self, now_ns: int) -> None:
        while self._alarms and self._alarms[0][0] <= now_ns:
            due_ns, _, action, parcel = heappop(self._alarms)
            self.passed_ns = max(self.passed_ns, due_ns)
            action(parcel, due_ns)
        self.passed_ns = now_ns


class Desk:
    """An inbox, and what it has handed on so far."""

    def __init__(self, clock: HandClock | None = None) -> None:
        self.clock = clock or HandClock()
        self.arrivals: list[Arrival] = []
        self.inbox = Inbox(self.clock, self._due_ns, self.arrivals.append)  # type: ignore[arg-type]

    @staticmethod
    def _due_ns(frame: Frame, word: Word) -> int:
        if not word.due_ns:
            raise Refused(Refusal.MALFORMED)
        return word.due_ns[0]

    def put(self, serial: int, body: Body) -> None:
        self.inbox.put(TOPIC, sealed(serial, body))

    @property
    def handed_on(self) -> list[int]:
        """The serial numbers of what was handed on."""
        return [arrival.frame.serial for arrival in self.arrivals]


def sealed(serial: int, body: Body) -> bytes:
    return seal(Frame("r", 1, ALL, 1, serial, body), KEY)


def word(due_ns: int) -> Word:
    return Word(1, (due_ns,), b"")


def test_a_word_is_looked_at_a_little_before_it_is_due() -> None:
    desk = Desk()
    desk.put(1, word(50 * MS))
    desk.clock.pass_to(50 * MS - AHEAD_NS - 1)
    assert desk.handed_on == []
    desk.clock.pass_to(50 * MS - AHEAD_NS)
    assert desk.arrivals == [Arrival(TOPIC, sealed(1, word(50 * MS)), Frame("r", 1, ALL, 1, 1, word(50 * MS)))]
    desk.clock.pass_to(10**12)
    assert desk.handed_on == [1]


def test_that_little_is_measured_on_the_wall() -> None:
    desk = Desk(HandClock(scale=4.0))
    desk.put(1, word(50 * MS))
    desk.clock.pass_to(50 * MS - AHEAD_NS // 4 - 1)
    assert desk.handed_on == []
    desk.clock.pass_to(50 * MS - AHEAD_NS // 4)
    assert desk.handed_on == [1]


@pytest.mark.parametrize("due_ns", [-1, 0, 5, AHEAD_NS + 1_000])
def test_what_is_due_soon_or_was_or_never_is_looked_at_at_once(due_ns: int) -> None:
    desk = Desk(HandClock(1_000))
    desk.put(1, word(due_ns))
    assert desk.handed_on == [1]


def test_what_is_no_word_is_looked_at_at_once_and_what_came_before_it_too() -> None:
    desk = Desk()
    desk.put(1, word(50 * MS))
    desk.put(2, word(40 * MS))
    assert desk.handed_on == []
    desk.put(3, GREETING)
    assert desk.handed_on == [1, 2, 3]


def test_before_zero_it_waits_for_zero_unless_something_is_urgent_before() -> None:
    desk = Desk(HandClock(-20 * MS))
    desk.put(1, GREETING)
    desk.clock.pass_to(-1)
    assert desk.handed_on == []
    desk.clock.pass_to(0)
    assert desk.handed_on == [1]
    desk = Desk(HandClock(-20 * MS))
    desk.put(1, GREETING)
    desk.put(2, word(5 * MS))
    desk.clock.pass_to(5 * MS - AHEAD_NS - 1)
    assert desk.handed_on == []
    desk.clock.pass_to(5 * MS - AHEAD_NS)
    assert desk.handed_on == [1, 2]


def test_nothing_waits_very_long_whatever_it_says_about_itself() -> None:
    desk = Desk(HandClock(7, scale=2.0))
    desk.put(1, word(2**63))
    desk.clock.pass_to(7 + LONGEST_NS // 2 - 1)
    assert desk.handed_on == []
    desk.clock.pass_to(7 + LONGEST_NS // 2)
    assert desk.handed_on == [1]


def test_at_the_end_what_still_waits_is_looked_at() -> None:
    desk = Desk()
    for serial in (1, 2, 3):
        desk.put(serial, word((4 - serial) * 100 * MS))
    desk.inbox.hand_on()
    assert desk.handed_on == [1, 2, 3]
    desk.clock.pass_to(10**12)
    assert desk.handed_on == [1, 2, 3]


def test_when_too_much_waits_all_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_module, "MOST_BYTES", 3 * len(sealed(1, word(10**12))))
    desk = Desk()
    for round_ in range(2):
        # What was handed on waits no more.
        for serial in (1, 2, 3):
            desk.put(4 * round_ + serial, word(10**12))
        assert desk.handed_on == list(range(1, 4 * round_ + 1))
        desk.put(4 * round_ + 4, word(10**12))
        assert desk.handed_on == list(range(1, 4 * round_ + 5))


def test_a_word_that_is_urgent_takes_those_before_it_along_and_not_those_after_it() -> None:
    desk = Desk()
    desk.put(1, word(900 * MS))
    desk.put(2, word(100 * MS))
    desk.put(3, word(500 * MS))
    desk.clock.pass_to(100 * MS)
    assert desk.handed_on == [1, 2]
    desk.clock.pass_to(600 * MS)
    assert desk.handed_on == [1, 2, 3]


def test_when_too_many_wait_all_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_module, "MOST", 3)
    desk = Desk()
    for serial in (1, 2, 3):
        desk.put(serial, word(10**12))
    assert desk.handed_on == []
    desk.put(4, word(10**12))
    assert desk.handed_on == [1, 2, 3, 4]
    desk.put(5, word(10**12))
    assert desk.handed_on == [1, 2, 3, 4]


def test_what_is_no_frame_is_refused_and_leaves_nothing_behind() -> None:
    desk = Desk()
    desk.put(1, word(50 * MS))
    refused = []
    for payload in (b"", b"x" * 100, sealed(9, word(5))[:-1], sealed(9, Word(1, (), b""))):
        with pytest.raises(Refused) as raised:
            desk.inbox.put(TOPIC, payload)
        refused.append(raised.value.reason)
    assert refused == [Refusal.TRUNCATED, Refusal.MALFORMED, Refusal.TRUNCATED, Refusal.MALFORMED]
    desk.put(2, word(60 * MS))
    assert desk.handed_on == []
    desk.clock.pass_to(10**12)
    assert desk.handed_on == [1, 2]


@given(
    letters=st.lists(st.tuples(st.integers(0, 8), st.none() | st.integers(-5, 120)), max_size=40),
    most=st.integers(1, 6),
)
@settings(deadline=None, max_examples=150)
def test_whatever_comes_when_the_order_is_kept_and_nothing_is_looked_at_too_late(
    letters: list[tuple[int, int | None]], most: int
) -> None:
    """`letters` are how many ms after the one before they come, and when they are due; None for what is no word."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inbox_module, "MOST", most)
        desk = Desk()
        looks_ns: list[int] = []
        for serial, (wait_ms, due_ms) in enumerate(letters):
            desk.clock.pass_to(desk.clock.passed_ns + wait_ms * MS)
            due_ns = 0 if due_ms is None else due_ms * MS
            looks_ns.append(0 if due_ms is None else due_ns - AHEAD_NS)
            before = len(desk.handed_on)
            desk.put(serial, GREETING if due_ms is None else word(due_ns))
            assert desk.handed_on == list(range(len(desk.handed_on)))
            urgent = [i for i, look_ns in enumerate(looks_ns) if look_ns <= desk.clock.passed_ns]
            assert len(desk.handed_on) >= max(urgent, default=-1) + 1
            # No sooner than one of those behind it is urgent, unless there are too many.
            if len(desk.handed_on) > before:
                assert urgent[-1:] == [serial] or serial + 1 - before > most
            assert serial + 1 - len(desk.handed_on) <= most
        desk.clock.pass_to(10**12)
        assert desk.handed_on == list(range(len(letters)))
