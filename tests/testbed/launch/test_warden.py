"""The warden: what it keeps up while its launcher lives, and what is left when the launcher is gone: nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testbed.launch import warden as warden_side
from testbed.launch.brokers import LOOPBACK, Account, free_port
from testbed.launch.guard import Warden, await_broker, private_folder

SLEEP = ["sleep", "600"]
STUBBORN = ["sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 600 & wait; done"]


@pytest.fixture
def warden(tmp_path: Path) -> Iterator[Warden]:
    with Warden.start(tmp_path / "run") as started:
        yield started


def eventually(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline_s, "it did not come to pass"
        time.sleep(0.02)


def alive(group: int) -> list[int]:
    """The living processes of a group."""
    return [pid for pid, its_group, state in warden_side.rows() if its_group == group and state not in "ZX"]


def start_node(command: list[str], group: int) -> subprocess.Popen[str]:
    return subprocess.Popen(command, process_group=group, stdout=subprocess.PIPE, text=True)


def lines(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def test_it_starts_again_what_ends_and_waits_longer_each_time(warden: Warden) -> None:
    clock = "import time; print(time.monotonic(), flush=True)"
    warden.keep([sys.executable, "-I", "-S", "-c", clock])
    eventually(lambda: len(lines(warden.log)) >= 3)
    first, second, third = (float(line) for line in lines(warden.log)[:3])
    # The pauses are 0.3 s and 0.6 s, between an end and a start; a margin for what starting took less.
    assert second - first > 0.25
    assert third - second > 0.5


def test_a_command_that_does_not_exist_is_said_in_the_log(warden: Warden) -> None:
    warden.keep(["/nowhere/broker"])
    eventually(lambda: len(lines(warden.log)) >= 2)
    assert lines(warden.log)[0] == (
        "/nowhere/broker did not start: [Errno 2] No such file or directory: '/nowhere/broker'"
    )
    with pytest.raises(TimeoutError, match=r"did not serve within 0.2 s; its log ends:\n/nowhere/broker did not"):
        await_broker(free_port(), Account.fresh("a", (), ()), warden.log, timeout_s=0.2)


def test_a_port_that_is_open_is_not_yet_a_broker(tmp_path: Path) -> None:
    with socket.create_server((LOOPBACK, 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(TimeoutError, match=re.escape("its log ends:\n(it has printed nothing)")):
            await_broker(port, Account.fresh("a", (), ()), tmp_path / "none.log", timeout_s=0.2)


def test_stopping_ends_every_process_and_removes_the_folder(warden: Warden) -> None:
    warden.keep(SLEEP)
    nodes = [start_node(command, warden.process_group) for command in (SLEEP, STUBBORN, SLEEP)]
    assert nodes[1].stdout is not None
    assert nodes[1].stdout.readline() == "deaf\n"
    nodes[2].send_signal(signal.SIGSTOP)
    (warden.folder / "store").mkdir()
    (warden.folder / "store" / "votes").write_text("kept")
    eventually(lambda: len(alive(warden.process_group)) >= 6)
    warden.stop()
    assert alive(warden.process_group) == []
    assert [node.wait() for node in nodes] == [-signal.SIGTERM, -signal.SIGKILL, -signal.SIGTERM]
    assert not warden.folder.exists()
    for node in nodes:
        assert node.stdout is not None
        node.stdout.close()


@pytest.mark.parametrize("harmless", [signal.SIGINT, signal.SIGHUP])
def test_what_a_terminal_sends_does_not_end_it_and_sigterm_does(warden: Warden, harmless: signal.Signals) -> None:
    warden.keep(SLEEP)
    eventually(lambda: len(alive(warden.process_group)) == 2)
    os.kill(warden.process_group, harmless)
    warden.keep(["sh", "-c", "echo still here; sleep 600"])
    eventually(lambda: lines(warden.log) == ["still here"])
    os.kill(warden.process_group, signal.SIGTERM)
    eventually(lambda: not warden.folder.exists())
    eventually(lambda: alive(warden.process_group) == [])


def test_if_the_warden_itself_is_killed_stopping_does_its_work(warden: Warden) -> None:
    warden.keep(SLEEP)
    with start_node(SLEEP, warden.process_group) as node:
        eventually(lambda: len(alive(warden.process_group)) == 3)
        os.kill(warden.process_group, signal.SIGKILL)
        warden.stop()
        assert node.wait() == -signal.SIGKILL
    eventually(lambda: alive(warden.process_group) == [])
    assert not warden.folder.exists()


LAUNCHER = """
import json, subprocess, time
from testbed.launch.brokers import Account, choose_broker, free_port
from testbed.launch.guard import Warden, await_broker, private_folder

warden = Warden.start(private_folder())
account, port = Account.fresh("launcher", ("t/#",), ("t/#",)), free_port()
warden.keep(choose_broker().prepare(warden.folder, port, [account]))
await_broker(port, account, warden.log)
subprocess.Popen(["sleep", "600"], process_group=warden.process_group)
print(json.dumps({"group": warden.process_group, "port": port, "folder": str(warden.folder)}), flush=True)
time.sleep(600)
"""


def test_a_launcher_that_is_killed_leaves_no_process_no_listener_and_no_folder() -> None:
    with subprocess.Popen([sys.executable, "-c", LAUNCHER], stdout=subprocess.PIPE, text=True) as launcher:
        assert launcher.stdout is not None
        run = json.loads(launcher.stdout.readline())
        assert len(alive(run["group"])) == 3, "the warden, the broker and a node"
        assert Path(run["folder"]).exists()
        launcher.kill()
    eventually(lambda: alive(run["group"]) == [])
    eventually(lambda: not Path(run["folder"]).exists())
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((LOOPBACK, run["port"]), timeout=5)


def test_a_folder_of_a_runs_own_is_nobody_elses() -> None:
    folder = private_folder()
    assert folder != private_folder()
    with Warden.start(folder):
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()


@pytest.mark.skipif(shutil.which("ps") is None, reason="ps is not installed")
def test_processes_are_found_where_there_is_no_proc(warden: Warden) -> None:
    warden.keep(SLEEP)
    eventually(lambda: len(alive(warden.process_group)) == 2)
    by_ps = [pid for pid, group, _ in warden_side.rows(Path("/nowhere")) if group == warden.process_group]
    assert sorted(by_ps) == sorted(alive(warden.process_group))
