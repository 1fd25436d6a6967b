"""Chaos: nodes killed at random instants, and the broker once, and still one history that nobody contradicts."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from testbed.launch.desk import NodeView
from testbed.launch.options import NodesProgress
from testbed.result import Result
from tests.realtime.nodes import broker_pid, run_on_nodes, starlink, until
from tests.simulation.runs import failed

pytestmark = [pytest.mark.slow, pytest.mark.realtime]

N, F, DURATION_S = 7, 2, 60.0
CALM_S = 12.0
"""Without kills at the end, for the last killed to come back and catch up."""
SETTLED_NS = 1_500_000_000
"""What anybody had committed so long before the end, everybody has at the end: more than two views apart."""


class Chaos:
    """Kills nodes of a run, `F` at the most until they are up again, and the broker in the middle."""

    def __init__(self, seed: int) -> None:
        self.kills = 0
        self.broker_kills = 0
        self.error: BaseException | None = None
        self._random = random.Random(seed)
        self._now_s = -1.0
        self._nodes: list[NodeView] = []
        self._thread = threading.Thread(target=self._wreak)
        self._over = threading.Event()

    def progress(self, progress: NodesProgress) -> None:
        """What a run calls."""
        self._now_s, self._nodes = progress.virtual_s, list(progress.nodes)

    def during(self, run: Callable[[], Result]) -> Result:
        """Wreak havoc while something runs."""
        self._thread.start()
        try:
            return run()
        finally:
            self._over.set()
            self._thread.join()

    def _wreak(self) -> None:
        try:
            until(lambda: self._now_s > 1 or self._over.is_set(), "the start", 120)
            while self._now_s < DURATION_S - CALM_S and not self._over.is_set():
                if self.broker_kills == 0 and self._now_s > DURATION_S / 2:
                    os.kill(broker_pid(), signal.SIGKILL)
                    self.broker_kills += 1
                self._kill_some()
                time.sleep(self._random.uniform(0.2, 2.0))
        except BaseException as error:
            self.error = error

    def _kill_some(self) -> None:
        victims = self._random.sample(range(N), self._random.randint(1, F))
        pids = {self._nodes[victim].pid for victim in victims}
        for pid in pids:
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
                self.kills += 1
                time.sleep(self._random.uniform(0, 0.3))
        until(lambda: self._over.is_set() or self._back(victims, pids), "all killed nodes being up again")

    def _back(self, victims: list[int], pids: set[int | None]) -> bool:
        views = [self._nodes[victim] for victim in victims]
        fresh = time.monotonic() - 1.5
        return all(view.up and view.pid not in (None, *pids) and view.heard_s > fresh for view in views)


def committed_by(result: Result, before_ns: int) -> list[int]:
    """The highest block that each replica had committed by then."""
    height = np.array(result.blocks["height"].to_pylist(), dtype=np.int64)
    table = result.arrivals
    row, replica = table["row"].to_numpy(), table["replica"].to_numpy()
    at_ns = table["committed_ns"].fill_null(np.iinfo(np.int64).max).to_numpy()
    return [int(height[row[(at_ns <= before_ns) & (replica == i)]].max(initial=0)) for i in range(N)]


def test_kills_at_random_instants_and_a_new_broker_lose_nothing_that_was_promised() -> None:
    chaos = Chaos(seed=20)
    scenario = starlink("hotstuff", N, DURATION_S, consensus={"timeout_ms": 600})
    result = chaos.during(lambda: run_on_nodes(scenario, progress=chaos.progress))
    assert chaos.error is None
    engine, checks = result.report["engine"], {check["name"]: check for check in result.report["safety"]["checks"]}
    assert chaos.kills >= 10
    assert engine["node_deaths"] == chaos.kills
    assert chaos.broker_kills == 1
    assert len(engine["broker_outages_s"]) >= 1
    assert failed(result) == set(), result.report["safety"]
    assert int(checks["no double vote"]["detail"].split()[0]) > 100
    end_ns = round(DURATION_S * 1e9)
    assert max(committed_by(result, end_ns - SETTLED_NS)) <= min(committed_by(result, end_ns))
    assert engine["undelivered"] == 0
