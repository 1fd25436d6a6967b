"""Shreds: any `data` of them give a message back, each goes to everybody once, and small messages go whole."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest

from network.shreds import ShredRules, Shreds
from tests.network.spreading import NEVER, Line, Party, steady

MS = 1_000_000
N = 20
RULES = ShredRules(data=4, parity=4, fanout=3, header_bytes=88)
BYTES = 1_001
SHRED_BYTES = 251 + 88
"""A quarter of the message, rounded up, and the header."""


def shreds(party: Party, rules: ShredRules = RULES, seed: int = 1, **more) -> Shreds:
    return Shreds(party.carriage, party.receivers(), rules, random.Random(seed), **more)


def losing(share: float, seed: int = 3) -> Line:
    rng = np.random.default_rng(seed)
    return Line(lambda source, targets, size_bytes: np.where(rng.random(len(targets)) < share, -1, 10 * MS))


def test_everybody_is_handed_the_message_once() -> None:
    """n-1 deliveries, though each gets eight shreds."""
    party = Party(N, steady(10 * MS))
    party.spread(shreds(party), source=5, size_bytes=BYTES)
    party.run()
    assert party.times == N - 1
    assert NEVER not in party.got_ns


def test_each_shred_goes_to_each_member_once_and_weighs_its_part_of_the_message() -> None:
    party = Party(N, steady(10 * MS))
    party.spread(shreds(party), size_bytes=BYTES)
    party.run()
    sent = party.line.sent
    assert {size for _, _, size, _ in sent} == {SHRED_BYTES}
    assert Counter(target for _, target, _, _ in sent) == dict.fromkeys(range(1, N), 8)
    assert sum(size for _, _, size, _ in sent) == (N - 1) * 8 * SHRED_BYTES
    assert sum(source == 0 for source, _, _, _ in sent) == 8


def test_relays_pass_on_at_once_to_so_many() -> None:
    """With a fan-out of 3, twenty members are four levels deep: the source, one, three, nine, the rest."""
    party = Party(N, steady(10 * MS))
    party.spread(shreds(party, ShredRules(data=1, parity=0, fanout=3)), size_bytes=BYTES)
    party.run()
    assert Counter(at_ns // MS for at_ns in party.got_ns) == {0: 1, 10: 1, 20: 3, 30: 9, 40: 6}


def one_lost(number: int) -> Line:
    """Loses the first copy of some of the eight shreds as they leave the source."""
    left = iter(range(8))

    def delays(source: int, targets, size_bytes: int):
        lost = source == 0 and next(left) < number
        return np.full(len(targets), -1 if lost else 10 * MS, dtype=np.int64)

    return Line(delays)


@pytest.mark.parametrize("lost", [0, 1, 4])
def test_any_data_of_the_shreds_suffice(lost: int) -> None:
    party = Party(N, one_lost(lost))
    party.spread(shreds(party), size_bytes=BYTES)
    party.run()
    assert NEVER not in party.got_ns


def test_one_shred_too_few_gives_nobody_the_message() -> None:
    """The mutant of the above: five of eight lost."""
    party = Party(N, one_lost(5))
    party.spread(shreds(party), size_bytes=BYTES)
    party.run()
    assert party.got_ns[1:] == [NEVER] * (N - 1)


def test_parity_makes_up_for_losses_on_the_way() -> None:
    """A tenth of all copies lost: with four shreds of parity in eight nearly all have it, without any hardly one."""
    found = []
    for rules in (RULES, ShredRules(data=8, parity=0, fanout=3)):
        party = Party(N, losing(0.1))
        party.spread(shreds(party, rules), size_bytes=BYTES)
        party.run()
        found.append(sum(at_ns != NEVER for at_ns in party.got_ns[1:]))
    assert found[0] >= 17
    assert found[1] <= 8


def test_a_crashed_relay_costs_those_below_it_one_shred_of_many() -> None:
    """Each tree has other relays, so the rest gets enough of the others. The one that is down gets its shreds' bytes,
    but passes nothing on."""
    party = Party(N, steady(10 * MS), takes=lambda member, now_ns: None if member == 7 else now_ns)
    party.spread(shreds(party, up=lambda member: member != 7), size_bytes=BYTES)
    party.run()
    assert [member for member, at_ns in enumerate(party.got_ns) if at_ns == NEVER] == [7]
    assert not [passage for passage in party.line.sent if passage[0] == 7]
    assert len(party.line.sent) < 8 * (N - 1)


def test_a_relay_that_passes_on_though_it_is_down_is_seen() -> None:
    party = Party(N, steady(10 * MS))
    party.spread(shreds(party), size_bytes=BYTES)
    party.run()
    assert [passage for passage in party.line.sent if passage[0] == 7]


@pytest.mark.parametrize(("size_bytes", "copies", "each"), [(999, N - 1, 999), (1_000, 8 * (N - 1), 250 + 88)])
def test_small_messages_go_whole(size_bytes: int, copies: int, each: int) -> None:
    """A copy to each from the source; the threshold itself is cut."""
    party = Party(N, steady(10 * MS))
    rules = ShredRules(data=4, parity=4, fanout=3, header_bytes=88, whole_below_bytes=1_000)
    party.spread(shreds(party, rules), size_bytes=size_bytes)
    party.run()
    assert len(party.line.sent) == copies
    assert {size for _, _, size, _ in party.line.sent} == {each}
    assert NEVER not in party.got_ns
