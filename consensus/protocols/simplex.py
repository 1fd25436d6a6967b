"""Simplex: Chan and Pass, "Simplex Consensus: A Simple and Fast Consensus Protocol", TCC 2023 (ePrint 2023/463).

The protocol of section 2; `View` is its iteration h. In every view the leader proposes one block on a notarized
chain; whoever sees the first proposal votes to notarize it, to all. A replica enters view h+1 with a notarized chain
of length h, which it sends on to all; if its timer of view h has not fired by then, it also votes to finalize h, to
all. If the timer fires first, 3Δ after h began, it votes for the dummy block ⊥ of h instead ("nullify"), and a quorum
of those notarizes ⊥. A quorum of finalize votes makes the block and all below it final. Nobody both finalizes and
nullifies one view, so a final block has no notarized ⊥ beside it, and every later chain goes through it.

The next proposal follows a notarization at once and does not wait for the finalize votes.

Deviations:
- Leaders take turns instead of being drawn from a hash; votes are signatures collected in a certificate.
- Dummy blocks have no height: a chain is the certificate of its newest block and those of the ⊥ after it (`Chain`).
  What lies below need not be sent along: somebody honest saw it notarized before it voted. So a replica goes on with
  a chain of any length not below its view; it votes to finalize a block that it so passes, as its timer never fired.
- A finalize vote names the block, and there is none for ⊥, which could never become final.
- The network may lose messages: a replica that has nullified its view says so again every timeout, with its chain.
- The timer also allows what the scenario lets a leader wait (`block_interval_ms`, `propose_empty`).

Faults: n > 3f. Constant delay δ: commit at 3δ, a block every 2δ; (n-1)+3n(n-1) = 3n²-2n-1 messages a block: proposal,
notarize, finalize and the notarized chain sent on, which carries a quorum of signatures. A dead leader costs 3Δ+δ
and 2n(n-1) messages at most (nullify, chain).
"""

from __future__ import annotations

import msgspec

from consensus.chain import ChainReplica
from consensus.effects import Adopted, Broadcast, Committed, Effect, Entered, Persist, Reason, SetTimer
from consensus.messages import Ancestors, Block, Fetch, Message, QuorumCertificate, Vote, genesis_certificate
from consensus.pacemaker import BftParameters, ProposalPace, timeout_ns
from consensus.protocols.nullify import Nullification, Nullify, NullifyTally
from consensus.protocols.simplex_chain import NOTARIZE, Chain, Notarized, Propose
from consensus.replica import AllToAll, ProtocolFacts, Recovered, Seat
from consensus.tally import Tally
from consensus.types import Height, ReplicaId, View

FINALIZE = "finalize"
TIMEOUT_DELTAS = 3.0
_VIEW, _PROPOSE = "view", "propose"


class Promise(msgspec.Struct, frozen=True):
    """What a restarted replica must remember so as never to contradict itself."""

    view: View
    voted: View
    proposed: View
    nullified: View
    chain: Chain


class Simplex(ChainReplica):
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
        timeout_deltas=TIMEOUT_DELTAS,
        one_vote_per=("view",),
        final_phase=FINALIZE,
    )
    Parameters = BftParameters
    messages = (Propose, Vote, Nullify, Notarized, Fetch, Ancestors)

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        self.view = View(0)
        self.voted = View(0)
        self.nullified = View(0)
        """The last view whose timer has fired."""
        self.chain = Chain(genesis_certificate(NOTARIZE))
        """The notarized chain with which this view was entered: always of length `view - 1`."""
        timer_ns = timeout_ns(seat, TIMEOUT_DELTAS)
        self._pace = ProposalPace(seat, timer_ns)
        self._timer_ns = timer_ns + self._pace.longest_wait_ns
        self._proposed = View(0)
        self._turn_began_ns = self._parent_seen_ns = 0
        self._notarizing = Tally(seat.committee.quorum)
        self._finalizing = Tally(seat.committee.quorum)
        self._nullifying = NullifyTally(seat.committee.quorum)
        self._nullifications: dict[View, Nullification] = {}
        """Those of views that this replica has not reached yet."""
        self._finalization: QuorumCertificate | None = None
        """The highest one, as long as its block is missing."""

    # Events

    def on_start(self, recovered: Recovered) -> None:
        self.recover_tree(recovered)
        promise: Promise | None = recovered.get("promise")
        if promise is None:
            promise = Promise(View(1), self.voted, self._proposed, self.nullified, self.chain)
        self.view, self.voted, self._proposed = promise.view, promise.voted, promise.proposed
        self.nullified, self.chain = promise.nullified, promise.chain
        self._begin()

    def on_message(self, sender: ReplicaId, message: Message) -> None:
        if type(message) is Vote:
            self._on_vote(sender, message)
        elif type(message) is Notarized:
            self._on_notarized(sender, message)
        elif type(message) is Propose:
            self._on_proposal(sender, message)
        elif type(message) is Nullify:
            self._on_nullify(sender, message)
        else:
            super().on_message(sender, message)

    def on_timer(self, timer: str) -> None:
        if timer == _VIEW:
            self._nullify()
        elif timer == _PROPOSE:
            self._propose()
        else:
            super().on_timer(timer)

    # Step 1: leader proposal

    def _propose(self) -> None:
        """Extend the notarized chain with which this view began, once the pace allows it."""
        newest = self.chain.notarization
        parent = self.tree.get(newest.block, newest.height)
        if self.leader(self.view) != self.me or self._proposed >= self.view or parent is None:
            return
        payload = self._seat.payloads(self.now_ns, self._seat.block_max_bytes, parent)
        unfinished = any(block.payload.count for block in self.tree.ancestors(parent, self.tree.final.height))
        urgent = payload.count > 0 or unfinished
        wait_ns = self._pace.wait_ns(self.now_ns, self._turn_began_ns, self._parent_seen_ns, urgent)
        if wait_ns:
            self.emit(SetTimer(_PROPOSE, wait_ns))
            return
        self._proposed = self.view
        block = Block(parent.id, Height(parent.height + 1), self.view, self.me, payload)
        self.emit(self._promise(), Broadcast(Propose(block, self.chain)))

    # Step 2: dummy blocks

    def _nullify(self) -> None:
        """The timer has fired. Whoever lacks what others have said hears it again the next time."""
        again = self.nullified == self.view
        self.nullified = self.view
        self.emit(self._promise(), Broadcast(Nullify(self.view)), SetTimer(_VIEW, self._timer_ns))
        if again and self.view > 1:
            self.emit(Broadcast(Notarized(self.chain)))

    def _on_nullify(self, sender: ReplicaId, vote: Nullify) -> None:
        if vote.view >= self.view:
            nullification = self._nullifying.add(sender, vote)
            if nullification is not None:
                self._nullifications[vote.view] = nullification
                self._extend_by_dummies()

    def _extend_by_dummies(self) -> None:
        while self.view in self._nullifications:
            dummy = self._nullifications[self.view]
            self._enter_with(Chain(self.chain.notarization, (*self.chain.dummies, dummy)))

    # Step 3: notarizing

    def _on_proposal(self, sender: ReplicaId, proposal: Propose) -> None:
        block, chain = proposal.block, proposal.chain
        if fault := self._fault_in(sender, proposal):
            self.reject(sender, fault)
        elif self.holds_or_waits(chain.notarization.block, chain.notarization.height, sender, proposal):
            self.hold(block)
            self._enter_with(chain)
            if block.view == self.view > self.voted:
                self.voted = block.view
                self._parent_seen_ns = self.now_ns
                self.emit(self._promise(), Broadcast(Vote(NOTARIZE, block.view, block.height, block.id)))
            self._extend_by_dummies()

    def _fault_in(self, sender: ReplicaId, proposal: Propose) -> Reason | None:
        block, chain = proposal.block, proposal.chain
        if sender != self.leader(block.view) or block.proposer != sender:
            return Reason.WRONG_LEADER
        if block.parent != chain.notarization.block or block.height != chain.notarization.height + 1:
            return Reason.WRONG_PARENT
        if not chain.proves(self.committee.quorum):
            return Reason.WEAK_CERTIFICATE
        return Reason.UNJUSTIFIED_VIEW if chain.length != block.view - 1 else None

    def _on_vote(self, sender: ReplicaId, vote: Vote) -> None:
        if vote.phase == NOTARIZE:
            certificate = self._notarizing.add(sender, vote) if vote.view >= self.view else None
            if certificate is not None:
                self._on_notarized(sender, Notarized(Chain(certificate)))
        elif vote.phase != FINALIZE:
            self.reject(sender, Reason.UNKNOWN)
        elif vote.height > self.tree.final.height:
            certificate = self._finalizing.add(sender, vote)
            if certificate is not None:
                self._on_finalization(sender, certificate)

    # Step 4: next view and finalize votes

    def _on_notarized(self, sender: ReplicaId, message: Notarized) -> None:
        """A longer notarized chain, whose newest block may still be on its way."""
        chain = message.chain
        if chain.length < self.view:
            return
        if not chain.proves(self.committee.quorum):
            self.reject(sender, Reason.WEAK_CERTIFICATE)
        elif self.holds_or_waits(chain.notarization.block, chain.notarization.height, sender, message):
            self._enter_with(chain)
            self._extend_by_dummies()

    def _enter_with(self, chain: Chain) -> None:
        """Go to the view after the chain's last, send the chain on, and vote to finalize its newest block."""
        if chain.length < self.view:
            return
        before, newest = self.chain.notarization, chain.notarization
        if before.view >= newest.view:
            # Of two chains of that length, the one whose newest block is the later one.
            self.chain = Chain(before, tuple(dummy for dummy in chain.dummies if dummy.view > before.view))
        else:
            self.chain = chain
        finalize = newest.view >= self.view and newest.view > self.nullified
        self.view = View(chain.length + 1)
        said: list[Effect] = [self._promise(), Broadcast(Notarized(self.chain))]
        if finalize:
            said.append(Broadcast(Vote(FINALIZE, newest.view, newest.height, newest.block)))
        tip = self.tree.get(newest.block, newest.height)
        if tip is not None and self.chain is chain:
            said.append(Adopted(tip))
        self.emit(*said)
        self._begin()

    def _begin(self) -> None:
        """The first step of a view, and the first after a restart; what was counted for views before is dropped."""
        self._notarizing.forget_views(self.view)
        self._nullifying.forget_views(self.view)
        self._nullifications = {view: each for view, each in self._nullifications.items() if view >= self.view}
        self._turn_began_ns = self.now_ns
        self.emit(Entered(self.view, bool(self.chain.dummies)), SetTimer(_VIEW, self._timer_ns))
        self._propose()

    # Step 5: finalizing

    def _on_finalization(self, sender: ReplicaId, certificate: QuorumCertificate) -> None:
        block = self.tree.get(certificate.block, certificate.height)
        if block is not None:
            self._finalise(block)
        elif self._finalization is None or self._finalization.height < certificate.height:
            self._finalization = certificate
            self.want(certificate.block, certificate.height, sender)

    def on_held(self, block: Block) -> None:
        if self._finalization is not None and self._finalization.block == block.id:
            self._finalization = None
            self._finalise(block)

    def _finalise(self, block: Block) -> None:
        if block.height > self.tree.final.height:
            self.emit(*(Committed(final) for final in self.tree.finalise(block)))
            self.persist_final()
            self._finalizing.forget_heights(block.height)
            self.tree.prune(block.height)

    def _promise(self) -> Persist:
        return Persist("promise", Promise(self.view, self.voted, self._proposed, self.nullified, self.chain))
