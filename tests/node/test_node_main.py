"""`quorbit node`: each mistake in its arguments is one sentence and exit code 2, and nothing secret is printed."""

from __future__ import annotations

import base64
import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from network.broker import CA_FILE, PASSWORD, USER
from node import process
from node.__main__ import DONE, FAILED, MISTAKE, main
from node.signing import SigningKey
from node.sqlite import SqliteStore
from testbed.launch.brokers import free_port

SECRET = "corr3ct-h0rse"
KEY = SigningKey(b"k" * 32)
RUN = "00112233445566778899aabb"


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder of its own, in which nothing may appear, and no credentials in the environment."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in (USER, PASSWORD, CA_FILE):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    yield
    # A node that came that far has set aside all that was loaded.
    gc.unfreeze()


@pytest.fixture
def key(tmp_path: Path) -> str:
    file = tmp_path / "key.pem"
    file.write_bytes(KEY.pem())
    return str(file)


def arguments(key: str, **changes: str | None) -> list[str]:
    """Good ones, with changes."""
    options: dict[str, str | None] = {
        "broker": "mqtt://127.0.0.1:1", "run": RUN, "replica": "0", "key": key, **changes,
    }  # fmt: skip
    return [f"--{name.replace('_', '-')}={value}" for name, value in options.items() if value is not None]


def mistake(capsys: pytest.CaptureFixture[str], given: list[str]) -> str:
    """What it says to a mistake, which it must take for one."""
    assert main(given) == MISTAKE == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith("\n")
    assert err.count("\n") == 1
    begin, end = "quorbit node: ", " (see quorbit node --help)\n"
    assert err.startswith(begin)
    assert err.endswith(end)
    assert SECRET not in err
    assert os.listdir() == [], "a mistake leaves no store behind"
    return err[len(begin) : -len(end)]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"broker": None}, "the following arguments are required: --broker"),
        ({"run": None, "key": None}, "the following arguments are required: --run, --key"),
        ({"replica": "first"}, "argument --replica: invalid int value: 'first'"),
        ({"replica": ""}, "argument --replica: invalid int value: ''"),
        ({"pass_word": "x"}, "unrecognized arguments: --pass-word=x"),
        # No abbreviations: they would change their meaning when there are more options.
        ({"password": "x"}, "unrecognized arguments: --password=x"),
        ({"broker": "localhost"}, "--broker localhost: must be mqtt://host:port or mqtts://host:port"),
        ({"broker": "tcp://h:1"}, "--broker tcp://h:1: must be mqtt://host:port or mqtts://host:port"),
        ({"broker": "mqtt://h:99999"}, "--broker mqtt://h:99999: has a port that is not between 1 and 65535"),
        ({"key": "nowhere.pem"}, "--key nowhere.pem: No such file or directory"),
        ({"key": "."}, "--key .: Is a directory"),
        ({"password_file": "nowhere"}, "--password-file nowhere: No such file or directory"),
        ({"password_file": "."}, "--password-file .: Is a directory"),
    ],
)
def test_a_mistake_is_one_sentence(
    changes: dict[str, str | None], sentence: str, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mistake(capsys, arguments(**{"key": key, **changes})) == sentence  # type: ignore[arg-type]


def test_without_arguments_it_says_which_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert mistake(capsys, []) == "the following arguments are required: --broker, --run, --replica, --key"


PEM = (Encoding.PEM, PrivateFormat.PKCS8)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "must be a private key in PEM, without a passphrase"),
        (f"{SECRET}\n".encode(), "must be a private key in PEM, without a passphrase"),
        (b"\xff\xfe\x00", "must be a private key in PEM, without a passphrase"),
        (
            rsa.generate_private_key(65537, 2048).private_bytes(*PEM, BestAvailableEncryption(SECRET.encode())),
            "must be a private key in PEM, without a passphrase",
        ),
        (rsa.generate_private_key(65537, 2048).private_bytes(*PEM, NoEncryption()), "must be an Ed25519 key"),
    ],
)
def test_a_file_that_is_no_key_is_one_sentence_that_names_it(
    content: bytes, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "odd.pem"
    file.write_bytes(content)
    assert mistake(capsys, arguments(str(file))) == f"--key {file}: {sentence}"


@pytest.mark.parametrize(
    "url", ["mqtt://ann:{}@host", "mqtts://:{}@host:1", "mqtt://ann:{}@host/x", "mqtt://ann:{}/@host", "http://a:{}@h"]
)
def test_a_password_in_a_url_is_a_mistake_and_is_not_repeated(
    url: str, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mistake(capsys, arguments(key, broker=url.format(SECRET))).startswith("--broker")


def test_a_certificate_authority_that_is_not_there_or_is_none_is_a_mistake(
    key: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CA_FILE, "nowhere.pem")
    monkeypatch.setenv(PASSWORD, SECRET)
    assert mistake(capsys, arguments(key)) == f"{CA_FILE}=nowhere.pem: no such file"
    Path("../notes").write_text("no certificate")
    monkeypatch.setenv(CA_FILE, "../notes")
    assert mistake(capsys, arguments(key, broker="mqtts://host")).startswith(f"{CA_FILE}=../notes: ")


def failure(capsys: pytest.CaptureFixture[str], given: list[str]) -> str:
    """What it says when it came further and could not go on."""
    assert main(given) == FAILED == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert SECRET not in err
    return err


def test_a_broker_that_does_not_answer_is_no_mistake_and_one_sentence(
    key: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "PATIENCE_S", 0.2)
    monkeypatch.setenv(PASSWORD, SECRET)
    url = f"mqtt://ann@127.0.0.1:{free_port()}"
    err = failure(capsys, arguments(key, broker=url))
    assert err.startswith(f"quorbit node: the broker at {url} has not answered for 0.2 s: ")
    # It has opened its store by then, under a name that says whose it is.
    assert f"quorbit-{RUN}-0.sqlite" in os.listdir()


@pytest.mark.parametrize("store", ["nowhere/store", "."])
def test_a_store_that_cannot_be_is_one_sentence(store: str, key: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert failure(capsys, arguments(key, store=store)) == (
        f"quorbit node: the store {store} cannot be used: unable to open database file\n"
    )


def test_the_store_of_another_node_is_one_sentence(key: str, capsys: pytest.CaptureFixture[str]) -> None:
    SqliteStore(Path("store"), f"{RUN}/1").close()
    assert failure(capsys, arguments(key, store="store")) == (
        f"quorbit node: the store store belongs to {RUN}/1, not to {RUN}/0\n"
    )


def test_a_file_that_is_no_store_is_one_sentence_and_stays_as_it_is(
    key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("notes").write_text("not a database " * 100)
    assert failure(capsys, arguments(key, store="notes")) == (
        "quorbit node: the store notes cannot be used: file is not a database\n"
    )
    assert Path("notes").read_text() == "not a database " * 100


def test_help_is_no_mistake_and_says_where_secrets_come_from(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == DONE == 0
    out, err = capsys.readouterr()
    assert err == ""
    for word in ("--broker", "--run", "--replica", "--key", "--password-file", "--store", USER, PASSWORD, CA_FILE):
        assert word in out


def test_as_a_process_it_says_the_same() -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "node", f"--broker=mqtt://ann:{SECRET}@host", "--run=r", "--replica=0", "--key=k"]
    ended = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.count("\n") == 1
    assert "must not have a password in it" in ended.stderr
    assert SECRET not in ended.stderr


def test_a_key_of_a_kind_that_nobody_knows_is_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begin, body, end = KEY.pem().decode().strip().split("\n")
    odd = base64.b64encode(base64.b64decode(body).replace(bytes.fromhex("2b6570"), bytes.fromhex("2b657f"))).decode()
    file = tmp_path / "odd.pem"
    file.write_text("\n".join([begin, odd, end]))
    assert mistake(capsys, arguments(str(file))).startswith(f"--key {file}: must be ")


def test_a_password_file_that_is_no_text_is_named(key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "password").write_bytes(b"\xff\xfe")
    said = mistake(capsys, arguments(key, password_file=str(tmp_path / "password")))
    assert said.startswith(f"--password-file {tmp_path / 'password'}: ")


@pytest.mark.parametrize("replica", ["-1", "-2"])
def test_a_replica_below_zero_is_a_mistake(replica: str, key: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert mistake(capsys, arguments(key, replica=replica)).startswith("--replica")
