"""What a host holds its replica to, and whose fault it is when something breaks.

A protocol may come from anybody. Whatever goes wrong in its code ends the run with one `ProtocolError` that names the
protocol, the replica, the handler and the time; what goes wrong in ours stays the exception it is. A run that goes
well pays next to nothing for that: exceptions are looked into where they leave the run, and of each type that a
protocol sends or persists one value is looked at closely.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any

from consensus.effects import Broadcast, Persist, Send
from consensus.replica import Replica
from consensus.types import ReplicaId
from node.grammar import Grammar, shown

TRACEBACK = "QUORBIT_TRACEBACK"
"""Set in the environment, it shows all that a protocol's exception has to tell."""
_ENTRANCES = ("start", "receive", "fire", "submit", "spawn")
"""What a host calls in a replica, and to make one."""
_CALLERS = ("_boot", "deliver", "_carry_out", "_fire")
"""Where it does."""

Places = Sequence[tuple[FrameType, int]]
"""Frames, each with the line it is at, the innermost last."""


class ProtocolError(Exception):
    """A protocol broke, in one sentence that names it; `__cause__` is what its code raised, if it did."""


def told(error: ProtocolError, environment: Mapping[str, str]) -> str:
    """What to print: the sentence, after the whole traceback where the environment asks for it."""
    cause = error.__cause__
    if cause is None or not environment.get(TRACEBACK):
        return str(error)
    return "".join((*traceback.format_exception(cause), str(error)))


class BreachError(Exception):
    """What a replica did cannot be carried out, in words that go after its name."""


class Contract:
    """What the replicas of one protocol are held to, in a committee of `n`; all hosts of a process share it."""

    def __init__(self, name: str, protocol: type[Replica], n: int) -> None:
        """`name` is what the scenario calls the protocol."""
        self.n = n
        self._name = name
        self._grammar = Grammar(protocol.messages, n)
        self._file = getattr(sys.modules.get(protocol.__module__), "__file__", None)
        self._known: set[type[Any]] = set()

    def check_once(self, kind: type[Any], effect: Persist | Send | Broadcast) -> None:
        """Look closely at an effect if it carries the first value of its kind. Raises `BreachError`."""
        if kind not in self._known:
            self.check(effect)
            self._known.add(kind)

    def check(self, effect: Any) -> None:
        """Look closely at an effect. Raises `BreachError`."""
        fault = self._grammar.fault_in(effect)
        if fault is not None:
            raise BreachError(f"emitted {shown(effect)}, {fault}")

    def deed(self, error: BaseException, places: Places) -> str | None:
        """What the replica did that made a host fail like this; None if it is not its fault."""
        if isinstance(error, BreachError):
            return str(error)
        if self.entered(places) is not None or _misfit(error, places):
            return f"raised {in_words(error)}"
        carrying = next((frame for frame, _ in places if _is_host(frame) and frame.f_code.co_name == "_carry"), None)
        if carrying is None or "effect" not in carrying.f_locals:
            return None
        effect = carrying.f_locals["effect"]
        fault = self._grammar.fault_in(effect)
        return None if fault is None else f"emitted {shown(effect)}, {fault}"

    def entered(self, places: Places) -> FrameType | None:
        """The outermost frame of the replica's, if the host waits for it to return."""
        inside = _inside(places)
        if inside and inside[0][0].f_code.co_name in _ENTRANCES:
            return inside[0][0]
        return next((frame for frame, _ in inside if frame.f_code.co_filename == self._file), None)

    def sentence(self, deed: str, places: Places, me: ReplicaId, now_ns: int) -> str:
        """Who did it, in which handler, when, and where its code stood."""
        time = f"{now_ns / 1e9:.9f}".rstrip("0").rstrip(".")
        return f"protocol {self._name}, replica {me}, {_handler(places)} at {time} s: {deed}{self._where(places)}"

    def _where(self, places: Places) -> str:
        """The last line of the protocol's own file, and the line below it that raised."""
        lines = [(frame.f_code.co_filename, line, frame.f_code.co_name) for frame, line in _inside(places)]
        own = [place for place in lines if place[0] == self._file]
        if not own:
            return ""
        file, line, function = own[-1]
        below = "" if own[-1] == lines[-1] else f"; raised at {_short(lines[-1][0])}:{lines[-1][1]}"
        return f" ({_short(file)}:{line}, in {function}{below})"


def in_words(error: BaseException) -> str:
    """An exception on one line."""
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def host_in(places: Places) -> Any:
    """The host whose event this is, if it is one's."""
    return next((frame.f_locals["self"] for frame, _ in places if _is_host(frame)), None)


def _inside(places: Places) -> Places:
    """The frames that a host has called: below the last of its own."""
    depth = max((depth for depth, (frame, _) in enumerate(places, 1) if _is_host(frame)), default=len(places))
    return places[depth:]


def _misfit(error: BaseException, places: Places) -> bool:
    """Whether the host could not even call the replica, whose method has other parameters."""
    frame = places[-1][0]
    return isinstance(error, TypeError) and _is_host(frame) and frame.f_code.co_name in _CALLERS


def _handler(places: Places) -> str:
    """The protocol's method that was called last, and with what, from the frames of its host."""
    said = "on_start"
    for frame, _ in places:
        name, known = frame.f_code.co_name, frame.f_locals
        if name == "spawn":
            return "__init__"
        if not _is_host(frame):
            continue
        if name == "deliver":
            envelope = known["envelope"]
            said = f"on_message({type(envelope.message).__name__} from replica {envelope.sender})"
        elif name == "_fire":
            said = f"on_timer({known['name']!r})"
        elif name == "_carry_out" and "message" in known:
            said = f"on_message({type(known['message']).__name__} from itself)"
    return said


def _is_host(frame: FrameType) -> bool:
    return frame.f_globals.get("__name__") == "node.host"


def _short(file: str) -> str:
    """As seen from here, if it is below."""
    return file.removeprefix(os.getcwd() + os.sep)
