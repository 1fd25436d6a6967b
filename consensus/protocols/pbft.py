"""PBFT: Castro and Liskov, "Practical Byzantine Fault Tolerance", OSDI 1999, as a chain of blocks.

Section 4.2, normal case: the primary of view v is replica v mod n; it sends a pre-prepare, everybody answers
with a prepare to all, and once a quorum has prepared, with a commit to all. Sequence numbers are block heights.
Section 4.3, checkpoints every `checkpoint_interval` blocks. Section 4.4, view changes: a replica whose block does
not become final in time asks for the next view; the new primary proves with a quorum of such requests which
blocks may have committed and has them prepared again. Section 4.5.2: the timer doubles with every view in a row
that brings nothing, a replica joins when f+1 others are ahead, and waits for a quorum before it moves on.

Deviations:
- The primary sends a prepare too (its pre-prepare is not counted as one): 2n²-n-1 messages a decision.
- A block names its parent, so a commit certificate proves all before it and serves as the paper's stable
  checkpoint in a view change; checkpoints are still exchanged, counted and used to forget.
- A view change carries block headers; what a new view re-proposes keeps its identity. Where the paper fills a gap
  with null requests, the blocks above the gap are dropped: none of them can have committed, because a replica votes
  to commit a block only once it has prepared all below.
- A replica prepares a block only when it holds the parent, and fetches what it lacks.
- There are no client replies: transactions come from the workload.

Faults: n > 3f. Constant delay δ: commit at exactly 3δ, the next block follows (window = 1), so the period is 3δ.
"""

from __future__ import annotations

from consensus.effects import Adopted, Broadcast, Committed, Entered, Persist, Reason, SetTimer
from consensus.messages import Ancestors, Block, Fetch, Message, QuorumCertificate, Vote
from consensus.pacemaker import BftParameters, ProposalPace
from consensus.protocols.pbft_view_change import (
    COMMIT,
    PREPARE,
    REQUEST,
    TIMEOUT_DELTAS,
    NewView,
    Prepared,
    ViewChange,
    ViewChanging,
)
from consensus.replica import AllToAll, ProtocolFacts, Recovered, Seat
from consensus.tally import Tally
from consensus.types import Height, ReplicaId, View

CHECKPOINT = "checkpoint"
_PROPOSE = "propose"


class PrePrepare(Message, frozen=True, array_like=True, tag=True):
    """The primary gives `block.height` in `view` to a block."""

    view: View
    block: Block

    @property
    def kind(self) -> str:
        return "pre_prepare"

    def proposes(self) -> Block:
        return self.block

    @property
    def payload_bytes(self) -> int:
        return self.block.payload.size_bytes


class PbftParameters(BftParameters, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a scenario may set."""

    window: int = 1
    """How many blocks may be under way at once."""
    checkpoint_interval: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window < 1 or self.checkpoint_interval < 1:
            raise ValueError("`window` and `checkpoint_interval` must be at least 1")


class Pbft(ViewChanging):
    """One replica of PBFT."""

    facts = ProtocolFacts(
        name="pbft",
        paper="Castro and Liskov, OSDI 1999",
        fault_bound="n > 3f",
        responsive="yes",
        commit_delays="3δ",
        period="3δ (window 1)",
        messages_per_block="2n²-n-1",
        view_change="n² view changes, n-1 new views",
        shape=AllToAll(phases=2),
        timeout_deltas=TIMEOUT_DELTAS,
        one_vote_per=("view", "height"),
        final_phase=COMMIT,
    )
    Parameters = PbftParameters
    messages = (PrePrepare, Vote, ViewChange, NewView, Fetch, Ancestors)

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        parameters: PbftParameters = seat.parameters
        self._window, self._checkpoint_interval = parameters.window, parameters.checkpoint_interval
        self._pace = ProposalPace.of(seat, self._timeout_ns)
        self._turn_began_ns = self._proposed_ns = 0
        self._proposed: Block | None = None
        self._votes = Tally(seat.committee.quorum)
        self._checkpoints = Tally(seat.committee.quorum)
        self._certified: dict[tuple[View, Height], QuorumCertificate] = {}
        self._early: list[tuple[ReplicaId, PrePrepare]] = []
        """Pre-prepares that overtook the new view they belong to."""

    # Events

    def on_start(self, recovered: Recovered) -> None:
        self.recover_tree(recovered)
        self.recover_promise(recovered)
        self._proposed = recovered.get("proposed")
        self.emit(Entered(self.view))
        self.await_progress()
        self.accept_survivors(self.primary(self.view))
        self._propose()

    def on_message(self, sender: ReplicaId, message: Message) -> None:
        if type(message) is Vote:
            self._on_vote(sender, message)
        elif type(message) is PrePrepare:
            self._on_pre_prepare(sender, message)
        elif type(message) is ViewChange:
            self.on_view_change(sender, message)
        elif type(message) is NewView:
            self.on_new_view(sender, message)
        else:
            super().on_message(sender, message)
            self._settle()

    def on_timer(self, timer: str) -> None:
        if timer == REQUEST:
            if self._settle(give_up_waiting=True) or self.lacks_committed():
                # Others go on, so a new view would not help.
                self.await_progress()
            else:
                self.no_progress()
        elif timer == _PROPOSE:
            self._propose()
        else:
            super().on_timer(timer)

    def resume(self) -> None:
        self._turn_began_ns = self.now_ns
        self._ready += self._early
        self._early = []
        self._propose()

    # Section 4.2: normal case

    def _propose(self) -> None:
        """The primary extends its last block as far as the window reaches and the pace allows."""
        if self.primary(self.view) != self.me or self.changing or self.survivors or self.lacks_committed():
            return
        final = self.tree.final
        parent = max((final, *self.accepted.values()), key=lambda block: block.height)
        if parent.height >= final.height + self._window or self._proposed_after(parent):
            return
        payload = self._seat.payloads(self.now_ns, self._seat.block_max_bytes, parent)
        wait_ns = self._pace.wait_ns(self.now_ns, self._turn_began_ns, self._proposed_ns, payload.count > 0)
        if wait_ns:
            self.emit(SetTimer(_PROPOSE, wait_ns))
            return
        block = Block(parent.id, Height(parent.height + 1), self.view, self.me, payload)
        self._proposed, self._proposed_ns = block, self.now_ns
        self.emit(Persist("proposed", block), Broadcast(PrePrepare(self.view, block)))

    def _proposed_after(self, parent: Block) -> bool:
        last = self._proposed
        return last is not None and last.view == self.view and last.height > parent.height

    def _on_pre_prepare(self, sender: ReplicaId, message: PrePrepare) -> None:
        block, view = message.block, message.view
        if sender != self.primary(view) or block.proposer != sender or block.view != view:
            self.reject(sender, Reason.WRONG_LEADER)
        elif view > self.view or (view == self.view and self.changing):
            if len(self._early) < self._window * self.committee.n:
                self._early.append((sender, message))
        elif block.height <= self.tree.final.height:
            return
        elif self.holds_or_waits(block.parent, block.height - 1, sender, message):
            accepted = self.accepted.get(block.height)
            if view < self.view:
                # We gave that view up and others work in it: no vote from us, but we follow its blocks.
                self.hold(block)
            elif self.survivors or (accepted is not None and accepted != block):
                self.reject(sender, Reason.EQUIVOCATION)
            elif accepted is None and block.parent in (self.tree.final.id, self.accepted_id(block.height - 1)):
                self.hold(block)
                self.accept(block)
                self._propose()

    def accept(self, block: Block) -> None:
        """Take the block for its height in this view, promise it, and say so to all."""
        self.accepted[block.height] = block
        self.persist_promise()
        self.emit(Adopted(block), Broadcast(Vote(PREPARE, self.view, block.height, block.id)))
        if self.tree.is_final(block):
            self.emit(Broadcast(Vote(COMMIT, self.view, block.height, block.id)))
        self._advance(block.height)

    def _on_vote(self, sender: ReplicaId, vote: Vote) -> None:
        if vote.phase == CHECKPOINT:
            self._on_checkpoint(sender, vote)
        elif vote.phase not in (PREPARE, COMMIT):
            self.reject(sender, Reason.UNKNOWN)
        elif vote.height > self.tree.final.height:
            certificate = self._votes.add(sender, vote)
            if certificate is None:
                return
            if vote.phase == PREPARE:
                self._certified[vote.view, vote.height] = certificate
                self._advance(vote.height)
            else:
                self._on_commit_certificate(sender, certificate)

    def _advance(self, height: Height) -> None:
        """prepared(m, v, n): the pre-prepare and a quorum of prepares; committed-local: a quorum of commits too.

        In order, so that a quorum that votes to commit a block has prepared all below: see `surviving`.
        """
        while self._is_certified(height) and (height == self.tree.final.height + 1 or self.is_prepared(height - 1)):
            block = self.accepted[height]
            if not self.is_prepared(height):
                self.prepared[height] = Prepared(self._certified[self.view, height], block)
                self.persist_promise()
                self.emit(Broadcast(Vote(COMMIT, self.view, height, block.id)))
            proof = self.proofs.get(height)
            if proof is not None and proof.block == block.id:
                self._commit(block, proof)
            height = Height(height + 1)

    def _is_certified(self, height: int) -> bool:
        certificate = self._certified.get((self.view, Height(height)))
        return not self.changing and certificate is not None and certificate.block == self.accepted_id(height)

    def _on_commit_certificate(self, sender: ReplicaId, proof: QuorumCertificate) -> None:
        """A quorum committed. Whoever takes part waits until it has prepared too; others commit by the proof."""
        self.proofs[proof.height] = proof
        if proof.view == self.view and not self.changing and self.accepted_id(proof.height) == proof.block:
            self._advance(proof.height)
        else:
            self.commit_by_proof(sender, proof)
            if proof.view > self.view:
                self.follow_to(proof.view)

    def commit_by_proof(self, source: ReplicaId, proof: QuorumCertificate) -> None:
        block = self.tree.get(proof.block, proof.height)
        if block is None:
            self.proofs[proof.height] = proof
            self.want(proof.block, proof.height, source)
        elif proof.height > self.tree.final.height:
            self._commit(block, proof)
            self._advance(Height(proof.height + 1))

    def _commit(self, block: Block, proof: QuorumCertificate) -> None:
        for final in self.tree.finalise(block):
            self.emit(Committed(final))
            if final.height % self._checkpoint_interval == 0:
                self.emit(Broadcast(Vote(CHECKPOINT, View(0), final.height, final.id)))
        self.committed = proof
        self.doublings = 0
        self._forget(block.height)
        self.persist_final()
        self.persist_promise()
        self.await_progress()
        self._propose()

    def _forget(self, height: Height) -> None:
        self._votes.forget_heights(height)
        self.accepted = {h: block for h, block in self.accepted.items() if h > height}
        self.prepared = {h: prepared for h, prepared in self.prepared.items() if h > height}
        self._certified = {slot: found for slot, found in self._certified.items() if slot[1] > height}
        self.proofs = {h: proof for h, proof in self.proofs.items() if h > height}

    def on_held(self, block: Block) -> None:
        self.accept_survivors(self.primary(self.view))

    def _settle(self, give_up_waiting: bool = False) -> bool:
        """Commit by proof what came another way than by pre-prepare, or, out of time, what never got prepared."""
        for height in sorted(self.proofs, reverse=True):
            proof = self.proofs[height]
            waiting = self.accepted_id(height) == proof.block and not give_up_waiting
            if not waiting and self.tree.get(proof.block, height) is not None:
                self.commit_by_proof(self.me, proof)
                return True
        return False

    # Section 4.3: checkpoints

    def _on_checkpoint(self, sender: ReplicaId, vote: Vote) -> None:
        certificate = self._checkpoints.add(sender, vote)
        if certificate is not None and certificate.height <= self.tree.final.height:
            self._checkpoints.forget_heights(certificate.height)
            self.tree.prune(certificate.height)
