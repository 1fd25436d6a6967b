"""What a replica wants done (requests) and what it says has happened (facts).

Requests are imperative and are carried out in order, so a `Persist` stands before the `Send` that depends on it.
Facts are past tense and are only recorded: metrics and checks are folds over them, and no protocol counts or logs.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from consensus.messages import Block, Message
from consensus.types import ReplicaId, View


class Persist(msgspec.Struct, frozen=True):
    """Make `value` durable under `key`, replacing what stood there, before anything that follows is done."""

    key: str | bytes
    value: msgspec.Struct


class Send(msgspec.Struct, frozen=True):
    """Send to one replica. One may write to oneself: it comes back as an event and costs nothing."""

    to: ReplicaId
    message: Message


class Broadcast(msgspec.Struct, frozen=True):
    """Send to every replica, oneself included: one's own copy comes back as an event and costs nothing."""

    message: Message


class SetTimer(msgspec.Struct, frozen=True):
    """Call `fire(timer)` after `delay_ns`; setting a timer again replaces it."""

    timer: str
    delay_ns: int


class CancelTimer(msgspec.Struct, frozen=True):
    """Forget a timer; forgetting one that is not set is no mistake."""

    timer: str


class Entered(msgspec.Struct, frozen=True):
    """I am now in this view; `timed_out` when the one before was given up rather than done."""

    view: View
    timed_out: bool = False


class Held(msgspec.Struct, frozen=True):
    """I now hold this block, full and valid, and all its ancestors: what block propagation measures."""

    block: Block


class Adopted(msgspec.Struct, frozen=True):
    """This is now the tip I would build on."""

    block: Block


class Committed(msgspec.Struct, frozen=True):
    """This block is final for me. Blocks are committed in chain order, each once."""

    block: Block


class Reason(Enum):
    """Why a message was rejected."""

    WRONG_LEADER = "the sender does not lead that view"
    WRONG_PARENT = "the block does not extend the block its certificate names"
    WEAK_CERTIFICATE = "a certificate lacks a quorum of distinct signers"
    UNJUSTIFIED_VIEW = "nothing proves that the view may begin"
    EQUIVOCATION = "a second, different block for the same place"
    BAD_SIGNATURE = "a signature does not verify"
    UNREQUESTED = "an answer to a question nobody asked"
    MALFORMED = "the fields contradict each other"
    UNKNOWN = "this protocol does not know such a message"


class Rejected(msgspec.Struct, frozen=True):
    """A peer misbehaved: I ignored its message."""

    sender: ReplicaId
    reason: Reason


Request = Persist | Send | Broadcast | SetTimer | CancelTimer
Fact = Entered | Held | Adopted | Committed | Rejected
Effect = Request | Fact
