"""How a Tendermint replica decides by proof, remembers and catches up; the algorithm's rounds are in `tendermint`.

The paper's gossip brings whatever one replica has heard to all others. Here a message goes to its receivers once and
may be lost, so a replica that makes no progress says where it stands, with proofs that bring others there.
"""

from __future__ import annotations

from abc import abstractmethod

from consensus.chain import ChainReplica
from consensus.effects import Broadcast, Effect, Persist, Reason, Send
from consensus.messages import QuorumCertificate, Vote, genesis_certificate
from consensus.protocols.tendermint_messages import (
    NIL,
    PRECOMMIT,
    PREVOTE,
    Ballot,
    Promise,
    RoundCertificate,
    Standing,
    TendermintProposal,
)
from consensus.replica import Recovered, Seat
from consensus.types import BlockId, Committee, Height, ReplicaId, View

TURNS = 1_000_000
"""How often every replica may lead one height: more rounds than any run can have."""


def _stride(committee: Committee) -> int:
    """From a height's first view to that of the next one."""
    return TURNS * committee.n + 1


class CatchingUp(ChainReplica):
    """What a Tendermint replica knows of its height and of later ones. `locked` and `valid` are polkas, each of which
    names a value and a round of the paper."""

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        self._stride = _stride(seat.committee)
        self.view = self.first_view(Height(1))
        self.cast: dict[str, BlockId] = {}
        """My votes in this round."""
        self.locked: QuorumCertificate | None = None
        self.valid: QuorumCertificate | None = None
        self.committed = genesis_certificate(PRECOMMIT)
        self.over: RoundCertificate | None = None
        self.ballots: dict[tuple[View, str], Ballot] = {}
        self.proposals: dict[View, TendermintProposal] = {}
        self.polkas: dict[View, QuorumCertificate] = {}
        self.proofs: dict[Height, QuorumCertificate] = {}
        """Decisions whose blocks are still to come."""

    @classmethod
    def turn(cls, committee: Committee, view: int, height: int | None) -> int:
        """Every height's first round goes to the next replica: height plus round."""
        of_height, round_number = divmod(view, _stride(committee))
        return of_height + round_number

    @abstractmethod
    def enter(self, view: View) -> None:
        """Begin a round."""

    @abstractmethod
    def advance(self) -> None:
        """Something new may apply to this round."""

    def height_of(self, view: int) -> Height:
        """The height that a view is a round of."""
        return Height(view // self._stride)

    def round_of(self, view: int) -> int:
        """Which round of its height a view is."""
        return view % self._stride

    def first_view(self, height: int) -> View:
        """Round 0 of a height."""
        return View(height * self._stride)

    @property
    def height(self) -> Height:
        """h_p: the height to be decided."""
        return self.height_of(self.view)

    # Deciding

    def decide(self, source: ReplicaId, proof: QuorumCertificate) -> None:
        """Line 49, in any round of any height; `source` should hold the block."""
        if proof.height <= self.tree.final.height:
            return
        block = self.tree.get(proof.block, proof.height)
        if block is None:
            self.proofs[proof.height] = proof
            self.want(proof.block, proof.height, source)
            return
        self.commit(block)
        self.committed, self.locked, self.valid, self.over = proof, None, None, None
        self.persist_promise()
        self._forget(block.height)
        self.enter(self.first_view(block.height + 1))
        for view in sorted({view for view, _ in self.ballots}, reverse=True):
            self.skip_to(view)

    def settle(self) -> None:
        """Decide what was waiting for its block."""
        for height in sorted(self.proofs, reverse=True):
            proof = self.proofs.get(height)
            if proof is not None and self.tree.get(proof.block, height) is not None:
                self.decide(self.me, proof)

    def skip_to(self, view: View) -> None:
        """Line 55: f+1 replicas are in a later round of this height."""
        if view <= self.view or self.height_of(view) != self.height:
            return
        ballots = (self.ballots.get((view, phase)) for phase in (PREVOTE, PRECOMMIT))
        present = {sender for ballot in ballots if ballot is not None for sender in ballot.votes}
        if view in self.proposals:
            present.add(self.leader(view))
        if len(present) > self.committee.f:
            self.over = None
            self.enter(view)

    def _forget(self, height: Height) -> None:
        below = self.first_view(height + 1)
        self.ballots = {slot: ballot for slot, ballot in self.ballots.items() if slot[0] >= below}
        self.proposals = {view: proposal for view, proposal in self.proposals.items() if view >= below}
        self.polkas = {view: polka for view, polka in self.polkas.items() if view >= below}
        self.proofs = {above: proof for above, proof in self.proofs.items() if above > height}

    # Remembering

    def persist_promise(self) -> None:
        """Make durable what the next vote relies on, and the vote itself."""
        promise = Promise(self.view, dict(self.cast), self.locked, self.valid, self.committed, self.over)
        self.emit(Persist("promise", promise))

    def recover_promise(self, recovered: Recovered) -> bool:
        """Take up again what was promised before a crash, if anything."""
        self.recover_tree(recovered)
        self.view = self.first_view(self.tree.final.height + 1)
        promise: Promise | None = recovered.get("promise")
        if promise is None:
            return False
        self.committed = promise.committed
        if self.height_of(promise.view) == self.height:
            self.view, self.cast, self.over = promise.view, dict(promise.cast), promise.over
            self.locked, self.valid = promise.locked, promise.valid
        return True

    # In place of gossip

    def standing(self) -> Standing:
        """The newest decision, the valid block's polka, and the end of the round before."""
        return Standing(self.committed, self.valid, self.over)

    def say_again(self) -> None:
        """Where I stand, and my votes in this round."""
        votes = [Vote(phase, self.view, self.height, block) for phase, block in self.cast.items()]
        said: list[Effect] = [Broadcast(message) for message in (self.standing(), *votes)]
        self.emit(*said)

    def on_standing(self, sender: ReplicaId, standing: Standing) -> None:
        """Help a laggard, or catch up with whoever is ahead."""
        if not self._sound(standing):
            self.reject(sender, Reason.WEAK_CERTIFICATE)
            return
        committed, polka, over = standing.committed, standing.polka, standing.over
        if committed.height < self.committed.height:
            self.emit(Send(sender, self.standing()))
        self.decide(sender, committed)
        if polka is not None and polka.height == self.height:
            self.polkas.setdefault(polka.view, polka)
        if over is not None and over.height == self.height and over.view >= self.view:
            self.over = over
            self.enter(View(over.view + 1))
        else:
            self.advance()

    def _sound(self, standing: Standing) -> bool:
        """Each proof is of the right kind and place, by a quorum; the host has verified the signatures."""
        committed, polka, over = standing.committed, standing.polka, standing.over
        genesis = committed == genesis_certificate(PRECOMMIT)
        kinds = (genesis or committed.phase == PRECOMMIT) and (polka is None or polka.phase == PREVOTE)
        values = NIL not in (committed.block, polka.block if polka else None)
        proofs = [proof for proof in (None if genesis else committed, polka, over) if proof is not None]
        places = all(proof.height == self.height_of(proof.view) > 0 for proof in proofs)
        return kinds and values and places and all(proof.proves(self.committee.quorum) for proof in proofs)
