"""Simplex: Chan and Pass, "Simplex Consensus: A Simple and Fast Consensus Protocol", TCC 2023 (ePrint 2023/463).

The protocol of section 2, as rules over `simplex_family.py`; `View` is its iteration h. In every view the leader
proposes one block on a notarized chain; whoever sees the first proposal votes to notarize it, to all. A replica enters
view h+1 with a notarized chain of length h, which it sends on to all; if its timer of view h has not fired by then, it
also votes to finalize h, to all. If the timer fires first, 3Δ after h began, it votes for the dummy block ⊥ of h
instead ("nullify"), and a quorum of those notarizes ⊥. A quorum of finalize votes makes the block and all below it
final. Nobody both finalizes and nullifies one view, so a final block has no notarized ⊥ beside it, and every later
chain goes through it.

The next proposal follows a notarization at once and does not wait for the finalize votes.

Deviations: those of `simplex_family.py`, and:
- Leaders take turns instead of being drawn from a hash.
- A replica that goes on with a longer chain votes to finalize the block that it so passes, as its timer never fired.
- A finalize vote names the block, and there is none for ⊥, which could never become final.
- The network may lose messages: a replica that has nullified its view says so again every timeout, with its chain.

Faults: n > 3f. Constant delay δ: commit at 3δ, a block every 2δ; (n-1)+3n(n-1) = 3n²-2n-1 messages a block: proposal,
notarize, finalize and the notarized chain sent on, which carries a quorum of signatures. A dead leader costs 3Δ+δ
and 2n(n-1) messages at most (nullify, chain).
"""

from __future__ import annotations

from consensus.effects import Broadcast, Reason
from consensus.messages import Block, QuorumCertificate, Vote
from consensus.protocols.simplex_chain import NOTARIZE, Notarized
from consensus.protocols.simplex_family import NotarizingReplica
from consensus.replica import AllToAll, ProtocolFacts
from consensus.types import ReplicaId

FINALIZE = "finalize"


class Simplex(NotarizingReplica):
    """One replica of Simplex."""

    facts = ProtocolFacts(
        name="simplex",
        paper="Chan and Pass, TCC 2023",
        fault_bound="n > 3f",
        responsive="yes",
        commit_delays="3δ",
        period="2δ",
        messages_per_block="3n²-2n-1",
        view_change="3Δ+δ, n(n-1) nullify votes, n(n-1) chains",
        shape=AllToAll(phases=2, relayed=True),
        timeout_deltas=3.0,
        one_vote_per=("view",),
        final_phase=FINALIZE,
    )

    # Step 2: dummy blocks

    def _time_out(self) -> None:
        """Whoever lacks what others have said hears it again the next time."""
        again = self.nullified == self.view
        self._nullify()
        self._set_timer()
        if again and self.view > 1:
            self.emit(Broadcast(Notarized(self.chain)))

    # Step 3: notarizing

    def _consider(self, block: Block) -> None:
        """The first proposal gets a vote, even if the timer has fired."""
        if block.view > self.voted:
            self.voted = block.view
            self._parent_seen_ns = self.now_ns
            self.emit(self._promise(), Broadcast(Vote(NOTARIZE, block.view, block.height, block.id)))

    # Step 4: finalize votes

    def _vote_in_passing(self, newest: QuorumCertificate) -> Vote | None:
        """Unless the timer has fired."""
        if newest.view <= self.nullified:
            return None
        return Vote(FINALIZE, newest.view, newest.height, newest.block)

    # Steps 3 and 5: notarized, final

    def _on_vote(self, sender: ReplicaId, vote: Vote) -> None:
        if vote.phase == NOTARIZE:
            self._count_to_notarize(sender, vote)
        elif vote.phase == FINALIZE:
            self._count_to_finalize(sender, vote)
        else:
            self.reject(sender, Reason.UNKNOWN)
