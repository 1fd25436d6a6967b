"""What Simplex and Minimmit share, so that each keeps only its rules: views that end notarized or nullified.

In every view the leader proposes one block on a notarized chain, and all vote, to all, to notarize the block or to
nullify the view. Whoever holds a notarized chain up to its view sends that on to all and goes to the next one, whose
leader proposes at once. How many votes notarize is `facts.certificate_size`; a protocol says when to vote (`_consider`,
`_vote_in_passing`), what a timer that fires means (`_time_out`), and which votes make a block final (`_on_vote`).

Everywhere here: leaders take turns; votes are signatures collected in a certificate; dummy blocks have no height, so a
chain is the certificate of its newest block and those of the nullified views after that (`Chain`). What lies below
need not be sent along: somebody honest saw it notarized before it voted. So a replica goes on with any chain that is
not below its view, and a proposal brings the one it extends. The timer also allows what the scenario lets a leader
wait (`block_interval_ms`, `propose_empty`).
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import msgspec

from consensus.chain import ChainReplica
from consensus.effects import Adopted, Broadcast, Committed, Effect, Entered, Persist, Reason, SetTimer
from consensus.messages import Ancestors, Block, Fetch, Message, QuorumCertificate, Vote, genesis_certificate
from consensus.pacemaker import BftParameters, ProposalPace, timeout_ns
from consensus.protocols.nullify import Nullification, Nullify, NullifyTally
from consensus.protocols.simplex_chain import NOTARIZE, Chain, Notarized, Propose
from consensus.replica import Recovered, Seat
from consensus.tally import Tally
from consensus.types import Height, ReplicaId, View

_VIEW, _PROPOSE = "view", "propose"


class Promise(msgspec.Struct, frozen=True):
    """What a restarted replica must remember so as never to contradict itself."""

    view: View
    voted: View
    proposed: View
    nullified: View
    chain: Chain


class NotarizingReplica(ChainReplica):
    """A replica of Simplex or its kin; a subclass adds the rules."""

    Parameters = BftParameters
    messages = (Propose, Vote, Nullify, Notarized, Fetch, Ancestors)

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        self.view = View(0)
        self.voted = View(0)
        """The last view in which this replica has voted to notarize a block,"""
        self.nullified = View(0)
        """and the last that it has voted to nullify."""
        self.chain = Chain(genesis_certificate(NOTARIZE))
        """The notarized chain with which this view was entered: always of length `view - 1`."""
        assert self.facts.timeout_deltas is not None, "there are views to time out"
        timer_ns = timeout_ns(seat, self.facts.timeout_deltas)
        self._pace = ProposalPace.of(seat, timer_ns)
        self._timer_ns = timer_ns + self._pace.longest_wait_ns
        self._proposed = View(0)
        self._turn_began_ns = self._parent_seen_ns = 0
        self._certificate_size = self.facts.certificate_size(seat.committee)
        self._notarizing = Tally(self._certificate_size)
        self._nullifying = NullifyTally(self._certificate_size)
        self._finalizing = Tally(seat.committee.quorum)
        self._nullifications: dict[View, Nullification] = {}
        """Those of views that this replica has not reached yet."""
        self._finalization: QuorumCertificate | None = None
        """The highest one, as long as its block is missing."""

    # Rules

    @abstractmethod
    def _consider(self, block: Block) -> None:
        """A well-formed proposal of the current view has come: vote for it, or not."""

    @abstractmethod
    def _vote_in_passing(self, newest: QuorumCertificate) -> Vote | None:
        """What is said of a notarized block, not of an earlier view than the current one, upon leaving that view."""

    @abstractmethod
    def _time_out(self) -> None:
        """The view's timer has fired."""

    @abstractmethod
    def _on_vote(self, sender: ReplicaId, vote: Vote) -> None:
        """Count a vote (`_count_to_notarize`, `_count_to_finalize`) or reject it."""

    def _promise(self) -> Persist:
        return Persist("promise", Promise(self.view, self.voted, self._proposed, self.nullified, self.chain))

    def _recall(self, promise: Any) -> None:
        """Take back what `_promise()` holds."""
        self.view, self.voted, self._proposed = promise.view, promise.voted, promise.proposed
        self.nullified, self.chain = promise.nullified, promise.chain

    # Events

    def on_start(self, recovered: Recovered) -> None:
        self.recover_tree(recovered)
        self.view = View(1)
        if "promise" in recovered:
            self._recall(recovered["promise"])
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
            self._time_out()
        elif timer == _PROPOSE:
            self._propose()
        else:
            super().on_timer(timer)

    # Leading

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

    # Nullifying

    def _nullify(self) -> None:
        self.nullified = self.view
        self.emit(self._promise(), Broadcast(Nullify(self.view)))

    def _set_timer(self) -> None:
        self.emit(SetTimer(_VIEW, self._timer_ns))

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

    # Notarizing

    def _on_proposal(self, sender: ReplicaId, proposal: Propose) -> None:
        block, chain = proposal.block, proposal.chain
        if fault := self._fault_in(sender, proposal):
            self.reject(sender, fault)
        elif self.holds_or_waits(chain.notarization.block, chain.notarization.height, sender, proposal):
            self.hold(block)
            self._enter_with(chain)
            if block.view == self.view:
                self._consider(block)
            self._extend_by_dummies()

    def _fault_in(self, sender: ReplicaId, proposal: Propose) -> Reason | None:
        block, chain = proposal.block, proposal.chain
        if sender != self.leader(block.view) or block.proposer != sender:
            return Reason.WRONG_LEADER
        if block.parent != chain.notarization.block or block.height != chain.notarization.height + 1:
            return Reason.WRONG_PARENT
        if not chain.proves(self._certificate_size):
            return Reason.WEAK_CERTIFICATE
        return Reason.UNJUSTIFIED_VIEW if chain.length != block.view - 1 else None

    def _count_to_notarize(self, sender: ReplicaId, vote: Vote) -> None:
        certificate = self._notarizing.add(sender, vote) if vote.view >= self.view else None
        if certificate is not None:
            self._on_notarized(sender, Notarized(Chain(certificate)))

    def _on_notarized(self, sender: ReplicaId, message: Notarized) -> None:
        """A longer notarized chain, whose newest block may still be on its way."""
        chain = message.chain
        if chain.length < self.view:
            return
        if not chain.proves(self._certificate_size):
            self.reject(sender, Reason.WEAK_CERTIFICATE)
        elif self.holds_or_waits(chain.notarization.block, chain.notarization.height, sender, message):
            self._enter_with(chain)
            self._extend_by_dummies()

    # Next view

    def _enter_with(self, chain: Chain) -> None:
        """Go to the view after the chain's last, send the chain on, and say what is to be said of its newest block."""
        if chain.length < self.view:
            return
        before, newest = self.chain.notarization, chain.notarization
        if before.view >= newest.view:
            # Of two chains of that length, the one whose newest block is the later one.
            self.chain = Chain(before, tuple(dummy for dummy in chain.dummies if dummy.view > before.view))
        else:
            self.chain = chain
        vote = self._vote_in_passing(newest) if newest.view >= self.view else None
        self.view = View(chain.length + 1)
        said: list[Effect] = [self._promise(), Broadcast(Notarized(self.chain))]
        if vote is not None:
            said.append(Broadcast(vote))
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
        self.emit(Entered(self.view, bool(self.chain.dummies)))
        self._set_timer()
        self._propose()

    # Finalizing

    def _count_to_finalize(self, sender: ReplicaId, vote: Vote) -> None:
        if vote.height > self.tree.final.height:
            certificate = self._finalizing.add(sender, vote)
            if certificate is not None:
                self._on_finalization(sender, certificate)

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
