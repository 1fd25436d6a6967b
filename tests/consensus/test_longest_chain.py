"""Longest chain against Nakamoto, 2008. One sentence a test."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from consensus.effects import Adopted, Broadcast, Committed, Effect, Held, Persist, Reason, Rejected, SetTimer
from consensus.messages import GENESIS, Block, Payload
from consensus.protocols.longest_chain import LongestChain, LongestChainParameters, Mined
from consensus.types import BlockId, Committee, Height, ReplicaId, View
from tests.consensus.stage import DELTA_NS, seat, spoken, tell


def miner(me: int = 0, **parameters: Any) -> LongestChain:
    replica = LongestChain(seat(me, LongestChainParameters(**parameters)))
    replica.start({}, 0)
    return replica


def mined(parent: Block, by: int, instant: int = 1) -> Mined:
    return Mined(Block(parent.id, Height(parent.height + 1), View(instant), ReplicaId(by), Payload(0, 0, 0)))


def grow(
    replica: LongestChain, parent: Block, by: int, length: int, first: int = 1
) -> tuple[list[Block], list[Effect]]:
    blocks, effects = [parent], []
    for instant in range(first, first + length):
        message = mined(blocks[-1], by, instant)
        effects += tell(replica, by, message)
        blocks.append(message.block)
    return blocks[1:], effects


def test_nodes_extend_the_longest_chain() -> None:
    """Section 5: "Nodes always consider the longest chain to be the correct one and will keep working on extending
    it"."""
    replica = miner()
    (one, two), _ = grow(replica, GENESIS, 1, 2)
    grow(replica, GENESIS, 2, 1)
    assert replica.tip == two
    effects = list(replica.fire("mine", 10**12))
    assert effects[0].message.block.parent == two.id  # type: ignore[union-attr]
    assert one.height == 1


def test_of_two_the_one_received_first_is_kept() -> None:
    """Section 5: "they work on the first one they received, but save the other branch"."""
    replica = miner()
    first, second = mined(GENESIS, 1), mined(GENESIS, 2)
    assert spoken(tell(replica, 1, first)) == [Held(first.block), Adopted(first.block)]
    assert spoken(tell(replica, 2, second)) == [Held(second.block)]
    longer = mined(second.block, 2, 2)
    assert spoken(tell(replica, 2, longer))[1] == Adopted(longer.block)


def test_uniform_ties_are_fair() -> None:
    """Eyal and Sirer, section 5: choose uniformly; each of three rivals wins a third of the time."""
    wins: Counter[int] = Counter()
    for seed in range(900):
        replica = LongestChain(seat(seed % 4, LongestChainParameters(tie_break="uniform"), random=random_of(seed)))
        replica.start({}, 0)
        for by in (1, 2, 3):
            tell(replica, by, mined(GENESIS, by))
        wins[replica.tip.proposer] += 1
    assert all(abs(wins[by] - 300) < 60 for by in (1, 2, 3)), wins


def random_of(seed: int) -> Any:
    import random

    return random.Random(seed)


@pytest.mark.parametrize("confirmations", [1, 2, 6])
def test_a_block_is_final_once_it_is_deep_enough(confirmations: int) -> None:
    """Section 11: the recipient waits "until z blocks have been linked after it"; z counts the block itself here."""
    replica = miner(confirmations=confirmations)
    blocks, effects = grow(replica, GENESIS, 1, 8)
    done = [effect.block for effect in effects if type(effect) is Committed]
    assert done == blocks[: 8 - confirmations + 1]


def test_a_deeper_reorganisation_commits_the_other_branch() -> None:
    replica = miner(confirmations=2)
    grow(replica, GENESIS, 1, 3)
    blocks, effects = grow(replica, GENESIS, 2, 4)
    assert [effect.block for effect in effects if type(effect) is Committed] == blocks[:3]
    assert replica.tree.final == blocks[2]


def test_mining_is_a_poisson_process_that_does_not_depend_on_the_chain() -> None:
    def instants(busy: bool) -> list[int]:
        replica = LongestChain(seat(0, LongestChainParameters(block_interval_s=1.0)))
        effects = list(replica.start({}, 0))
        now_ns, at = 0, []
        for step in range(2000):
            now_ns += next(effect.delay_ns for effect in effects if type(effect) is SetTimer)
            at.append(now_ns)
            if busy and step % 3 == 0:
                tell(replica, 1, mined(replica.tip, 1, step), now_ns)
            effects = list(replica.fire("mine", now_ns))
            for effect in list(effects):
                if isinstance(effect, Broadcast):
                    tell(replica, 0, effect.message, now_ns)
        return at

    at = instants(busy=False)
    assert at == instants(busy=True)
    # A quarter of the committee's hash power: one block in four intervals; the mean of 2,000 within 4 standard errors.
    assert abs(at[-1] / 2000 / 4e9 - 1) < 4 / 2000**0.5


def test_hash_power_is_in_proportion_to_weight() -> None:
    committee = Committee.of(4, weights=(3.0, 1.0, 0.0, 0.0))
    gaps = {}
    for me in range(4):
        replica = LongestChain(seat(me, LongestChainParameters(block_interval_s=3.0), committee=committee))
        gaps[me] = replica._mean_gap_ns
    assert gaps == {0: 4e9, 1: 12e9, 2: None, 3: None}


def test_a_cpu_that_is_late_skips_no_instant() -> None:
    replica = LongestChain(seat(0, LongestChainParameters(block_interval_s=1e-9)))
    replica.start({}, 0)
    views = []
    for _ in range(5):
        effects = list(replica.fire("mine", 10**6))
        views += [effect.message.block.view for effect in effects if isinstance(effect, Broadcast)]  # type: ignore[attr-defined]
        assert effects[-1] == SetTimer("mine", 0)
    assert views == [1, 2, 3, 4, 5]


def test_a_restart_goes_on_from_the_longest_chain_and_never_mines_the_same_instant_twice() -> None:
    replica = LongestChain(seat(0, LongestChainParameters(block_interval_s=1e-6)))
    replica.start({}, 0)
    (one, two), effects = grow(replica, GENESIS, 1, 2)
    rival = mined(GENESIS, 2)
    effects += tell(replica, 2, rival)
    store = {effect.key: effect.value for effect in effects if type(effect) is Persist}
    again = LongestChain(seat(0, LongestChainParameters(block_interval_s=1e-6)))
    timer = list(again.start(store, 50_000))[-1]
    assert again.tip == two
    assert isinstance(timer, SetTimer)
    assert timer.delay_ns > 0
    assert again._instants > 1, "those that passed while it was down are lost"
    assert one.id in store


@pytest.mark.parametrize(
    "message",
    [mined(GENESIS, 2), Mined(Block(BlockId(b""), Height(0), View(1), ReplicaId(1), Payload(0, 0, 0)))],
)
def test_blocks_in_anothers_name_or_at_no_height_are_rejected(message: Mined) -> None:
    assert tell(miner(), 1, message) == [Rejected(ReplicaId(1), Reason.WRONG_LEADER)]


def test_a_block_that_lies_about_its_height_does_not_win() -> None:
    replica = miner()
    (one,), _ = grow(replica, GENESIS, 1, 1)
    liar = Mined(Block(one.id, Height(99), View(7), ReplicaId(2), Payload(0, 0, 0)))
    assert tell(replica, 2, liar) == [SetTimer("fetch", DELTA_NS)]
    assert replica.tip == one


@pytest.mark.parametrize("wrong", [{"block_interval_s": 0.0}, {"confirmations": 0}])
def test_parameters_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        LongestChainParameters(**wrong)
