"""What every chain protocol needs beside its rules: a block tree, and a way to fetch missing ancestors.

A message that refers to a block not yet held waits for it. Because the block is most often just behind, nothing is
asked for until Δ has passed; then its sender is asked, and after that one replica after the other. All of it
travels as ordinary messages and costs what messages cost. Answers run downwards from the block asked for, so each
block is checked against the name its child gives it before it is believed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from consensus.blocktree import BlockTree
from consensus.effects import Effect, Held, Persist, Reason, Send, SetTimer
from consensus.messages import Ancestors, Block, Fetch, Message
from consensus.replica import Recovered, Replica, Seat
from consensus.types import BlockId, Height, ReplicaId

BLOCKS_PER_ANSWER = 64
MISSING_LIMIT = 1024
"""How many missing blocks are remembered: a peer that names blocks nobody has cannot fill our memory."""

_FETCH = "fetch"


@dataclass(slots=True)
class _Missing:
    """A block that others refer to, whom to ask for it next, and what waits for it."""

    height: Height
    ask: ReplicaId
    messages: list[tuple[ReplicaId, Message]] = field(default_factory=list)
    children: list[Block] = field(default_factory=list)


class FinalMark(msgspec.Struct, frozen=True):
    """The highest block a replica has committed, as it is persisted."""

    block: BlockId
    height: Height


class ChainReplica(Replica):
    """A replica that keeps a block tree.

    A subclass handles its own messages and timers and hands all others up to `super().on_message` and
    `super().on_timer`.
    """

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        self.tree = BlockTree()
        self._missing: dict[BlockId, _Missing] = {}
        self._ready: list[tuple[ReplicaId, Message]] = []

    def recover_tree(self, recovered: Recovered) -> None:
        """Rebuild the tree, and what of it was final, from what was persisted."""
        blocks = [value for value in recovered.values() if isinstance(value, Block)]
        for block in sorted(blocks, key=lambda block: block.height):
            if self.tree.get(block.parent, Height(block.height - 1)) is not None:
                self.tree.insert(block)
        mark = recovered.get("final")
        final = self.tree.get(mark.block, mark.height) if mark else None
        if final:
            self.tree.finalise(final)

    def persist_final(self) -> None:
        """Make durable how far this replica has committed, so that a restart does not commit it again."""
        final = self.tree.final
        self.emit(Persist("final", FinalMark(final.id, final.height)))

    def hold(self, block: Block) -> None:
        """Insert a block whose parent is held; what waited for it is handled right after the current event."""
        pending = [block]
        while pending:
            block = pending.pop()
            if self.tree.get(block.id, block.height) is not None:
                continue
            self.tree.insert(block)
            self.emit(Persist(block.id, block), Held(block))
            missing = self._missing.pop(block.id, None)
            if missing is not None:
                self._ready.extend(missing.messages)
                pending.extend(missing.children)
            self.on_held(block)

    def on_held(self, block: Block) -> None:
        """A block has joined the tree; parents come before their children."""

    def holds_or_waits(self, block_id: BlockId, height: int, sender: ReplicaId, message: Message) -> bool:
        """Whether the block is held; if not, `message` comes back as an event once it is."""
        if self.tree.get(block_id, Height(height)) is not None:
            return True
        self.want(block_id, Height(height), sender).messages.append((sender, message))
        return False

    def want(self, block_id: BlockId, height: Height, source: ReplicaId) -> _Missing:
        """Note that a block is missing, and that `source` should have it."""
        missing = self._missing.get(block_id)
        if missing is None:
            if not self._missing:
                self.emit(SetTimer(_FETCH, self.delta_ns))
            elif len(self._missing) >= MISSING_LIMIT:
                del self._missing[next(iter(self._missing))]
            missing = self._missing[block_id] = _Missing(height, source)
        return missing

    def on_message(self, sender: ReplicaId, message: Message) -> None:
        if isinstance(message, Fetch):
            self._on_fetch(sender, message)
        elif isinstance(message, Ancestors):
            self._on_ancestors(sender, message)
        else:
            self.reject(sender, Reason.UNKNOWN)

    def on_timer(self, timer: str) -> None:
        if timer == _FETCH and self._missing:
            for block_id, missing in self._missing.items():
                self._ask(block_id, missing)
            self.emit(SetTimer(_FETCH, 2 * self.delta_ns))

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

    def _on_fetch(self, sender: ReplicaId, fetch: Fetch) -> None:
        block = self.tree.get(fetch.block, fetch.height)
        if block is None:
            return
        lowest = max(fetch.above, block.height - BLOCKS_PER_ANSWER, 0)
        self.emit(Send(sender, Ancestors(tuple(self.tree.ancestors(block, lowest)))))

    def _on_ancestors(self, sender: ReplicaId, answer: Ancestors) -> None:
        for block in answer.blocks:
            missing = self._missing.get(block.id)
            if missing is None:
                # It may have come another way meanwhile; anything else was never asked for.
                if self.tree.get(block.id, block.height) is None:
                    self.reject(sender, Reason.UNREQUESTED)
                return
            if block.height < 1 or block.height != missing.height:
                self.reject(sender, Reason.MALFORMED)
                return
            parent = Height(block.height - 1)
            if self.tree.get(block.parent, parent) is not None:
                self.hold(block)
                return
            below = self.want(block.parent, parent, sender)
            # The messages that wait for this block keep waiting under its own name.
            if all(child.id != block.id for child in below.children):
                below.children.append(block)
        if answer.blocks:
            lowest = answer.blocks[-1]
            self._ask(lowest.parent, self._missing[lowest.parent])
