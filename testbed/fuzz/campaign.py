"""A campaign: scenario after scenario, on all cores, until there are enough, time is up, or one fails."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, count
from typing import Any

from consensus.protocols import load_protocol
from node.contract import ProtocolError
from testbed.fuzz.arena import Arena
from testbed.fuzz.draw import Tables, draw, is_bearable
from testbed.fuzz.enumeration import STRETCH, Enumeration, play_stretch, space_of
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
    twins: Enumeration = field(default_factory=Enumeration)
    """The Twins schedules, which are enumerated and not drawn."""
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
    def failed(self) -> bool:
        """Whether anything has."""
        return bool(self.failures or self.twins.failures)

    @property
    def first_failure(self) -> int | None:
        """The lowest number of a scenario that failed: the same, however many cores there are."""
        return min(self.failures, default=None)


Task = tuple[Callable[[Any], None], Callable[..., Any], tuple[Any, ...]]
"""What takes the result; what is to be done, and with which arguments."""


def run_campaign(
    protocol: str,
    *,
    seed: int,
    runs: int | None,
    seconds: float | None = None,
    schedules: int = 0,
    processes: int | None = None,
    progress: Callable[[Campaign], None] | None = None,
) -> Campaign:
    """The first `schedules` Twins schedules; then scenarios 0, 1, … of the campaign with this seed, up to `runs` of
    them or for so many seconds.

    After a failure nothing new begins. Ctrl-C ends it early, with what was seen so far. Raises `ProtocolError` if a
    protocol ends the process that it runs in.
    """
    campaign = Campaign(protocol, seed)
    deadline_s = None if seconds is None else time.monotonic() + seconds
    tasks = chain(_enumerated(campaign, schedules), _drawn(campaign, count() if runs is None else range(runs)))
    processes = processes or os.cpu_count() or 1
    with ProcessPoolExecutor(processes, initializer=_prepare, initargs=(list(sys.path),)) as pool:
        pending: dict[Future[Any], Callable[[Any], None]] = {}
        try:
            while True:
                over = campaign.failed or (deadline_s is not None and time.monotonic() >= deadline_s)
                while not over and len(pending) < 2 * processes and (task := next(tasks, None)) is not None:
                    take, do, arguments = task
                    pending[pool.submit(do, *arguments)] = take
                if not pending:
                    return campaign
                done, _ = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    pending.pop(future)(future.result())
                if progress is not None:
                    progress(campaign)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            campaign.interrupted = True
            return campaign
        except BrokenProcessPool:
            sentence = f"{protocol}: a process of the campaign has ended; the protocol ended it, or used up all memory"
            raise ProtocolError(sentence) from None


def _enumerated(campaign: Campaign, schedules: int) -> Iterator[Task]:
    for begin in range(0, schedules, STRETCH):
        end = min(begin + STRETCH, schedules)
        yield campaign.twins.add, play_stretch, (campaign.protocol, begin, end)


def _drawn(campaign: Campaign, numbers: count[int] | range) -> Iterator[Task]:
    for number in numbers:
        yield partial(campaign.add, number), _attempt_drawn, (campaign.protocol, campaign.seed, number)


def shrunk(campaign: Campaign, number: int) -> tuple[Tables, Trial]:
    """A smaller scenario that fails as scenario `number` did, and what came of it."""
    tables = draw(campaign.protocol, campaign.seed, number)
    facts = load_protocol(campaign.protocol).facts
    return _shrunk(tables, set(campaign.failures[number].failed), lambda candidate: is_bearable(candidate, facts))


def shrunk_schedule(campaign: Campaign, number: int) -> tuple[Tables, Trial]:
    """A smaller scenario that fails as Twins schedule `number` did, and what came of it.

    If no check fails where hosts run it, there is nothing to make smaller.
    """
    arena = Arena(load_protocol(campaign.protocol), space_of(load_protocol(campaign.protocol)))
    tables = arena.tables(campaign.protocol, campaign.twins.failures[number])
    return _shrunk(tables, set(attempt(tables).failed), lambda candidate: True)


def _shrunk(tables: Tables, wanted: set[str], may_be: Callable[[Tables], bool]) -> tuple[Tables, Trial]:
    """The smallest of the scenarios that `may_be` and still fail one of the checks that are wanted."""

    def fails(candidate: Tables) -> bool:
        try:
            return may_be(candidate) and bool(wanted & set(attempt(candidate).failed))
        except ScenarioError:
            return False

    smallest = shrink(tables, fails) if wanted else tables
    return smallest, attempt(smallest)


def _attempt_drawn(protocol: str, seed: int, number: int) -> Trial:
    return attempt(draw(protocol, seed, number))


def _prepare(path: list[Any]) -> None:
    """Ctrl-C is for whoever started the campaign: not even a run's own handler may have it, for what is cut short looks
    like a protocol that has come to a stop. Protocols are found where the campaign finds them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    sys.path[:] = path
