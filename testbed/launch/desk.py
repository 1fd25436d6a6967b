"""The launcher's desk: what it tells the nodes over the broker, and what it hears of them."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from network.broker import BrokerAddress
from network.mqtt import MqttLink
from node import topics
from node.brief import Brief, pack
from node.frames import ALL, LAUNCHER, Commission, Farewell, Notice, Piece, Pulse, Refused, parse
from node.post import Sealer, check_from
from node.process import HandIn
from node.signing import SigningKey
from testbed.launch.collect import Collection

PATIENCE_S = 60.0
CLEAR_S = 2.0
REFUTE_S = 2.0
SILENT_S = 5.0
"""A node that has said nothing for so long is not seen as alive."""


@dataclass(frozen=True)
class NodeView:
    """What is known of one node from its last pulse."""

    replica: int
    endpoint: str
    ready: bool = False
    up: bool = False
    view: int = 0
    height: int = 0
    deliveries: int = 0
    lateness_ms: float = 0.0
    """99th percentile, emulated."""
    heard_s: float = float("-inf")
    """When, by a clock that only passes."""
    pid: int | None = None
    """Its process, if it is one of ours."""
    restarts: int = 0

    @property
    def alive(self) -> bool:
        """Whether it has been heard of lately."""
        return time.monotonic() - self.heard_s < SILENT_S


class Desk:
    """Speaks for the launcher, and keeps what the nodes say."""

    def __init__(self, address: BrokerAddress, run: str, key: SigningKey, briefs: Sequence[Brief]) -> None:
        n = len(briefs)
        self.views = [NodeView(replica, brief.endpoint) for replica, brief in enumerate(briefs)]
        self.refused: Counter[str] = Counter()
        self._refuted_s = float("-inf")
        self.collections = [Collection() for _ in range(n)]
        self.run = run
        self._members = dict(enumerate(briefs[0].members))
        self._sealer = Sealer(run, LAUNCHER, time.time_ns(), key)
        self._notice = Notice()
        self.link = MqttLink(address, self._receive, will=self._farewell, patience_s=PATIENCE_S)
        self.link.on_connect = self._post_all
        self._commissions = [
            self._sealer.seal(replica, Commission(key.public, pack(brief))) for replica, brief in enumerate(briefs)
        ]

    async def open(self) -> None:
        """Listen to all nodes, once there is a connection."""
        await self.link.subscribe(topics.farewell(self.run), *topics.incoming(self.run, LAUNCHER, len(self.views)))

    @property
    def start_unix_ns(self) -> int:
        """When time begins; 0 as long as nobody knows."""
        return self._notice.start_unix_ns

    @property
    def received(self) -> bool:
        """Whether all nodes have handed in."""
        return len(self._notice.received) == len(self.views)

    def has(self, replica: int) -> bool:
        """Whether a node has handed in."""
        return self.collections[replica].hand_in is not None

    def take_over(self, replica: int, hand_in: HandIn) -> None:
        """What a node that cannot hand in has written down, found by somebody else."""
        self.collections[replica].hand_in = hand_in
        self._tell(received=(*self._notice.received, replica))

    def start(self, start_unix_ns: int) -> None:
        """Tell all nodes when time begins."""
        self._tell(start_unix_ns=start_unix_ns)

    def stop(self) -> None:
        """Tell all nodes to end now."""
        self._tell(stopped=True)

    async def clear(self) -> None:
        """Leave nothing retained on the broker."""
        for topic in (*(topics.commission(self.run, i) for i in range(len(self.views))), topics.notice(self.run)):
            self.link.publish(topic, b"", retain=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(CLEAR_S):
                await self.link.flushed()

    def _refute(self) -> None:
        """A broker that had lost us has said so, or a stranger as often as it likes: we are still here."""
        if time.monotonic() - self._refuted_s > REFUTE_S:
            self._refuted_s = time.monotonic()
            self._post_notice()

    def _farewell(self) -> tuple[str, bytes]:
        return topics.farewell(self.run), self._sealer.seal(ALL, Farewell())

    def _tell(self, **changes: Any) -> None:
        self._notice = msgspec.structs.replace(self._notice, **changes)
        self._post_notice()

    def _post_all(self) -> None:
        """At each connection: a broker that was started again may have forgotten what it had retained."""
        for replica, payload in enumerate(self._commissions):
            self.link.publish(topics.commission(self.run, replica), payload, retain=True)
        self._post_notice()

    def _post_notice(self) -> None:
        payload = self._sealer.seal(ALL, self._notice)
        self.link.publish(topics.notice(self.run), payload, retain=True)

    def _receive(self, topic: str, payload: bytes) -> None:
        if topic == topics.farewell(self.run):
            self._refute()
            return
        try:
            frame = parse(payload)
            check_from(topic, payload, frame, self.run, LAUNCHER, self._members)
        except Refused as refused:
            self.refused[refused.reason.name.lower()] += 1
            return
        if isinstance(frame.body, Pulse):
            self._on_pulse(frame.sender, frame.body)
        elif isinstance(frame.body, Piece) and self.collections[frame.sender].add(frame.body):
            self._tell(received=(*self._notice.received, frame.sender))

    def _on_pulse(self, replica: int, pulse: Pulse) -> None:
        before = self.views[replica]
        self.views[replica] = replace(
            before,
            ready=True,
            up=pulse.up,
            view=pulse.view,
            height=pulse.height,
            deliveries=pulse.deliveries,
            lateness_ms=pulse.lateness_us / 1e3,
            heard_s=time.monotonic(),
        )
