"""The numbers every protocol counts with: who votes, how many may fail, how many votes decide."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NewType

ReplicaId = NewType("ReplicaId", int)
View = NewType("View", int)
Height = NewType("Height", int)
BlockId = NewType("BlockId", bytes)


@dataclass(frozen=True, slots=True)
class Committee:
    """Who votes: `n` replicas numbered 0..n-1, of which `f` may be Byzantine; `quorum` votes decide.

    `weights` are shares of hash power, which only the longest-chain family uses; they need not sum to one.
    """

    n: int
    f: int
    quorum: int
    weights: tuple[float, ...]

    @classmethod
    def of(
        cls,
        n: int,
        *,
        resilience: Literal[3, 5] = 3,
        quorum: int | None = None,
        weights: tuple[float, ...] | None = None,
    ) -> Committee:
        """The committee of `n` replicas of a protocol that needs n > `resilience`·f.

        The quorum is ⌈(n+f+1)/2⌉ for 3f+1 protocols, so that any two quorums share an honest replica for every n
        (2f+1 does only when n = 3f+1), and n-f for 5f+1 protocols. Giving `quorum` overrides it, for repeating
        published experiments that used another one.
        """
        if n < 1:
            raise ValueError(f"a committee needs at least one replica, not {n}")
        f = (n - 1) // resilience
        safe = math.ceil((n + f + 1) / 2) if resilience == 3 else n - f
        return cls(n, f, safe if quorum is None else quorum, weights or (1.0,) * n)
