"""The keeper of one node: starts its process, kills it when the scenario says so, starts it again when it is dead."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from node.contract import TRACEBACK, ProtocolError
from testbed.launch.guard import tail

MISTAKE = 2
"""A node's exit code for what is not its fault: of the two there are, its arguments and its protocol, only the latter
is not the launcher's own."""

MANY_DEATHS = 100
"""So many unplanned deaths of one node are no accidents."""


class NodeFailedError(Exception):
    """A node's process ended by itself with an error, in one sentence and the end of its log."""


class NodeKeeper:
    """Keeps one node's process alive until it may go.

    The node itself knows when it is to be down: what is started in that time waits for its end.
    """

    def __init__(
        self,
        replica: int,
        command: Sequence[str],
        log: Path,
        process_group: int,
        environment: Mapping[str, str],
        over: Callable[[], bool],
    ) -> None:
        """`over` says whether the node has nothing more to do, so that its end is no death."""
        self.replica = replica
        self.executed_ns: list[int] = []
        """Crashes of the scenario, in ns after the start, that killed a process."""
        self.deaths_ns: list[int] = []
        """Unix times at which the process was dead."""
        self.done = False
        """Whether the node may end."""
        self.restarts = 0
        self._command = command
        self.log = log
        self._process_group = process_group
        self._environment = environment
        self._over = over
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """The living process."""
        return None if self._process is None else self._process.pid

    def crash(self, planned_ns: int) -> None:
        """kill -9, because the scenario says so."""
        if self._process is not None:
            self.executed_ns.append(planned_ns)
            self.kill()

    def kill(self) -> None:
        """kill -9."""
        self._signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Ask the node to leave."""
        self._signal(signal.SIGTERM)

    def _signal(self, number: int) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, number)

    async def keep(self) -> None:
        """Have a process until the node is done. Raises `NodeFailedError`, or `ProtocolError` if that is why."""
        while not self._finished:
            code = await self._one_life()
            if self._finished:
                return
            if code == MISTAKE:
                raise ProtocolError(self._last_words())
            if code > 0:
                raise NodeFailedError(f"node {self.replica} failed (exit code {code}); its log ends:\n{tail(self.log)}")
            self.deaths_ns.append(time.time_ns())
            self.restarts += 1
            if self.restarts > MANY_DEATHS:
                raise NodeFailedError(
                    f"node {self.replica} died {self.restarts} times; its log ends:\n{tail(self.log)}"
                )

    @property
    def _finished(self) -> bool:
        return self.done or self._over()

    def _last_words(self) -> str:
        """The sentence that a node ends with, after what it was told to show with it."""
        words = self.log.read_text(encoding="utf-8", errors="replace").strip()
        return words if os.environ.get(TRACEBACK) else words.rpartition("\n")[2]

    async def _one_life(self) -> int:
        with self.log.open("ab") as log:
            self._process = process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=self._process_group,
                env=self._environment,
            )
        try:
            return await process.wait()
        except asyncio.CancelledError:
            self.kill()
            await process.wait()
            raise
        finally:
            self._process = None


async def at_unix_ns(time_ns: int, action: Callable[[], None]) -> None:
    """Do something at a time of the wall clock."""
    await asyncio.sleep(max(0.0, (time_ns - time.time_ns()) / 1e9))
    action()
