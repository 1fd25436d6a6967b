"""Jolteon: Gelashvili, Kokoris-Kogias, Sonnino, Spiegelman, Xiang, FC 2022 (arXiv 2106.10362). DiemBFT v4 is the same.

Section 3, as rules over `consensus/chained.py`; rounds are views.

- Vote: the certificate of the block's parent is of the view before, or the proposal carries a timeout certificate of
  the view before and the parent's certificate is at least as new as every high certificate reported in it. That is
  part of what makes a proposal well formed, so one that falls short is rejected, not only left without a vote.
- Lock: the highest certificate, which timeouts report; a quorum of reports cannot hide one that a commit rests on.
- Commit: a block whose child is certified in the view right after its own (two-chain). Without consecutive views this
  is the first Fast-HotStuff, whose replicas diverge.

Deviations: those of `consensus/chained.py`, and: timeouts go to all and f+1 are joined (DiemBFT v4), so that everybody
makes the timeout certificate and nobody has to send it to the next leader; a timeout that carries a timeout
certificate must cover it as a proposal must, so that whoever enters a view by it can propose there.

With leaders in turn a commit takes three live leaders in a row, two who propose and one who collects the last votes.

Faults: n > 3f. Constant delay δ: block b is proposed at 2δ(b-1) and committed at 2δ(b+1)+δ, so finality is 5δ and
the period 2δ; 2(n-1) messages a block, all in steady state with leaders in turn. A dead leader costs two timeouts, as
in HotStuff: of the view whose votes it should have collected, and whose block is lost, and of its own. The next leader
then proposes at once: 2T + 3δ after the lost block.
"""

from __future__ import annotations

from consensus.chained import PHASE, ChainedReplica
from consensus.messages import Block, QuorumCertificate, TimeoutCertificate
from consensus.replica import Chained, ProtocolFacts


class Jolteon(ChainedReplica):
    """One replica of Jolteon."""

    facts = ProtocolFacts(
        name="jolteon",
        paper="Gelashvili et al., FC 2022",
        fault_bound="n > 3f",
        responsive="yes",
        commit_delays="5δ",
        period="2δ",
        messages_per_block="2(n-1)",
        view_change="n(n-1) timeouts",
        shape=Chained(chain=2),
        timeout_deltas=8.0,
        one_vote_per=("view",),
        final_phase=PHASE,
    )

    def _safe(self, block: Block, justify: QuorumCertificate) -> bool:
        """Vote: (1) r = qc.r + 1, or (2) r = tc.r + 1 and `_covers`; what is neither has been rejected by now."""
        return True

    def _covers(self, high: QuorumCertificate, gave_up: TimeoutCertificate) -> bool:
        """Section 3, Vote: qc.r ≥ max{qc_high.r | qc_high ∈ tc}."""
        return high.view >= max(gave_up.high_views)

    def _on_certified(self, newest: Block) -> None:
        """Section 3, Commit: two adjacent certified blocks of consecutive rounds."""
        self._commit_chain(newest, 2)
