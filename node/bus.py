"""The bus between nodes: the channel says when a message is due where, the exchange takes it there, the clock waits.

Nothing leaves before `settle`, which first makes durable what it depends on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from network.bus import Directions
from network.channel import Channel
from network.plan import IntArray
from node.exchange import Exchange
from node.frames import ALL
from node.wire import Envelope, encode


class NodeBus:
    """See `network.bus.Bus`; the parcels are envelopes, and only its own node speaks on it."""

    def __init__(self, n: int, channel: Channel, exchange: Exchange, commit: Callable[[], None]) -> None:
        """`commit` makes durable whatever has been persisted and traced so far."""
        self._channel = channel
        self._exchange = exchange
        self._commit = commit
        self._directions = Directions(n)
        self._leaving: list[tuple[int, tuple[int, ...], bytes]] = []

    def broadcast(self, source: int, size_bytes: int, parcel: Envelope, now_ns: int) -> IntArray:
        """See `Bus.broadcast`."""
        return self._send(source, None, size_bytes, parcel, now_ns)

    def send(self, source: int, target: int, size_bytes: int, parcel: Envelope, now_ns: int) -> IntArray:
        """See `Bus.send`."""
        return self._send(source, target, size_bytes, parcel, now_ns)

    def settle(self) -> None:
        """Commit, and only then let go what has been sent."""
        if not self._leaving:
            return
        self._commit()
        for to, due_ns, message in self._leaving:
            self._exchange.say(to, due_ns, message)
        self._leaving.clear()

    def _send(self, source: int, target: int | None, size_bytes: int, parcel: Envelope, now_ns: int) -> IntArray:
        targets = self._directions.targets(source, target)
        due_ns = self._channel.carry(source, targets, size_bytes, now_ns) if len(targets) else targets
        arrives: Any = due_ns.clip(min=-1)
        if len(arrives):
            self._leaving.append((ALL if target is None else target, tuple(arrives.tolist()), encode(parcel.message)))
        return due_ns
