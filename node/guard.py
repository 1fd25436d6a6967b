"""The guard of a run: a protocol that breaks, or does not return, ends it with one `ProtocolError`.

A handler that does not return is noticed by a thread that looks, about once a second, where the guarded one is: the
run itself does nothing for it. An exception raised in the handler ends it. What no exception reaches, such as one
long calculation in C, is left to the last resort.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from types import FrameType, TracebackType

from network.clock import TimeStandsStillError
from node.contract import Places, ProtocolError, host_in

PATIENCE = "QUORBIT_PATIENCE_S"
PATIENCE_S = 10.0
_TICKS = 10
"""Looks within the patience: time in which this process stands still counts as one of them."""
_SHORTEST_TICK_S = 0.01
"""More often than that, looking would keep the run from going on."""
_GRACE_TICKS = 3
"""How long an interrupted handler may go on."""


def end_process(sentence: str) -> None:
    """The last resort of a process that is there for one run: it ends, from whatever thread, with exit code 2."""
    print(sentence, file=sys.stderr, flush=True)
    os._exit(2)


class OverdueError(BaseException):
    """Raised in a handler that does not return, past every `except Exception` of its own."""


FAULTS = (Exception, SystemExit, OverdueError)
"""What may come out of a protocol's code by its own fault: Ctrl-C is nobody's."""


def patience_s(environment: Mapping[str, str]) -> float:
    """How long a handler may take on the wall. Raises ValueError with one sentence."""
    text = environment.get(PATIENCE, str(PATIENCE_S))
    try:
        patience = float(text)
    except ValueError:
        patience = 0.0
    if not patience > 0:
        raise ValueError(f"{PATIENCE}={text}: must be a number of seconds, more than 0")
    return patience


class Guard:
    """A context in whose thread hosts may run."""

    def __init__(self, patience_s: float = PATIENCE_S, last_resort: Callable[[str], None] | None = None) -> None:
        """`last_resort` is told, in another thread, of a handler that cannot be interrupted."""
        self._patience_s = patience_s
        self._last_resort = last_resort
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="quorbit-guard", daemon=True)

    def __enter__(self) -> None:
        self._guarded = threading.get_ident()
        self._main = threading.current_thread() is threading.main_thread()
        if self._main:
            # Ignored unless somebody handles it; handled, it ends a sleep.
            self._before = signal.signal(signal.SIGURG, lambda number, frame: None)
        self._watcher.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._over.set()
            self._watcher.join()
        except OverdueError:  # the handler has returned just before it came
            self._watcher.join()
        if self._main:
            signal.signal(signal.SIGURG, self._before)
        if isinstance(error, FAULTS) and not isinstance(error, ProtocolError | TimeStandsStillError):
            sentence = self._accusation(error, list(traceback.walk_tb(trace)))
            if sentence is not None:
                raise ProtocolError(sentence) from error

    def _accusation(self, error: BaseException, places: Places) -> str | None:
        host = host_in(places)
        if isinstance(error, OverdueError):
            return self._overdue(places)
        deed = None if host is None else host.contract.deed(error, places)
        return None if deed is None else host.accusation(deed, places)

    def _overdue(self, places: Places) -> str:
        places = [(frame, line) for frame, line in places if frame.f_globals is not globals()]
        deed = f"has not returned within {self._patience_s:g} s ({PATIENCE} sets how long it may take)"
        host = host_in(places)
        return f"a handler {deed}" if host is None else host.accusation(deed, places)

    def _watch(self) -> None:
        tick_s = max(self._patience_s / _TICKS, _SHORTEST_TICK_S)
        seen: FrameType | None = None
        ticks = 0
        while not self._over.wait(tick_s):
            frame = self._handler()
            ticks = ticks + 1 if frame is not None and frame is seen else 0
            seen, frame = frame, None
            if ticks >= _TICKS:
                interrupt(self._guarded, asleep=self._main)
            if ticks >= _TICKS + _GRACE_TICKS and self._last_resort is not None:
                self._last_resort(self._overdue(_stack_of(self._guarded)))

    def _handler(self) -> FrameType | None:
        """The frame of the handler that the guarded thread is in. Of all other frames nothing is kept: whatever they
        hold, such as a message of 100 MB, would outlive them until the next look."""
        places = _stack_of(self._guarded)
        host = host_in(places)
        return None if host is None else host.contract.entered(places)


def _stack_of(thread: int) -> Places:
    """The frames of a thread and the lines they are at, the innermost last."""
    return list(traceback.walk_stack(sys._current_frames()[thread]))[::-1]


def interrupt(thread: int, *, asleep: bool) -> None:
    """Have `OverdueError` raised in a thread as soon as it runs Python again, `asleep` or not if it handles SIGURG."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(OverdueError))
    if asleep:
        signal.pthread_kill(thread, signal.SIGURG)
