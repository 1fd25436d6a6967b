"""The launcher's side of the warden: starting it, giving it a broker to keep, waiting until that broker serves."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from testbed.launch.brokers import LOOPBACK, Account

LOG = "broker.log"
TAIL_LINES = 8


def private_folder() -> Path:
    """A path for a run's private folder that nobody can guess; `Warden.start` makes the folder."""
    return Path(tempfile.gettempdir(), f"quorbit-{secrets.token_hex(8)}")


class Warden:
    """A process that ends all processes of its group and removes the folder once this process stops it or is gone.

    A node belongs to the warden if it is started with `process_group=warden.process_group`.
    """

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self._process = process
        self.folder = folder

    @classmethod
    def start(cls, folder: Path, command: Sequence[str] | None = None) -> Warden:
        """Starts a warden over a folder, which is made if it is not there, and over a command if there is one yet."""
        # Neither the search path nor installed packages matter to it, and without them it starts in half the time.
        program = [sys.executable, "-I", "-S", str(Path(__file__).with_name("warden.py"))]
        process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, process_group=0)
        warden = cls(process, folder)
        try:
            # In this order: a folder that is there is always known to somebody who will remove it.
            warden._order({"folder": str(folder.absolute())})
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if command is not None:
                warden.keep(command)
        except BaseException:
            warden.stop()
            raise
        return warden

    @property
    def process_group(self) -> int:
        """What to start a node's process with, for the warden to end it."""
        return self._process.pid

    @property
    def log(self) -> Path:
        """What the kept command prints."""
        return self.folder.absolute() / LOG

    def keep(self, command: Sequence[str]) -> None:
        """From now on the command runs, and is started again whenever it ends."""
        self._order({"command": list(command), "log": str(self.log)})

    def _order(self, order: dict[str, object]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()

    def stop(self, timeout_s: float = 15.0) -> None:
        """Returns when the processes and the folder are gone; does the warden's work if the warden did not."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        # A child forked from this process may hold the other end open still.
        self._process.terminate()
        try:
            finished = self._process.wait(timeout_s) == 0
        except subprocess.TimeoutExpired:
            finished = False
        if not finished:
            # A group of nobody but the dead is not there, or on some systems not ours.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process_group, signal.SIGKILL)
            self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Warden:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def tail(log: Path) -> str:
    """The last lines of a log, or what there is to say instead."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    return "\n".join(lines[-TAIL_LINES:]) or "(it has printed nothing)"


def await_broker(port: int, account: Account, log: Path, timeout_s: float = 10.0, host: str = LOOPBACK) -> None:
    """Returns once the broker lets the account in; a port that is open is not yet a broker that serves."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        answer = _connect(host, port, account)
        if answer == 0:
            return
        if answer is not None:
            raise ConnectionRefusedError(
                f"the broker at {host}:{port} refused {account.user} (CONNACK {answer}); its log ends:\n{tail(log)}"
            )
        time.sleep(0.02)
    raise TimeoutError(f"the broker at {host}:{port} did not serve within {timeout_s:g} s; its log ends:\n{tail(log)}")


def _connect(host: str, port: int, account: Account) -> int | None:
    """The return code of MQTT 3.1.1 CONNECT, section 3.2.2.3: 0 for accepted; None if nobody answers yet."""
    try:
        with socket.create_connection((host, port), timeout=1.0) as connection:
            connection.sendall(_connect_packet(account))
            answer = connection.recv(4, socket.MSG_WAITALL)
            if len(answer) < 4 or answer[0] != 0x20:
                return None
            connection.sendall(bytes([0xE0, 0]))
            return answer[3]
    except OSError:
        return None


def _connect_packet(account: Account) -> bytes:
    """Section 3.1: clean session, a user name and a password, no will, a client identifier nobody else has."""
    words = (f"await{secrets.token_hex(8)}", account.user, account.password)
    body = b"\0\4MQTT\4\xc2\0\x3c" + b"".join(len(one.encode()).to_bytes(2) + one.encode() for one in words)
    if len(body) < 128:
        return bytes([0x10, len(body)]) + body
    return bytes([0x10, len(body) % 128 + 128, len(body) // 128]) + body
