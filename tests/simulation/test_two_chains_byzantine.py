"""One Byzantine member of four, chance in everything, and trouble in the network: two-chains stay safe and live.

The member proposes different things to different replicas, on any certificate it has ever seen; votes for whatever
comes; keeps its own certificates to itself; gives up views early and reports old certificates to some.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from consensus.chained import PHASE, ChainedReplica
from consensus.effects import Send, SetTimer
from consensus.messages import Block, Proposal, QuorumCertificate, Timeout, TimeoutCertificate, Vote
from consensus.protocols.hotstuff2 import HotStuff2
from consensus.protocols.jolteon import Jolteon
from consensus.replica import Seat
from consensus.types import Height, ReplicaId
from testbed.result import Result
from tests.laboratory import MS, run_matrix
from tests.simulation.runs import failed

WICKED = 3
PEACE_S, END_S = 4.0, 6.0


def with_a_wicked_one(protocol: type[ChainedReplica]) -> Any:
    class Wicked(protocol):  # type: ignore[misc, valid-type]
        def __init__(self, seat: Seat) -> None:
            super().__init__(seat)
            self._seen = [self.high]

        def _learn(self, certificate: QuorumCertificate) -> None:
            super()._learn(certificate)
            if self.tree.get(certificate.block, certificate.height) is not None:
                self._seen = [*self._seen[-4:], certificate]

        def _on_proposal(self, sender: ReplicaId, proposal: Proposal) -> None:
            super()._on_proposal(sender, proposal)
            block = proposal.block
            if self.me == WICKED:
                vote = Vote(PHASE, block.view, block.height, block.id)
                self.emit(Send(self.leader(block.view + 1), vote), Send(self.me, vote))

        def _propose(self) -> None:
            if self.me != WICKED:
                super()._propose()
            elif self.leader(self.view) == self.me and self._proposed < self.view:
                self._proposed = self.view
                to_most, to_one = self.random.choice(self._seen), self.random.choice(self._seen)
                odd = self.random.randrange(7)
                for to in range(4):
                    self._propose_to(ReplicaId(to), to_one if to == odd else to_most)

        def _propose_to(self, to: ReplicaId, justify: QuorumCertificate) -> None:
            parent = self.tree.get(justify.block, justify.height)
            if parent is not None:
                payload = self._seat.payloads(self.now_ns, 0, parent)
                block = Block(parent.id, Height(parent.height + 1), self.view, self.me, payload)
                proof = self.entered_by if justify.view != self.view - 1 else None
                self.emit(Send(to, Proposal(block, justify, proof)))

        def on_timer(self, timer: str) -> None:
            if self.me != WICKED or timer != "view":
                super().on_timer(timer)
                return
            for to in range(3):
                if self.random.random() < 0.6:
                    self.emit(Send(ReplicaId(to), Timeout(self.view, self.random.choice(self._seen))))
            self.emit(SetTimer("view", self._timeout_ns // 2))

    return Wicked


def trouble(dice: random.Random) -> list[dict[str, Any]]:
    """Partitions, losses, slow links and crashes until there is peace."""
    faults = []
    for _ in range(dice.randint(1, 5)):
        begin_ms = dice.randint(1, 3000)
        kind = dice.choice(["partition", "loss", "slow", "crash"])
        fault: dict[str, Any] = {"kind": kind, "window_s": [begin_ms / 1e3, (begin_ms + dice.randint(20, 800)) / 1e3]}
        members: Sequence[int] = range(3) if kind == "crash" else range(4)
        chosen = dice.sample(members, 1 if kind == "crash" else dice.randint(1, 2))
        fault["target"] = [f"replica/{i}" for i in chosen]
        if kind == "loss":
            fault["rate"] = dice.uniform(0.1, 1)
        if kind == "slow":
            fault["delay_ms"] = dice.randint(1, 300)
        faults.append(fault)
    return faults


def run(protocol: type[ChainedReplica], seed: int) -> Result:
    dice = random.Random(seed)
    delay_ns = np.array([[0 if i == j else dice.randint(1, 20) * MS for j in range(4)] for i in range(4)])
    return run_matrix(
        protocol.facts.name,
        delay_ns,
        END_S,
        seed=seed,
        fault=trouble(dice),
        consensus={"delta_ms": 20},
        workload={"transactions_per_s": 100},
        protocol_class=with_a_wicked_one(protocol),
    )


@pytest.mark.parametrize("protocol", [Jolteon, HotStuff2])
@pytest.mark.parametrize("seed", range(8))
def test_one_byzantine_of_four_breaks_nothing(protocol: type[ChainedReplica], seed: int) -> None:
    check(protocol, seed)


def check(protocol: type[ChainedReplica], seed: int) -> None:
    result = run(protocol, seed)
    assert not failed(result) & {"agreement", "commit order", "certificate soundness"}, seed
    committed = zip(*(result.arrivals[name].to_pylist() for name in ("replica", "committed_ns")), strict=True)
    alive = {i for i, at_ns in committed if at_ns is not None and at_ns > PEACE_S * 1e9}
    assert alive >= {0, 1, 2}, f"seed {seed}: not everybody commits after peace"


class IgnoringReports(Jolteon):
    def _covers(self, high: QuorumCertificate, gave_up: TimeoutCertificate) -> bool:
        return True


class WithoutLocks(HotStuff2):
    def _safe(self, block: Block, justify: QuorumCertificate) -> bool:
        return True


SEEDS: dict[Any, int] = {IgnoringReports: 15, WithoutLocks: 5}
"""Of the first 60 seeds, 1 and 3 lead there."""


@pytest.mark.parametrize("mutant", SEEDS)
def test_the_same_member_breaks_agreement_without_the_vote_rules(mutant: type[ChainedReplica]) -> None:
    assert "agreement" in failed(run(mutant, SEEDS[mutant]))
