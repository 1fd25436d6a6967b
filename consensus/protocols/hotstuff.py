"""Chained HotStuff: Yin, Malkhi, Reiter, Golan Gueta, Abraham, PODC 2019 (arXiv 1803.05069).

Section 5, algorithms 4 and 5. In every view the leader proposes one block that carries the certificate of its
parent (`generic` phase); votes go to the next leader, who makes the next certificate from them.

- Vote (`safe_node`): the block extends the locked block, or its certificate is newer than the lock.
- Lock: the parent of the newest certified block (two-chain).
- Commit: a block with two certified descendants in the two views right after its own (three-chain). Heads of
  chains must have consecutive views; comparing heights is not enough (the Fast-HotStuff attack).

Pacemaker: the paper leaves it open. A replica that gives up a view broadcasts a `Timeout` with its highest
certificate; a quorum of them is a timeout certificate and starts the next view (DiemBFT v4, section 3). A replica
that sees f+1 of them for its view or a later one joins in. Timeouts do not grow, because Δ is known.

Deviations: votes are signatures collected in a certificate, not threshold signatures; a view begins only with the
certificate of the view before or a timeout certificate; blocks carry their view in their hash.

With leaders in turn a commit takes four live leaders in a row, three who propose and one who collects the last
votes (Giridharan et al., BeeGees, PODC 2023): four replicas of which one is dead stay safe but commit nothing.

Faults: n > 3f. Constant delay δ: block b is proposed at 2δ(b-1) and committed at 2δ(b+2)+δ, so finality is 7δ and
the period 2δ; 2(n-1) messages a block, all in steady state with leaders in turn.
"""

from __future__ import annotations

import msgspec

from consensus.chain import ChainReplica
from consensus.effects import Adopted, Broadcast, Committed, Entered, Persist, Reason, Send, SetTimer
from consensus.leader import round_robin
from consensus.messages import (
    GENESIS,
    Ancestors,
    Block,
    Certificate,
    Fetch,
    Message,
    Proposal,
    QuorumCertificate,
    Timeout,
    TimeoutCertificate,
    Vote,
    genesis_certificate,
)
from consensus.pacemaker import BftParameters, ProposalPace, timeout_ns
from consensus.replica import Chained, ProtocolFacts, Recovered, Seat
from consensus.tally import Tally, TimeoutTally
from consensus.types import BlockId, Height, ReplicaId, View

PHASE = "vote"
TIMEOUT_DELTAS = 8.0
_VIEW, _PROPOSE = "view", "propose"


class Promise(msgspec.Struct, frozen=True):
    """What a restarted replica must remember so as never to contradict itself."""

    view: View
    voted: View
    proposed: View
    locked: BlockId
    locked_height: Height
    high: QuorumCertificate
    entered_by: TimeoutCertificate | None


class HotStuff(ChainReplica):
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
        timeout_deltas=TIMEOUT_DELTAS,
        one_vote_per=("view",),
    )
    Parameters = BftParameters
    messages = (Proposal, Vote, Timeout, Fetch, Ancestors)

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        self.view = View(0)
        self.voted = View(0)
        self.high = genesis_certificate(PHASE)
        self.locked = GENESIS
        self.entered_by: TimeoutCertificate | None = None
        self._timeout_ns = timeout_ns(seat, TIMEOUT_DELTAS)
        self._pace = ProposalPace(seat, self._timeout_ns)
        self._votes = Tally(seat.committee.quorum)
        self._timeouts = TimeoutTally(seat.committee.quorum)
        self._turn_began_ns = 0
        self._parent_seen_ns = 0
        self._proposed = View(0)
        self._gave_up = View(0)
        self._certified: QuorumCertificate | None = None

    def leader(self, view: int) -> ReplicaId:
        """Who leads a view."""
        return round_robin(self.committee, View(view))

    # Events

    def on_start(self, recovered: Recovered) -> None:
        self.recover_tree(recovered)
        promise: Promise | None = recovered.get("promise")
        if promise is None:
            self._enter(View(1))
            return
        self.voted, self.high, self.entered_by = promise.voted, promise.high, promise.entered_by
        self._proposed = promise.proposed
        locked = self.tree.get(promise.locked, promise.locked_height)
        assert locked is not None, "blocks are persisted before the lock on them"
        self.locked = locked
        self._enter(promise.view)

    def on_message(self, sender: ReplicaId, message: Message) -> None:
        if type(message) is Vote:
            self._on_vote(sender, message)
        elif type(message) is Proposal:
            self._on_proposal(sender, message)
        elif type(message) is Timeout:
            self._on_timeout(sender, message)
        else:
            super().on_message(sender, message)

    def on_timer(self, timer: str) -> None:
        if timer == _VIEW:
            self._give_up(self.view)
            self.emit(SetTimer(_VIEW, self._timeout_ns))
        elif timer == _PROPOSE:
            self._propose()
        else:
            super().on_timer(timer)

    # Voting (algorithm 4, "as a replica")

    def _on_proposal(self, sender: ReplicaId, proposal: Proposal) -> None:
        block, justify = proposal.block, proposal.justify
        if fault := self._fault_in(sender, proposal):
            self.reject(sender, fault)
            return
        if not self.holds_or_waits(justify.block, justify.height, sender, proposal):
            return
        self.hold(block)
        self._learn(justify)
        self._enter(block.view, proposal.timeout_certificate)
        if block.view == self.view > self.voted and self._safe(block, justify):
            self.voted = block.view
            self._parent_seen_ns = self.now_ns
            self._persist_promise()
            self.emit(Adopted(block))
            vote = Vote(PHASE, block.view, block.height, block.id)
            self.emit(Send(self.leader(block.view + 1), vote))

    def _fault_in(self, sender: ReplicaId, proposal: Proposal) -> Reason | None:
        block, justify, gave_up = proposal.block, proposal.justify, proposal.timeout_certificate
        if sender != self.leader(block.view) or block.proposer != sender:
            return Reason.WRONG_LEADER
        if block.parent != justify.block or block.height != justify.height + 1:
            return Reason.WRONG_PARENT
        if not self._sound(justify) or (gave_up is not None and not self._sound(gave_up)):
            return Reason.WEAK_CERTIFICATE
        in_turn = justify.view == block.view - 1
        after_timeout = gave_up is not None and gave_up.view == block.view - 1 > justify.view
        if not in_turn and not after_timeout:
            return Reason.UNJUSTIFIED_VIEW
        return None

    def _safe(self, block: Block, justify: QuorumCertificate) -> bool:
        """Algorithm 1, safeNode: the safety rule or the liveness rule."""
        return self.tree.extends(block, self.locked) or justify.view > self.locked.view

    # Learning from certificates (algorithm 5, update)

    def _learn(self, certificate: QuorumCertificate) -> None:
        """Take in the certificate of a held block: raise the highest one, lock on two-chains, commit three-chains."""
        newest = self.tree.get(certificate.block, certificate.height)
        if newest is None or certificate.view <= self.high.view:
            return
        self.high = certificate
        if newest.height < 2:
            return
        middle = self.tree.parent(newest)
        if middle.view > self.locked.view:
            self.locked = middle
        oldest = self.tree.parent(middle)
        if newest.view == middle.view + 1 == oldest.view + 2 and oldest.height > self.tree.final.height:
            for block in self.tree.finalise(oldest):
                self.emit(Committed(block))
            self.persist_final()
            self.tree.prune(self.tree.final.height)

    def _sound(self, certificate: Certificate) -> bool:
        """A quorum of distinct signers; the host has verified the signatures."""
        if certificate.view == 0:
            return certificate == genesis_certificate(PHASE)
        return certificate.proves(self.committee.quorum)

    # Leading (algorithm 4, "as a leader")

    def _on_vote(self, sender: ReplicaId, vote: Vote) -> None:
        if vote.phase != PHASE or self.leader(vote.view + 1) != self.me:
            self.reject(sender, Reason.WRONG_LEADER)
        elif vote.view >= self.view - 1:
            certificate = self._votes.add(sender, vote)
            if certificate is not None:
                self._on_certificate(sender, certificate)

    def _on_certificate(self, sender: ReplicaId, certificate: QuorumCertificate) -> None:
        if self.tree.get(certificate.block, certificate.height) is None:
            # The voters hold what we do not; the proposal itself is most likely on its way.
            self._certified = certificate
            self.want(certificate.block, certificate.height, sender)
            return
        self._learn(certificate)
        self._enter(View(certificate.view + 1))

    def on_held(self, block: Block) -> None:
        if self._certified is not None and self._certified.block == block.id:
            certificate, self._certified = self._certified, None
            self._on_certificate(self.me, certificate)

    def _propose(self) -> None:
        """Extend the highest certificate, once the pace allows it."""
        may_begin = self.high.view == self.view - 1 or self.entered_by is not None
        if self.leader(self.view) != self.me or self._proposed >= self.view or not may_begin:
            return
        parent = self.tree.get(self.high.block, self.high.height)
        assert parent is not None, "certificates are learnt only with their blocks"
        payload = self._seat.payloads(self.now_ns, self._seat.block_max_bytes, parent)
        unfinished = any(block.payload.count for block in self.tree.ancestors(parent, self.tree.final.height))
        urgent = payload.count > 0 or unfinished
        wait_ns = self._pace.wait_ns(self.now_ns, self._turn_began_ns, self._parent_seen_ns, urgent)
        if wait_ns:
            self.emit(SetTimer(_PROPOSE, wait_ns))
            return
        self._proposed = self.view
        block = Block(parent.id, Height(parent.height + 1), self.view, self.me, payload)
        proof = self.entered_by if self.high.view != self.view - 1 else None
        self._persist_promise()
        self.emit(Broadcast(Proposal(block, self.high, proof)))

    # Pacemaker

    def _enter(self, view: View, by: TimeoutCertificate | None = None) -> None:
        """Go to a later view; what was counted for views that are over is dropped."""
        if view <= self.view:
            return
        self.view = view
        if by is not None and by.view == view - 1:
            self.entered_by = by
        elif self.entered_by is not None and self.entered_by.view != view - 1:
            self.entered_by = None
        self._turn_began_ns = self.now_ns
        self._votes.forget_views(View(view - 1))
        self._timeouts.forget_views(view)
        timed_out = self.entered_by is not None and self.high.view != view - 1
        self.emit(Entered(view, timed_out), SetTimer(_VIEW, self._timeout_ns))
        self._propose()

    def _give_up(self, view: View) -> None:
        """Promise not to vote in `view` any more, and tell everybody."""
        self.voted = max(self.voted, view)
        self._gave_up = max(self._gave_up, view)
        self._persist_promise()
        self.emit(Broadcast(Timeout(view, self.high, self.entered_by)))

    def _on_timeout(self, sender: ReplicaId, timeout: Timeout) -> None:
        proof = timeout.timeout_certificate
        if not self._sound(timeout.high_certificate) or (proof is not None and not self._sound(proof)):
            self.reject(sender, Reason.WEAK_CERTIFICATE)
            return
        high = timeout.high_certificate
        if not self.holds_or_waits(high.block, high.height, sender, timeout):
            return
        self._learn(high)
        self._enter(View(high.view + 1))
        if proof is not None:
            self._enter(View(proof.view + 1), proof)
        if timeout.view < self.view:
            return
        certificate = self._timeouts.add(sender, timeout)
        if certificate is not None:
            self._enter(View(certificate.view + 1), certificate)
        elif self._timeouts.count(timeout.view) > self.committee.f and self._gave_up < timeout.view:
            self._give_up(timeout.view)

    def _persist_promise(self) -> None:
        locked = self.locked
        promise = Promise(self.view, self.voted, self._proposed, locked.id, locked.height, self.high, self.entered_by)
        self.emit(Persist("promise", promise))
