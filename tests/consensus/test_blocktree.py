"""The block tree: whatever is held has its ancestors; what is final is a list."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.blocktree import BlockTree
from consensus.messages import GENESIS, Block, Payload
from consensus.types import BlockId, Height, ReplicaId, View


def child(parent: Block, name: int) -> Block:
    return Block(parent.id, Height(parent.height + 1), View(name), ReplicaId(0), Payload(0, 0, 0))


def fork() -> tuple[BlockTree, list[Block], list[Block]]:
    """Two branches of four blocks from genesis."""
    tree, branches = BlockTree(), []
    for by in (1, 2):
        branch = [GENESIS]
        for _ in range(4):
            branch.append(child(branch[-1], by))
            tree.insert(branch[-1])
        branches.append(branch[1:])
    return tree, branches[0], branches[1]


def test_a_new_tree_holds_genesis_only() -> None:
    tree = BlockTree()
    assert tree.final == GENESIS
    assert tree.get(GENESIS.id, Height(0)) == GENESIS
    assert tree.get(BlockId(b"?"), Height(0)) is None


def test_a_block_is_found_at_its_own_height_only() -> None:
    tree, left, _ = fork()
    assert tree.get(left[1].id, Height(2)) == left[1]
    for height in (-1, 0, 1, 3, 99):
        assert tree.get(left[1].id, Height(height)) is None
    tree.finalise(left[3])
    tree.prune(4)
    assert tree.get(left[1].id, Height(2)) == left[1]
    for height in (-1, -3, 0, 1, 3, 99):
        assert tree.get(left[1].id, Height(height)) is None


def test_a_block_without_its_parent_cannot_be_inserted() -> None:
    tree, left, _ = fork()
    for stray in (
        child(child(left[3], 9), 9),
        Block(left[0].id, Height(9), View(1), ReplicaId(0), Payload(0, 0, 0)),
    ):
        assert not tree.insert(stray)
        assert tree.get(stray.id, stray.height) is None
        with pytest.raises(KeyError):
            tree.parent(stray)


def test_a_block_is_inserted_once() -> None:
    tree, left, _ = fork()
    assert not tree.insert(left[0])
    assert tree.insert(child(left[3], 9))


def test_ancestry() -> None:
    tree, left, right = fork()
    assert list(tree.ancestors(left[3], 1)) == [left[3], left[2], left[1]]
    assert tree.ancestor(left[3], 0) == GENESIS
    assert tree.extends(left[3], left[0])
    assert tree.extends(left[0], left[0])
    assert not tree.extends(left[0], left[3])
    assert not tree.extends(left[3], right[0])


def test_finalising_returns_what_was_not_final_lowest_first() -> None:
    tree, left, _ = fork()
    assert tree.finalise(left[1]) == left[:2]
    assert tree.finalise(left[3]) == left[2:]
    assert tree.finalise(left[2]) == []
    assert tree.final == left[3]
    assert tree.is_final(left[0])


def test_a_deeper_reorganisation_takes_back_what_it_contradicts() -> None:
    tree, left, right = fork()
    tree.finalise(left[2])
    assert tree.finalise(right[3]) == right
    assert not tree.is_final(left[0])
    assert tree.get(left[2].id, Height(3)) == left[2]
    assert tree.finalise(left[3]) == left


def test_pruning_drops_what_can_no_longer_matter() -> None:
    tree, left, right = fork()
    tree.finalise(left[1])
    late = child(left[1], 3)
    tree.insert(late)
    tree.prune(2)
    assert [tree.get(block.id, block.height) for block in right] == [None] * 4
    assert tree.get(late.id, late.height) == late
    assert tree.get(left[3].id, left[3].height) == left[3]


@given(st.lists(st.integers(0, 30), max_size=30), st.data())
def test_whatever_is_held_has_its_ancestors_whatever_happens(parents: list[int], data: st.DataObject) -> None:
    tree, blocks = BlockTree(), [GENESIS]
    for name, parent in enumerate(parents):
        blocks.append(child(blocks[parent % len(blocks)], name))
        tree.insert(blocks[-1])
    chosen = data.draw(st.sampled_from(blocks))
    tree.finalise(chosen)
    tree.prune(data.draw(st.integers(0, chosen.height)))
    assert tree.final == chosen
    for block in blocks:
        if tree.get(block.id, block.height) is not None:
            assert list(tree.ancestors(block, 0))[-1:] == ([] if block == GENESIS else [tree.ancestor(block, 1)])
        else:
            assert not tree.extends(block, chosen) if block.height <= chosen.height else True
