"""The starter protocol in trouble: crashes, partitions, losses, restarts, and one Byzantine member of four.

The member proposes different blocks to different replicas, on any certificate it has seen, whenever it likes; reports
old locks; votes twice, and late, for whoever it chooses, so that certificates are known to some and not to others.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from consensus.effects import Broadcast, Effect, Send, SetTimer
from consensus.messages import Block, Message, Proposal, QuorumCertificate, Timeout, Vote, genesis_certificate
from consensus.replica import Recovered
from consensus.types import Height, ReplicaId, View
from testbed.result import Result
from testbed.starter.my_protocol import MyProtocol
from tests.laboratory import MS, constant, run_matrix
from tests.simulation.runs import crash, failed, heights
from tests.simulation.test_restarts import cases, check_leader_based
from tests.simulation.test_two_chains_byzantine import trouble
from tests.simulation.test_view_changes import check_trouble, run, troubles

STARTER = "testbed.starter.my_protocol:MyProtocol"
WICKED = 3
quick = settings(deadline=None, max_examples=6, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


@given(case=cases())
@quick
def test_restarts_are_safe_and_everyone_catches_up(case: Any) -> None:
    check_leader_based(STARTER, case)


@given(case=troubles())
@quick
def test_after_any_trouble_everyone_commits_again(case: Any) -> None:
    check_trouble(STARTER, case)


@pytest.mark.parametrize("n", [1, 4, 7])
def test_f_dead_replicas_cost_their_own_views_only(n: int) -> None:
    f = (n - 1) // 3
    result = run(STARTER, constant(n, 10), 0.08 * 5 * n, *(crash(i, 0.0) for i in range(f)))
    assert not failed(result)
    assert heights(result)[f:] == [5 * (n - f)] * (n - f)
    assert result.report["consensus"]["view_changes"] == 5 * f


class Wicked(MyProtocol):
    """Honest but for replica 3."""

    def on_start(self, recovered: Recovered) -> None:
        self.seen = [genesis_certificate("certify")]
        self.blocks: list[Block] = []
        super().on_start(recovered)

    def learn(self, certificate: QuorumCertificate, sender: ReplicaId, message: Message) -> bool:
        learnt = super().learn(certificate, sender, message)
        if learnt:
            self.seen = [*self.seen[-4:], certificate]
        return learnt

    def begin_view(self) -> None:
        super().begin_view()
        if self.me == WICKED:
            self.blocks = []
            self.emit(Send(self.leader(self.view), Timeout(View(self.view - 1), self.random.choice(self.seen))))
            for name in ("late", "later", "propose"):
                self.emit(SetTimer(name, self.random.randrange(self.view_ns)))

    def propose(self) -> None:
        if self.me != WICKED:
            super().propose()
        elif self.leader(self.view) == self.me:
            to_most, to_one = self.random.choice(self.seen), self.random.choice(self.seen)
            odd = self.random.randrange(7)
            for to in range(4):
                self._propose_to(ReplicaId(to), to_one if to == odd else to_most)

    def _propose_to(self, to: ReplicaId, justify: QuorumCertificate) -> None:
        parent = self.tree.get(justify.block, justify.height)
        if parent is not None:
            payload = self._seat.payloads(self.now_ns, 0, parent)
            block = Block(parent.id, Height(parent.height + 1), self.view, self.me, payload)
            self.emit(Send(to, Proposal(block, justify)))

    def on_proposal(self, sender: ReplicaId, proposal: Proposal) -> None:
        super().on_proposal(sender, proposal)
        self.blocks.append(proposal.block)

    def on_timer(self, timer: str) -> None:
        super().on_timer(timer)
        if timer in ("late", "later"):
            to = ReplicaId(self.random.randrange(3))
            for block in self.blocks:
                for phase in ("certify", "finalize")[: self.random.choice((1, 2))]:
                    self.emit(Send(to, Vote(phase, block.view, block.height, block.id)))

    def emit(self, *effects: Effect) -> None:
        super().emit(*(each for each in effects if self.me != WICKED or not isinstance(each, Broadcast)))


class Unlocked(Wicked):
    """Votes against its lock."""

    def on_proposal(self, sender: ReplicaId, proposal: Proposal) -> None:
        lock = self.lock
        self.lock = genesis_certificate("certify")
        super().on_proposal(sender, proposal)
        self.lock = max(lock, self.lock, key=lambda each: each.view)


class Late(Wicked):
    """Locks, and votes to finalize, in whatever view it hears of a certificate."""

    def learn(self, certificate: QuorumCertificate, sender: ReplicaId, message: Message) -> bool:
        view = self.view
        self.view = max(self.lock.view, certificate.view)
        learnt = super().learn(certificate, sender, message)
        self.view = view
        return learnt


def run_with_a_wicked_one(protocol: type[MyProtocol], seed: int) -> Result:
    dice = random.Random(seed)
    delay_ns = np.array([[0 if i == j else dice.randint(1, 20) * MS for j in range(4)] for i in range(4)])
    return run_matrix(
        STARTER,
        delay_ns,
        6.0,
        seed=seed,
        fault=trouble(dice),
        consensus={"delta_ms": 25},
        workload={"transactions_per_s": 100},
        protocol_class=protocol,
    )


def troubles_of(protocol: type[MyProtocol], seed: int) -> set[str]:
    # Replica 3 votes twice, and so do the checks say.
    return failed(run_with_a_wicked_one(protocol, seed)) - {"no double vote", "non-vacuity"}


@pytest.mark.parametrize("seed", range(8))
def test_one_byzantine_of_four_breaks_nothing(seed: int) -> None:
    result = run_with_a_wicked_one(Wicked, seed)
    assert not failed(result) - {"no double vote", "non-vacuity"}, result.report["safety"]["violations"]
    committed_ns = result.arrivals["committed_ns"].to_numpy(zero_copy_only=False).astype(float)
    for replica in range(3):
        mine = committed_ns[result.arrivals["replica"].to_numpy() == replica]
        assert np.nanmax(mine) > 5.5e9, replica


@pytest.mark.slow
def test_one_byzantine_of_four_breaks_nothing_on_many_seeds() -> None:
    for seed in range(8, 100):
        test_one_byzantine_of_four_breaks_nothing(seed)


@pytest.mark.parametrize("mutant", [Unlocked, Late])
def test_both_halves_of_the_rule_about_locks_are_needed(mutant: type[MyProtocol]) -> None:
    assert any("agreement" in troubles_of(mutant, seed) for seed in range(40))
