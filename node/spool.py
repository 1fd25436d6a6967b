"""The spool: a node's trace written down as it happens, and read back by whoever puts a run's traces together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec
import numpy as np

from consensus.messages import Block, Message
from consensus.types import ReplicaId, View
from node.trace import Observer, Trace
from node.wire import Envelope, encode

HANDED = "handed"
_TO_ALL = -1


class _Record(msgspec.Struct, frozen=True, array_like=True):
    now_ns: int


class _Sent(_Record, frozen=True, array_like=True, tag=0):
    taken_ns: int
    to: int
    due_ns: tuple[int, ...]
    message: bytes


class _Proposed(_Record, frozen=True, array_like=True, tag=1):
    message: bytes


class _Entered(_Record, frozen=True, array_like=True, tag=2):
    view: View
    timed_out: bool


class _OfBlock(_Record, frozen=True, array_like=True, tag=3):
    event: Literal["held", "adopted", "committed"]
    block: Block


class _Rejected(_Record, frozen=True, array_like=True, tag=4):
    sender: ReplicaId
    reason: str


class _Restarted(_Record, frozen=True, array_like=True, tag=5):
    pass


class _Handed(_Record, frozen=True, array_like=True, tag=6):
    lateness_us: tuple[int, ...]


Record: TypeAlias = _Sent | _Proposed | _Entered | _OfBlock | _Rejected | _Restarted | _Handed

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Record).decode
Decode = Callable[[bytes], Message]


class Spool(Observer):
    """Writes each event of one replica's trace as a record, by `append`."""

    def __init__(self, append: Callable[[bytes], None]) -> None:
        self._append = append

    def _write(self, record: Record) -> None:
        self._append(_encode(record))

    def sent(self, now_ns: int, envelope: Envelope, due_ns: Any, taken_ns: int) -> None:
        to = _TO_ALL if envelope.to is None else envelope.to
        self._write(_Sent(now_ns, taken_ns, to, tuple(due_ns.tolist()), encode(envelope.message)))

    def proposed(self, now_ns: int, replica: ReplicaId, block: Block, message: Message) -> None:
        self._write(_Proposed(now_ns, encode(message)))

    def entered(self, now_ns: int, replica: ReplicaId, view: View, timed_out: bool) -> None:
        self._write(_Entered(now_ns, view, timed_out))

    def held(self, now_ns: int, replica: ReplicaId, block: Block) -> None:
        self._write(_OfBlock(now_ns, "held", block))

    def adopted(self, now_ns: int, replica: ReplicaId, block: Block) -> None:
        self._write(_OfBlock(now_ns, "adopted", block))

    def committed(self, now_ns: int, replica: ReplicaId, block: Block) -> None:
        self._write(_OfBlock(now_ns, "committed", block))

    def rejected(self, now_ns: int, replica: ReplicaId, sender: ReplicaId, reason: str) -> None:
        self._write(_Rejected(now_ns, sender, reason))

    def restarted(self, now_ns: int, replica: ReplicaId) -> None:
        self._write(_Restarted(now_ns))

    def handed(self, now_ns: int, lateness_us: Sequence[int]) -> None:
        """Messages were handed to the replica, so late: what only real time has to tell, as an event `HANDED`."""
        self._write(_Handed(now_ns, tuple(lateness_us)))


class Told(NamedTuple):
    """One event of one replica's trace: how to tell it, and when it happened."""

    now_ns: int
    event: str
    details: tuple[Any, ...]

    def to(self, trace: Trace) -> None:
        """Tell it."""
        trace.tell(self.event, self.now_ns, *self.details)


def read(records: Iterable[bytes], replica: ReplicaId, decode: Decode) -> Iterator[Told]:
    """The events of a spool in the order in which they were written.

    `decode` reads the protocol's messages. Raises `msgspec.DecodeError` for what no spool writes.
    """
    for data in records:
        record = _decode(data)
        yield Told(record.now_ns, *_details(record, replica, decode))


def _details(record: Record, replica: ReplicaId, decode: Decode) -> tuple[str, tuple[Any, ...]]:
    match record:
        case _Sent():
            to = None if record.to == _TO_ALL else ReplicaId(record.to)
            envelope = Envelope(replica, decode(record.message), to)
            return "sent", (envelope, np.array(record.due_ns, dtype=np.int64), record.taken_ns)
        case _Proposed():
            message = decode(record.message)
            block = message.proposes()
            if block is None:
                raise msgspec.ValidationError("a proposal that proposes nothing")
            return "proposed", (replica, block, message)
        case _Entered():
            return "entered", (replica, record.view, record.timed_out)
        case _OfBlock():
            return record.event, (replica, record.block)
        case _Rejected():
            return "rejected", (replica, record.sender, record.reason)
        case _Restarted():
            return "restarted", (replica,)
        case _Handed():
            return HANDED, record.lateness_us
