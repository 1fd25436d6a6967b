"""Missing ancestors: asked for late, downwards, in pieces, from one replica after the other."""

from __future__ import annotations

from consensus.chain import BLOCKS_PER_ANSWER, MISSING_LIMIT, ROUNDS
from consensus.effects import Effect, Held, Reason, Rejected, Send, SetTimer
from consensus.messages import GENESIS, Ancestors, Block, Fetch, Payload
from consensus.protocols.longest_chain import LongestChain, LongestChainParameters, Mined
from consensus.types import BlockId, Height, ReplicaId, View
from tests.consensus.stage import DELTA_NS, seat, tell


def replica(me: int = 0) -> LongestChain:
    """A chain replica with the simplest rules of all."""
    made = LongestChain(seat(me, LongestChainParameters(confirmations=10**6)))
    made.start({}, 0)
    return made


def line(length: int, parent: Block = GENESIS, by: int = 1) -> list[Block]:
    blocks = [parent]
    for view in range(1, length + 1):
        blocks.append(Block(blocks[-1].id, Height(blocks[-1].height + 1), View(view), ReplicaId(by), Payload(0, 0, 0)))
    return blocks[1:]


def held(effects: list[Effect]) -> list[Block]:
    return [effect.block for effect in effects if type(effect) is Held]


def asked(effects: list[Effect]) -> list[tuple[int, int]]:
    """(whom, for which height) of every fetch."""
    return [
        (effect.to, effect.message.height)
        for effect in effects
        if isinstance(effect, Send) and isinstance(effect.message, Fetch)
    ]


def test_nothing_is_asked_for_until_delta_has_passed() -> None:
    one, two = line(2)
    late = replica()
    assert tell(late, 1, Mined(two)) == [SetTimer("fetch", DELTA_NS)]
    assert held(tell(late, 1, Mined(one))) == [one, two]
    assert list(late.fire("fetch", DELTA_NS)) == []


def test_the_sender_is_asked_first_and_then_one_after_the_other_but_never_oneself() -> None:
    late = replica(me=3)
    tell(late, 1, Mined(line(2)[1]))
    now_ns, whom = DELTA_NS, []
    for _ in range(4):
        effects = list(late.fire("fetch", now_ns))
        whom += asked(effects)
        assert effects[-1] == SetTimer("fetch", 2 * DELTA_NS)
        now_ns += 2 * DELTA_NS
    assert whom == [(1, 1), (2, 1), (0, 1), (1, 1)]


def test_every_missing_block_gets_its_own_delta() -> None:
    late = replica()
    tell(late, 1, Mined(line(2)[1]), 0)
    tell(late, 2, Mined(line(2, by=2)[1]), 90)
    first = list(late.fire("fetch", 100))
    assert asked(first) == [(1, 1)]
    assert first[-1] == SetTimer("fetch", 90)
    assert asked(list(late.fire("fetch", 190))) == [(2, 1)]


def test_a_block_that_nobody_has_is_given_up() -> None:
    late = replica()
    tell(late, 1, Mined(line(2)[1]))
    now_ns, count = DELTA_NS, 0
    while effects := list(late.fire("fetch", now_ns)):
        count += len(asked(effects))
        now_ns += 2 * DELTA_NS
    assert count == ROUNDS * 4
    assert tell(late, 1, Mined(line(2)[1]), now_ns) == [SetTimer("fetch", DELTA_NS)], "named again, wanted again"


def fetch_all(late: LongestChain, source: LongestChain, now_ns: int = DELTA_NS) -> tuple[int, list[Effect]]:
    """Answer what is asked until nothing is; how many answers it took, and the last effects."""
    effects, answers = list(late.fire("fetch", now_ns)), 0
    while requests := [e.message for e in effects if isinstance(e, Send)]:
        assert len(requests) == 1, "one piece at a time"
        (answer,) = [e.message for e in tell(source, 0, requests[0]) if isinstance(e, Send)]
        assert len(answer.blocks) <= BLOCKS_PER_ANSWER  # type: ignore[attr-defined]
        answers += 1
        effects = tell(late, 1, answer, now_ns)
    return answers, effects


def test_a_long_gap_is_fetched_in_pieces_and_held_lowest_first() -> None:
    """Far beyond the recursion limit and beyond `MISSING_LIMIT`."""
    length = 3 * MISSING_LIMIT
    blocks = line(length)
    source, late = replica(1), replica(0)
    for block in blocks:
        tell(source, 1, Mined(block))
    tell(late, 1, Mined(blocks[-1]))
    answers, effects = fetch_all(late, source)
    assert held(effects) == blocks
    assert answers == -(-(length - 1) // BLOCKS_PER_ANSWER)
    assert not late._missing
    assert not late._orphans


def test_while_a_gap_is_fetched_only_its_lower_end_is_asked_for() -> None:
    blocks = line(200)
    source, late = replica(1), replica(0)
    for block in blocks:
        tell(source, 1, Mined(block))
    tell(late, 1, Mined(blocks[-1]))
    (request,) = [e.message for e in late.fire("fetch", DELTA_NS) if isinstance(e, Send)]
    (answer,) = [e.message for e in tell(source, 0, request) if isinstance(e, Send)]
    assert len(asked(tell(late, 1, answer, DELTA_NS))) == 1
    # The answer to that was lost: one question again, not one for each of the 64 blocks that came.
    assert len(asked(list(late.fire("fetch", 4 * DELTA_NS)))) == 1
    # The same answer once more changes nothing.
    assert tell(late, 1, answer, 4 * DELTA_NS) == []


def test_what_was_not_asked_for_is_rejected() -> None:
    assert tell(replica(), 2, Ancestors((line(1)[0],))) == [Rejected(ReplicaId(2), Reason.UNREQUESTED)]


def test_an_answer_of_another_height_is_malformed() -> None:
    late = replica()
    two = line(2)[1]
    liar = Block(two.id, Height(9), View(1), ReplicaId(2), Payload(0, 0, 0))
    tell(late, 2, Mined(liar))
    assert tell(late, 2, Ancestors((two,))) == [Rejected(ReplicaId(2), Reason.MALFORMED)]


def test_a_child_that_lies_about_its_height_does_not_join_with_its_parent() -> None:
    late = replica()
    one, two = line(2)
    liar = Block(one.id, Height(5), View(9), ReplicaId(2), Payload(0, 0, 0))
    tell(late, 2, Mined(liar))
    assert held(tell(late, 1, Mined(one))) == [one]
    assert held(tell(late, 1, Mined(two))) == [two]


def test_names_that_nobody_has_do_not_fill_memory() -> None:
    late = replica()
    for i in range(3 * MISSING_LIMIT):
        tell(late, 2, Mined(Block(BlockId(b"%d" % i), Height(9), View(1), ReplicaId(2), Payload(0, 0, 0))))
    assert len(late._missing) <= MISSING_LIMIT


def test_unknown_blocks_are_not_answered() -> None:
    assert tell(replica(), 2, Fetch(BlockId(b"?"), Height(3), Height(0))) == []


def test_a_branch_below_the_final_block_is_fetched_down_to_where_it_left() -> None:
    deep = LongestChain(seat(0, LongestChainParameters(confirmations=1)))
    deep.start({}, 0)
    for block in line(150):
        tell(deep, 1, Mined(block))
    other, source = line(160, by=2), replica(1)
    for block in other:
        tell(source, 2, Mined(block))
    tell(deep, 2, Mined(other[-1]))
    _, effects = fetch_all(deep, source)
    assert held(effects) == other
    assert deep.tip == other[-1]
