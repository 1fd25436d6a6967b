"""Nodes that somebody starts by hand: in shells of their own, and on hosts of their own over TLS."""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from testbed.launch.brokers import Mosquitto, write_privately
from tests.realtime.nodes import QUORBIT, launch, needs_broker, starlink, until, write_scenario

HOST, GUEST = "10.203.77.1", "10.203.77.2"


def commands(launcher: subprocess.Popen[str], count: int) -> list[str]:
    """The command lines that a launcher prints for nodes by hand."""
    assert launcher.stderr is not None
    lines = [launcher.stderr.readline().strip() for _ in range(count + 1)]
    assert lines[0] == f"start {count} nodes by hand, each with its own command:"
    assert all(line.startswith("quorbit node ") for line in lines[1:])
    return [shlex.join(QUORBIT) + line.removeprefix("quorbit") for line in lines[1:]]


def shell(command: str, folder: Path, *prefix: str, **more: str) -> subprocess.Popen[bytes]:
    """A command in a shell of its own, in a folder of its own."""
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **more}
    with (folder / "err").open("ab") as err:
        return subprocess.Popen([*prefix, "sh", "-c", f"exec {command}"], cwd=folder, env=environment, stderr=err)


def test_nodes_join_from_other_shells_and_one_that_was_killed_goes_on(tmp_path: Path) -> None:
    launcher = launch(write_scenario(tmp_path, starlink("hotstuff", 4, 10)), tmp_path, "--by-hand", "0", "2")
    zero, two = commands(launcher, 2)
    first, second = shell(zero, tmp_path / "a"), shell(two, tmp_path / "b")
    store = until(lambda: list((tmp_path / "b").glob("quorbit-*-2.sqlite-wal")), "replica 2's store")[0]
    until(lambda: store.stat().st_size > 400_000, "some blocks at replica 2")
    second.send_signal(signal.SIGKILL)
    second.wait()
    again = shell(two, tmp_path / "b")
    _, err = launcher.communicate(timeout=60)
    assert launcher.returncode in (0, 3), err
    assert (first.wait(20), again.wait(20)) == (0, 0), (tmp_path / "b" / "err").read_text()
    report = json.loads((tmp_path / "out" / "result.json").read_text())
    assert all(check["ok"] for check in report["safety"]["checks"])
    assert report["network"]["drops"]["receiver_down"] > 0
    assert report["consensus"]["committed_blocks"] > 10
    # What it had promised before and after stands in one store, and two votes for one view would be a violation.
    assert "no double vote" in {check["name"] for check in report["safety"]["checks"]}


def test_a_node_with_the_wrong_key_says_so_and_changes_nothing(tmp_path: Path) -> None:
    launcher = launch(write_scenario(tmp_path, starlink("hotstuff", 4, 2)), tmp_path, "--by-hand", "0", "1")
    zero, one = commands(launcher, 2)
    impostor = shell(zero.replace("/0.key", "/1.key"), tmp_path / "c")
    assert impostor.wait(30) == 1
    assert "the key is not that of replica 0 in this run" in (tmp_path / "c" / "err").read_text()
    nodes = [shell(zero, tmp_path / "a"), shell(one, tmp_path / "b")]
    _, err = launcher.communicate(timeout=60)
    assert launcher.returncode in (0, 3), err
    assert [node.wait(20) for node in nodes] == [0, 0]


# Hosts of their own


@contextmanager
def guest_host() -> Iterator[list[str]]:
    """A network namespace that reaches us at `HOST`, and is reached at `GUEST`: how to run something there."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and iproute2")
    name = f"quorbit{os.getpid()}"
    here, there = f"qa{os.getpid()}"[:15], f"qb{os.getpid()}"[:15]

    def ip(*words: str, check: bool = True) -> None:
        subprocess.run(["ip", *words], check=check, capture_output=True)

    try:
        ip("netns", "add", name)
        ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", name)
        ip("addr", "add", f"{HOST}/30", "dev", here)
        ip("link", "set", here, "up")
        ip("-n", name, "addr", "add", f"{GUEST}/30", "dev", there)
        ip("-n", name, "link", "set", there, "up")
    except subprocess.CalledProcessError as error:
        ip("netns", "del", name, check=False)
        pytest.skip(f"network namespaces cannot be made here: {error.stderr.decode().strip()}")
    try:
        yield ["ip", "netns", "exec", name]
    finally:
        ip("netns", "del", name, check=False)
        ip("link", "del", here, check=False)


def certificate(
    subject: str, issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """A certificate authority's own certificate, or a server's at `HOST`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer[0].subject if issuer else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if issuer:
        place = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))])
        builder = builder.add_extension(place, critical=False)
    return builder.sign(issuer[1] if issuer else key, hashes.SHA256()), key


@contextmanager
def tls_broker(folder: Path, password: str) -> Iterator[tuple[str, Path]]:
    """A Mosquitto of somebody else's, on `HOST`: its URL and its authority's certificate."""
    needs_broker("mosquitto")
    authority = certificate("authority", None)
    server, key = certificate("broker", authority)
    files = {name: folder / name for name in ("ca.pem", "server.pem", "server.key", "users", "conf")}
    files["ca.pem"].write_bytes(authority[0].public_bytes(serialization.Encoding.PEM))
    files["server.pem"].write_bytes(server.public_bytes(serialization.Encoding.PEM))
    files["server.key"].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    write_privately(files["users"], f"alice:{Mosquitto.digest(password)}\n")
    files["conf"].write_text(
        f"listener 8883 {HOST}\nallow_anonymous false\nuser root\npassword_file {files['users']}\n"
        f"certfile {files['server.pem']}\nkeyfile {files['server.key']}\nset_tcp_nodelay true\n"
    )
    command = Mosquitto()._binary()
    assert command is not None
    with subprocess.Popen([command, "-c", str(files["conf"])], stderr=subprocess.DEVNULL) as broker:
        try:
            yield f"mqtts://alice@{HOST}:8883", files["ca.pem"]
        finally:
            broker.terminate()


def test_nodes_join_from_another_host_over_tls_with_a_password_from_the_environment(tmp_path: Path) -> None:
    """Two nodes are the launcher's; two run where only the broker can be reached."""
    password = "correct-horse-battery"
    with ExitStack() as stack:
        there = stack.enter_context(guest_host())
        url, ca_file = stack.enter_context(tls_broker(tmp_path, password))
        secrets = {"QUORBIT_MQTT_PASSWORD": password, "QUORBIT_MQTT_CA": str(ca_file)}
        launcher = launch(
            write_scenario(tmp_path, starlink("hotstuff", 4, 4)),
            tmp_path,
            *("--broker", url, "--by-hand", "1", "3"),
            env={**os.environ, **secrets},
        )
        one, three = commands(launcher, 2)
        nodes = [shell(words, tmp_path / name, *there, **secrets) for words, name in ((one, "a"), (three, "b"))]
        _, err = launcher.communicate(timeout=60)
        assert launcher.returncode in (0, 3), err
        assert [node.wait(20) for node in nodes] == [0, 0]
    artefacts = (tmp_path / "out" / "result.json").read_text()
    report = json.loads(artefacts)
    assert report["engine"]["broker"] == url
    assert report["consensus"]["committed_blocks"] > 5
    assert all(check["ok"] for check in report["safety"]["checks"])
    assert password not in artefacts + err


def test_a_broker_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    with ExitStack() as stack:
        stack.enter_context(guest_host())
        url, _ = stack.enter_context(tls_broker(tmp_path, "secret"))
        environment = {**os.environ, "QUORBIT_MQTT_PASSWORD": "secret"}
        scenario = write_scenario(tmp_path, starlink("hotstuff", 4, 4))
        launcher = launch(scenario, tmp_path, "--broker", url, env=environment)
        _, err = launcher.communicate(timeout=60)
    assert launcher.returncode == 1
    assert f"the broker at {url} is not who it should be" in err
