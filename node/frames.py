"""Frames: what travels over a broker. Each is signed; what is not as it should be is refused for a reason.

A frame says who sent it, in which run, in which incarnation of its node, and holds one of the bodies below. Only
`Word` concerns a replica; the others are between nodes and their launcher.
"""

from __future__ import annotations

from enum import Enum
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

import msgspec

from node.signing import SIGNATURE_BYTES, SigningKey, is_signed

if TYPE_CHECKING:
    from collections.abc import Mapping

LAUNCHER: Final = -1
"""The number of whoever runs the run, as sender or receiver,"""
ALL: Final = -2
"""and of everybody else, as receivers."""
MAX_FRAME_BYTES: Final = 8 << 20
"""The largest frame anybody may send: a certificate of 10,000 signatures is a tenth of it."""
_DOMAIN: Final = b"quorbit/frame/1"


class Refusal(Enum):
    """Why a frame was dropped."""

    OVERSIZED = "larger than any frame may be"
    TRUNCATED = "ends too early"
    MALFORMED = "is no frame"
    WRONG_RUN = "belongs to another run"
    UNKNOWN_SENDER = "its sender is no member of this run"
    MISADDRESSED = "is not for us, or came on a topic that is not its sender's"
    BAD_SIGNATURE = "its signature does not verify"
    REPLAYED = "was taken before"
    UNREADABLE = "holds no message of this protocol"


class Word(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """A replica's message: number `number` of a stream, and when it is due at each receiver, -1 where dropped."""

    number: int
    due_ns: tuple[int, ...]
    message: bytes


class Greeting(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """To all, at each connection: how much I have said, and what I wait for next from whom."""

    said_to_all: int
    said_to: tuple[int, ...]
    awaited: tuple[tuple[int, int, int], ...]
    """For each member: incarnation, next number to all, next number to me."""
    boot_ns: int
    """I was not there before: what was due earlier need not be said again."""


class Request(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """To one: say again what you said to all, or to me, from this number on; what was due before `boot_ns` not."""

    to_all: bool
    number: int
    boot_ns: int


class Resumption(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """To one: what I said to all, or to you, goes on with this number; you, as you are now, need nothing before it."""

    to_all: bool
    number: int
    incarnation: int


class Pulse(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """To the launcher, about once a second: how the node is."""

    up: bool
    view: int
    height: int
    deliveries: int
    lateness_us: int
    """99th percentile so far."""
    refused: dict[str, int]


class Piece(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """To the launcher, when the run is over: a piece of what the node has written down, compressed."""

    index: int
    count: int
    data: bytes


class Notice(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """From the launcher to all, retained: where the run stands."""

    start_unix_ns: int = 0
    """When time begins; 0 as long as that is open."""
    stopped: bool = False
    """The run ends now, before its time."""
    received: tuple[int, ...] = ()
    """Whose pieces are complete: these nodes may go."""


class Farewell(msgspec.Struct, frozen=True, array_like=True, tag=8):
    """From the launcher to all, said for it by the broker: it has gone without a word."""


class Commission(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """From the launcher to one, retained: who it is and what it is to do (a packed `node.brief.Brief`)."""

    launcher: bytes
    """The launcher's public key, whose hash is the run's name."""
    brief: bytes


Body = Word | Greeting | Request | Resumption | Pulse | Piece | Notice | Farewell | Commission


class Frame(msgspec.Struct, frozen=True, array_like=True):
    """What is signed. `serial` counts a sender's frames; words have numbers of their own, by which they are told."""

    run: str
    sender: int
    to: int
    incarnation: int
    serial: int
    body: Body


UNDECODABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What `msgspec` raises for bytes that are not what they should be: bad UTF-8 and deep nesting have their own."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Frame).decode


def run_name(launcher: bytes) -> str:
    """The name of a run: a hash of its launcher's public key, so that nobody else can speak for it."""
    return blake2b(launcher, digest_size=12).hexdigest()


def seal(frame: Frame, key: SigningKey) -> bytes:
    """The bytes of a frame, its signature first."""
    content = _encode(frame)
    return key.sign(_DOMAIN + content) + content


class Refused(Exception):  # noqa: N818 - it is how a frame is refused, no error of ours
    """A frame is not to be believed."""

    def __init__(self, reason: Refusal) -> None:
        super().__init__(reason.value)
        self.reason = reason


def parse(payload: bytes) -> Frame:
    """The frame in these bytes, not to be believed yet. Raises `Refused`."""
    if len(payload) > MAX_FRAME_BYTES:
        raise Refused(Refusal.OVERSIZED)
    if len(payload) <= SIGNATURE_BYTES:
        raise Refused(Refusal.TRUNCATED)
    try:
        return _decode(memoryview(payload)[SIGNATURE_BYTES:])
    except UNDECODABLE as error:
        truncated = type(error) is msgspec.DecodeError and "truncated" in str(error)
        raise Refused(Refusal.TRUNCATED if truncated else Refusal.MALFORMED) from None


def authenticate(frame: Frame, payload: bytes, run: str, members: Mapping[int, bytes]) -> None:
    """Believe a frame only from a member of this run, by its public key. Raises `Refused`."""
    if frame.run != run:
        raise Refused(Refusal.WRONG_RUN)
    key = members.get(frame.sender)
    if key is None:
        raise Refused(Refusal.UNKNOWN_SENDER)
    _verify(payload, key)


def open_commission(payload: bytes, run: str, replica: int) -> Commission:
    """The commission in these bytes, from the launcher whose key the run is named after. Raises `Refused`."""
    frame = parse(payload)
    if frame.run != run or frame.sender != LAUNCHER or not isinstance(frame.body, Commission):
        raise Refused(Refusal.WRONG_RUN)
    if run_name(frame.body.launcher) != run:
        raise Refused(Refusal.UNKNOWN_SENDER)
    _verify(payload, frame.body.launcher)
    if frame.to != replica:
        raise Refused(Refusal.MISADDRESSED)
    return frame.body


def _verify(payload: bytes, public: bytes) -> None:
    if not is_signed(_DOMAIN + payload[SIGNATURE_BYTES:], payload[:SIGNATURE_BYTES], public):
        raise Refused(Refusal.BAD_SIGNATURE)
