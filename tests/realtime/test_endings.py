"""However a run ends, nothing of it is left but what it has measured, and no secret is told on the way."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from node.contract import ProtocolError
from tests.realtime.nodes import (
    broker_pid,
    descendants,
    launch,
    processes,
    run_on_nodes,
    starlink,
    until,
    write_scenario,
)

FAILING = '''
from consensus.protocols.pbft import Pbft

class Failing(Pbft):
    """PBFT whose primary breaks when it is to speak."""

    def _propose(self):
        raise ZeroDivisionError("a bug of the protocol's author")
'''


def private_folder(pid: int) -> Path:
    """The folder of a launcher's run, from its nodes' command lines."""

    def found() -> Path | None:
        for words in descendants(pid).values():
            match = re.search(r"--key (\S+)/0\.key", words)
            if match:
                return Path(match[1])
        return None

    folder: Path = until(found, "the start of node 0")
    return folder


def running(pid: int) -> bool:
    """Whether all four nodes of a launcher's run write into their stores."""
    stores = {store.name for store in private_folder(pid).glob("*.sqlite")}
    return stores == {f"{i}.sqlite" for i in range(4)}


def gone(folder: Path, pids: dict[int, str]) -> bool:
    """Whether nothing is left of a run."""
    alive = {pid for pid, _, _ in processes()}
    return not folder.exists() and not alive & pids.keys()


def test_ctrl_c_keeps_what_was_measured_and_leaves_nothing_behind(tmp_path: Path) -> None:
    launcher = launch(write_scenario(tmp_path, starlink("hotstuff", 4, 300)), tmp_path)
    folder = private_folder(launcher.pid)
    until(lambda: running(launcher.pid), "all nodes running")
    pids = descendants(launcher.pid)
    until(lambda: sum(file.stat().st_size for file in folder.glob("*.sqlite-wal")) > 1_500_000, "some blocks")
    launcher.send_signal(signal.SIGINT)
    out, err = launcher.communicate(timeout=60)
    assert launcher.returncode == 130, err
    report = json.loads((tmp_path / "out" / "result.json").read_text())
    assert report["partial"]
    assert 0 < report["engine"]["virtual_s"] < 300
    assert report["consensus"]["committed_blocks"] > 0
    assert all(check["ok"] for check in report["safety"]["checks"])
    assert "PARTIAL" in out
    until(lambda: gone(folder, pids), "everything being gone")


def test_ctrl_c_before_the_start_ends_it_at_once(tmp_path: Path) -> None:
    launcher = launch(write_scenario(tmp_path, starlink("hotstuff", 4, 300)), tmp_path, "--by-hand", "3")
    folder = private_folder(launcher.pid)
    pids = descendants(launcher.pid)
    launcher.send_signal(signal.SIGINT)
    launcher.communicate(timeout=30)
    assert launcher.returncode == 130
    assert not (tmp_path / "out" / "result.json").exists()
    until(lambda: gone(folder, pids), "everything being gone")


def test_nothing_outlives_a_launcher_that_was_killed(tmp_path: Path) -> None:
    launcher = launch(write_scenario(tmp_path, starlink("hotstuff", 4, 300)), tmp_path)
    folder = private_folder(launcher.pid)
    until(lambda: running(launcher.pid), "all nodes running")
    pids = descendants(launcher.pid)
    assert len(pids) >= 6
    launcher.kill()
    launcher.communicate(timeout=10)
    until(lambda: gone(folder, pids), "everything being gone")


def test_a_node_that_fails_ends_the_run_with_one_error_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "failing.py").write_text(FAILING)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    tables = starlink("failing:Failing", 4, 20)
    sentence = (
        r"protocol failing:Failing, replica \d, on_start at 0 s: raised ZeroDivisionError: a bug of the protocol's"
    )
    with pytest.raises(ProtocolError, match=sentence):
        run_on_nodes(tables)
    assert not [words for words in descendants(os.getpid()).values() if "--replica" in words]


def test_no_password_stands_in_a_command_line_an_environment_or_an_artefact(tmp_path: Path) -> None:
    launcher = launch(write_scenario(tmp_path, starlink("hotstuff", 4, 3)), tmp_path)
    folder = private_folder(launcher.pid)
    until(lambda: running(launcher.pid), "all nodes running")
    passwords = [file.read_text().strip() for file in folder.glob("*.password")]
    keys = [file.read_text().splitlines()[1] for file in folder.glob("*.key")]
    assert (len(passwords), len(keys)) == (4, 4)
    assert [
        path for path in (folder, *folder.glob("*.password"), *folder.glob("*.key")) if path.stat().st_mode & 0o077
    ] == []
    seen = ""
    for pid in (launcher.pid, *descendants(launcher.pid)):
        seen += Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        seen += Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    seen += "".join(file.read_text() for file in folder.glob("*.log"))
    out, err = launcher.communicate(timeout=60)
    assert launcher.returncode in (0, 3), err
    seen += out + err + "".join(file.read_bytes().decode(errors="replace") for file in (tmp_path / "out").iterdir())
    assert "--replica" in seen
    for secret in passwords + keys:
        assert secret not in seen


def test_a_broker_that_dies_comes_back_and_nothing_is_lost(tmp_path: Path) -> None:
    """The words that went with it are said again, late; the outage stands in the result."""
    launcher = launch(
        write_scenario(tmp_path, starlink("longest_chain", 4, 8, consensus={"parameters": {"block_interval_s": 0.1}})),
        tmp_path,
    )
    until(lambda: running(launcher.pid), "all nodes running")
    until(lambda: wal_bytes(private_folder(launcher.pid)) > 600_000, "some blocks")
    os.kill(broker_pid(launcher.pid), signal.SIGKILL)
    _, err = launcher.communicate(timeout=60)
    assert launcher.returncode in (0, 3), err
    report = json.loads((tmp_path / "out" / "result.json").read_text())
    assert len(report["engine"]["broker_outages_s"]) == 1
    assert report["engine"]["lateness_ms"]["max"] > 100
    # Whatever was due by the end was handed to everybody, and once.
    assert report["engine"]["undelivered"] == 0
    assert report["engine"]["deliveries"] >= 0.9 * report["network"]["messages"]
    assert report["engine"]["deliveries"] <= report["network"]["messages"]


def wal_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.sqlite-wal"))


def test_options_for_nodes_without_nodes_are_mistakes(tmp_path: Path) -> None:
    scenario = write_scenario(tmp_path, starlink("hotstuff", 4, 3))
    for words, sentence in (
        (["--broker", "nats"], "--broker: goes with --bus mqtt"),
        (["--time-scale", "2"], "--time-scale: goes with --bus mqtt"),
        (["--by-hand", "1"], "--by-hand: goes with --bus mqtt"),
        (["--bus", "mqtt", "--by-hand", "4"], "--by-hand: 4: replicas are 0 to 3"),
        (["--bus", "mqtt", "--broker", "mqtt://me:secret@host"], "must not have a password in it"),
        (["--bus", "mqtt", "--broker", "rabbit"], "or a broker to start: mosquitto, nats, amqtt"),
        (["--bus", "mqtt", "--time-scale", "0"], "must be more than 0"),
    ):
        command = [sys.executable, "-m", "testbed.cli", "run", str(scenario), "--out", str(tmp_path / "out"), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 2, words
        assert sentence in done.stderr
        assert "secret" not in done.stderr
        assert done.stderr.count("\n") == 1
