"""Speed and memory of runs: each in a process of its own, so that its peak memory is its own."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

DEMO = Path(__file__).parent.parent / "scenarios" / "starlink_shell1_hotstuff.toml"

INTERNET = DEMO.parent / "internet_gossip.toml"
_THOUSAND_BLOCKS_S = 600_000

_PBFT = """
title = "PBFT in a laboratory"
duration_s = {duration_s}
[consensus]
protocol = "pbft"
[[committee]]
on = "laboratory"
count = {n}
[network]
model = "fixed"
delay_ms = 100
[compute]
signatures = "modelled"
sign_us = 0
verify_us = 0
"""


def measure() -> dict[str, float]:
    """Each of the engine's rows in its unit."""
    decisions, decisions_s = run_command(_PBFT.format(n=128, duration_s=15))
    thousand, thousand_s = run_command(_PBFT.format(n=1000, duration_s=0.301))
    _, demo_s = run_command(DEMO)
    internet, internet_s = run_command(INTERNET, f"duration_s={_THOUSAND_BLOCKS_S}")
    return {
        "pbft-128": decisions["deliveries"] / decisions_s,
        "pbft-1000": thousand_s,
        "pbft-1000-memory": thousand["peak_rss_mb"] * 1e6 / 2**20,
        "demo": demo_s,
        "gossip-300": internet_s,
        "gossip-300-memory": internet["peak_rss_mb"] * 1e6 / 2**20,
        "first-line": _first_line_s(),
    }


def run_command(scenario: str | Path, *changed: str) -> tuple[dict[str, Any], float]:
    """(the result's engine part, CPU seconds of the whole command: start, geometry, run, checks, metrics, files)."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with TemporaryDirectory() as folder:
        file = scenario if isinstance(scenario, Path) else Path(folder) / "scenario.toml"
        if isinstance(scenario, str):
            file.write_text(scenario, encoding="utf-8")
        sets = [part for key in changed for part in ("--set", key)]
        command = [sys.executable, "-m", "testbed.cli", "run", str(file), "--json", "--out", folder, *sets]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = json.loads(done.stdout)
    assert result["consensus"]["committed_blocks"] > 0, "a benchmark that commits nothing measures nothing"
    engine: dict[str, Any] = result["engine"]
    return engine, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _first_line_s() -> float:
    """The median of five starts."""
    times = []
    for _ in range(5):
        began = time.perf_counter()
        with subprocess.Popen(
            [str(Path(sys.executable).parent / "quorbit"), "protocols"], stdout=subprocess.PIPE
        ) as it:
            assert it.stdout is not None
            assert it.stdout.readline()
            times.append(time.perf_counter() - began)
            it.stdout.read()
    return sorted(times)[len(times) // 2]
