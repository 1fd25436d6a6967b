"""The trace: everything that happened, once, in order, to whoever watches.

Observers implement only the methods they care for; each reported number, each check and the digest is a fold over
this stream. Nothing is kept here, so memory grows with what the observers keep.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from consensus.effects import Adopted, Committed, Entered, Fact, Held, Rejected
from consensus.messages import Block, Message
from consensus.types import ReplicaId, View
from node.wire import Envelope


class Observer:
    """What can be watched. Times are integer nanoseconds since the start; `due_ns` holds a message's due times,
    int64[targets], negative where it was dropped."""

    def sent(self, now_ns: int, envelope: Envelope, due_ns: Any, taken_ns: int) -> None:
        """A message left for others; `taken_ns` is when the host took it, before signing."""

    def carried(self, now_ns: int, source: int, target: int | None, kind: str, size_bytes: int, due_ns: Any) -> None:
        """Something left that no replica said: transactions, on their way to one replica or (None) to all others.
        Clients are numbered after the replicas."""

    def proposed(self, now_ns: int, replica: ReplicaId, block: Block, message: Message) -> None:
        """The host of `replica` took a proposal; before it is signed and sent."""

    def entered(self, now_ns: int, replica: ReplicaId, view: View, timed_out: bool) -> None:
        """The replica is in a new view."""

    def held(self, now_ns: int, replica: ReplicaId, block: Block) -> None:
        """The replica holds the block and all its ancestors."""

    def adopted(self, now_ns: int, replica: ReplicaId, block: Block) -> None:
        """The replica would build on this block now."""

    def committed(self, now_ns: int, replica: ReplicaId, block: Block) -> None:
        """The block is final for the replica."""

    def rejected(self, now_ns: int, replica: ReplicaId, sender: ReplicaId, reason: str) -> None:
        """The replica, or its host, rejected a message."""

    def stopped(self, now_ns: int, replica: ReplicaId) -> None:
        """The replica's node crashed."""

    def restarted(self, now_ns: int, replica: ReplicaId) -> None:
        """The replica's node is back, from its store."""


EVENTS = tuple(name for name in vars(Observer) if not name.startswith("_"))


class Trace:
    """Hands each event to the observers that override its method, in the order in which they were given."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._watching: dict[str, tuple[Callable[..., None], ...]] = {
            event: tuple(
                getattr(observer, event)
                for observer in observers
                if getattr(type(observer), event) is not getattr(Observer, event)
            )
            for event in EVENTS
        }
        self.recorders: dict[type[Fact], Callable[[int, ReplicaId, Any], None]] = {
            Entered: self._entered,
            Held: self._block_recorder("held"),
            Adopted: self._block_recorder("adopted"),
            Committed: self._block_recorder("committed"),
            Rejected: self._rejected,
        }
        """How to record each kind of fact: `recorders[type(fact)](now_ns, replica, fact)`."""

    def tell(self, event: str, *details: Any) -> None:
        """Tell the observers of one event."""
        for watch in self._watching[event]:
            watch(*details)

    def _block_recorder(self, event: str) -> Callable[[int, ReplicaId, Any], None]:
        watching = self._watching[event]

        def record(now_ns: int, replica: ReplicaId, fact: Held | Adopted | Committed) -> None:
            block = fact.block
            for watch in watching:
                watch(now_ns, replica, block)

        return record

    def _entered(self, now_ns: int, replica: ReplicaId, fact: Entered) -> None:
        self.tell("entered", now_ns, replica, fact.view, fact.timed_out)

    def _rejected(self, now_ns: int, replica: ReplicaId, fact: Rejected) -> None:
        self.tell("rejected", now_ns, replica, fact.sender, fact.reason.name.lower())
