"""All Twins schedules of a committee, numbered: every leader and every partition in every round.

A round's *choice* is a number: leader · partitions + partition. A schedule is the tuple of its rounds' choices; its
index has them as digits, the first round's most significant, so that neighbours share their first rounds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product

from consensus.byzantine import Partition
from consensus.types import Committee, ReplicaId

Choices = tuple[int, ...]
"""A schedule: the choice of each round."""

FANS = (4, 13)
"""How many choices of the last but one and of the last round a family of schedules has."""


def set_partitions(nodes: int, most_groups: int) -> Iterator[Partition]:
    """The ways to put that many nodes into at most so many groups, as restricted growth strings ascend."""

    def grow(groups: list[list[int]], node: int) -> Iterator[Partition]:
        if node == nodes:
            yield tuple(tuple(group) for group in groups)
            return
        for group in groups:
            group.append(node)
            yield from grow(groups, node + 1)
            group.pop()
        if len(groups) < most_groups:
            yield from grow([*groups, [node]], node + 1)

    return grow([], 0)


@dataclass(frozen=True)
class Space:
    """The schedules of so many rounds of a committee whose last replica exists twice."""

    committee: Committee
    rounds: int
    most_groups: int = 2

    @property
    def twin(self) -> ReplicaId:
        """Who exists twice. As leaders and groups take all their values, it does not matter who."""
        return ReplicaId(self.committee.n - 1)

    @cached_property
    def partitions(self) -> tuple[Partition, ...]:
        """What a round may have; the first is everybody together.

        Somewhere there is a quorum: in a round without one nobody can do anything but wait.
        """
        n, quorum = self.committee.n, self.committee.quorum
        return tuple(
            groups
            for groups in set_partitions(n + 1, self.most_groups)
            if any(len({min(node, self.twin) for node in group}) >= quorum for group in groups)
        )

    @property
    def choices(self) -> int:
        """How many choices a round has."""
        return self.committee.n * len(self.partitions)

    @property
    def size(self) -> int:
        """How many schedules there are."""
        return int(self.choices**self.rounds)

    def __getitem__(self, index: int) -> Choices:
        return _digits(index, self.choices, self.rounds)

    def leader(self, choice: int) -> int:
        """Who leads a round of that choice."""
        return choice // len(self.partitions)

    def partition(self, choice: int) -> Partition:
        """Who hears whom in it."""
        return self.partitions[choice % len(self.partitions)]

    def spread(self) -> Iterator[Choices]:
        """Every schedule once, always in the same order, each stretch of which is from everywhere.

        They come in families, which have all in common but their last two rounds, of whose choices each has some
        `FANS`, evenly spaced. Families are visited by a stride that has no factor in common with their number: the
        golden section of that number, so that all choices keep changing.
        """
        steps = [max(1, self.choices // fan) for fan in FANS[-self.rounds :]]
        families = int(self.choices ** (self.rounds - len(steps))) * math.prod(steps)
        stride = (math.isqrt(5 * families**2) - families) // 2
        while math.gcd(stride, families) > 1:
            stride += 1
        for turn in range(families):
            yield from self._family(turn * stride % families, steps)

    def _family(self, number: int, steps: list[int]) -> Iterator[Choices]:
        last = []
        for step in steps:
            number, offset = divmod(number, step)
            last.append(range(offset, self.choices, step))
        first = _digits(number, self.choices, self.rounds - len(steps))
        return ((*first, *rest) for rest in product(*last))


def _digits(number: int, base: int, count: int) -> Choices:
    digits = []
    for _ in range(count):
        number, digit = divmod(number, base)
        digits.append(digit)
    return tuple(reversed(digits))
