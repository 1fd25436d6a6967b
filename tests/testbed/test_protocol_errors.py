"""A protocol that raises, returns nonsense, loops or speaks to nobody: one sentence that names it, and no hang."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from consensus.effects import (
    Adopted,
    Broadcast,
    CancelTimer,
    Committed,
    Effect,
    Entered,
    Held,
    Persist,
    Reason,
    Rejected,
    Send,
    SetTimer,
)
from consensus.messages import GENESIS, Block, Message, Payload, Vote
from consensus.protocols.pbft import Pbft
from consensus.replica import Recovered, Seat
from consensus.types import ReplicaId
from node.contract import TRACEBACK
from node.guard import PATIENCE
from testbed import ProtocolError, make_scenario, simulate
from testbed.cli import main
from testbed.result import Result

ROOT = Path(__file__).parents[2]
LABORATORY = {
    "duration_s": 2,
    "consensus": {"protocol": "pbft"},
    "committee": [{"on": "laboratory", "count": 4}],
    "network": {"model": "fixed", "delay_ms": 100},
    "compute": {"signatures": "modelled", "sign_us": 0, "verify_us": 0},
}
VOTE = Vote("prepare", 1, 1, b"")
Events = tuple[Any, ...]


class Quirk(Pbft):
    """PBFT in which replica 2 does something else once, when it first hears of anything, at 0.1 s."""

    done = False

    def on_message(self, sender: ReplicaId, message: Message) -> None:
        if self.me == 2 and not self.done:
            self.done = True
            self.deed()
        super().on_message(sender, message)

    def deed(self) -> Any:
        """Nothing."""


def run(protocol: type[Pbft], patience_s: float = 10.0, **tables: Any) -> Result:
    return simulate(make_scenario({**LABORATORY, **tables}), protocol=protocol, patience_s=patience_s)


def sentence(protocol: type[Pbft], patience_s: float = 10.0, **tables: Any) -> str:
    """What is said about a protocol, after its name."""
    with pytest.raises(ProtocolError) as caught:
        run(protocol, patience_s, **tables)
    said = str(caught.value)
    assert "\n" not in said
    name = f"protocol {protocol.__module__}:{protocol.__qualname__}, "
    assert said.startswith(name)
    return said.removeprefix(name)


def with_deed(deed: Callable[[Any], Any]) -> type[Quirk]:
    return type("Quirk", (Quirk,), {"deed": deed, "__module__": __name__})


def line_of(text: str) -> str:
    """`file:line` of the one line of this module that has this text, as seen from where the tests run."""
    file = Path(__file__)
    numbers = [number for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1) if text in line]
    assert len(numbers) == 1
    return f"{os.path.relpath(file)}:{numbers[0]}"


WHERE = "replica 2, on_message(PrePrepare from replica 0) at 0.1 s: "


def test_without_a_quirk_it_is_a_protocol_like_others() -> None:
    assert run(Quirk).ok


# -- it raises ---------------------------------------------------------------------------------------------------------


def divides(self: Any) -> None:
    self.now_ns //= 0  # the deed


def test_who_raised_what_when_and_where() -> None:
    said = sentence(with_deed(divides))
    deed = "raised ZeroDivisionError: integer division or modulo by zero"
    assert said == f"{WHERE}{deed} ({line_of('# the ' + 'deed')}, in divides)"


def test_what_was_raised_is_the_cause() -> None:
    with pytest.raises(ProtocolError) as caught:
        run(with_deed(divides))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_what_our_code_raised_for_it_names_both_lines() -> None:
    said = sentence(with_deed(lambda self: self.tree.parent(GENESIS)))
    assert said.startswith(f"{WHERE}raised KeyError: 'the parent of height 0 is not held' (tests/testbed/test_protocol")
    assert "; raised at " in said
    assert "consensus/blocktree.py:" in said


@pytest.mark.parametrize(
    ("deed", "raised"),
    [
        (lambda self: sys.exit(3), "raised SystemExit: 3"),
        (lambda self: self.deed(), "raised RecursionError: maximum recursion depth exceeded"),
        (lambda self: [].pop(), "raised IndexError: pop from empty list"),
        (lambda self: self.emit(*7), "raised TypeError: "),
    ],
)
def test_whatever_is_raised_is_caught(deed: Callable[[Any], Any], raised: str) -> None:
    assert sentence(with_deed(deed)).startswith(f"{WHERE}{raised}")


class Unborn(Pbft):
    def __init__(self, seat: Seat) -> None:
        raise ValueError("not\ntoday")


class Restless(Pbft):
    def on_timer(self, timer: str) -> None:
        raise ValueError(timer)


class Leaderless(Pbft):
    def leader(self, view: int) -> ReplicaId:
        raise LookupError("no leader")


class Wakeless(Pbft):
    def on_start(self, recovered: Recovered) -> None:
        if self.now_ns:
            raise ValueError("again?")
        super().on_start(recovered)


class Narrow(Pbft):
    def receive(self, sender: ReplicaId) -> tuple[Effect, ...]:  # type: ignore[override]
        return ()


def test_every_handler_is_named() -> None:
    assert sentence(Unborn).startswith("replica 0, __init__ at 0 s: raised ValueError: not today (")
    assert sentence(Leaderless).startswith("replica 0, on_start at 0 s: raised LookupError: no leader (")
    silent = {"kind": "crash", "target": "replica/0", "window_s": [0]}
    said = sentence(Restless, duration_s=9, fault=[silent])
    assert said.startswith("replica 1, on_timer('request') at 4 s: raised ValueError: request (")
    back = {"kind": "crash", "target": "replica/1", "window_s": [0.5, 1.25]}
    assert sentence(Wakeless, fault=[back]).startswith("replica 1, on_start at 1.25 s: raised ValueError: again? (")
    misfit = "replica 0, on_message(PrePrepare from itself) at 0 s: raised TypeError: Narrow.receive() takes 2 "
    assert sentence(Narrow).startswith(misfit)


def test_our_own_bugs_stay_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    from node.store import NoStore

    def put(self: Any, key: Any, value: Any) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(NoStore, "put", put)
    with pytest.raises(ZeroDivisionError, match="ours"):
        run(Pbft)


# -- it returns or emits nonsense --------------------------------------------------------------------------------------


class Odd(Message, frozen=True, array_like=True, tag=True):
    number: int


class Sulky(Message, frozen=True, array_like=True, tag=True):
    number: int

    def statement(self) -> Message:
        raise NotImplementedError("later")


class Mute(Message, frozen=True, array_like=True, tag=True):
    number: int

    @property
    def kind(self) -> Any:
        return None


NOBODYS = Block(GENESIS.id, 1, 7, 3, Payload(0, 0, 0))


@pytest.mark.parametrize(
    ("effect", "why"),
    [
        (3, "which is no effect"),
        (Entered, "which is no effect"),
        (Send(4, VOTE), "but replicas are the whole numbers 0 to 3"),
        (Send(-1, VOTE), "but replicas are the whole numbers 0 to 3"),
        (Send("1", VOTE), "but replicas are the whole numbers 0 to 3"),
        (Send(1.0, VOTE), "but replicas are the whole numbers 0 to 3"),
        (Send(1, "hello"), "whose message is no consensus.messages.Message but str"),
        (Broadcast(GENESIS), "whose message is no consensus.messages.Message but consensus.messages.Block"),
        (Broadcast(Odd(1)), f"but {__name__}.Odd is not among the `messages` that the protocol declares"),
        (Broadcast(Sulky(1)), "whose statement() raises NotImplementedError: later"),
        (Broadcast(Mute(1)), "whose kind gives None"),
        (Broadcast(Sulky("one")), "which cannot travel: its number must be int, not str"),
        (Broadcast(Sulky({1})), "which cannot travel: its number must be int, not array"),
        (SetTimer("t", -1), "whose delay is less than nothing"),
        (SetTimer("t", 1.5), "which is wrong: its delay_ns must be int, not float"),
        (SetTimer(3, 1), "which is wrong: its timer must be str, not int"),
        (CancelTimer([]), "which is wrong: its timer must be str, not array"),
        (Persist("k", {"a": 1}), "whose value is no msgspec.Struct but dict"),
        (Persist(3, GENESIS), "whose key is no text or bytes but int"),
        (Persist("k", Sulky(1.5)), "which cannot be written down and read again: its number must be int, not float"),
        (Persist("k", Sulky(object())), "which cannot be written down and read again: Encoding objects of type obj"),
        (Entered(1.5), "which is wrong: its view must be int, not float"),
        (Entered(-1), "whose view is less than 0, or more than 63 bits"),
        (Held("b"), "whose block is no consensus.messages.Block but str"),
        (Adopted(None), "whose block is no consensus.messages.Block but NoneType"),
        (Committed(VOTE), "whose block is no consensus.messages.Block but consensus.messages.Vote"),
        (Rejected(1, "because"), "which is wrong: Invalid enum value 'because'"),
    ],
)  # fmt: skip
def test_an_effect_that_nobody_can_carry_out(effect: Any, why: str) -> None:
    quirk = with_deed(lambda self: self.emit(effect))
    quirk.messages = (*Pbft.messages, Sulky, Mute)
    said = sentence(quirk)
    assert said.startswith(f"{WHERE}emitted ")
    assert f", {why}" in said


@pytest.mark.parametrize(
    "effect", [Held(NOBODYS), Committed(NOBODYS), Adopted(Block(NOBODYS.id, 2, 8, 0, Payload(0, 0, 0)))]
)
def test_a_block_that_nobody_has_proposed(effect: Effect) -> None:
    said = sentence(with_deed(lambda self: self.emit(effect)))
    assert f"speaks of block {NOBODYS.id.hex()[:8]}, which nobody has proposed; a message that proposes" in said


def test_good_effects_are_good() -> None:
    """What the handlers of this module's other tests get wrong, right."""
    good = (
        Send(3, Odd(1)), Send(2, Odd(2)), Broadcast(Odd(3)), SetTimer("t", 0), CancelTimer("t"), CancelTimer("none"),
        Persist("k", VOTE), Persist(b"k", GENESIS), Rejected(1, Reason.UNKNOWN), Adopted(GENESIS),
    )  # fmt: skip
    quirk = with_deed(lambda self: self.emit(*good))
    quirk.messages = (*Pbft.messages, Odd)
    assert not [each for each in run(quirk).to_dict()["safety"]["violations"] if "bound" not in each]


@pytest.mark.parametrize("returned", [3, None, {"a": 1}, {VOTE}, "text", (each for each in ()), itertools.repeat(VOTE)])
def test_what_is_no_sequence_of_effects(returned: Any) -> None:
    class Returning(Pbft):
        def receive(self, sender: ReplicaId, message: Message, now_ns: int) -> Any:
            return returned

    with pytest.raises(ProtocolError, match=r"at 0 s: returned .*, which is no list or tuple of effects"):
        run(Returning)


def test_handlers_that_return_what_they_should_emit() -> None:
    class Returning(Pbft):
        def on_message(self, sender: ReplicaId, message: Message) -> Any:
            return [Broadcast(VOTE)]

    class Yielding(Pbft):
        def on_start(self, recovered: Recovered) -> Any:
            yield Broadcast(VOTE)

    why = "a handler returns nothing: it asks for effects with emit()"
    for protocol in (Returning, Yielding):
        with pytest.raises(ProtocolError, match=why.replace("(", r"\(").replace(")", r"\)")):
            run(protocol)


# -- it loops for ever -------------------------------------------------------------------------------------------------


def spins(self: Any) -> None:
    while True:
        pass


def spins_on(self: Any) -> None:
    while True:
        with suppress(Exception):
            spins(self)


OVERDUE = (
    "has not returned within 0.3 s (QUORBIT_PATIENCE_S sets how long it may take) (tests/testbed/test_protocol_err"
)


@pytest.mark.parametrize("deed", [spins, spins_on, lambda self: time.sleep(60), lambda self: threading.Event().wait()])
def test_a_handler_that_does_not_return(deed: Callable[[Any], Any]) -> None:
    assert sentence(with_deed(deed), patience_s=0.3).startswith(f"{WHERE}{OVERDUE}")


def test_a_handler_that_does_not_return_in_another_thread() -> None:
    said: list[str] = []
    thread = threading.Thread(target=lambda: said.append(sentence(with_deed(spins), patience_s=0.3)))
    thread.start()
    thread.join()
    assert said[0].startswith(f"{WHERE}{OVERDUE}")


def test_a_handler_may_take_its_time_and_a_run_much_longer() -> None:
    assert run(with_deed(lambda self: time.sleep(0.2)), patience_s=0.4).ok
    began_s = time.perf_counter()
    assert run(Pbft, patience_s=0.1, duration_s=200).ok
    assert time.perf_counter() - began_s > 0.2


class Talkative(Pbft):
    def on_message(self, sender: ReplicaId, message: Message) -> None:
        if self.me == 2:
            self.emit(Send(self.me, VOTE))


def test_messages_to_oneself_without_end() -> None:
    assert (
        sentence(Talkative)
        == "replica 2, on_message(Vote from itself) at 0.1 s: goes on answering itself, 10,000 times by now"
    )


@pytest.mark.parametrize("delay_ns", [0, 5])
def test_timers_without_end(delay_ns: int) -> None:
    class Mad(Pbft):
        def on_start(self, recovered: Recovered) -> None:
            super().on_start(recovered)
            self.on_timer("mad")

        def on_timer(self, timer: str) -> None:
            if timer == "mad":
                self.emit(SetTimer("mad", delay_ns))

    with pytest.raises(ProtocolError, match=r"on_timer\('mad'\) at .* s: sets timers without end that take no time"):
        run(Mad)


# -- from the command line ---------------------------------------------------------------------------------------------

OUTSIDE = """
from consensus.protocols.pbft import Pbft

class Broken(Pbft):
    def on_message(self, sender, message):
        raise ValueError("a bug")

class Deaf(Pbft):
    def on_message(self, sender, message):
        while True:
            try:
                while True:
                    pass
            except BaseException:
                pass
"""
SCENARIO = """
duration_s = 2
[consensus]
protocol = "outside_errors:Broken"
[[committee]]
on = "laboratory"
count = 4
[network]
model = "fixed"
delay_ms = 100
[compute]
sign_us = 0
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all, because a module is loaded once."""
    folder = tmp_path_factory.mktemp("outside")
    (folder / "outside_errors.py").write_text(OUTSIDE)
    (folder / "scenario.toml").write_text(SCENARIO)
    return folder


Command = Callable[[], tuple[int, str, str]]


@pytest.fixture
def quorbit(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`quorbit run scenario.toml` in that folder: exit code, stdout, stderr."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def command() -> tuple[int, str, str]:
        code = main(["run", "scenario.toml"])
        return (code, *capsys.readouterr())

    return command


BROKEN = (
    "protocol outside_errors:Broken, replica 0, on_message(PrePrepare from itself) at 0 s: "
    "raised ValueError: a bug (outside_errors.py:6, in on_message)\n"
)


def test_the_command_says_one_sentence_and_exits_with_2(quorbit: Command) -> None:
    assert quorbit() == (2, "", BROKEN)


def test_the_whole_traceback_for_who_asks(quorbit: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRACEBACK, "1")
    code, out, err = quorbit()
    assert (code, out) == (2, "")
    assert err.startswith("Traceback (most recent call last):\n")
    assert err.endswith(f"ValueError: a bug\n{BROKEN}")


def test_patience_is_a_number_of_seconds(quorbit: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PATIENCE, "long")
    code, out, err = quorbit()
    assert (code, out) == (2, "")
    assert "QUORBIT_PATIENCE_S=long: must be a number of seconds, more than 0" in err


def test_a_handler_that_nothing_interrupts_ends_the_command(folder: Path) -> None:
    deaf = "consensus.protocol=outside_errors:Deaf"
    done = subprocess.run(
        [sys.executable, "-m", "testbed.cli", "run", "scenario.toml", "--set", deaf],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT), PATIENCE: "0.2"},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    said = "protocol outside_errors:Deaf, replica 0, on_message(PrePrepare from itself) at 0 s: has not returned within"
    assert done.stderr.startswith(f"{said} 0.2 s ")
    assert done.stderr.count("\n") == 1
