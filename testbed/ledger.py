"""What became of each block: proposed when, held and committed by whom, when. A fold over the trace.

All metrics of blocks are computed from this afterwards, with numpy.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt

from consensus.messages import GENESIS, Block, Message
from consensus.types import BlockId, ReplicaId, View
from node.contract import BreachError
from node.trace import Observer
from node.wire import Envelope

IntArray = npt.NDArray[np.int64]
NEVER = -1


class Ledger(Observer):
    """Rows are blocks in the order of their first proposal; columns are replicas."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.blocks: list[Block] = []
        self.messages: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self.views: dict[View, bool] = {}
        self.max_reorg_depth = 0
        self.commits = 0
        self.rejections: Counter[str] = Counter()
        self._row: dict[BlockId, int] = {GENESIS.id: -1}
        self._proposed_ns = array("q")
        self._base = array("i")
        self._bases: list[npt.NDArray[np.bool_]] = [np.ones(n, dtype=bool)]
        self._based_ns = [0]
        # Row by row, genesis first: an array's items are read and written much faster than numpy's.
        self._never = array("q", [NEVER]) * n
        self._held_ns, self._committed_ns = self._never[:], self._never[:]
        self._tips: list[Block] = [GENESIS] * n

    # What metrics read

    @property
    def proposed_ns(self) -> IntArray:
        """int64[blocks]: when the proposer's host took the proposal."""
        return np.frombuffer(self._proposed_ns, dtype=np.int64)

    @property
    def held_ns(self) -> IntArray:
        """int64[blocks, replicas]: when the replica first held the block; `NEVER` if not."""
        return self._rows(self._held_ns)

    @property
    def committed_ns(self) -> IntArray:
        """int64[blocks, replicas]: when the replica first committed the block; `NEVER` if not."""
        return self._rows(self._committed_ns)

    @property
    def base(self) -> npt.NDArray[np.bool_]:
        """bool[blocks, replicas]: who was up when the block was proposed."""
        return np.stack(self._bases)[np.frombuffer(self._base, dtype=np.int32)]

    def up_within(self, begin_ns: int, end_ns: int) -> npt.NDArray[np.bool_]:
        """bool[replicas]: who was up at some time from `begin_ns` to `end_ns`, both included."""
        first = bisect_left(self._based_ns, begin_ns, lo=1) - 1
        last = bisect_right(self._based_ns, end_ns)
        up: npt.NDArray[np.bool_] = np.logical_or.reduce(self._bases[first:last])
        return up

    def row(self, block_id: BlockId) -> int:
        """The row of a block; -1 for genesis. Raises `KeyError` for a block nobody proposed."""
        return self._row[block_id]

    # What the trace tells

    def proposed(self, now_ns: int, replica: ReplicaId, block: Block, message: Message) -> None:
        if block.id in self._row:
            return
        self._row[block.id] = len(self.blocks)
        self.blocks.append(block)
        self._proposed_ns.append(now_ns)
        self._base.append(len(self._bases) - 1)
        self._held_ns.extend(self._never)
        self._committed_ns.extend(self._never)
        self._held_ns[self._slot(block.id, replica)] = now_ns

    def held(self, now_ns: int, replica: ReplicaId, block: Block) -> None:
        slot = self._slot(block.id, replica)
        if self._held_ns[slot] == NEVER:
            self._held_ns[slot] = now_ns

    def committed(self, now_ns: int, replica: ReplicaId, block: Block) -> None:
        slot = self._slot(block.id, replica)
        if self._committed_ns[slot] == NEVER:
            self._committed_ns[slot] = now_ns
            self.commits += 1

    def adopted(self, now_ns: int, replica: ReplicaId, block: Block) -> None:
        tip = self._tips[replica]
        self._tips[replica] = block
        if block.parent != tip.id:
            depth = tip.height - self._fork_height(tip, block)
            if depth > self.max_reorg_depth:
                self.max_reorg_depth = depth

    def entered(self, now_ns: int, replica: ReplicaId, view: View, timed_out: bool) -> None:
        self.views[view] = self.views.get(view, False) or timed_out

    def sent(self, now_ns: int, envelope: Envelope, due_ns: Any, taken_ns: int) -> None:
        kind = envelope.message.kind
        copies = len(due_ns)
        self.messages[kind] += copies
        self.bytes[kind] += copies * envelope.size_bytes

    def carried(self, now_ns: int, source: int, target: int | None, kind: str, size_bytes: int, due_ns: Any) -> None:
        copies = len(due_ns)
        self.messages[kind] += copies
        self.bytes[kind] += copies * size_bytes

    def rejected(self, now_ns: int, replica: ReplicaId, sender: ReplicaId, reason: str) -> None:
        self.rejections[reason] += 1

    def stopped(self, now_ns: int, replica: ReplicaId) -> None:
        self._change_base(now_ns, replica, up=False)

    def restarted(self, now_ns: int, replica: ReplicaId) -> None:
        self._change_base(now_ns, replica, up=True)

    def _change_base(self, now_ns: int, replica: ReplicaId, *, up: bool) -> None:
        base = self._bases[-1].copy()
        base[replica] = up
        if now_ns == 0:
            # Who is down from the start was never up.
            self._bases[-1] = base
            return
        self._bases.append(base)
        self._based_ns.append(now_ns)

    def _rows(self, times_ns: array[int]) -> IntArray:
        return np.frombuffer(times_ns, dtype=np.int64).reshape(-1, self.n)[1:]

    def _slot(self, block_id: BlockId, replica: ReplicaId) -> int:
        return (self._find(block_id) + 1) * self.n + replica

    def _find(self, block_id: BlockId) -> int:
        try:
            return self._row[block_id]
        except KeyError:
            raise BreachError(
                f"speaks of block {block_id.hex()[:8]}, which nobody has proposed; a message that proposes a block "
                "must return it from proposes()"
            ) from None

    def _fork_height(self, one: Block, other: Block) -> int:
        """The height of the highest common ancestor."""
        while one.id != other.id:
            if one.height >= other.height:
                one = self._parent(one)
            else:
                other = self._parent(other)
        return one.height

    def _parent(self, block: Block) -> Block:
        row = self._find(block.parent)
        return GENESIS if row < 0 else self.blocks[row]
