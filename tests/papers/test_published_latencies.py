"""Whole runs under N(250 ms, 50 ms) against the oracle and against published figures, within three standard errors.

PBFT decisions follow each other and are independent. Blocks of chained HotStuff overlap three deep, so means of
twenty stand in for them. Standard errors are the run's own, combined with the published ones.
"""

import dataclasses
import random
from functools import cache
from typing import Any

import numpy as np
import pytest

from consensus.effects import SetTimer
from consensus.messages import Message, Vote
from consensus.protocols.hotstuff import HotStuff
from consensus.protocols.pbft import Pbft
from consensus.replica import Replica, Seat
from consensus.types import Committee, ReplicaId
from testbed.result import Result
from tests.laboratory import constant, run_matrix
from tests.papers.measured import Estimate, Measured, measured
from tests.papers.oracle import gaussian, leader_and_rounds, vote_to_next
from tests.papers.published import (
    BFT_SIMULATOR_HUNDRED,
    BFT_SIMULATOR_PBFT,
    HOTSTUFF_QUORUM,
    MEAN_MS,
    PBFT_QUORUM,
    ROTATING,
    STD_MS,
    TABLE_SE,
    THREE_PHASES,
    TWO_ROUNDS,
    faulty,
)

PBFT_DECISION_S = 0.8
HOTSTUFF_PERIOD_S = 0.53
MINIMMIT_PERIOD_S = 0.48
BATCH = 20
DECISIONS = {16: 300, 32: 80, 64: 40, 128: 40}
"""Enough for a standard error near 1 ms."""
BLOCKS = {16: 1500, 32: 500, 64: 600, 128: 600}
ORACLE_MESSAGES = 40_000
ORACLE_BLOCKS = 2_000

slow = pytest.mark.slow
COMMITTEES = [16, 64, pytest.param(128, marks=slow)]
WHERE_2F_PLUS_1_IS_UNSAFE = [32, pytest.param(128, marks=slow)]


@cache
def run(
    protocol: str, n: int, quorum: int | None, blocks: int = 0, protocol_class: type[Replica] | None = None
) -> Result:
    """A run at zero load in which each message draws its own delay."""
    each_s = PBFT_DECISION_S if protocol == "pbft" else HOTSTUFF_PERIOD_S
    blocks = blocks or (DECISIONS if protocol == "pbft" else BLOCKS)[n]
    network = {"model": "normal", "delay_mean_ms": MEAN_MS, "delay_std_ms": STD_MS}
    consensus = {} if quorum is None else {"quorum": quorum}
    return run_matrix(
        protocol, constant(n, 0), blocks * each_s, network=network, consensus=consensus, protocol_class=protocol_class
    )


def pbft(n: int, quorum: int | None, **how: Any) -> Measured:
    return measured(run("pbft", n, quorum, **how))


def hotstuff(n: int, quorum: int | None, **how: Any) -> Measured:
    return measured(run("hotstuff", n, quorum, **how))


def at_ranks(finality_ms: np.ndarray, n: int) -> list[Estimate]:
    """First, mean, (n-f)-th and last replica; `finality_ms` is [decision, replica]."""
    ascending = np.sort(finality_ms, axis=1)
    columns = (ascending[:, 0], ascending.mean(axis=1), ascending[:, n - faulty(n) - 1], ascending[:, -1])
    return [Estimate.of(column) for column in columns]


def pbft_oracle(n: int, quorum: int) -> list[Estimate]:
    network = gaussian(n, MEAN_MS, STD_MS, seed=3)
    decisions = ORACLE_MESSAGES // n
    return at_ranks(np.array([leader_and_rounds(network, 0, quorum, 2) for _ in range(decisions)]), n)


def period_and_finality(proposed_ms: np.ndarray, finality_ms: np.ndarray) -> list[Estimate]:
    """Block period, and three-chain commit averaged over replicas."""
    return [Estimate.of(np.diff(proposed_ms), BATCH), Estimate.of(finality_ms.mean(axis=1), BATCH)]


def hotstuff_oracle(n: int, quorum: int) -> list[Estimate]:
    leaders = [b % n for b in range(ORACLE_BLOCKS)]
    chain = vote_to_next(gaussian(n, MEAN_MS, STD_MS, seed=4), leaders, quorum)
    return period_and_finality(chain.proposed, chain.finality(3))


def hundred_decisions(seen: Measured, n: int) -> Estimate:
    """From the proposal of a block until n-f replicas have decided the 99th after it."""
    decided = np.sort(seen.committed_ns, axis=1)[:, n - faulty(n) - 1][99::100]
    return Estimate.of((decided - seen.proposed_ns[::100][: len(decided)]) / 1e6)


def away(ours: list[Estimate], theirs: list[Estimate]) -> float:
    """The largest difference, in combined standard errors."""
    return max(one.away(other) for one, other in zip(ours, theirs, strict=True))


def published(*means: float) -> list[Estimate]:
    return [Estimate(mean, TABLE_SE) for mean in means]


@pytest.mark.parametrize("n", COMMITTEES)
def test_pbft_equals_the_published_table(n: int) -> None:
    """With 2f+1 votes: commit at the first, mean, (n-f)-th and last replica."""
    seen = at_ranks(pbft(n, PBFT_QUORUM[n]).finality_ns / 1e6, n)
    assert away(seen, published(*THREE_PHASES[n])) <= 3


@pytest.mark.parametrize("n", COMMITTEES)
def test_pbft_equals_bft_simulator(n: int) -> None:
    """BFT-Simulator's figure is the time at which n-f replicas have decided."""
    seen = pbft(n, PBFT_QUORUM[n])
    assert Estimate.of(seen.nth_ms(n - faulty(n))).away(BFT_SIMULATOR_PBFT[n]) <= 3


@pytest.mark.parametrize("n", COMMITTEES)
def test_pbft_equals_the_oracle(n: int) -> None:
    """The same four statistics from order statistics alone, with 2f+1 votes."""
    seen = at_ranks(pbft(n, PBFT_QUORUM[n]).finality_ns / 1e6, n)
    assert away(seen, pbft_oracle(n, PBFT_QUORUM[n])) <= 3


@pytest.mark.parametrize("n", WHERE_2F_PLUS_1_IS_UNSAFE)
def test_pbft_with_its_safe_quorum_equals_the_oracle_with_that_quorum(n: int) -> None:
    """⌈(n+f+1)/2⌉ votes, one more than the tables use; the run's own check agrees."""
    quorum = Committee.of(n).quorum
    assert quorum == PBFT_QUORUM[n] + 1
    assert away(at_ranks(pbft(n, None).finality_ns / 1e6, n), pbft_oracle(n, quorum)) <= 3
    assert run("pbft", n, None).to_dict()["bound"]["check"].startswith("ok: ")


@pytest.mark.parametrize(("n", "blocks"), [(64, 25), pytest.param(16, 1000, marks=slow)])
def test_minimmit_equals_the_published_table(n: int, blocks: int) -> None:
    """Two rounds with n-f votes, f = ⌊(n-1)/5⌋: commit at the mean and at the last replica."""
    network = {"model": "normal", "delay_mean_ms": MEAN_MS, "delay_std_ms": STD_MS}
    result = run_matrix("minimmit", constant(n, 0), blocks * MINIMMIT_PERIOD_S, network=network)
    finality_ms = measured(result).finality_ns / 1e6
    seen = [Estimate.of(finality_ms.mean(axis=1)), Estimate.of(finality_ms.max(axis=1))]
    assert away(seen, published(*TWO_ROUNDS[n])) <= 3
    assert result.to_dict()["bound"]["check"].startswith("ok: ")


@pytest.mark.parametrize("n", COMMITTEES)
def test_hotstuff_equals_the_published_table(n: int) -> None:
    """Block period and three-chain commit, with the quorum that the table was made with."""
    seen = hotstuff(n, HOTSTUFF_QUORUM[n])
    ours = period_and_finality(seen.proposed_ns / 1e6, seen.finality_ns / 1e6)
    assert away(ours, published(ROTATING[n].period, ROTATING[n].three_links)) <= 3


@pytest.mark.parametrize("n", [*COMMITTEES, 32])
def test_hotstuff_equals_the_oracle(n: int) -> None:
    """The same with 2f+1 votes, from order statistics alone."""
    quorum = 2 * faulty(n) + 1
    seen = hotstuff(n, quorum)
    ours = period_and_finality(seen.proposed_ns / 1e6, seen.finality_ns / 1e6)
    assert away(ours, hotstuff_oracle(n, quorum)) <= 3


@pytest.mark.parametrize("n", WHERE_2F_PLUS_1_IS_UNSAFE)
def test_hotstuff_with_its_safe_quorum_equals_the_oracle_with_that_quorum(n: int) -> None:
    """⌈(n+f+1)/2⌉ votes; the run's own check agrees."""
    seen = hotstuff(n, None)
    ours = period_and_finality(seen.proposed_ns / 1e6, seen.finality_ns / 1e6)
    assert away(ours, hotstuff_oracle(n, Committee.of(n).quorum)) <= 3
    assert run("hotstuff", n, None).to_dict()["bound"]["check"].startswith("ok: ")


class VotesToOneselfTravel(HotStuff):
    """As in BFT-Simulator's HotStuff-NS: a collector's own vote takes a network delay like all others."""

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        self.on_their_way: dict[str, Vote] = {}
        self.delays = random.Random(seat.random.getrandbits(64))

    def on_message(self, sender: ReplicaId, message: Message) -> None:
        if sender == self.me and type(message) is Vote:
            self.on_their_way[f"vote {message.view}"] = message
            self.emit(SetTimer(f"vote {message.view}", round(self.delays.gauss(MEAN_MS, STD_MS) * 1e6)))
        else:
            super().on_message(sender, message)

    def on_timer(self, timer: str) -> None:
        if timer in self.on_their_way:
            super().on_message(self.me, self.on_their_way.pop(timer))
        else:
            super().on_timer(timer)


@pytest.mark.parametrize("n", [16, pytest.param(64, marks=slow)])
def test_a_hundred_hotstuff_decisions_equal_bft_simulator(n: int) -> None:
    """BFT-Simulator's figure is when n-f replicas have decided block 100; own votes are not free there."""
    seen = hotstuff(n, HOTSTUFF_QUORUM[n], blocks=1_620, protocol_class=VotesToOneselfTravel)
    assert hundred_decisions(seen, n).away(BFT_SIMULATOR_HUNDRED[n]) <= 3


class OneVoteTooFew(Pbft):
    """A mutant: it certifies with one vote less than the committee's quorum."""

    def __init__(self, seat: Seat) -> None:
        committee = dataclasses.replace(seat.committee, quorum=seat.committee.quorum - 1)
        super().__init__(dataclasses.replace(seat, committee=committee))


def test_one_vote_too_few_is_seen() -> None:
    """A mutant one vote short is many standard errors too fast, and the run's own check says so."""
    quorum = PBFT_QUORUM[16]
    mutant = run("pbft", 16, quorum, protocol_class=OneVoteTooFew)
    assert away(at_ranks(measured(mutant).finality_ns / 1e6, 16), pbft_oracle(16, quorum)) > 5
    assert mutant.to_dict()["bound"]["check"].startswith("FAILED: ")
