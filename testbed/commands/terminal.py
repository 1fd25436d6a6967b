"""Saying things: results on stdout, one line each for mistakes and warnings on stderr."""

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import typer

Arguments = ParamSpec("Arguments")
WIDE = 120
MISTAKE = 2


def sentences_for_mistakes(command: Callable[Arguments, int]) -> Callable[Arguments, int]:
    """A command whose scenario's and protocol's mistakes are printed, one line each, with exit code 2."""

    @wraps(command)
    def careful(*args: Arguments.args, **kwargs: Arguments.kwargs) -> int:
        from network.clock import TimeStandsStillError
        from node.contract import ProtocolError, told
        from testbed.scenario import ScenarioError

        try:
            return command(*args, **kwargs)
        except ProtocolError as error:
            print(told(error, os.environ), file=sys.stderr)
        except TimeStandsStillError as error:
            print(error, file=sys.stderr)
        except ScenarioError as error:
            for problem in error.problems:
                print(problem, file=sys.stderr)
        return MISTAKE

    return careful


def warn(sentences: Iterable[str]) -> None:
    """One line on stderr for each warning."""
    for sentence in sentences:
        print(f"warning: {sentence}", file=sys.stderr)


def print_json(value: Mapping[str, Any]) -> None:
    """Pretty JSON on stdout."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def print_table(renderable: Any) -> None:
    """A rich table, or anything else rich can show, on stdout; into a file or a pipe, nothing is cut."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else WIDE).print(renderable)


def check_writable(folder: Path, option: str) -> None:
    """Make a folder and try to write in it. Raises BadParameter, so that nobody waits for a run to find out."""
    probe = folder / ".quorbit-probe"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise typer.BadParameter(f"{folder}: cannot be written: {error.strerror}", param_hint=option) from None


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let Ctrl-C wait until this is done."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
