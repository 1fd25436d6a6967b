"""Real time: alarms in order and never early, each at its own instant, and an end after which nothing happens."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from network import realtime
from network.clock import VirtualClock
from network.realtime import RealTimeClock

MS = 1_000_000
HOUR_NS = 3_600_000 * MS
Program = list[tuple[int, list[int]]]


@pytest.fixture(autouse=True)
def no_lingering(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes after the end is waited for in the tests that are about it."""
    monkeypatch.setattr(realtime, "_LINGER_NS", 0)


def nothing() -> None:
    """Settles nothing."""


async def finish(clock: RealTimeClock, settle: Callable[[], None] = nothing) -> None:
    """Run to the end; a clock that forgets to end is found out before the whole test run is."""
    async with asyncio.timeout(60):
        await clock.run(settle)


def beginning(ago_ms: float = 0.0, *, end_ns: int = HOUR_NS, scale: float = 1.0) -> RealTimeClock:
    """A clock whose zero is some time ago, or still to come."""
    return RealTimeClock(time.time_ns() - round(ago_ms * MS), end_ns, scale)


def play(program: Program, clock: Any, log: list[tuple[int, int, int]]) -> None:
    """Set the program's alarms; each that rings sets some more, so long after."""

    def ring(serial: int, due_ns: int) -> None:
        log.append((serial, due_ns, clock.now_ns))
        for child in program[serial % len(program)][1] if len(log) < 40 else []:
            clock.at(due_ns + child, ring, len(log))

    for number, (due_ns, _) in enumerate(program):
        clock.at(due_ns, ring, number)


programs = st.lists(st.tuples(st.integers(0, 6), st.lists(st.integers(0, 4), max_size=2)), min_size=1, max_size=8)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@given(program=programs)
@settings(deadline=None, max_examples=50)
def test_what_is_late_happens_in_the_same_order_and_at_the_same_instants_as_in_virtual_time(
    loop: str, program: Program
) -> None:
    run = asyncio.run if loop == "asyncio" else pytest.importorskip("uvloop", reason="uvloop is not installed").run

    async def real() -> list[tuple[int, int, int]]:
        log: list[tuple[int, int, int]] = []
        clock = beginning(1000, end_ns=20)
        play(program, clock, log)
        await finish(clock)
        assert clock.now_ns == 20
        return log

    virtual: list[tuple[int, int, int]] = []
    jumping = VirtualClock()
    play(program, jumping, virtual)
    jumping.run(20, 10_000)
    assert run(real()) == virtual


async def test_alarms_ring_in_order_of_their_times_and_none_early() -> None:
    clock = beginning(end_ns=40 * MS)
    dues_ns = [i // 3 * MS for i in range(90)]
    random.Random(1).shuffle(dues_ns)
    rung: list[tuple[int, int]] = []

    def ring(number: int, due_ns: int) -> None:
        assert clock.passed_ns >= due_ns == clock.now_ns
        rung.append((due_ns, number))

    for number, due_ns in enumerate(dues_ns):
        clock.at(due_ns, ring, number)
    await finish(clock)
    # At one instant in the order in which they were set.
    assert rung == sorted((due_ns, number) for number, due_ns in enumerate(dues_ns))


async def test_time_stands_at_the_due_time_while_an_action_takes_long() -> None:
    clock, seen = beginning(end_ns=20 * MS), []

    def slow(_: object, due_ns: int) -> None:
        while clock.passed_ns < 10 * MS:
            time.sleep(0.001)
        seen.append((due_ns, clock.now_ns))
        clock.at(clock.now_ns + MS, lambda _, due_ns: seen.append((due_ns, clock.now_ns)))

    clock.at(2 * MS, slow)
    await finish(clock)
    assert seen == [(2 * MS, 2 * MS), (3 * MS, 3 * MS)]


async def test_an_alarm_for_the_past_rings_and_time_does_not_run_backwards() -> None:
    clock, seen = beginning(end_ns=10 * MS), []

    def look(name: str, due_ns: int) -> None:
        seen.append((name, due_ns, clock.now_ns))

    def ask_for_the_past(_: object, due_ns: int) -> None:
        clock.at(MS, look, "past")
        clock.at(due_ns, look, "now")

    clock.at(5 * MS, ask_for_the_past)
    clock.at(6 * MS, look, "later")
    await finish(clock)
    assert seen == [("past", MS, 5 * MS), ("now", 5 * MS, 5 * MS), ("later", 6 * MS, 6 * MS)]


async def test_the_end_is_included_and_nothing_comes_after_it() -> None:
    clock, rung = beginning(end_ns=5 * MS), []
    for due_ns in (5 * MS + 1, 5 * MS, 4 * MS):
        clock.at(due_ns, lambda _, due_ns: rung.append(due_ns))
    # What is set at the last moment for the last moment belongs to it.
    clock.at(5 * MS, lambda _, due_ns: clock.at(due_ns, lambda _, due_ns: rung.append(-due_ns)))
    await finish(clock)
    await asyncio.sleep(0.02)
    assert rung == [4 * MS, 5 * MS, -5 * MS]
    assert (clock.now_ns, clock.end_ns) == (5 * MS, 5 * MS)


async def test_without_an_alarm_it_lasts_to_its_end_and_not_less() -> None:
    clock = beginning(end_ns=30 * MS)
    await finish(clock)
    assert clock.passed_ns >= 30 * MS
    assert clock.now_ns == 30 * MS


async def test_whoever_comes_after_the_end_finds_everything_rung_at_once() -> None:
    clock, rung = beginning(60_000, end_ns=5), []
    for due_ns in (3, 1, 5, 7, 2):
        clock.at(due_ns, lambda _, due_ns: rung.append(due_ns))
    await finish(clock)
    assert rung == [1, 2, 3, 5]


async def test_zero_may_be_still_to_come() -> None:
    clock, passed_ns = beginning(-150, end_ns=MS), []
    assert clock.passed_ns < 0
    clock.at(0, lambda _, due_ns: passed_ns.append(clock.passed_ns))
    await finish(clock)
    assert len(passed_ns) == 1
    assert passed_ns[0] >= 0


async def test_an_alarm_set_from_outside_rings_before_the_one_that_was_waited_for() -> None:
    clock, rung = beginning(), []

    def ring(name: str, due_ns: int) -> None:
        rung.append(name)
        if name == "second":
            clock.stop()

    def from_outside() -> None:
        clock.at(clock.passed_ns + 2 * MS, ring, "second")
        clock.at(clock.passed_ns + MS, ring, "first")

    clock.at(HOUR_NS - 1, ring, "far away")
    asyncio.get_running_loop().call_later(0.01, from_outside)
    await finish(clock)
    assert rung == ["first", "second"]


async def test_stopping_ends_time_now_with_what_was_due_by_now() -> None:
    clock, rung = beginning(), []

    def stop(_: object, due_ns: int) -> None:
        while clock.passed_ns < 5 * MS:
            time.sleep(0.001)
        clock.stop()
        rung.append("stopped")

    clock.at(MS, stop)
    clock.at(4 * MS, lambda *_: rung.append("late"))
    clock.at(HOUR_NS - 1, lambda *_: rung.append("never"))
    await finish(clock)
    assert rung == ["stopped", "late"]
    assert 5 * MS <= clock.now_ns == clock.end_ns <= clock.passed_ns


async def test_it_can_be_stopped_from_outside_and_a_second_time() -> None:
    clock = beginning()

    def stop() -> None:
        clock.stop()
        end_ns = clock.end_ns
        clock.stop()
        assert clock.end_ns == end_ns <= clock.passed_ns

    asyncio.get_running_loop().call_later(0.01, stop)
    await finish(clock)
    assert clock.now_ns == clock.end_ns < HOUR_NS


async def test_stopped_before_zero_it_ends_at_zero() -> None:
    clock, rung = beginning(-150), []
    for due_ns in (0, 1):
        clock.at(due_ns, lambda _, due_ns: rung.append(due_ns))
    clock.stop()
    await finish(clock)
    assert rung == [0]
    assert (clock.now_ns, clock.end_ns) == (0, 0)


async def test_stopping_does_not_make_it_last_longer() -> None:
    clock = beginning(1000, end_ns=7)
    clock.stop()
    assert clock.end_ns == 7
    await finish(clock)
    assert clock.now_ns == 7


async def test_each_action_is_settled_before_anything_else_happens() -> None:
    clock, log = beginning(100, end_ns=50), []
    loop = asyncio.get_running_loop()

    def act(name: str, due_ns: int) -> None:
        log.append(name)
        loop.call_soon(log.append, f"outside {name}")

    for number in range(3):
        clock.at(number, act, str(number))
    await finish(clock, lambda: log.append("settled"))
    assert log == ["0", "settled", "1", "settled", "2", "settled", "outside 0", "outside 1", "outside 2"]


async def test_however_much_is_due_the_sockets_get_their_turn() -> None:
    clock, log = beginning(100, end_ns=1), []

    def first(_: object, due_ns: int) -> None:
        asyncio.get_running_loop().call_soon(log.append, "socket")

    clock.at(0, first)
    for number in range(500):
        clock.at(1, lambda number, _: log.append(number), number)
    await finish(clock)
    assert [entry for entry in log if entry != "socket"] == list(range(500))
    assert log.index("socket") < 100


@pytest.mark.parametrize("where", ["action", "settle"])
async def test_a_bug_ends_the_run_with_its_exception_and_nothing_rings_any_more(where: str) -> None:
    clock, log = beginning(100), []

    def act(name: str, due_ns: int) -> None:
        log.append(name)
        if name == "bug" and where == "action":
            # Not even what it set itself before.
            clock.at(0, act, "its own")
            raise KeyError("a bug")

    def settle() -> None:
        log.append("settled")
        if log[-2] == "bug":
            raise KeyError("a bug")

    for name in ("well", "bug", "after"):
        clock.at(0, act, name)
    with pytest.raises(KeyError, match="a bug"):
        await finish(clock, settle)
    await asyncio.sleep(0.02)
    assert log == ["well", "settled", "bug"] + ["settled"] * (where == "settle")


async def test_when_its_task_is_cancelled_nothing_rings_any_more() -> None:
    clock, rung = beginning(), []
    clock.at(150 * MS, lambda *_: rung.append("rung"))
    running = asyncio.create_task(clock.run(nothing))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await asyncio.sleep(0.2)
    assert rung == []


@pytest.mark.parametrize("scale", [0.25, 1.0, 3.0])
async def test_so_many_seconds_pass_on_the_wall_for_one_of_ours(scale: float) -> None:
    clock = beginning(1000, scale=scale)

    def between() -> tuple[int, int, int]:
        return time.monotonic_ns(), clock.passed_ns, time.monotonic_ns()

    before, passed_ns, after = between()
    await asyncio.sleep(0.02)
    before_2, passed_2_ns, after_2 = between()
    assert before_2 - after - 10 <= (passed_2_ns - passed_ns) * scale <= after_2 - before + 10
    # A second on the wall ago was zero; the two readings of it are a moment apart.
    assert passed_ns * scale >= 999 * MS
    assert clock.emulated_ns(12 * MS) == round(12 * MS / scale)


async def test_on_a_stretched_wall_an_alarm_rings_that_much_later_and_is_told_its_own_time() -> None:
    began_ns = time.monotonic_ns()
    clock, rung = beginning(end_ns=10 * MS, scale=5.0), []
    clock.at(8 * MS, lambda _, due_ns: rung.append((due_ns, clock.now_ns, time.monotonic_ns() - began_ns)))
    await finish(clock)
    ((due_ns, now_ns, wall_ns),) = rung
    assert (due_ns, now_ns) == (8 * MS, 8 * MS)
    # It should be 40 ms; unstretched it would be 8.
    assert wall_ns >= 20 * MS


async def test_ten_minutes_of_ours_can_be_a_moment_on_the_wall() -> None:
    clock, rung = beginning(end_ns=HOUR_NS // 6, scale=1e-4), []
    clock.at(HOUR_NS // 7, lambda _, due_ns: rung.append(due_ns))
    await finish(clock)
    assert rung == [HOUR_NS // 7]


async def test_what_was_due_before_the_end_may_come_a_little_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(realtime, "_LINGER_NS", 150 * MS)
    clock, rung = beginning(end_ns=20 * MS, scale=0.5), []
    began_ns = time.monotonic_ns()

    def come_late() -> None:
        for due_ns in (21 * MS, 20 * MS, 7 * MS):
            clock.at(due_ns, lambda _, due_ns: rung.append((due_ns, clock.now_ns)))

    clock.at(10 * MS, lambda _, due_ns: rung.append((due_ns, clock.now_ns)))
    asyncio.get_running_loop().call_later(0.05, come_late)
    await finish(clock)
    # What was due after the end does not, and time stands at the end.
    assert rung == [(10 * MS, 10 * MS), (7 * MS, 10 * MS), (20 * MS, 20 * MS)]
    assert clock.now_ns == 20 * MS
    # On the wall: half as long as 20 ms, and then as long as it lingers.
    assert time.monotonic_ns() - began_ns >= 100 * MS
