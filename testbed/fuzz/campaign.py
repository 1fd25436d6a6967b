"""A campaign: scenario after scenario, on all cores, until there are enough, time is up, or one fails."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from consensus.protocols import load_protocol
from testbed.fuzz.draw import Tables, draw, is_bearable
from testbed.fuzz.shrink import shrink
from testbed.fuzz.trial import Trial, attempt
from testbed.scenario import ScenarioError


@dataclass
class Campaign:
    """What a campaign has seen so far."""

    protocol: str
    seed: int
    runs: int = 0
    deliveries: int = 0
    blocks: int = 0
    features: Counter[str] = field(default_factory=Counter)
    behaviours: Counter[str] = field(default_factory=Counter)
    failures: dict[int, Trial] = field(default_factory=dict)
    """By the scenario's number."""
    interrupted: bool = False
    """Whether Ctrl-C ended it before its time."""

    def add(self, number: int, trial: Trial) -> None:
        """Count one scenario."""
        self.runs += 1
        self.deliveries += trial.deliveries
        self.blocks += trial.blocks
        self.features.update(trial.features)
        self.behaviours.update(trial.behaviours)
        if trial.failed:
            self.failures[number] = trial

    @property
    def first_failure(self) -> int | None:
        """The lowest number of a scenario that failed: the same, however many cores there are."""
        return min(self.failures, default=None)


def run_campaign(
    protocol: str,
    *,
    seed: int,
    runs: int | None,
    seconds: float | None = None,
    processes: int | None = None,
    progress: Callable[[Campaign], None] | None = None,
) -> Campaign:
    """Scenarios 0, 1, … of the campaign with this seed, up to `runs` of them or for so many seconds.

    After a failure nothing new begins. Ctrl-C ends it early, with what was seen so far.
    """
    campaign = Campaign(protocol, seed)
    deadline_s = None if seconds is None else time.monotonic() + seconds
    numbers: Iterator[int] = count() if runs is None else iter(range(runs))
    processes = processes or os.cpu_count() or 1
    with ProcessPoolExecutor(processes, initializer=_prepare, initargs=(list(sys.path),)) as pool:
        pending: dict[Future[Trial], int] = {}
        try:
            while True:
                over = campaign.failures or (deadline_s is not None and time.monotonic() >= deadline_s)
                while not over and len(pending) < 2 * processes and (number := next(numbers, None)) is not None:
                    pending[pool.submit(_attempt_drawn, protocol, seed, number)] = number
                if not pending:
                    return campaign
                done, _ = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    campaign.add(pending.pop(future), future.result())
                if progress is not None:
                    progress(campaign)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            campaign.interrupted = True
            return campaign


def shrunk(campaign: Campaign, number: int) -> tuple[Tables, Trial]:
    """A smaller scenario that fails as scenario `number` did, and what came of it."""
    tables = draw(campaign.protocol, campaign.seed, number)
    wanted = set(campaign.failures[number].failed)
    facts = load_protocol(campaign.protocol).facts

    def fails(candidate: Tables) -> bool:
        try:
            return is_bearable(candidate, facts) and bool(wanted & set(attempt(candidate).failed))
        except ScenarioError:
            return False

    smallest = shrink(tables, fails)
    return smallest, attempt(smallest)


def _attempt_drawn(protocol: str, seed: int, number: int) -> Trial:
    return attempt(draw(protocol, seed, number))


def _prepare(path: list[Any]) -> None:
    """Ctrl-C is for whoever started the campaign; protocols are found where it finds them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.path[:] = path
