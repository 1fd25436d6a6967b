"""The blocks a replica holds: its final chain by height, everything above it by name."""

from __future__ import annotations

from collections.abc import Iterator

from consensus.messages import GENESIS, Block
from consensus.types import BlockId, Height


class BlockTree:
    """All blocks whose ancestors are held too, rooted at genesis.

    The final chain costs one list entry a block; blocks off it are dropped once they can no longer matter, so that
    a long run with many forks stays small.
    """

    def __init__(self) -> None:
        self._final: list[Block] = [GENESIS]
        self._open: dict[BlockId, Block] = {}

    @property
    def final(self) -> Block:
        """The highest final block."""
        return self._final[-1]

    def get(self, block_id: BlockId, height: Height) -> Block | None:
        """The block of that name and height, if it is held."""
        block = self._open.get(block_id)
        if block is not None:
            # A block that names its parent with a wrong height has no such parent.
            return block if block.height == height else None
        final = self._final
        return final[height] if 0 <= height < len(final) and final[height].id == block_id else None

    def parent(self, block: Block) -> Block:
        """The parent of a held block. Raises `KeyError` for genesis and for blocks that are not held."""
        parent = self.get(block.parent, Height(block.height - 1))
        if parent is None:
            raise KeyError(f"the parent of height {block.height} is not held")
        return parent

    def insert(self, block: Block) -> bool:
        """Add a block; False if its parent is not held, or if it is itself."""
        if self.get(block.parent, Height(block.height - 1)) is None or self.get(block.id, block.height) is not None:
            return False
        self._open[block.id] = block
        return True

    def ancestors(self, block: Block, above: int) -> Iterator[Block]:
        """`block`, its parent and so on down, as long as they are higher than `above`."""
        while block.height > above:
            yield block
            block = self.parent(block)

    def ancestor(self, block: Block, height: int) -> Block:
        """The ancestor of `block` (or itself) at `height`."""
        opened = self._open
        while block.height > height:
            parent = opened.get(block.parent)
            # Most are found at once: longest chains walk down from each new block.
            block = parent if parent is not None and parent.height == block.height - 1 else self.parent(block)
        return block

    def extends(self, block: Block, ancestor: Block) -> bool:
        """Whether `ancestor` is `block` or one of its ancestors."""
        return block.height >= ancestor.height and self.ancestor(block, ancestor.height).id == ancestor.id

    def is_final(self, block: Block) -> bool:
        """Whether the block is on the final chain."""
        return block.height < len(self._final) and self._final[block.height].id == block.id

    def finalise(self, block: Block) -> list[Block]:
        """Make `block` and its ancestors final; returns those that were not, lowest first.

        A longest-chain replica may be proved wrong by a deeper reorganisation: what contradicts the new chain is
        then taken off the final one (and stays held).
        """
        if block.height == len(self._final) and block.parent == self._final[-1].id:
            self._final.append(block)
            return [block]
        fresh = []
        while not self.is_final(block):
            fresh.append(block)
            block = self.parent(block)
        fresh.reverse()
        if fresh:
            undone = self._final[fresh[0].height :]
            del self._final[fresh[0].height :]
            self._final.extend(fresh)
            self._open.update((block.id, block) for block in undone)
        return fresh

    def prune(self, up_to: int) -> None:
        """Drop the blocks at or below `up_to` that are not on the final chain, and their descendants."""
        kept: dict[BlockId, Block] = {}
        for block in sorted(self._open.values(), key=lambda block: block.height):
            if self.is_final(block):
                continue
            if block.parent in kept or (block.height > up_to and self._rooted(block)):
                kept[block.id] = block
        self._open = kept

    def _rooted(self, block: Block) -> bool:
        height = block.height - 1
        return height < len(self._final) and self._final[height].id == block.parent
