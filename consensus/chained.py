"""What chained protocols share, so that each keeps only its rules: votes that go to the next leader, and a pacemaker.

In every view the leader proposes one block that carries the certificate of its parent; votes go to the next leader,
who makes the next certificate from them. A protocol says which blocks are safe to vote for (`_safe`), what a newly
certified block locks and commits (`_on_certified`), what more than `Promise` it must remember, and, if its paper asks
for it, which certificate may follow a timeout (`_covers`) and how long a leader then waits (`_hold_back_ns`).

Pacemaker (DiemBFT v4, section 3; Jolteon, section 3): a replica that gives up a view broadcasts a `Timeout` with its
highest certificate; a quorum of them is a timeout certificate and starts the next view. A replica that sees f+1 of
them for its view or a later one joins in. Timeouts do not grow, because Δ is known.

Everywhere here: votes are signatures collected in a certificate, not threshold signatures; a view begins only with
the certificate of the view before or a timeout certificate; blocks carry their view in their hash.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import msgspec

from consensus.chain import ChainReplica
from consensus.effects import Adopted, Broadcast, Entered, Persist, Reason, Send, SetTimer
from consensus.messages import (
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
from consensus.replica import Recovered, Seat
from consensus.tally import Tally, TimeoutTally
from consensus.types import Height, ReplicaId, View

PHASE = "vote"
_VIEW, _PROPOSE = "view", "propose"


class Promise(msgspec.Struct, frozen=True):
    """What a restarted replica must remember so as never to contradict itself."""

    view: View
    voted: View
    proposed: View
    high: QuorumCertificate
    entered_by: TimeoutCertificate | None


class ChainedReplica(ChainReplica):
    """A replica of a chained protocol; a subclass adds the rules."""

    Parameters = BftParameters
    messages = (Proposal, Vote, Timeout, Fetch, Ancestors)

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        self.view = View(0)
        self.voted = View(0)
        self.high = genesis_certificate(PHASE)
        self.entered_by: TimeoutCertificate | None = None
        assert self.facts.timeout_deltas is not None, "there are views to time out"
        self._timeout_ns = timeout_ns(seat, self.facts.timeout_deltas)
        self._pace = ProposalPace.of(seat, self._timeout_ns)
        self._votes = Tally(seat.committee.quorum)
        self._timeouts = TimeoutTally(seat.committee.quorum)
        self._turn_began_ns = 0
        self._parent_seen_ns = 0
        self._proposed = View(0)
        self._gave_up = View(0)
        self._certified: QuorumCertificate | None = None

    # Rules

    @abstractmethod
    def _safe(self, block: Block, justify: QuorumCertificate) -> bool:
        """Whether a well-formed proposal for the current view may get a vote."""

    @abstractmethod
    def _on_certified(self, newest: Block) -> None:
        """A block with a newer certificate than any before: lock and commit what follows from it."""

    def _covers(self, high: QuorumCertificate, gave_up: TimeoutCertificate) -> bool:
        """Whether `high` is new enough to stand beside that timeout certificate."""
        return True

    def _hold_back_ns(self) -> int:
        """How much longer the protocol makes a leader wait before it proposes."""
        return 0

    def _promise(self) -> Promise:
        return Promise(self.view, self.voted, self._proposed, self.high, self.entered_by)

    def _recall(self, promise: Any) -> None:
        """Take back from `_promise()` what it holds, all but the view."""
        self.voted, self._proposed = promise.voted, promise.proposed
        self.high, self.entered_by = promise.high, promise.entered_by

    # Events

    def on_start(self, recovered: Recovered) -> None:
        self.recover_tree(recovered)
        promise: Promise | None = recovered.get("promise")
        if promise is not None:
            self._recall(promise)
        self._enter(View(1) if promise is None else promise.view)

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

    # Voting

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
            self._vote(block, justify)

    def _vote(self, block: Block, justify: QuorumCertificate) -> None:
        self.voted = block.view
        self._parent_seen_ns = self.now_ns
        self.emit(Persist("promise", self._promise()))
        self.emit(Adopted(block))
        self.emit(Send(self.leader(block.view + 1), Vote(PHASE, block.view, block.height, block.id)))

    def _fault_in(self, sender: ReplicaId, proposal: Proposal) -> Reason | None:
        block, justify, gave_up = proposal.block, proposal.justify, proposal.timeout_certificate
        if sender != self.leader(block.view) or block.proposer != sender:
            return Reason.WRONG_LEADER
        if block.parent != justify.block or block.height != justify.height + 1:
            return Reason.WRONG_PARENT
        if fault := self._fault_beside(justify, gave_up):
            return fault
        in_turn = justify.view == block.view - 1
        after_timeout = gave_up is not None and gave_up.view == block.view - 1 > justify.view
        return None if in_turn or after_timeout else Reason.UNJUSTIFIED_VIEW

    def _fault_beside(self, high: QuorumCertificate, gave_up: TimeoutCertificate | None) -> Reason | None:
        if not self._sound(high) or (gave_up is not None and not self._sound(gave_up)):
            return Reason.WEAK_CERTIFICATE
        return None if gave_up is None or self._covers(high, gave_up) else Reason.UNJUSTIFIED_VIEW

    # Learning from certificates

    def _learn(self, certificate: QuorumCertificate) -> None:
        """Take in the certificate of a held block, if it is newer than all before."""
        if certificate.view <= self.high.view:
            return
        newest = self.tree.get(certificate.block, certificate.height)
        if newest is not None:
            self.high = certificate
            self._on_certified(newest)

    def _commit_chain(self, newest: Block, length: int) -> None:
        """Commit the first of `length` certified blocks that end with `newest`, if each is linked to its parent."""
        first = newest
        for _ in range(min(length - 1, newest.height)):
            parent = self.tree.parent(first)
            if not self._linked(first, parent):
                return
            first = parent
        self.commit(first)

    def _linked(self, child: Block, parent: Block) -> bool:
        """Views must be consecutive; comparing heights is not enough (the Fast-HotStuff attack)."""
        return child.view == parent.view + 1

    def _sound(self, certificate: Certificate) -> bool:
        """A quorum of distinct signers; the host has verified the signatures."""
        if certificate.view == 0:
            return certificate == genesis_certificate(PHASE)
        return certificate.proves(self.committee.quorum)

    # Leading

    def _on_vote(self, sender: ReplicaId, vote: Vote) -> None:
        if vote.phase != PHASE or self.leader(vote.view + 1) != self.me:
            self.reject(sender, Reason.WRONG_LEADER)
        elif vote.view >= self.view - 1 and (certificate := self._votes.add(sender, vote)):
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
        """Extend the highest certificate, once the protocol and the pace allow it."""
        may_begin = self.high.view == self.view - 1 or self._timed_out()
        if self.leader(self.view) != self.me or self._proposed >= self.view or not may_begin:
            return
        parent = self.tree.get(self.high.block, self.high.height)
        assert parent is not None, "certificates are learnt with their blocks"
        payload = self._seat.payloads(self.now_ns, self._seat.block_max_bytes, parent)
        above_final = self.tree.ancestors(parent, self.tree.final.height)
        urgent = payload.count > 0 or any(block.payload.count for block in above_final)
        pace_ns = self._pace.wait_ns(self.now_ns, self._turn_began_ns, self._parent_seen_ns, urgent)
        if wait_ns := self._hold_back_ns() or pace_ns:
            self.emit(SetTimer(_PROPOSE, wait_ns))
            return
        self._proposed = self.view
        block = Block(parent.id, Height(parent.height + 1), self.view, self.me, payload)
        proof = self.entered_by if self._timed_out() else None
        self.emit(Persist("promise", self._promise()))
        self.emit(Broadcast(Proposal(block, self.high, proof)))

    # Pacemaker

    def _timed_out(self) -> bool:
        """Whether the view before was given up and no certificate of it is known."""
        return self.entered_by is not None and self.high.view != self.view - 1

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
        self.emit(Entered(view, self._timed_out()), SetTimer(_VIEW, self._timeout_ns))
        self._propose()

    def _give_up(self, view: View) -> None:
        """Promise not to vote in `view` any more, and tell everybody."""
        self.voted = max(self.voted, view)
        self._gave_up = max(self._gave_up, view)
        self.emit(Persist("promise", self._promise()))
        self.emit(Broadcast(Timeout(view, self.high, self.entered_by)))

    def _on_timeout(self, sender: ReplicaId, timeout: Timeout) -> None:
        high, proof = timeout.high_certificate, timeout.timeout_certificate
        if fault := self._fault_beside(high, proof):
            self.reject(sender, fault)
            return
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
