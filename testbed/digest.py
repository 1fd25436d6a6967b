"""The trace digest: one number that changes when anything that happened changes."""

from __future__ import annotations

from hashlib import blake2b
from struct import Struct
from typing import Any

from consensus.messages import Block
from consensus.types import ReplicaId, View
from node.trace import Observer
from node.wire import Envelope

_EVENT = Struct("<cqI").pack
_OF_BLOCK = Struct("<cqI32s").pack
_FLUSH = 8192


class Digest(Observer):
    """BLAKE2b over every event with its time; messages enter through their signatures and due times."""

    def __init__(self, header: bytes) -> None:
        self._hash = blake2b(header, digest_size=32)
        self._parts: list[bytes] = []

    def hexdigest(self) -> str:
        """64 hex digits over everything so far."""
        self._flush()
        return self._hash.hexdigest()

    def add(self, more: bytes) -> None:
        """What happened beside the trace."""
        self._parts.append(more)

    def _flush(self) -> None:
        self._hash.update(b"".join(self._parts))
        self._parts.clear()

    def sent(self, now_ns: int, envelope: Envelope, due_ns: Any, taken_ns: int) -> None:
        parts = self._parts
        parts.append(_EVENT(b"s", now_ns, envelope.sender))
        parts.append(envelope.message.signature)
        parts.append(due_ns.astype("<i8").tobytes())
        if len(parts) > _FLUSH:
            self._flush()

    def carried(self, now_ns: int, source: int, target: int | None, kind: str, size_bytes: int, due_ns: Any) -> None:
        parts = self._parts
        parts.append(_EVENT(b"t", now_ns, source))
        parts.append(due_ns.astype("<i8").tobytes())
        if len(parts) > _FLUSH:
            self._flush()

    def entered(self, now_ns: int, replica: ReplicaId, view: View, timed_out: bool) -> None:
        self._parts.append(_EVENT(b"e", now_ns, replica) + view.to_bytes(8, "little"))

    def held(self, now_ns: int, replica: ReplicaId, block: Block) -> None:
        parts = self._parts
        parts.append(_OF_BLOCK(b"h", now_ns, replica, block.id))
        if len(parts) > _FLUSH:
            self._flush()

    def adopted(self, now_ns: int, replica: ReplicaId, block: Block) -> None:
        self._parts.append(_OF_BLOCK(b"a", now_ns, replica, block.id))

    def committed(self, now_ns: int, replica: ReplicaId, block: Block) -> None:
        self._parts.append(_OF_BLOCK(b"c", now_ns, replica, block.id))

    def rejected(self, now_ns: int, replica: ReplicaId, sender: ReplicaId, reason: str) -> None:
        self._parts.append(_EVENT(b"r", now_ns, replica) + reason.encode())

    def stopped(self, now_ns: int, replica: ReplicaId) -> None:
        self._parts.append(_EVENT(b"x", now_ns, replica))

    def restarted(self, now_ns: int, replica: ReplicaId) -> None:
        self._parts.append(_EVENT(b"b", now_ns, replica))
