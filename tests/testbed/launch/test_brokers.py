"""The embedded brokers, each as a process: who gets in, what gets through, what is never lost, what is never shown."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from aiomqtt import Client, MqttError

from testbed.launch import brokers
from testbed.launch.brokers import BROKERS, LOOPBACK, Account, Broker, Nats, choose_broker, free_port
from testbed.launch.guard import Warden, _connect_packet, await_broker

RUN = "quorbit/r1"
needs_proc = pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs Linux's /proc")
BY_NAME = [
    pytest.param(one, id=one.name, marks=pytest.mark.skipif(not one.available(), reason=f"{one.name} is not installed"))
    for one in BROKERS
]


@dataclass(frozen=True)
class Served:
    """A broker at work."""

    broker: Broker
    warden: Warden
    port: int
    launcher: Account
    nodes: tuple[Account, ...]
    mute: Account
    deaf: Account

    @asynccontextmanager
    async def client(self, account: Account) -> AsyncIterator[Client]:
        login = {"username": account.user, "password": account.password}
        async with Client(LOOPBACK, self.port, **login, max_queued_incoming_messages=0) as client:  # type: ignore[arg-type]
            yield client


@pytest.fixture(scope="module", params=BY_NAME)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    broker: Broker = request.param
    launcher = Account.fresh("launcher", (f"{RUN}/config/#", f"{RUN}/control"), (f"{RUN}/#",))
    nodes = tuple(Account.fresh(f"node-{i}", (f"{RUN}/from/{i}/#",), (f"{RUN}/#",)) for i in range(3))
    mute, deaf = Account.fresh("mute", (), (f"{RUN}/#",)), Account.fresh("deaf", (f"{RUN}/from/#",), ())
    port = free_port()
    # A space in the path, as some people's folders have one.
    with Warden.start(tmp_path_factory.mktemp("a run") / "private") as warden:
        warden.keep(broker.prepare(warden.folder, port, [launcher, *nodes, mute, deaf]))
        await_broker(port, launcher, warden.log)
        yield Served(broker, warden, port, launcher, nodes, mute, deaf)


async def take(client: Client, count: int, patience_s: float = 20) -> list[tuple[str, bytes]]:
    """The next messages, topics and payloads."""
    async with asyncio.timeout(patience_s):
        messages = aiter(client.messages)
        taken = [await anext(messages) for _ in range(count)]
    return [(message.topic.value, bytes(message.payload)) for message in taken]


async def take_retained(client: Client, topic: str) -> tuple[str, bytes]:
    """What the broker gives to whoever subscribes.

    It acknowledges it a moment before it does: NATS, on a busy machine, some ms.
    """
    for _ in range(4):
        await client.subscribe(topic, qos=1)
        with suppress(TimeoutError):
            return (await take(client, 1, patience_s=5))[0]
    raise TimeoutError


def members(group: int) -> list[int]:
    """The processes of a group, the dead that nobody waited for excepted."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            state, _, its_group = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(its_group) == group and state not in "ZX":
            found.append(int(entry))
    return found


def eventually(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline_s, "it did not come to pass"
        time.sleep(0.02)


async def test_a_live_and_a_retained_message_of_several_megabytes_reach_other_accounts(served: Served) -> None:
    config = os.urandom(4_000_000)
    node, other, _ = served.nodes
    async with served.client(served.launcher) as launcher:
        await launcher.publish(f"{RUN}/config/all", config, qos=1, retain=True)
        async with served.client(node) as sender, served.client(other) as receiver:
            assert await take_retained(receiver, f"{RUN}/#") == (f"{RUN}/config/all", config)
            await sender.publish(f"{RUN}/from/0/vote", b"at most once")
            await sender.publish(f"{RUN}/from/0/vote", b"at least once", qos=1)
            assert sorted(await take(receiver, 2)) == [
                (f"{RUN}/from/0/vote", b"at least once"),
                (f"{RUN}/from/0/vote", b"at most once"),
            ]
        await launcher.publish(f"{RUN}/config/all", b"", qos=1, retain=True)


@pytest.mark.parametrize("login", [{}, {"username": "node-0"}, {"username": "node-0", "password": "guessed"}])
async def test_nobody_gets_in_without_the_password(served: Served, login: dict[str, str]) -> None:
    with pytest.raises(MqttError, match=r"Not authorized|Bad user name or password"):
        async with Client(LOOPBACK, served.port, **login):  # type: ignore[arg-type]
            pass


async def test_a_node_cannot_speak_for_another_and_can_go_on(served: Served) -> None:
    node, other, third = served.nodes
    forged = [f"{RUN}/from/1/vote", f"{RUN}/from", f"{RUN}/control", f"{RUN}/config/all", "quorbit/r2/from/0/vote"]
    # Where NATS keeps what was published at QoS 1, and what is retained.
    forged += [f"$MQTT/msgs/{RUN}/from/1/vote", f"$MQTT/rmsgs/{RUN}/control"]
    async with served.client(third) as receiver, served.client(other) as honest:
        await receiver.subscribe(f"{RUN}/#", qos=1)
        for topic in forged:
            with suppress(MqttError):
                async with served.client(node) as liar:
                    await liar.publish(topic, b"forged", qos=1, retain=True)
        async with served.client(node) as sender:
            await sender.publish(forged[0], b"forged")
            await sender.publish(f"{RUN}/from/0/vote", b"own")
        await honest.publish(f"{RUN}/from/1/vote", b"own")
        assert sorted(await take(receiver, 2)) == [(f"{RUN}/from/0/vote", b"own"), (f"{RUN}/from/1/vote", b"own")]
        # Nothing forged was retained either.
        async with served.client(third) as late:
            await late.subscribe(f"{RUN}/#")
            await honest.publish(f"{RUN}/from/1/vote", b"next")
            assert await take(late, 1) == [(f"{RUN}/from/1/vote", b"next")]


async def test_an_account_without_topics_may_nothing(served: Served) -> None:
    async with served.client(served.mute) as mute, served.client(served.deaf) as deaf:
        await mute.subscribe(f"{RUN}/#", qos=1)
        await deaf.subscribe(f"{RUN}/#", qos=1)
        await mute.publish(f"{RUN}/from/0/vote", b"unheard", qos=1)
        await deaf.publish(f"{RUN}/from/0/vote", b"heard", qos=1)
        assert await take(mute, 1) == [(f"{RUN}/from/0/vote", b"heard")]
        await deaf.publish(f"{RUN}/from/0/vote", b"heard too", qos=1)
        assert await take(mute, 1) == [(f"{RUN}/from/0/vote", b"heard too")]
        assert len(deaf.messages) == 0


def test_a_reader_that_stands_still_loses_nothing(served: Served) -> None:
    """More than any default limit holds: 3,000 messages, 15 MB, to a socket that nobody reads meanwhile."""
    if served.broker.warning:
        pytest.skip(served.broker.warning)
    count, payload, topic = 3_000, bytes(5_000), f"{RUN}/from/0/vote".encode()
    body = len(topic).to_bytes(2) + topic + payload
    publish = bytes([0x30, len(body) % 128 + 128, len(body) // 128]) + body
    wanted = f"{RUN}/from/#".encode()
    with (
        socket.create_connection((LOOPBACK, served.port), timeout=20) as reader,
        socket.create_connection((LOOPBACK, served.port), timeout=20) as writer,
    ):
        for connection, account in ((reader, served.nodes[1]), (writer, served.nodes[0])):
            connection.sendall(_connect_packet(account))
            assert connection.recv(4, socket.MSG_WAITALL) == bytes([0x20, 2, 0, 0])
        reader.sendall(bytes([0x82, 5 + len(wanted), 0, 1]) + len(wanted).to_bytes(2) + wanted + b"\0")
        assert reader.recv(5, socket.MSG_WAITALL) == bytes([0x90, 3, 0, 1, 0])
        writer.sendall(publish * count + bytes([0xC0, 0]))
        assert writer.recv(2, socket.MSG_WAITALL) == bytes([0xD0, 0]), "all have been read by the broker"
        received = bytearray()
        while len(received) < count * len(publish):
            chunk = reader.recv(1 << 20)
            assert chunk, "cut off"
            received += chunk
        assert received == publish * count


@needs_proc
def test_every_listener_is_on_the_loopback_address(served: Served) -> None:
    listening = {}
    for table, width in (("tcp", 8), ("tcp6", 32)):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                listening[f"socket:[{fields[9]}]"] = (fields[1][:width], int(fields[1][width + 1 :], 16))
    ours = [
        listening[name]
        for pid in members(served.warden.process_group)
        for name in (os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir())
        if name in listening
    ]
    assert served.port in {port for _, port in ours}
    assert {address for address, _ in ours} == {"0100007F"}
    # 127.0.0.2 is this machine too, and a listener on all addresses would answer there.
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.2", served.port), timeout=5)


@needs_proc
def test_no_password_can_be_read_by_others(served: Served) -> None:
    folder = served.warden.folder
    for path in (folder, *folder.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0 or path.parent.stat().st_mode & 0o077 == 0, path
    assert folder.stat().st_mode & 0o777 == 0o700
    pids = members(served.warden.process_group)
    assert len(pids) == 2, "the warden and the broker"
    seen = b"".join(Path(f"/proc/{pid}/{what}").read_bytes() for pid in pids for what in ("cmdline", "environ"))
    seen += served.warden.log.read_bytes()
    assert str(folder).encode() in seen
    for account in (served.launcher, *served.nodes):
        assert account.password.encode() not in seen
        assert account.password not in repr(account)


@needs_proc
async def test_a_broker_that_is_killed_comes_back_with_the_same_port_and_accounts(served: Served) -> None:
    (victim,) = set(members(served.warden.process_group)) - {served.warden.process_group}
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: victim not in members(served.warden.process_group))
    await_broker(served.port, served.nodes[0], served.warden.log)
    with pytest.raises(ConnectionRefusedError, match="refused node-1"):
        await_broker(served.port, replace(served.nodes[1], password="guessed"), served.warden.log)
    async with served.client(served.nodes[0]) as sender, served.client(served.nodes[1]) as receiver:
        await receiver.subscribe(f"{RUN}/from/#")
        await sender.publish(f"{RUN}/from/0/vote", b"again")
        assert await take(receiver, 1) == [(f"{RUN}/from/0/vote", b"again")]


def test_the_best_broker_installed_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    for there, chosen in (("mosquitto nats amqtt", "mosquitto"), ("nats amqtt", "nats"), ("amqtt", "amqtt")):
        for one in BROKERS:
            monkeypatch.setattr(type(one), "available", lambda self, there=there: self.name in there.split())
        assert choose_broker().name == chosen
        assert choose_broker("amqtt").name == "amqtt"
    assert "loses messages" in choose_broker().warning
    with pytest.raises(ValueError, match=r"^broker nats is not installed \(it comes with .*\); installed here: amqtt$"):
        choose_broker("nats")
    with pytest.raises(ValueError, match=r"^broker 'emqx' is not known: must be one of mosquitto, nats, amqtt$"):
        choose_broker("emqx")
    monkeypatch.setattr(brokers.Amqtt, "available", lambda self: False)
    with pytest.raises(ValueError, match=r"^no broker is installed \(mosquitto, nats, amqtt\): "):
        choose_broker()


def test_a_filter_in_the_words_of_nats() -> None:
    assert Nats.subjects("quorbit/r1/#") == ["quorbit.r1", "quorbit.r1.>"]
    assert Nats.subjects("quorbit/+/control") == ["quorbit.*.control"]
    assert Nats.subjects("#") == [">"]
    assert Nats.subjects("/v1.2//x") == ["/.v1//2./.x"]


def test_what_a_filter_covers_in_amqtt() -> None:
    covers = pytest.importorskip("testbed.launch.amqtt_broker", reason="amqtt is not installed").covers
    for allowed, asked in (("a/#", "a/b/c"), ("a/#", "a"), ("a/#", "a/+/#"), ("a/+", "a/+"), ("a/+/c", "a/b/c")):
        assert covers(allowed, asked), (allowed, asked)
    for allowed, asked in (
        ("a/#", "b"),
        ("a/#", "#"),
        ("a/+", "a/#"),
        ("a/b", "a/+"),
        ("a/+", "a/b/c"),
        ("a/b/#", "a"),
    ):
        assert not covers(allowed, asked), (allowed, asked)


def test_words_that_would_mean_something_in_a_configuration_file_are_refused() -> None:
    for user in ("", "a b", "a:b", "a\nuser b", 'a"b'):
        with pytest.raises(ValueError, match="without spaces, colons, quotes or backslashes"):
            Account.fresh(user, (), ())
