"""The latency oracle: fault-free consensus as order statistics, without events, replicas or a bus.

The j-th member's next step waits for the q-th earliest of the votes addressed to it, and that is all of PBFT,
Tendermint, Simplex, HotStuff and Minimmit in the good case. This is the reading list's oracle in our own words; it
shares no code with `testbed.bounds` (sorting instead of partitioning, a fresh matrix for each round of messages, no
notion of who is down), so that the two are not one mistake made twice.

`Network` hands out the delays of the next round of messages, [source, target], in any unit: integers stay integers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Times = npt.NDArray[Any]
Network = Callable[[], Times]


def still(delay: Times) -> Network:
    """A network whose delays never change."""
    return lambda: delay


def gaussian(n: int, mean: float, std: float, seed: int) -> Network:
    """A network that draws every message's delay anew, as BFT-Simulator does; what is below zero counts as zero."""
    rng = np.random.default_rng(seed)
    return lambda: np.maximum(rng.normal(mean, std, (n, n)), 0.0)


def hear(spoke: Times, delay: Times) -> Times:
    """[speaker, listener]: when each hears what each other says at `spoke[speaker]`; oneself at once."""
    heard = spoke[:, None] + delay
    np.fill_diagonal(heard, spoke)
    return heard


def vote_to_all(spoke: Times, quorum: int, delay: Times) -> Times:
    """When each has heard a quorum of votes, and has voted itself."""
    heard = np.sort(hear(spoke, delay), axis=0)
    return np.maximum(heard[quorum - 1], spoke)


def leader_and_rounds(network: Network, leader: int, quorum: int, rounds: int) -> Times:
    """When each decides: a proposal at 0 and `rounds` all-to-all rounds (PBFT has two: prepare and commit)."""
    delay = network()
    times = hear(np.zeros(len(delay), dtype=delay.dtype), delay)[leader]
    for _ in range(rounds):
        times = vote_to_all(times, quorum, network())
    return times


@dataclass(frozen=True)
class Chain:
    """A chain of proposals: `proposed[b]`, and `held[b, member]` when the proposal arrives."""

    proposed: Times
    held: Times

    def committed(self, links: int) -> Times:
        """[block, member]: when the proposals of the next `links` blocks have all arrived."""
        blocks = len(self.held) - links
        return np.array([self.held[b + 1 : b + links + 1].max(axis=0) for b in range(blocks)])

    def finality(self, links: int) -> Times:
        """[block, member]: from the proposal to the commit."""
        return self.committed(links) - self.proposed[: len(self.held) - links, None]


def vote_to_next(network: Network, leaders: Sequence[int], quorum: int, *, own_vote_travels: bool = False) -> Chain:
    """Chained HotStuff and its kin: `leaders[b]` proposes block b, and all vote to `leaders[b + 1]`.

    With `own_vote_travels` the next leader's own vote takes a network delay as well, which some simulators let it.
    """
    proposed, held = [], []
    start = network()[0, 0] * 0
    for leader, collector in zip(leaders, [*leaders[1:], leaders[0]], strict=True):
        delay = network()
        arrives = hear(np.full(len(delay), start, dtype=delay.dtype), delay)[leader]
        proposed.append(start)
        held.append(arrives)
        votes = arrives + network()[:, collector]
        if not own_vote_travels:
            votes[collector] = arrives[collector]
        start = max(np.sort(votes)[quorum - 1], arrives[collector])
    return Chain(np.array(proposed), np.array(held))
