"""Compact messages: the header at once, what is missing on request, to the byte."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from network.carriage import UNDER_WAY
from network.channel import Drop
from network.compact import Compact, CompactRules
from tests.network.spreading import Line, Party, steady

MS = 1_000_000
WHOLE, LEFT_OUT = 1_000, 900
HEADER = WHOLE - LEFT_OUT
SURE = CompactRules(misses=1.0, missing=(0.5,))
KNOWS_ALL = CompactRules()


def carry(
    line: Line,
    rules: Sequence[CompactRules | None],
    source: int,
    targets: Sequence[int],
    left_out_bytes: int = LEFT_OUT,
) -> tuple[list[tuple[int, int]], list[int]]:
    """(who took it and when, what the carriage said) of one message."""
    party = Party(len(rules), line)
    compact = Compact(party.carriage, lambda parcel, size_bytes: (size_bytes - left_out_bytes, left_out_bytes), rules,
                      random.Random(1))  # fmt: skip
    taken: list[tuple[int, int]] = []

    def action(member: int) -> Any:
        return lambda parcel, now_ns: taken.append((member, now_ns // MS))

    actions = [action(member) for member in range(len(rules))]
    due_ns = compact.carry(source, np.array(targets, dtype=np.int64), WHOLE, "news", actions, 0)
    party.run()
    return taken, due_ns.tolist()


def test_who_knows_every_transaction_has_the_message_with_its_header() -> None:
    line = steady(10 * MS)
    assert carry(line, [KNOWS_ALL] * 3, 0, [1, 2]) == ([(1, 10), (2, 10)], [UNDER_WAY, UNDER_WAY])
    assert [size for _, _, size, _ in line.sent] == [HEADER, HEADER]


def test_who_lacks_some_asks_whoever_sent_it_and_waits() -> None:
    """Header, request, the missing half: three passages."""
    line = steady(10 * MS)
    assert carry(line, [KNOWS_ALL, SURE], 0, [1])[0] == [(1, 30)]
    assert line.sent == [(0, 1, HEADER, 0), (1, 0, 64, 10 * MS), (0, 1, LEFT_OUT // 2, 20 * MS)]


def test_who_has_no_part_in_it_sends_and_takes_whole_messages() -> None:
    """A message is compact where both ends can, and only there."""
    line = steady(10 * MS)
    taken, due_ns = carry(line, [KNOWS_ALL, None, KNOWS_ALL], 0, [1, 2])
    assert sorted(taken) == [(1, 10), (2, 10)]
    assert due_ns == [10 * MS, UNDER_WAY]
    assert {(target, size) for _, target, size, _ in line.sent} == {(1, WHOLE), (2, HEADER)}
    line = steady(10 * MS)
    assert carry(line, [None, KNOWS_ALL], 0, [1]) == ([(1, 10)], [10 * MS])
    assert [size for _, _, size, _ in line.sent] == [WHOLE]


@pytest.mark.parametrize(("source", "copies"), [(0, 2), (1, 0)])
def test_what_was_spared_is_counted_for_copies_that_went_compactly(source: int, copies: int) -> None:
    """Three members take compact messages, one has no part in them; what is asked for afterwards changes nothing."""
    line = steady(MS)
    rules = [KNOWS_ALL, None, SURE, KNOWS_ALL]
    party = Party(len(rules), line)
    compact = Compact(party.carriage, lambda parcel, size: (HEADER, LEFT_OUT), rules, random.Random(1))
    others = np.delete(np.arange(len(rules)), source)
    compact.carry(source, others, WHOLE, "news", [lambda parcel, now_ns: None] * len(rules), 0)
    assert sum(size for _, _, size, _ in line.sent) == WHOLE * len(others) - compact.spared_bytes
    party.run()
    assert compact.spared_bytes == copies * LEFT_OUT


@pytest.mark.parametrize("able", [KNOWS_ALL, None])
def test_single_copies_go_as_those_among_many(able: CompactRules | None) -> None:
    line = steady(10 * MS)
    party = Party(2, line)
    compact = Compact(party.carriage, lambda parcel, size: (HEADER, LEFT_OUT), [KNOWS_ALL, able], random.Random(1))
    taken: list[int] = []
    action = lambda parcel, now_ns: taken.append(now_ns)  # noqa: E731
    due_ns = compact.carry_few(0, (1,), WHOLE, "news", [action, action], 0)[0]
    party.run()
    assert taken == [10 * MS]
    assert due_ns == (UNDER_WAY if able else 10 * MS)
    assert [size for _, _, size, _ in line.sent] == [HEADER if able else WHOLE]


def test_what_leaves_nothing_out_goes_as_it_is() -> None:
    line = steady(10 * MS)
    assert carry(line, [SURE] * 2, 0, [1], left_out_bytes=0) == ([(1, 10)], [10 * MS])
    assert [size for _, _, size, _ in line.sent] == [WHOLE]


def test_a_header_that_is_lost_is_said_to_be_lost() -> None:
    assert carry(Line(lambda source, targets, size: -1), [KNOWS_ALL] * 2, 0, [1]) == ([], [Drop.LOSS])


def test_misses_come_as_often_as_they_should_and_their_sizes_are_drawn() -> None:
    n = 4_001
    line = steady(MS)
    rules = CompactRules(misses=0.27, missing=(0.1, 0.1, 0.4))
    taken, _ = carry(line, [rules] * n, 0, range(1, n))
    assert len(taken) == n - 1
    asked = sum(size == rules.request_bytes for _, _, size, _ in line.sent)
    assert asked / (n - 1) == pytest.approx(0.27, abs=0.02)
    answers = [size for _, _, size, _ in line.sent if size in (90, 360)]
    assert len(answers) == asked
    assert answers.count(360) / asked == pytest.approx(1 / 3, abs=0.04)


def test_one_that_never_misses_is_seen() -> None:
    """The mutant of the above: no request, and no third passage."""
    line = steady(MS)
    taken, _ = carry(line, [KNOWS_ALL, CompactRules(misses=0.0, missing=(0.5,))], 0, [1])
    assert taken != [(1, 3)]
    assert len(line.sent) == 1
