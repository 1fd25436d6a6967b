"""Minimmit: Chou, Lewis-Pye and O'Grady, "Minimmit: Fast Finality with Even Faster Blocks", FC 2026 (arXiv 2508.10862).

Algorithm 1 of section 4, as rules over `simplex_family.py`. There is one round of votes and two sizes of quorum: 2f+1
votes notarize a block, 2f+1 nullify a view, and either is enough to go on; n-f votes make the block and all below it
final. A correct replica votes for one block a view (lines 9-11), if only when it leaves the view with the block's
notarization (line 20), so that the block of a correct leader gets n-f votes although nobody waits for them. It
nullifies a view in which it has not voted 2Δ after entering it (13-14). Once it has voted it nullifies only upon proof
of no progress: 2f+1 others that nullify or vote for another block (24-28).

Why that is safe (section 5.1): if n-f replicas vote for a block, at most 2f, Byzantine ones included, are left to
nullify or to vote for another. So a final block has neither a notarized rival nor a nullification beside it, and every
later chain goes through it. Why it gets on (5.2): of n-f correct replicas at most 2f vote for a block that is not
notarized, and the others, n-3f ≥ 2f+1 of them, are the proof that its voters need.

Deviations: those of `simplex_family.py`, and:
- A replica that goes on with a longer chain votes for its newest block by line 20, whichever view it was in itself.
- Notarizations and nullifications of views that are over are not sent on: a proposal brings those that it needs.
- Of two proposals the first gets the vote; in the paper neither does, if both are there in time.
- The timer fires a nanosecond after 2Δ: line 9 stands before line 13, so what arrives just at 2Δ is in time.
- The network may lose messages: when the timer fires again, or after a vote, the replica repeats what it has said in
  this view, and the chain with which it entered it.

Faults: n > 5f. Constant delay δ: commit at 2δ, a block every 2δ; (n-1)+2n(n-1) = 2n²-n-1 messages a block: proposal,
votes, and the notarization sent on. A dead leader costs 2Δ+δ and 2n(n-1) messages at most (nullify, chain), one that
says different things 2Δ+2δ at most. In a partition each part of 2f+1 replicas goes on, with blocks that are not final.
Where f = 0 (n < 6) one vote notarizes, and there is a block every δ.
"""

from __future__ import annotations

from typing import Any

from consensus.effects import Broadcast, Persist, Reason
from consensus.messages import Block, QuorumCertificate, Vote
from consensus.protocols.nullify import Nullify
from consensus.protocols.simplex_chain import NOTARIZE, Notarized
from consensus.protocols.simplex_family import NotarizingReplica, Promise
from consensus.replica import AllToAll, ProtocolFacts, Seat
from consensus.types import BlockId, Height, ReplicaId, View


class VotePromise(Promise, frozen=True):
    """And which block the last vote was for: only a proof against that one may undo it."""

    vote: Vote


class Minimmit(NotarizingReplica):
    """One replica of Minimmit."""

    facts = ProtocolFacts(
        name="minimmit",
        paper="Chou, Lewis-Pye and O'Grady, FC 2026",
        fault_bound="n > 5f",
        responsive="yes",
        commit_delays="2δ",
        period="2δ",
        messages_per_block="2n²-n-1",
        view_change="2Δ+δ, n(n-1) nullify votes, n(n-1) chains",
        shape=AllToAll(phases=1),
        timeout_deltas=2.0,
        one_vote_per=("view",),
        final_phase=NOTARIZE,
        resilience=5,
        small_certificates=True,
    )

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        self._timer_ns += 1
        self.vote = Vote(NOTARIZE, View(0), Height(0), self.chain.notarization.block)
        """The last one."""

    def _promise(self) -> Persist:
        return Persist(
            "promise", VotePromise(self.view, self.voted, self._proposed, self.nullified, self.chain, self.vote)
        )

    def _recall(self, promise: Any) -> None:
        super()._recall(promise)
        self.vote = promise.vote

    # Voting: lines 9-11 and 19-21

    def _free(self, view: View) -> bool:
        """notarised = ⊥ and nullified = false."""
        return view > max(self.voted, self.nullified)

    def _cast(self, view: View, height: Height, block: BlockId) -> Vote:
        self.voted, self.vote = view, Vote(NOTARIZE, view, height, block)
        self._parent_seen_ns = self.now_ns
        return self.vote

    def _consider(self, block: Block) -> None:
        if self._free(block.view):
            vote = self._cast(block.view, block.height, block.id)
            self.emit(self._promise(), Broadcast(vote))
            self._contradict()

    def _vote_in_passing(self, newest: QuorumCertificate) -> Vote | None:
        return self._cast(newest.view, newest.height, newest.block) if self._free(newest.view) else None

    # Nullifying: lines 13-14 and 24-28

    def _time_out(self) -> None:
        if self._free(self.view):
            self._nullify()
        else:
            self._say_again()
        self._set_timer()

    def _say_again(self) -> None:
        if self.voted == self.view:
            self.emit(Broadcast(self.vote))
        if self.nullified == self.view:
            self.emit(Broadcast(Nullify(self.view)))
        if self.view > 1:
            self.emit(Broadcast(Notarized(self.chain)))

    def _contradict(self) -> None:
        """Nullify what I have voted for, if so many are against it that it cannot become final."""
        if self.voted == self.view > self.nullified:
            against = self._nullifying.voters(self.view) | self._notarizing.rivals(self.vote)
            if len(against) >= self._certificate_size:
                self._nullify()

    def _on_nullify(self, sender: ReplicaId, vote: Nullify) -> None:
        super()._on_nullify(sender, vote)
        if vote.view == self.view:
            self._contradict()

    # Notarized and final: lines 19 and 31-32

    def _on_vote(self, sender: ReplicaId, vote: Vote) -> None:
        if vote.phase != NOTARIZE:
            self.reject(sender, Reason.UNKNOWN)
            return
        self._count_to_notarize(sender, vote)
        self._count_to_finalize(sender, vote)
        if vote.view == self.view and vote.block != self.vote.block:
            self._contradict()
