"""Runs over real processes, for tests: scenarios on Starlink's first shell, and what is left of them afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed.launch.brokers import BROKERS
from testbed.launch.options import Options
from testbed.launch.run import simulate_on_nodes
from testbed.result import Result
from testbed.scenario import Scenario, make_scenario
from testbed.sky import build_sky

QUORBIT = [sys.executable, "-m", "testbed.cli"]
DEADLINE_S = 60.0


def starlink(protocol: str, n: int, duration_s: float, **tables: Any) -> dict[str, Any]:
    """A scenario's tables: a committee spread over Starlink's first shell, without transactions."""
    consensus = {"protocol": protocol, "delta_ms": 250, **tables.pop("consensus", {})}
    return {
        "title": f"{protocol} on {n} satellites",
        "seed": 7,
        "duration_s": duration_s,
        "consensus": consensus,
        "committee": [{"on": "s1", "count": n}],
        "shell": [
            {
                "name": "s1",
                "planes": 72,
                "satellites_per_plane": 22,
                "phasing": 1,
                "altitude_km": 550,
                "inclination_deg": 53.0,
            }
        ],
        **tables,
    }


def run_on_nodes(scenario: Scenario | dict[str, Any], **options: Any) -> Result:
    """The result of a run over real processes."""
    made = make_scenario(scenario) if isinstance(scenario, dict) else scenario
    return simulate_on_nodes(made, build_sky(made), Options(**options))


def needs_broker(name: str) -> None:
    """Skip, saying so, where a broker is not installed."""
    broker = next(one for one in BROKERS if one.name == name)
    if not broker.available():
        pytest.skip(f"{name} is not installed: {broker.hint}")


def write_scenario(folder: Path, tables: dict[str, Any]) -> Path:
    """The same tables as a file."""
    file = folder / "scenario.toml"
    file.write_text(make_scenario(tables).toml(), encoding="utf-8")
    return file


def until(reached: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> Any:
    """What `reached` returns as soon as that is true."""
    limit = time.monotonic() + deadline_s
    while time.monotonic() < limit:
        found = reached()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what} did not happen within {deadline_s:g} s")


def processes() -> Iterator[tuple[int, int, str]]:
    """(pid, parent's pid, command line) of every process that is not a zombie."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if state != "Z":
                yield int(entry.name), int(parent), words


def descendants(pid: int) -> dict[int, str]:
    """Every process that a process has started, and those that these have, by pid."""
    everything = {each: (parent, words) for each, parent, words in processes()}
    found: dict[int, str] = {}
    waiting = [pid]
    while waiting:
        current = waiting.pop()
        for each, (parent, words) in everything.items():
            if parent == current and each not in found:
                found[each] = words
                waiting.append(each)
    return found


def broker_pid(of: int | None = None) -> int:
    """The broker that a launcher (this process, if none is named) has its warden keep."""
    for pid, words in descendants(os.getpid() if of is None else of).items():
        if "mosquitto" in words or "nats-server" in words or "amqtt_broker" in words:
            return pid
    raise AssertionError("no broker is running")


def launch(scenario: Path, folder: Path, *arguments: str, **more: Any) -> subprocess.Popen[str]:
    """`quorbit run SCENARIO --bus mqtt` in a process of its own."""
    command = [*QUORBIT, "run", str(scenario), "--bus", "mqtt", "--out", str(folder / "out"), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)
