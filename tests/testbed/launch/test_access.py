"""Getting in: which broker is meant, who may do what on it, and no secret where others can read it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from network.broker import CA_FILE, PASSWORD, USER, BrokerAddress
from node import topics
from node.__main__ import _parser
from node.signing import SigningKey
from testbed.launch import brokers
from testbed.launch.access import Access, broker_named, by_hand_sentences, node_arguments, open_broker
from testbed.launch.brokers import BROKERS, LOOPBACK, Account

RUN, N = "00112233445566778899aabb", 3


class Prepared:
    """Stands in for a kind of broker: who was to be let in, and what it was to be started with."""

    name = "prepared"
    hint = warning = ""

    def __init__(self) -> None:
        self.accounts: list[Account] = []
        self.where: tuple[Path, int] | None = None

    def available(self) -> bool:
        return True

    def prepare(self, folder: Path, port: int, accounts: Sequence[Account], max_packet_bytes: int = 0) -> list[str]:
        self.accounts = list(accounts)
        self.where = (folder, port)
        return ["broker", "--serve"]


class Keeping:
    """Stands in for a warden: what it was told to keep running."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kept: list[list[str]] = []

    def keep(self, command: Sequence[str]) -> None:
        self.kept.append(list(command))


def opened(chosen: Any, folder: Path) -> tuple[Access, Keeping]:
    warden = Keeping(folder)
    return open_broker(chosen, RUN, N, warden), warden  # type: ignore[arg-type]


# -- which broker ------------------------------------------------------------------------------------------------


def test_a_url_is_a_broker_that_runs_already_with_the_environments_credentials(tmp_path: Path) -> None:
    assert broker_named("mqtts://ann@host:7", {}) == BrokerAddress("host", 7, tls=True, user="ann")
    environment = {USER: "bob", PASSWORD: "s3cret"}
    assert broker_named("mqtt://host:7", environment) == BrokerAddress("host", 7, user="bob", password="s3cret")
    (tmp_path / "password").write_text("an0ther\n")
    assert broker_named("mqtt://host:7", environment, tmp_path / "password") == BrokerAddress(
        "host", 7, user="bob", password="an0ther"
    )
    with pytest.raises(FileNotFoundError):
        broker_named("mqtt://host:7", environment, tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"^QUORBIT_MQTT_CA=nowhere: no such file$"):
        broker_named("mqtts://host:7", {CA_FILE: "nowhere"})


@pytest.mark.parametrize("name", [one.name for one in BROKERS])
def test_a_name_is_a_broker_to_start(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for one in BROKERS:
        monkeypatch.setattr(type(one), "available", lambda self: True)
    chosen = broker_named(name, {})
    assert not isinstance(chosen, BrokerAddress)
    assert chosen.name == name


def test_nothing_is_the_best_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for there, best in (({"amqtt"}, "amqtt"), ({"amqtt", "nats"}, "nats"), ({"nats", "mosquitto"}, "mosquitto")):
        for one in BROKERS:
            monkeypatch.setattr(type(one), "available", lambda self, there=there: self.name in there)
        chosen = broker_named(None, {})
        assert not isinstance(chosen, BrokerAddress)
        assert chosen.name == best


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("emqx", "must be mqtt://host:port, mqtts://host:port, or a broker to start: mosquitto, nats, amqtt"),
        ("", "must be mqtt://host:port, mqtts://host:port, or a broker to start: mosquitto, nats, amqtt"),
        ("localhost:1883", "must be mqtt://host:port, mqtts://host:port, or a broker to start: mosquitto, nats, amqtt"),
        ("http://localhost", "must be mqtt://host:port or mqtts://host:port"),
        ("mqtt://localhost:99999", "has a port that is not between 1 and 65535"),
    ],
)
def test_anything_else_is_one_sentence(value: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=".") as raised:  # noqa: RUF043
        broker_named(value, {})
    assert str(raised.value) == sentence


def test_a_broker_that_is_not_installed_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brokers.Mosquitto, "available", lambda self: False)
    with pytest.raises(ValueError, match=r"^broker mosquitto is not installed \(.*\); installed here: .*$"):
        broker_named("mosquitto", {})


# -- ways in -----------------------------------------------------------------------------------------------------


def test_a_broker_that_runs_already_is_used_by_all_with_the_same_credentials(tmp_path: Path) -> None:
    address = BrokerAddress("host", 7, tls=True, user="bob", password="s3cret", ca_file=Path("ca.pem"))
    access, warden = opened(address, tmp_path)
    assert access == Access("mqtts://bob@host:7", address, (address,) * N)
    assert warden.kept == []
    assert "s3cret" not in repr(access)


def test_a_broker_to_start_lets_everybody_write_as_itself_alone(tmp_path: Path) -> None:
    broker = Prepared()
    access, warden = opened(broker, tmp_path)
    assert warden.kept == [["broker", "--serve"]]
    assert broker.where is not None
    folder, port = broker.where
    assert folder == tmp_path
    assert access.name == "prepared"
    expected = [
        ("launcher", topics.launcher_writes(RUN), (f"quorbit/{RUN}/#",)),
        *((f"node-{i}", topics.node_writes(RUN, i), (f"quorbit/{RUN}/#",)) for i in range(N)),
    ]
    assert [(one.user, one.may_write, one.may_read) for one in broker.accounts] == expected
    addresses = [access.launcher, *access.nodes]
    assert addresses == [BrokerAddress(LOOPBACK, port, user=one.user, password=one.password) for one in broker.accounts]
    assert len({one.password for one in broker.accounts}) == N + 1
    assert all(len(one.password) >= 32 for one in broker.accounts)


# -- what a node is started with ---------------------------------------------------------------------------------


def test_a_node_is_told_where_its_secrets_are_and_not_what_they_are(tmp_path: Path) -> None:
    key = SigningKey(b"k" * 32)
    address = BrokerAddress("::1", 7, user="node-2", password="s3cret, and a space")
    arguments = node_arguments(tmp_path, RUN, 2, key, address)
    assert arguments == [
        "--broker", "mqtt://node-2@[::1]:7", "--run", RUN, "--replica", "2",
        "--key", str(tmp_path / "2.key"), "--password-file", str(tmp_path / "2.password"),
    ]  # fmt: skip
    given = _parser().parse_args(arguments)
    assert SigningKey.from_pem(given.key.read_bytes()).public == key.public
    assert BrokerAddress.parse(given.broker).with_credentials({}, given.password_file) == address
    for path in tmp_path.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600, path
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2.key", "2.password"]


def test_a_broker_without_passwords_needs_no_password_file(tmp_path: Path) -> None:
    arguments = node_arguments(tmp_path, RUN, 0, SigningKey(b"k" * 32), BrokerAddress("host", 7))
    assert "--password-file" not in arguments
    assert [path.name for path in tmp_path.iterdir()] == ["0.key"]


def test_secrets_that_lay_there_before_are_replaced_and_are_private(tmp_path: Path) -> None:
    for name in ("0.key", "0.password"):
        (tmp_path / name).write_text("old and longer than what will be there instead " * 10)
        (tmp_path / name).chmod(0o644)
    key = SigningKey(b"k" * 32)
    node_arguments(tmp_path, RUN, 0, key, BrokerAddress("host", 7, password="s3cret"))
    assert (tmp_path / "0.key").read_bytes() == key.pem()
    assert (tmp_path / "0.password").read_text() == "s3cret\n"
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_nodes_to_be_started_by_hand_are_listed_with_their_commands() -> None:
    arguments = {11: ["--replica", "11"], 2: ["--replica", "2", "--key", "/tmp/2.key"]}
    first, *commands = by_hand_sentences(arguments)
    assert first == "start 2 nodes by hand, each with its own command:"
    assert [shlex.split(command) for command in commands] == [
        ["quorbit", "node", "--replica", "2", "--key", "/tmp/2.key"],
        ["quorbit", "node", "--replica", "11"],
    ]
    assert by_hand_sentences({}) == []


def test_commands_to_start_by_hand_can_be_pasted_into_a_shell() -> None:
    words = ["--key", "/tmp/a folder/0.key", "--broker", "mqtt://host:1"]
    _, command = by_hand_sentences({0: words})
    assert shlex.split(command) == ["quorbit", "node", *words]
