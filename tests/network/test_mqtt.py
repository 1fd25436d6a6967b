"""A connection to a broker: in order, back after the broker was killed, and one sentence when it is no use."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest

from network.broker import BrokerAddress
from network.mqtt import BrokerError, MqttLink
from testbed.launch import warden as warden_side
from testbed.launch.brokers import BROKERS, LOOPBACK, Account, Broker, free_port
from testbed.launch.guard import Warden, await_broker

NATIVE = [
    pytest.param(one, id=one.name, marks=pytest.mark.skipif(not one.available(), reason=f"{one.name} is not installed"))
    for one in BROKERS
    # The third loses messages: these are about the link, not about it.
    if not one.warning
]
PATIENCE_S = 60


@dataclass(frozen=True)
class Served:
    """A broker at work, and an account that may do everything on it."""

    broker: Broker
    warden: Warden
    port: int
    account: Account

    @property
    def address(self) -> BrokerAddress:
        return BrokerAddress(LOOPBACK, self.port, user=self.account.user, password=self.account.password)

    def processes(self) -> list[int]:
        group = self.warden.process_group
        return [pid for pid, its, state in warden_side.rows() if its == group and pid != group and state not in "ZX"]

    def signal(self, number: int) -> None:
        (pid,) = self.processes()
        os.kill(pid, number)


@pytest.fixture(scope="module", params=NATIVE)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    account, port = Account.fresh("all", ("#",), ("#",)), free_port()
    with Warden.start(tmp_path_factory.mktemp("link") / "private") as warden:
        warden.keep(request.param.prepare(warden.folder, port, [account]))
        await_broker(port, account, warden.log)
        yield Served(request.param, warden, port, account)


@dataclass
class Heard:
    """What came in."""

    letters: list[tuple[str, bytes]] = field(default_factory=list)

    def __call__(self, topic: str, payload: bytes) -> None:
        self.letters.append((topic, bytes(payload)))

    async def count(self, count: int) -> list[tuple[str, bytes]]:
        """All letters, once there are so many."""
        await until(lambda: len(self.letters) >= count)
        return self.letters


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not reached():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def running(*links: MqttLink, to: Sequence[str] = ()) -> AsyncIterator[None]:
    """The links at work, connected, with these subscriptions from the first."""
    asking = [asyncio.create_task(link.subscribe(*to)) for link in links]
    await asyncio.sleep(0)
    tasks = [asyncio.create_task(link.run()) for link in links]
    try:
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*asking)
            for link in links:
                await link.connected.wait()
        yield
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(error) for error in ended] == [asyncio.CancelledError] * len(links)


async def test_messages_come_in_the_order_in_which_they_were_published(served: Served) -> None:
    heard = Heard()
    sender, receiver = MqttLink(served.address, print), MqttLink(served.address, heard)
    async with running(sender, receiver):
        await receiver.subscribe("order/a", "order/b")
        letters = [(f"order/{'ab'[i % 3 == 0]}", f"{i}".encode() * (i % 50)) for i in range(1_000)]
        for topic, payload in letters:
            sender.publish(topic, payload)
        assert await heard.count(1_000) == letters
        async with asyncio.timeout(PATIENCE_S):
            await sender.flushed()
    assert (sender.outages, receiver.outages) == ([], [])


async def test_nothing_comes_on_a_topic_that_nobody_asked_for(served: Served) -> None:
    heard = Heard()
    link = MqttLink(served.address, heard)
    async with running(link):
        await link.subscribe("asked/for")
        link.publish("asked", b"1")
        link.publish("asked/for/more", b"2")
        link.publish("asked/for", b"3")
        assert await heard.count(1) == [("asked/for", b"3")]


async def test_what_is_said_before_there_is_a_connection_is_sent_when_there_is_one(served: Served) -> None:
    heard = Heard()
    receiver, sender = MqttLink(served.address, heard), MqttLink(served.address, print)
    connected: list[str] = []
    sender.on_connect = lambda: (connected.append("sender"), sender.publish("early", b"last"))[0]
    async with running(receiver, to=["early"]):
        for payload in (b"1", b"2", b"3"):
            sender.publish("early", payload)
        async with running(sender):
            assert await heard.count(4) == [("early", payload) for payload in (b"1", b"2", b"3", b"last")]
    assert connected == ["sender"]


async def test_what_is_to_be_kept_reaches_whoever_comes_later_until_it_is_taken_back(served: Served) -> None:
    early, late, latest = Heard(), Heard(), Heard()
    sender = MqttLink(served.address, early)
    async with running(sender, to=["kept", "not/kept"]):
        sender.publish("not/kept", b"gone")
        sender.publish("kept", b"here", retain=True)
        await early.count(2)
        receiver = MqttLink(served.address, late)
        async with running(receiver, to=["kept", "not/kept"]):
            assert await late.count(1) == [("kept", b"here")]
            # Who asks again is given it again.
            await receiver.subscribe("kept")
            assert await late.count(2) == [("kept", b"here")] * 2
        sender.publish("kept", b"", retain=True)
        await early.count(3)
        async with running(MqttLink(served.address, latest), to=["kept", "not/kept", "end"]):
            sender.publish("end", b"")
            assert await latest.count(1) == [("end", b"")]


async def test_it_comes_back_with_its_subscriptions_after_the_broker_was_killed(served: Served) -> None:
    heard = Heard()
    sender, receiver = MqttLink(served.address, print), MqttLink(served.address, heard)
    greetings: list[int] = []
    receiver.on_connect = lambda: greetings.append(len(heard.letters))
    async with running(sender), running(receiver, to=["back/early"]):
        await receiver.subscribe("back/late")
        sender.publish("back/late", b"before")
        await heard.count(1)
        killed_ns = time.time_ns()
        served.signal(signal.SIGKILL)
        await until(lambda: not sender.connected.is_set() and not receiver.connected.is_set())
        noticed_ns = time.time_ns()
        sender.publish("back/late", b"meanwhile")
        await until(lambda: bool(receiver.outages))
        # What was said meanwhile may have been said before the receiver was back; what is said now is heard.
        await until(lambda: bool(sender.outages))
        sender.publish("back/early", b"after")
        await until(lambda: ("back/early", b"after") in heard.letters)
        sender.publish("back/late", b"after")
        await until(lambda: ("back/late", b"after") in heard.letters)
        back_ns = time.time_ns()
    assert [letter for letter in heard.letters if letter[1] != b"meanwhile"] == [
        ("back/late", b"before"),
        ("back/early", b"after"),
        ("back/late", b"after"),
    ]
    assert greetings[0] == 0
    assert len(greetings) == 2
    for link in (sender, receiver):
        ((lost_ns, found_ns),) = link.outages
        assert killed_ns <= lost_ns <= noticed_ns <= found_ns <= back_ns


async def test_what_is_said_while_the_broker_is_away_is_sent_when_it_is_back(served: Served) -> None:
    heard = Heard()
    # One link for both: it subscribes before it sends what has waited.
    link = MqttLink(served.address, heard)
    async with running(link, to=["away"]):
        served.signal(signal.SIGKILL)
        await until(lambda: not link.connected.is_set())
        letters = [("away", str(i).encode()) for i in range(100)]
        for topic, payload in letters:
            link.publish(topic, payload)
        assert await heard.count(100) == letters
    assert len(link.outages) == 1


@pytest.mark.parametrize("password", ["guessed", None])
async def test_a_wrong_password_is_one_sentence_without_it(served: Served, password: str | None) -> None:
    address = replace(served.address, password=password)
    link = MqttLink(address, print)
    with pytest.raises(BrokerError) as raised:
        async with asyncio.timeout(PATIENCE_S):
            await link.run()
    sentence = str(raised.value)
    assert sentence.startswith(f"the broker at mqtt://all@{LOOPBACK}:{served.port} refuses us: ")
    assert "\n" not in sentence
    assert "guessed" not in sentence
    assert not link.connected.is_set()


async def test_a_broker_that_cannot_be_reached_is_one_sentence_after_patience() -> None:
    address = BrokerAddress(LOOPBACK, free_port(), user="ann", password="s3cret")
    began_s = time.monotonic()
    with pytest.raises(BrokerError) as raised:
        async with asyncio.timeout(PATIENCE_S):
            await MqttLink(address, print, patience_s=0.3).run()
    assert time.monotonic() - began_s >= 0.3
    sentence = str(raised.value)
    assert sentence.startswith(f"the broker at {address.url} has not answered for 0.3 s: ")
    assert "\n" not in sentence
    assert "s3cret" not in sentence


async def test_a_broker_that_is_not_there_yet_is_waited_for(served: Served) -> None:
    served.signal(signal.SIGKILL)
    await until(lambda: not served.processes())
    link = MqttLink(served.address, print)
    async with running(link):
        assert link.outages == []


async def test_a_bug_in_whoever_receives_ends_it(served: Served) -> None:
    def receive(topic: str, payload: bytes) -> None:
        raise KeyError("a bug")

    link = MqttLink(served.address, receive)
    asking = asyncio.create_task(link.subscribe("bug"))
    await asyncio.sleep(0)
    link.publish("bug", b"")
    with pytest.raises(KeyError, match="a bug"):
        async with asyncio.timeout(PATIENCE_S):
            await link.run()
    await asking


WITH_WILL = """
import asyncio, sys
from network.broker import BrokerAddress
from network.mqtt import MqttLink
async def main():
    address = BrokerAddress("127.0.0.1", int(sys.argv[1]), user="all", password=sys.stdin.readline().strip())
    link = MqttLink(address, print, will=lambda: ("will", b"last words"))
    link.on_connect = lambda: link.publish("will", b"first words")
    await link.run()
asyncio.run(main())
"""


async def test_its_will_is_published_when_it_has_gone_without_a_word(served: Served) -> None:
    heard = Heard()
    link = MqttLink(served.address, heard)
    async with running(link, to=["will"]):
        child = subprocess.Popen([sys.executable, "-c", WITH_WILL, str(served.port)], stdin=subprocess.PIPE, text=True)
        try:
            assert child.stdin is not None
            child.stdin.write(f"{served.account.password}\n")
            child.stdin.close()
            await heard.count(1)
        finally:
            child.kill()
            child.wait()
        assert await heard.count(2) == [("will", b"first words"), ("will", b"last words")]


async def test_each_connection_has_a_will_of_its_own(served: Served) -> None:
    wills: list[int] = []

    def will() -> tuple[str, bytes]:
        wills.append(len(wills))
        return "will", b"%d" % wills[-1]

    link = MqttLink(served.address, print, will=will)
    async with running(link):
        assert wills == [0]
        served.signal(signal.SIGKILL)
        await until(lambda: bool(link.outages))
    assert wills == list(range(len(wills)))
    assert len(wills) > 1


async def test_who_leaves_in_good_order_leaves_no_will(served: Served) -> None:
    heard = Heard()
    link = MqttLink(served.address, heard)
    async with running(link, to=["will"]):
        async with running(MqttLink(served.address, print, will=lambda: ("will", b"last words"))):
            pass
        link.publish("will", b"end")
        assert await heard.count(1) == [("will", b"end")]


async def test_to_subscribe_while_the_broker_goes_away_costs_no_second_connection(served: Served) -> None:
    heard, connections = Heard(), []
    link = MqttLink(served.address, heard)
    link.on_connect = lambda: connections.append(1)
    async with running(link):
        served.signal(signal.SIGKILL)
        killed_ns = time.time_ns()
        await link.subscribe("meanwhile")
        await asyncio.sleep(5)
        link.publish("meanwhile", b"x")
        assert await heard.count(1) == [("meanwhile", b"x")]
    assert len(connections) == 2
    ((lost_ns, found_ns),) = link.outages
    assert killed_ns <= lost_ns <= found_ns
