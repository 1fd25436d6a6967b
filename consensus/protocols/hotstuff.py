"""Chained HotStuff: Yin, Malkhi, Reiter, Golan Gueta, Abraham, PODC 2019 (arXiv 1803.05069).

Section 5, algorithms 4 and 5, as rules over `consensus/chained.py` (`generic` phase: the votes there).

- Vote (`safe_node`): the block extends the locked block, or its certificate is newer than the lock.
- Lock: the parent of the newest certified block (two-chain).
- Commit: a block with two certified descendants in the two views right after its own (three-chain). Heads of
  chains must have consecutive views; comparing heights is not enough (the Fast-HotStuff attack).

Deviations: those of `consensus/chained.py`, and its pacemaker, which the paper leaves open.

With leaders in turn a commit takes four live leaders in a row, three who propose and one who collects the last
votes (Giridharan et al., BeeGees, PODC 2023): four replicas of which one is dead stay safe but commit nothing.

Faults: n > 3f. Constant delay δ: block b is proposed at 2δ(b-1) and committed at 2δ(b+2)+δ, so finality is 7δ and
the period 2δ; 2(n-1) messages a block, all in steady state with leaders in turn.
"""

from __future__ import annotations

from typing import Any

import msgspec

from consensus.chained import PHASE, ChainedReplica, Promise
from consensus.messages import GENESIS, Block, QuorumCertificate
from consensus.replica import Chained, ProtocolFacts, Seat
from consensus.types import BlockId, Height


class HotStuffPromise(Promise, frozen=True):
    """The lock is a promise too."""

    locked: BlockId
    locked_height: Height


class HotStuff(ChainedReplica):
    """One replica of chained HotStuff."""

    facts = ProtocolFacts(
        name="hotstuff",
        paper="Yin et al., PODC 2019, chained",
        fault_bound="n > 3f",
        responsive="yes",
        commit_delays="7δ",
        period="2δ",
        messages_per_block="2(n-1)",
        view_change="n(n-1) timeouts",
        shape=Chained(chain=3),
        timeout_deltas=8.0,
        one_vote_per=("view",),
        final_phase=PHASE,
    )

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        self.locked = GENESIS

    def _safe(self, block: Block, justify: QuorumCertificate) -> bool:
        """Algorithm 1, safeNode: the safety rule or the liveness rule."""
        return self.tree.extends(block, self.locked) or justify.view > self.locked.view

    def _on_certified(self, newest: Block) -> None:
        """Algorithm 5, update: lock on two-chains, commit three-chains."""
        if newest.height < 2:
            return
        middle = self.tree.parent(newest)
        if middle.view > self.locked.view:
            self.locked = middle
        self._commit_chain(newest, 3)

    def _promise(self) -> HotStuffPromise:
        shared = msgspec.structs.asdict(super()._promise())
        return HotStuffPromise(**shared, locked=self.locked.id, locked_height=self.locked.height)

    def _recall(self, promise: Any) -> None:
        super()._recall(promise)
        locked = self.tree.get(promise.locked, promise.locked_height)
        assert locked is not None, "blocks are persisted before the lock on them"
        self.locked = locked
