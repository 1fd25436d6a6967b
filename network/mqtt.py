"""A connection to an MQTT broker that comes back when it is lost.

It carries bytes on topics, at most once, and says when it has been away; whoever needs more than that keeps what
it has said until it knows that it was heard.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, cast

import aiomqtt
from aiomqtt.exceptions import MqttConnectError

from network.broker import BrokerAddress

Receive = Callable[[str, bytes], None]

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0
_KEEPALIVE_S = 20
_ANSWER_S = 3.0
"""How long a broker may take over a subscription; one of them forgets some when many clients come at once."""
_REFUSED = {4, 5, 134, 135}
"""CONNACK codes, of MQTT 3.1.1 and 5, by which a broker says that it does not want us."""
_SILENT = logging.getLogger("quorbit.mqtt")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False


class BrokerError(Exception):
    """The broker cannot be used, in one sentence."""


class _Letter(NamedTuple):
    topic: str
    payload: bytes
    retain: bool


class MqttLink:
    """One client of a broker: `publish` at any time, what comes in goes to `receive(topic, payload)`."""

    def __init__(
        self,
        address: BrokerAddress,
        receive: Receive,
        *,
        will: Callable[[], tuple[str, bytes]] | None = None,
        patience_s: float = 30.0,
    ) -> None:
        """`will` says, for each connection anew, what the broker is to publish where when we are gone without a word.

        Raises `BrokerError` from `run` when the broker refuses us, or cannot be reached for `patience_s`.
        """
        self.outages: list[tuple[int, int]] = []
        """Unix times in ns between which there was no connection."""
        self.trouble = ""
        """Why the last attempt to connect failed, or the last connection was lost."""
        self.connected = asyncio.Event()
        self.lost = asyncio.Event()
        """The opposite."""
        self.on_connect: Callable[[], None] = lambda: None
        """Called at each connection, when all subscriptions stand."""
        self._address = address
        self._receive = receive
        self._will = will
        self._patience_s = patience_s
        self._topics: list[str] = []
        self._queue: deque[_Letter] = deque()
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._unanswered = asyncio.Event()
        self._client: aiomqtt.Client | None = None
        self._incoming: asyncio.Queue[aiomqtt.Message] = asyncio.Queue()

    async def subscribe(self, *topics: str) -> None:
        """Subscribe now, or at the first connection, and again at each later one.

        Who subscribes again is given again what is retained.
        """
        self._topics += (topic for topic in topics if topic not in self._topics)
        client = self._client
        if client is not None:
            try:
                await self._subscribe(client, topics)
            except aiomqtt.MqttError:
                # The next connection, if this is not the next already, subscribes to everything.
                if self._client is client:
                    self._unanswered.set()
                    await self.lost.wait()
                await self.connected.wait()

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Publish soon, in order; while there is no connection, when there is one."""
        self._queue.append(_Letter(topic, payload, retain))
        self._idle.clear()
        self._work.set()

    async def flushed(self) -> None:
        """Wait until everything published so far has left."""
        if self._queue:
            await self._idle.wait()

    async def run(self) -> None:
        """Be connected, and connect again, until cancelled."""
        lost_at_ns, failed_since, pause_s = 0, time.monotonic(), _FIRST_PAUSE_S
        while True:
            try:
                async with self._new_client() as client:
                    await self._subscribe(client, self._topics)
                    if lost_at_ns:
                        self.outages.append((lost_at_ns, time.time_ns()))
                    self._client, pause_s = client, _FIRST_PAUSE_S
                    self.lost.clear()
                    self.connected.set()
                    self.on_connect()
                    await self._serve(client)
            except aiomqtt.MqttError as error:
                if self.connected.is_set():
                    lost_at_ns, failed_since = time.time_ns(), time.monotonic()
                self._client = None
                self.connected.clear()
                self.lost.set()
                self._give_up(error, failed_since)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _new_client(self) -> aiomqtt.Client:
        address = self._address
        incoming: asyncio.Queue[aiomqtt.Message] = asyncio.Queue()
        self._incoming = incoming
        return aiomqtt.Client(
            address.host,
            address.port,
            username=address.user,
            password=address.password,
            tls_context=address.tls_context(),
            will=aiomqtt.Will(*self._will()) if self._will else None,
            keepalive=_KEEPALIVE_S,
            logger=_SILENT,
            queue_type=cast("type[asyncio.Queue[aiomqtt.Message]]", lambda maxsize: incoming),
            # Without it the kernel holds small messages back: 28 ms for a round trip at QoS 1.
            socket_options=((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),),
        )

    def _give_up(self, error: aiomqtt.MqttError, failed_since: float) -> None:
        self.trouble = str(error)
        reason = getattr(error, "rc", None)
        code = getattr(reason, "value", reason)
        if isinstance(error, MqttConnectError) and code in _REFUSED:
            raise BrokerError(f"the broker at {self._address.url} refuses us: {error}") from error
        if "CERTIFICATE_VERIFY_FAILED" in self.trouble:
            raise BrokerError(f"the broker at {self._address.url} is not who it should be: {error}") from error
        if time.monotonic() - failed_since > self._patience_s:
            raise BrokerError(
                f"the broker at {self._address.url} has not answered for {self._patience_s:g} s: {error}"
            ) from error

    async def _subscribe(self, client: aiomqtt.Client, topics: list[str] | tuple[str, ...]) -> None:
        if topics:
            await client.subscribe([(topic, 0) for topic in topics], timeout=_ANSWER_S)

    async def _serve(self, client: aiomqtt.Client) -> None:
        """Read and write until the connection is lost; then what the first to notice says."""
        self._unanswered.clear()
        each = (self._read(client), self._write(client), self._notice_silence())
        tasks = [asyncio.create_task(one) for one in each]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, aiomqtt.MqttError):
                    await task

    async def _notice_silence(self) -> None:
        await self._unanswered.wait()
        raise aiomqtt.MqttError("a subscription was not answered")

    async def _read(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            self._receive(message.topic.value, message.payload)
            # Waiting for one message takes as long as reading three: whoever floods us would fill our memory. While
            # we are busy here nothing is read, so it is the sender who waits.
            while not self._incoming.empty():
                message = self._incoming.get_nowait()
                self._receive(message.topic.value, message.payload)

    async def _write(self, client: aiomqtt.Client) -> None:
        queue = self._queue
        while True:
            while queue:
                letter = queue[0]
                await client.publish(letter.topic, letter.payload, retain=letter.retain)
                queue.popleft()
            self._idle.set()
            self._work.clear()
            await self._work.wait()
