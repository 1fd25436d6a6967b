"""What every chain protocol needs beside its rules: a block tree, and a way to fetch missing ancestors.

A message that refers to a block not yet held waits for it. Because the block is most often just behind, nothing is
asked for until Δ has passed; then its sender is asked, and after that one replica after the other. All of it
travels as ordinary messages and costs what messages cost. Answers run downwards from the block asked for, so each
block is checked against the name its child gives it before it is believed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import msgspec

from consensus.blocktree import BlockTree
from consensus.effects import Committed, Effect, Held, Persist, Reason, Send, SetTimer
from consensus.messages import Ancestors, Block, Fetch, Message
from consensus.replica import Recovered, Replica, Seat
from consensus.types import BlockId, Height, ReplicaId

BLOCKS_PER_ANSWER = 64
MISSING_LIMIT = 1024
"""How many missing blocks are remembered, and messages that wait for each: a peer that names blocks nobody has cannot
fill our memory."""
ROUNDS = 3
"""How often every replica is asked for a block before it is given up: it may lie on a branch that all have pruned."""

_FETCH = "fetch"


@dataclass(slots=True)
class _Missing:
    """A block that others refer to and that cannot join the tree yet, and what waits for it."""

    height: Height
    ask: ReplicaId
    """Whom to ask for it next,"""
    ask_ns: int
    """and when."""
    asked: int = 0
    messages: list[tuple[ReplicaId, Message]] = field(default_factory=list)
    children: list[Block] = field(default_factory=list)


def blocks_in(recovered: Recovered) -> list[Block]:
    """The blocks that were held before a crash, in the order in which they came."""
    return [value for key, value in recovered.items() if isinstance(key, bytes)]


class FinalMark(msgspec.Struct, frozen=True):
    """The highest block a replica has committed, as it is persisted."""

    block: BlockId
    height: Height


class ChainReplica(Replica):
    """A replica that keeps a block tree.

    A subclass handles its own messages and timers and hands all others up to `super().on_message` and
    `super().on_timer`; it adds `ChainReplica.messages` to its own.
    """

    messages: ClassVar[tuple[type[Message], ...]] = (Fetch, Ancestors)

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        self.tree = BlockTree()
        self._missing: dict[BlockId, _Missing] = {}
        self._orphans: dict[BlockId, _Missing] = {}
        """Blocks that have come, but before their parents, which are missing or orphans themselves."""
        self._ready: list[tuple[ReplicaId, Message]] = []

    def recover_tree(self, recovered: Recovered) -> None:
        """Rebuild the tree, and what of it was final, from what was persisted."""
        for block in sorted(blocks_in(recovered), key=lambda block: block.height):
            self.tree.insert(block)
        mark = recovered.get("final")
        final = self.tree.get(mark.block, mark.height) if mark else None
        if final:
            self.tree.finalise(final)

    def persist_final(self) -> None:
        """Make durable how far this replica has committed, so that a restart does not commit it again."""
        final = self.tree.final
        self.emit(Persist("final", FinalMark(final.id, final.height)))

    def commit(self, block: Block) -> None:
        """Make a held block final, and all below it; what contradicts them is dropped."""
        if block.height > self.tree.final.height:
            self.emit(*(Committed(final) for final in self.tree.finalise(block)))
            self.persist_final()
            self.tree.prune(block.height)

    def hold(self, block: Block) -> None:
        """Insert a block whose parent is held; what waited for it is handled right after the current event."""
        pending = [block]
        while pending:
            block = pending.pop()
            awaited = self._missing.pop(block.id, None) or self._orphans.pop(block.id, None)
            if not self.tree.insert(block):
                # A child that lies about its height has no parent there.
                continue
            self.emit(Persist(block.id, block), Held(block))
            if awaited is not None:
                self._ready.extend(awaited.messages)
                pending.extend(awaited.children)
            self.on_held(block)

    def on_held(self, block: Block) -> None:
        """A block has joined the tree; parents come before their children."""

    def holds_or_waits(self, block_id: BlockId, height: int, sender: ReplicaId, message: Message) -> Block | None:
        """The block if it is held; if not, `message` comes back as an event once it is."""
        block = self.tree.get(block_id, Height(height))
        if block is None:
            waiting = self.want(block_id, Height(height), sender).messages
            if len(waiting) < MISSING_LIMIT:
                waiting.append((sender, message))
        return block

    def want(self, block_id: BlockId, height: Height, source: ReplicaId) -> _Missing:
        """Note that a block is missing, and that `source` should have it."""
        missing = self._missing.get(block_id) or self._orphans.get(block_id)
        if missing is None:
            if not self._missing:
                self.emit(SetTimer(_FETCH, self.delta_ns))
            elif len(self._missing) >= MISSING_LIMIT:
                self._forget_missing(next(iter(self._missing)))
            missing = self._missing[block_id] = _Missing(height, source, self.now_ns + self.delta_ns)
        return missing

    def on_message(self, sender: ReplicaId, message: Message) -> None:
        if isinstance(message, Fetch):
            self._on_fetch(sender, message)
        elif isinstance(message, Ancestors):
            self._on_ancestors(sender, message)
        else:
            self.reject(sender, Reason.UNKNOWN)

    def on_timer(self, timer: str) -> None:
        if timer != _FETCH:
            return
        for block_id, missing in list(self._missing.items()):
            if missing.asked >= ROUNDS * self.committee.n:
                self._forget_missing(block_id)
            elif missing.ask_ns <= self.now_ns:
                self._ask(block_id, missing)
        if self._missing:
            next_ns = min(missing.ask_ns for missing in self._missing.values())
            self.emit(SetTimer(_FETCH, max(1, next_ns - self.now_ns)))

    def _drain(self) -> Sequence[Effect]:
        while self._ready:
            sender, message = self._ready.pop(0)
            self.on_message(sender, message)
        return super()._drain()

    def _ask(self, block_id: BlockId, missing: _Missing) -> None:
        if missing.ask == self.me:
            missing.ask = ReplicaId((missing.ask + 1) % self.committee.n)
        final = self.tree.final.height
        # A branch that left ours below what we call final is fetched piece by piece, further and further down.
        above = final if missing.height > final else max(0, missing.height - BLOCKS_PER_ANSWER)
        self.emit(Send(missing.ask, Fetch(block_id, missing.height, Height(above))))
        missing.ask = ReplicaId((missing.ask + 1) % self.committee.n)
        missing.ask_ns = self.now_ns + 2 * self.delta_ns
        missing.asked += 1

    def _forget_missing(self, block_id: BlockId) -> None:
        """Give a block up, with what has come of its descendants; whoever names it again starts anew."""
        pending = [self._missing.pop(block_id)]
        while pending:
            children = (self._orphans.pop(child.id, None) for child in pending.pop().children)
            pending.extend(child for child in children if child is not None)

    def _on_fetch(self, sender: ReplicaId, fetch: Fetch) -> None:
        block = self.tree.get(fetch.block, fetch.height)
        if block is not None:
            lowest = max(fetch.above, block.height - BLOCKS_PER_ANSWER, 0)
            self.emit(Send(sender, Ancestors(tuple(self.tree.ancestors(block, lowest)))))

    def _on_ancestors(self, sender: ReplicaId, answer: Ancestors) -> None:
        for block in answer.blocks:
            missing = self._missing.get(block.id)
            if missing is None:
                # It may have come another way meanwhile; anything else was never asked for.
                if block.id not in self._orphans and self.tree.get(block.id, block.height) is None:
                    self.reject(sender, Reason.UNREQUESTED)
                return
            if block.height < 1 or block.height != missing.height:
                self.reject(sender, Reason.MALFORMED)
                return
            parent = Height(block.height - 1)
            if self.tree.get(block.parent, parent) is not None:
                self.hold(block)
                return
            # What waits for this block keeps waiting under its own name.
            self._orphans[block.id] = self._missing.pop(block.id)
            self.want(block.parent, parent, sender).children.append(block)
        if answer.blocks:
            lowest = answer.blocks[-1].parent
            if lowest in self._missing:
                self._ask(lowest, self._missing[lowest])
