"""The wire: what a message weighs, what its signature covers, and what travels."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from consensus.messages import Message
from consensus.types import ReplicaId

_encode = msgspec.msgpack.Encoder().encode


def encode(message: Message) -> bytes:
    """The bytes of a message as they travel, its signature included."""
    return _encode(message)


def decoder(messages: Sequence[type[Message]]) -> msgspec.msgpack.Decoder[Message]:
    """A decoder of a protocol's messages; it raises `msgspec.DecodeError` for anything else."""
    union = messages[0]
    for message in messages[1:]:
        union |= message  # type: ignore[assignment]
    return msgspec.msgpack.Decoder(union)


def signed_bytes(statement: Message, domain: bytes) -> bytes:
    """What a signature covers: a statement, in one run only."""
    return domain + _encode(statement)


class Envelope:
    """A signed message on its way, made once however many receive it. `to` is None when it goes to all.

    `size_bytes` is the length of the encoding and of the transactions beside it. `signatures` are the sender's own
    and all that the message carries. `valid` is what verifying found, None until somebody has looked: all receivers
    in one process share the answer.
    """

    __slots__ = ("message", "sender", "signatures", "size_bytes", "to", "valid")

    def __init__(self, sender: ReplicaId, message: Message, to: ReplicaId | None = None) -> None:
        self.sender = sender
        self.to = to
        self.message = message
        self.size_bytes = len(_encode(message)) + message.payload_bytes
        self.signatures = frozenset((message.signature, *(signature for _, _, signature in message.evidence())))
        self.valid: bool | None = None
