"""The warden: a small process that outlives its launcher, keeps the broker up, and leaves nothing behind.

A launcher can be killed so that it cannot clean up after itself. So it starts a warden first and holds the other end
of the warden's standard input; the operating system closes that end however the launcher ends. Then, or when told by
SIGTERM, the warden ends every process of its own process group, which the launcher put its nodes into, and removes
the run's folder.

It reads one JSON object a line: {"folder": PATH} names what to remove, {"command": [...], "log": PATH} names a
command to keep running. It is started by its path and imports the standard library alone, so that it is there at once.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

FIRST_PAUSE_S = 0.3
LONGEST_PAUSE_S = 5.0
SETTLED_S = 5.0
"""A command that ran this long is in order; when it ends, the first pause is enough."""
GRACE_S = 0.5
"""What a process has between being asked to end and being ended."""
PATIENCE_S = 10.0
"""Longer than it takes a killed process to go, unless the kernel cannot let go of it."""


class Keeper:
    """Keeps one command running: starts it again when it ends, after a pause that grows if it ends at once."""

    def __init__(self, command: list[str], log: str) -> None:
        self._command = command
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._pause_s = FIRST_PAUSE_S
        self._started_s = self._due_s = time.monotonic()

    def tend(self) -> float | None:
        """Starts the command if it is due; returns the seconds until it is, or None while it runs."""
        now_s = time.monotonic()
        if self._process is not None and self._process.poll() is None:
            return None
        if self._process is not None:
            self._process = None
            self._wait(now_s)
        if now_s >= self._due_s:
            self._start(now_s)
        return None if self._process is not None else max(0.0, self._due_s - now_s)

    def _start(self, now_s: float) -> None:
        self._started_s = now_s
        with open(os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as log:
            try:
                self._process = subprocess.Popen(
                    self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
                )
            except OSError as error:
                log.write(f"{self._command[0]} did not start: {error}\n".encode())
                self._wait(now_s)

    def _wait(self, now_s: float) -> None:
        if now_s - self._started_s >= SETTLED_S:
            self._pause_s = FIRST_PAUSE_S
        self._due_s = now_s + self._pause_s
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)


class Orders:
    """What the launcher says, and whether it is still there."""

    def __init__(self) -> None:
        self.folder: str | None = None
        self.keeper: Keeper | None = None
        self._unread = b""

    def read(self) -> bool:
        """Takes in what has come on standard input; False once its other end is closed."""
        arrived = os.read(0, 65_536)
        *lines, self._unread = (self._unread + arrived).split(b"\n")
        for line in lines:
            order = json.loads(line)
            self.folder = order.get("folder", self.folder)
            if order.get("command"):
                self.keeper = Keeper(order["command"], order["log"])
        return arrived != b""


def watch(orders: Orders) -> None:
    """Returns when the launcher is gone or SIGTERM has come."""
    told: list[int] = []
    wake, wake_end = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(wake_end, False)
    signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, lambda number, frame: told.append(number))
    # Handlers that do nothing, because children would inherit that a signal is ignored.
    for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(ignored, lambda number, frame: None)
    while not told:
        ready, _, _ = select.select([0, wake], [], [], orders.keeper.tend() if orders.keeper else None)
        if wake in ready:
            os.read(wake, 4096)
        if 0 in ready and not orders.read():
            return


def others() -> list[int]:
    """The living processes of this process group besides this one; what has only not been waited for is dead."""
    group, myself = os.getpgrp(), os.getpid()
    return [pid for pid, its_group, state in rows() if its_group == group and pid != myself and state not in "ZX"]


def rows(proc: Path = Path("/proc")) -> Iterator[tuple[int, int, str]]:
    """Every process: its number, its group, and the letter of its state."""
    return _rows_of_proc(proc) if (proc / "self" / "stat").exists() else _rows_of_ps()


def _rows_of_proc(proc: Path) -> Iterator[tuple[int, int, str]]:
    for entry in os.listdir(proc):
        if entry.isdigit():
            try:
                text = Path(proc, entry, "stat").read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue
            # The name of a program may hold spaces and parentheses; what follows its last parenthesis does not.
            state, _, group = text.rpartition(")")[2].split()[:3]
            yield int(entry), int(group), state


def _rows_of_ps() -> Iterator[tuple[int, int, str]]:
    # In a group of its own, or it would list itself.
    listing = subprocess.run(
        ["ps", "-A", "-o", "pid=,pgid=,stat="], capture_output=True, text=True, process_group=0, check=False
    )
    for line in listing.stdout.splitlines():
        pid, group, state = line.split()[:3]
        yield int(pid), int(group), state[0]


def end_others() -> None:
    """Asks the whole group to end, and ends whoever has not."""
    group = os.getpgrp()
    os.killpg(group, signal.SIGTERM)
    # A stopped process can only end once it goes on.
    os.killpg(group, signal.SIGCONT)
    asked_s = time.monotonic()
    while (alive := others()) and time.monotonic() < asked_s + PATIENCE_S:
        if time.monotonic() >= asked_s + GRACE_S:
            for pid in alive:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
        time.sleep(0.02)


def main() -> None:
    """Watches, then clears up, whatever happened while watching."""
    if os.getpgrp() != os.getpid():
        # Whoever started it shall not be among those it ends.
        os.setpgid(0, 0)
    orders = Orders()
    try:
        watch(orders)
    finally:
        end_others()
        if orders.folder is not None:
            shutil.rmtree(orders.folder, ignore_errors=True)


if __name__ == "__main__":
    main()
