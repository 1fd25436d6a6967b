"""A node: the operating-system process that carries one replica over a broker.

It connects, is told who it is, says that it is ready, starts when all are, keeps time, and when time is over hands
in what it has written down. Killed at any instant and started again, it goes on from its store.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import sqlite3
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from network.broker import BrokerAddress
from network.mqtt import MqttLink
from network.realtime import RealTimeClock
from node import guard, topics
from node.account import Account, encode_account
from node.brief import Brief, unpack
from node.carrier import Carrier
from node.frames import LAUNCHER, Farewell, Notice, Piece, Pulse, Refused
from node.post import LauncherEar, Sealer, poster
from node.signing import SigningKey
from node.sqlite import SqliteStore

PULSE_S = 1.0
PIECE_BYTES = 256 << 10
PATIENCE_S = 60.0
"""How long a node waits for a launcher that says nothing."""
ASK_AGAIN_S = 5.0
"""How often it asks meanwhile: NATS, when busy, may not yet give a newcomer what was retained a moment before."""
FAREWELL_S = 20.0
"""How long it waits for one that the broker has lost."""
HAND_IN_AGAIN_S = 5.0


class NodeError(Exception):
    """A node cannot go on, in one sentence."""


@dataclass(frozen=True)
class Post:
    """Where one node is needed: a run on a broker, and which of its replicas this is."""

    broker: BrokerAddress
    run: str
    replica: int
    key: SigningKey
    store: Path
    handler_patience_s: float = guard.PATIENCE_S
    """How long the replica may think about one event, on the wall."""


class HandIn(msgspec.Struct, frozen=True, array_like=True):
    """What a node has written down: its trace's records, and an account of each incarnation."""

    records: list[bytes]
    accounts: list[bytes]


class Node:
    """One node's life, from connecting to handing in."""

    def __init__(self, post: Post) -> None:
        self._run = post.run
        self._me = post.replica
        try:
            self._store = SqliteStore(post.store, f"{post.run}/{post.replica}")
        except sqlite3.Error as error:
            raise NodeError(f"the store {post.store} cannot be used: {error}") from None
        except ValueError as error:
            raise NodeError(f"the store {post.store} {error}") from None
        self._sealer = Sealer(post.run, post.replica, self._store.incarnation, post.key)
        self._ear = LauncherEar(post.run, post.replica)
        self._link = MqttLink(post.broker, self._receive, patience_s=PATIENCE_S)
        self._post = poster(self._link, post.run, post.replica)
        self._key = post.key
        self._handler_patience_s = post.handler_patience_s
        self._account = Account()
        self._commissioned: asyncio.Future[Brief] = asyncio.get_running_loop().create_future()
        self._notice = Notice()
        self._noticed = asyncio.Event()
        self._deserted: asyncio.TimerHandle | None = None
        self._leaving = asyncio.Event()
        self._carrier: Carrier | None = None

    def leave(self) -> None:
        """End cleanly, as soon as possible; callable from a signal handler."""
        self._leaving.set()

    async def live(self) -> None:
        """Everything a node does.

        Raises `NodeError`, `BrokerError` when the broker is no use, and `ProtocolError`.
        """
        async with asyncio.TaskGroup() as group:
            link = group.create_task(self._link.run())
            life = group.create_task(self._life())
            leaving = group.create_task(self._leaving.wait())
            await asyncio.wait((life, leaving), return_when=asyncio.FIRST_COMPLETED)
            for task in (life, leaving, link):
                task.cancel()
        self._keep_account()
        self._store.close()

    # Life

    async def _life(self) -> None:
        brief = await self._commission()
        self._carrier = carrier = self._prepare(brief)
        await self._link.subscribe(topics.notice(self._run), topics.farewell(self._run))
        await self._link.subscribe(*topics.incoming(self._run, self._me, brief.terms.committee.n))
        async with asyncio.TaskGroup() as group:
            pulse = group.create_task(self._pulse())
            await self._until_started()
            clock = RealTimeClock(self._notice.start_unix_ns, brief.terms.duration_ns, brief.time_scale)
            carrier.begin(clock, brief.boot_ns(clock.passed_ns))
            self._link.on_connect = carrier.exchange.greet
            if clock.passed_ns > 0:
                # Others have begun: they say again what is still to come for us.
                carrier.exchange.greet()
            self._heed_stop()
            with guard.Guard(self._handler_patience_s, guard.end_process):
                await clock.run(carrier.settle)
            carrier.finish()
            pulse.cancel()
        await self._hand_in()

    def _prepare(self, brief: Brief) -> Carrier:
        if brief.replica != self._me or brief.members[self._me] != self._key.public:
            raise NodeError(f"the key is not that of replica {self._me} in this run")
        try:
            return Carrier(brief, self._run, self._key, self._store, self._account, self._sealer, self._post)
        except LookupError as error:
            raise NodeError(str(error)) from None

    async def _until_started(self) -> None:
        """As long as the launcher lives: others may take their time to get ready."""
        while not self._notice.start_unix_ns:
            if self._notice.stopped:
                self._leaving.set()
            self._noticed.clear()
            await self._noticed.wait()

    async def _commission(self) -> Brief:
        # For the broker the link has a patience of its own.
        await self._link.connected.wait()
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not self._commissioned.done():
                    await self._link.subscribe(topics.commission(self._run, self._me))
                    await asyncio.wait((self._commissioned,), timeout=ASK_AGAIN_S)
                return self._commissioned.result()
        except TimeoutError:
            raise NodeError(
                f"replica {self._me} was given no commission within {PATIENCE_S:g} s: is run {self._run} going on?"
            ) from None

    async def _pulse(self) -> None:
        # Not all at the same time.
        await asyncio.sleep(PULSE_S * (self._me % 16) / 16)
        while True:
            self._keep_account()
            assert self._carrier is not None
            seen, account = self._carrier.seen, self._account
            pulse = Pulse(
                up=self._carrier.up,
                view=seen.view,
                height=seen.height,
                deliveries=self._carrier.lateness.count,
                lateness_us=round(self._carrier.lateness.at(0.99)),
                refused=account.refused,
            )
            self._post(LAUNCHER, self._sealer.seal(LAUNCHER, pulse))
            await asyncio.sleep(PULSE_S)

    def _keep_account(self) -> None:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        account = self._account
        account.cpu_s = usage.ru_utime + usage.ru_stime
        account.peak_rss_mb = usage.ru_maxrss * 1024 / 1e6
        account.outages = list(self._link.outages)
        if self._carrier is not None:
            self._carrier.count(account)
            self._carrier.commit()
        self._store.keep_account(encode_account(account))

    async def _hand_in(self) -> None:
        """Send what was written down until the launcher has it."""
        self._keep_account()
        pieces = list(_pieces(self._store))
        deadline_s = time.monotonic() + PATIENCE_S
        while self._me not in self._notice.received and time.monotonic() < deadline_s:
            for piece in pieces:
                self._post(LAUNCHER, self._sealer.seal(LAUNCHER, piece))
            await self._link.flushed()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HAND_IN_AGAIN_S):
                    while self._me not in self._notice.received:
                        self._noticed.clear()
                        await self._noticed.wait()
        if self._me not in self._notice.received:
            raise NodeError(f"nobody has taken what replica {self._me} has written down; it is still in its store")

    # What comes in

    def _receive(self, topic: str, payload: bytes) -> None:
        try:
            if topic == topics.commission(self._run, self._me):
                commission = self._ear.commission(payload)
                if not self._commissioned.done():
                    self._commissioned.set_result(unpack(commission.brief))
            elif topic in (topics.notice(self._run), topics.farewell(self._run)):
                self._on_notice(self._ear.notice(payload))
            elif self._carrier is not None:
                self._carrier.take(topic, payload)
        except Refused as refused:
            self._account.refuse(refused.reason.name.lower())

    def _on_notice(self, notice: Notice | Farewell | None) -> None:
        if notice is None:
            return
        if self._deserted is not None:
            self._deserted.cancel()
            self._deserted = None
        if isinstance(notice, Farewell):
            self._deserted = asyncio.get_running_loop().call_later(FAREWELL_S, self.leave)
            return
        self._notice = notice
        self._noticed.set()
        self._heed_stop()

    def _heed_stop(self) -> None:
        if self._notice.stopped and self._carrier is not None:
            self._carrier.stop()


def hand_in_from(store: SqliteStore) -> HandIn:
    """All that a node has written down."""
    return HandIn(list(store.records()), store.accounts())


def _pieces(store: SqliteStore) -> Iterator[Piece]:
    data = zlib.compress(msgspec.msgpack.encode(hand_in_from(store)))
    count = -(-len(data) // PIECE_BYTES)
    for index in range(count):
        yield Piece(index, count, data[index * PIECE_BYTES : (index + 1) * PIECE_BYTES])
