"""A run over real processes: a broker, a node for each replica, a common start, and one result in the end."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from consensus.protocols import load_protocol
from consensus.types import ReplicaId
from network.broker import CA_FILE, PASSWORD, USER, BrokerAddress
from network.mqtt import BrokerError
from network.timetable import Timetable
from node.brief import Brief, brief_for
from node.contract import BreachError, ProtocolError
from node.frames import run_name
from node.process import hand_in_from
from node.signing import SigningKey
from node.sqlite import SqliteStore
from testbed.faults import crashes_of, windows_down
from testbed.launch import LaunchError
from testbed.launch.access import broker_named, by_hand_sentences, node_arguments, open_broker
from testbed.launch.desk import Desk, NodeView
from testbed.launch.fitness import check_for_nodes
from testbed.launch.fold import Gathered, fold_nodes
from testbed.launch.guard import Warden, private_folder, tail
from testbed.launch.keeper import NodeFailedError, NodeKeeper, at_unix_ns
from testbed.launch.options import Interruption, NodesProgress, Options
from testbed.terms import terms_of

if TYPE_CHECKING:
    from testbed.result import Result
    from testbed.scenario import Scenario
    from testbed.sky import Sky

CONNECT_S = 15.0
READY_S = 30.0
READY_S_PER_NODE = 2.0
"""How long our nodes may take to be ready: on one core, each loads its programs for about half a second."""
LEAD_S = 1.0
"""From all being ready to the start: time for everybody to hear of it."""
HAND_IN_S = 120.0
"""How long our nodes may take to hand in."""
STOPPED_S = 30.0
"""The same after Ctrl-C."""
LEAVE_S = 5.0
"""How long nodes that have handed in, or were told to stop, may take to go; the warden ends those that do not."""
REPORT_S = 0.5


def simulate_on_nodes(scenario: Scenario, sky: Sky, options: Options | None = None) -> Result:
    """Run a scenario over real processes and a broker, in real time, and return what happened.

    Ctrl-C ends the run early: the result holds what was measured so far and is marked partial. Raises `LaunchError`
    when there is nothing to report: no broker, nodes that never got ready, a node that failed; `ProtocolError` if the
    protocol is why; ValueError for a broker that cannot be had.
    """
    check_for_nodes(scenario)
    run = _Run(scenario, sky, options or Options())
    with Interruption() as interruption, Warden.start(private_folder()) as warden:
        try:
            gathered = asyncio.run(run.gather(warden, interruption))
        except* (ProtocolError, BrokerError, NodeFailedError, LaunchError) as errors:
            broken = errors.subgroup(ProtocolError)
            if broken is not None:
                raise ProtocolError(_first_sentence(broken)) from None
            raise LaunchError(_first_sentence(errors)) from None
        if gathered is None:
            raise KeyboardInterrupt
        try:
            return fold_nodes(sky, run.protocol, run.terms, gathered)
        except BreachError as error:
            raise ProtocolError(f"protocol {run.terms.protocol}: a replica {error}") from None


class _Run:
    """One run: whom it starts, when, and what comes of it."""

    def __init__(self, scenario: Scenario, sky: Sky, options: Options) -> None:
        self.protocol = load_protocol(scenario.consensus.protocol)
        self.terms = terms_of(sky.scenario, sky, self.protocol)
        self._scenario = sky.scenario
        self._sky = sky
        self._options = options
        self._n = self.terms.committee.n
        self._down = [tuple(windows_down(windows)) for windows in crashes_of(sky.scenario, sky)]
        self._broker = options.broker or broker_named(scenario.mqtt.broker, os.environ)
        self._keepers: dict[int, NodeKeeper] = {}

    async def gather(self, warden: Warden, interruption: Interruption) -> Gathered | None:
        """Run everything; None if it was interrupted before there was anything to report."""
        began_s = time.perf_counter()
        key = SigningKey.generate()
        run = run_name(key.public)
        warning = getattr(self._broker, "warning", "")
        if warning:
            self._options.tell(f"warning: {warning}")
        access = open_broker(self._broker, run, self._n, warden)
        keys = [SigningKey.generate() for _ in range(self._n)]
        desk = Desk(access.launcher, run, key, list(self._briefs(keys)))
        arguments = [node_arguments(warden.folder, run, i, keys[i], access.nodes[i]) for i in range(self._n)]
        async with asyncio.TaskGroup() as group:
            background = [group.create_task(desk.link.run()), group.create_task(self._report(desk))]
            await self._until_connected(desk, warden)
            nodes = self._start_nodes(group, warden, desk, arguments)
            complete = await self._course(group, background, desk, warden, interruption)
            for keeper in self._keepers.values():
                keeper.done = True
                if not desk.start_unix_ns:
                    keeper.terminate()
            if nodes:
                await asyncio.wait(nodes, timeout=LEAVE_S)
            await desk.clear()
            for task in (*background, *nodes):
                task.cancel()
        if not desk.start_unix_ns:
            return None
        return Gathered(
            broker=access.name,
            run=run,
            members=tuple(one.public for one in keys),
            start_unix_ns=desk.start_unix_ns,
            partial=not complete,
            wall_s=time.perf_counter() - began_s,
            collections=desk.collections,
            deaths_ns=[self._keepers[i].deaths_ns if i in self._keepers else [] for i in range(self._n)],
            executed_ns=[self._executed_ns(i) for i in range(self._n)],
            windows_down=self._down,
            refused=desk.refused,
            outages=list(desk.link.outages),
        )

    def _executed_ns(self, replica: int) -> list[int]:
        """Which crashes struck a node: who is down from the start needs no kill."""
        from_the_start = [0 for begin_ns, _ in self._down[replica] if begin_ns == 0]
        keeper = self._keepers.get(replica)
        return from_the_start + (keeper.executed_ns if keeper is not None else [])

    def _briefs(self, keys: Sequence[SigningKey]) -> Iterator[Brief]:
        members = tuple(key.public for key in keys)
        scale = self._scenario.mqtt.time_scale
        for i in range(self._n):
            timetable = Timetable.of(self._sky.plan, i, self.terms.duration_ns)
            yield brief_for(ReplicaId(i), self.terms, timetable, members, self._down[i], scale)

    async def _until_connected(self, desk: Desk, warden: Warden) -> None:
        try:
            async with asyncio.timeout(CONNECT_S):
                await desk.link.connected.wait()
                await desk.open()
        except TimeoutError:
            log = f"; its log ends:\n{tail(warden.log)}" if warden.log.exists() else ""
            raise LaunchError(f"the broker does not answer within {CONNECT_S:g} s: {desk.link.trouble}{log}") from None

    def _start_nodes(
        self, group: asyncio.TaskGroup, warden: Warden, desk: Desk, arguments: Sequence[Sequence[str]]
    ) -> list[asyncio.Task[None]]:
        # Nodes have their broker's credentials in files; those of another one must not get in the way.
        foreign = () if isinstance(self._broker, BrokerAddress) else (USER, PASSWORD, CA_FILE)
        environment = {name: value for name, value in os.environ.items() if name not in foreign}
        by_hand = {i: arguments[i] for i in sorted(self._options.by_hand)}
        for sentence in by_hand_sentences(by_hand):
            self._options.tell(sentence)
        for i in range(self._n):
            if i not in by_hand:
                store = ["--store", str(self._store(warden, i))]
                # Not from this folder, which may have a "node" of its own.
                command = [sys.executable, "-P", "-m", "node", *arguments[i], *store]
                log, over = warden.folder / f"{i}.log", partial(desk.has, i)
                self._keepers[i] = NodeKeeper(i, command, log, warden.process_group, environment, over)
        return [group.create_task(keeper.keep()) for keeper in self._keepers.values()]

    async def _course(
        self,
        group: asyncio.TaskGroup,
        background: list[asyncio.Task[None]],
        desk: Desk,
        warden: Warden,
        interruption: Interruption,
    ) -> bool:
        """From all being ready to all having handed in; whether the run came to its end."""
        limit_s = READY_S + READY_S_PER_NODE * self._n
        if not await self._until(desk, lambda: all(view.ready for view in desk.views), "ready", limit_s, interruption):
            desk.stop()
            return False
        scale = self._scenario.mqtt.time_scale
        start_unix_ns = time.time_ns() + round(LEAD_S * 1e9)
        desk.start(start_unix_ns)
        for i, keeper in self._keepers.items():
            for begin_ns, _ in self._down[i]:
                if begin_ns:
                    crash = partial(keeper.crash, begin_ns)
                    at_begin = at_unix_ns(start_unix_ns + round(begin_ns * scale), crash)
                    background.append(group.create_task(at_begin))
        lasts_s = LEAD_S + self.terms.duration_ns * scale / 1e9
        if await self._until(desk, lambda: desk.received, "handed in", lasts_s + HAND_IN_S, interruption):
            return True
        desk.stop()
        try:
            await self._until(desk, lambda: desk.received, "handed in", STOPPED_S, None)
        except LaunchError:
            await self._take_over(desk, warden)
        return False

    async def _until(
        self, desk: Desk, reached: Callable[[], bool], what: str, limit_s: float, interruption: Interruption | None
    ) -> bool:
        """Wait for the nodes; False when interrupted. Who can interrupt may wait for nodes by hand for ever."""
        deadline_s, told = time.monotonic() + limit_s, False
        while not reached():
            if interruption is not None and interruption.asked:
                return False
            if time.monotonic() > deadline_s and not told:
                late = [view.replica for view in desk.views if not self._has(desk, view, what)]
                self._give_up(late, what, limit_s, final=interruption is None)
                names = ", ".join(map(str, late))
                self._options.tell(f"waiting for nodes {names}, which are started by hand; Ctrl-C ends it")
                told = True
            await asyncio.sleep(0.05)
        return True

    def _give_up(self, late: Sequence[int], what: str, limit_s: float, *, final: bool) -> None:
        """Do not wait for our own nodes any longer, and `final`ly for nobody."""
        ours = [i for i in late if i in self._keepers]
        if ours:
            raise LaunchError(
                f"not {what} within {limit_s:.0f} s: nodes {', '.join(map(str, ours))}; the log of the first ends:\n"
                + tail(self._keepers[ours[0]].log)
            )
        if final:
            names = ", ".join(map(str, late))
            raise LaunchError(f"nodes {names} have not {what}: without their traces there is nothing to report")

    async def _take_over(self, desk: Desk, warden: Warden) -> None:
        """Read the stores of our nodes that cannot hand in. Raises `LaunchError` if somebody else's is missing."""
        late = [view.replica for view in desk.views if not desk.has(view.replica)]
        for i in late:
            if i not in self._keepers or not self._store(warden, i).exists():
                raise LaunchError(f"node {i} has not handed in: without its trace there is nothing to report")
            keeper = self._keepers[i]
            keeper.done = True
            keeper.kill()
            while keeper.pid is not None:
                await asyncio.sleep(0.02)
            store = SqliteStore(self._store(warden, i), f"{desk.run}/{i}")
            desk.take_over(i, hand_in_from(store))
            store.close()

    def _store(self, warden: Warden, replica: int) -> Path:
        return warden.folder / f"{replica}.sqlite"

    def _has(self, desk: Desk, view: NodeView, what: str) -> bool:
        return view.ready if what == "ready" else desk.has(view.replica)

    async def _report(self, desk: Desk) -> None:
        """Show how everybody is, as long as it lasts."""
        progress = self._options.progress
        while progress is not None:
            now_s = (time.time_ns() - desk.start_unix_ns) / 1e9 if desk.start_unix_ns else -LEAD_S
            views = [
                replace(view, pid=keeper.pid, restarts=keeper.restarts)
                if (keeper := self._keepers.get(view.replica)) is not None
                else view
                for view in desk.views
            ]
            duration_s = self.terms.duration_ns / 1e9
            progress(NodesProgress(min(now_s / self._scenario.mqtt.time_scale, duration_s), duration_s, views))
            await asyncio.sleep(REPORT_S)


def _first_sentence(errors: BaseExceptionGroup[BaseException]) -> str:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error)
