"""Streamlet: Chan and Shi, "Streamlet: Textbook Streamlined Blockchains", AFT 2020 (ePrint 2020/088).

Section 3, under partial synchrony; `View` is its epoch e, from (e-1)·E to e·E on the clock that all share, E = 2Δ.

- Propose: the leader of an epoch extends a longest notarized chain that it knows.
- Vote: for the first proposal of the epoch's leader, if it extends a chain that is notarized and no shorter than any
  the voter has seen; to all, and within the epoch. A quorum of votes notarizes the block.
- Finalize: of three adjacent blocks of a notarized chain from consecutive epochs, the second and all below it.
  Epochs must be consecutive and lengths are what is compared: comparing epochs instead can stall.

Deviations:
- Leaders take turns instead of being drawn from a hash; of equally long chains the newest is extended.
- The paper echoes every message to all, O(n³) a block. Here a proposal carries its parent's certificate, missing
  blocks are fetched, and whoever refuses a proposal because it knows a longer chain sends that one's certificate to
  all: after an epoch with an honest leader all know the same longest chain, and three more make a block final.
- A certificate speaks for the chain below its block: somebody honest saw that notarized before it voted.
- The scenario's `block_interval_ms` makes epochs longer than 2Δ; with `propose_empty` off, a leader with nothing to
  say or to bring to its end leaves its epoch out.

Faults: n > 3f. Not responsive. Constant delay δ: a block is final E + 2δ after its proposal, when the next epoch's
block is notarized; one block an epoch; (n-1) + n(n-1) = n²-1 messages a block. A dead leader costs its epoch, and the
two blocks before it wait for the next three in a row.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from consensus.chain import ChainReplica
from consensus.effects import Adopted, Broadcast, Entered, Persist, Reason, SetTimer
from consensus.messages import (
    Ancestors,
    Block,
    Certificate,
    Fetch,
    Message,
    Proposal,
    QuorumCertificate,
    Vote,
    genesis_certificate,
)
from consensus.pacemaker import BftParameters, epoch_ns
from consensus.replica import Lockstep, ProtocolFacts, Recovered, Seat
from consensus.tally import Tally
from consensus.types import Height, ReplicaId, View

PHASE = "vote"
EPOCH_DELTAS = 2.0
_EPOCH = "epoch"


class Echo(Message, frozen=True, array_like=True, tag=True):
    """A longest notarized chain, for a leader that did not know it and for all others."""

    notarization: QuorumCertificate

    def certificates(self) -> Iterator[Certificate]:
        yield self.notarization


class Promise(msgspec.Struct, frozen=True):
    """What a restarted replica must remember so as never to contradict itself."""

    voted: View
    proposed: View
    longest: QuorumCertificate


class Streamlet(ChainReplica):
    """One replica of Streamlet."""

    facts = ProtocolFacts(
        name="streamlet",
        paper="Chan and Shi, AFT 2020",
        fault_bound="n > 3f",
        responsive="no",
        commit_delays="E+2δ, E = 2Δ",
        period="E",
        messages_per_block="n²-1",
        view_change="none: a failed epoch passes",
        shape=Lockstep(),
        timeout_deltas=EPOCH_DELTAS,
        one_vote_per=("view",),
        final_phase=PHASE,
    )
    Parameters = BftParameters
    messages = (Proposal, Vote, Echo, Fetch, Ancestors)

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        parameters: BftParameters = seat.parameters
        self.view = View(0)
        self.voted = View(0)
        self.longest = genesis_certificate(PHASE)
        """The certificate of the head of the longest notarized chain seen."""
        self._epoch_ns = epoch_ns(seat.timeout_ns, seat.delta_ns, EPOCH_DELTAS, parameters)
        self._propose_empty = parameters.propose_empty
        self._proposed = self._echoed = View(0)
        self._votes = Tally(seat.committee.quorum)

    def length(self, certificate: QuorumCertificate) -> int:
        """What is compared to tell a longest notarized chain: how many blocks it has."""
        return certificate.height

    # Events

    def on_start(self, recovered: Recovered) -> None:
        self.recover_tree(recovered)
        promise: Promise | None = recovered.get("promise")
        if promise is not None:
            self.voted, self._proposed, self.longest = promise.voted, promise.proposed, promise.longest
        self._begin_epoch()

    def on_message(self, sender: ReplicaId, message: Message) -> None:
        if type(message) is Vote:
            self._on_vote(sender, message)
        elif type(message) is Proposal:
            self._on_proposal(sender, message)
        elif type(message) is Echo:
            self._on_echo(sender, message)
        else:
            super().on_message(sender, message)

    def on_timer(self, timer: str) -> None:
        if timer == _EPOCH:
            self._begin_epoch()
        else:
            super().on_timer(timer)

    # Propose

    def _begin_epoch(self) -> None:
        """Whatever became of the last epoch, the clock says that the next has begun."""
        self.view = View(self.now_ns // self._epoch_ns + 1)
        self.emit(
            Entered(self.view, self.longest.view < self.view - 1),
            SetTimer(_EPOCH, self.view * self._epoch_ns - self.now_ns),
        )
        if self.leader(self.view) == self.me and self._proposed < self.view:
            self._propose()

    def _propose(self) -> None:
        parent = self.tree.get(self.longest.block, self.longest.height)
        if parent is None:
            return
        payload = self._seat.payloads(self.now_ns, self._seat.block_max_bytes, parent)
        unfinished = any(block.payload.count for block in self.tree.ancestors(parent, self.tree.final.height))
        if self._propose_empty or payload.count or unfinished:
            self._proposed = self.view
            block = Block(parent.id, Height(parent.height + 1), self.view, self.me, payload)
            self._persist_promise()
            self.emit(Broadcast(Proposal(block, self.longest)))

    # Vote

    def _on_proposal(self, sender: ReplicaId, proposal: Proposal) -> None:
        block, justify = proposal.block, proposal.justify
        if fault := self._fault_in(sender, proposal):
            self.reject(sender, fault)
            return
        if not self.holds_or_waits(justify.block, justify.height, sender, proposal):
            return
        self.hold(block)
        self._learn(justify)
        if block.view != self.view or self.voted >= block.view:
            return
        if self.length(justify) >= self.length(self.longest):
            self.voted = block.view
            self._persist_promise()
            self.emit(Broadcast(Vote(PHASE, block.view, block.height, block.id)))
        elif self._echoed < block.view:
            self._echoed = block.view
            self.emit(Broadcast(Echo(self.longest)))

    def _fault_in(self, sender: ReplicaId, proposal: Proposal) -> Reason | None:
        block, justify = proposal.block, proposal.justify
        if sender != self.leader(block.view) or block.proposer != sender:
            return Reason.WRONG_LEADER
        if block.parent != justify.block or block.height != justify.height + 1:
            return Reason.WRONG_PARENT
        if not self._sound(justify):
            return Reason.WEAK_CERTIFICATE
        if block.view <= justify.view or proposal.timeout_certificate is not None:
            return Reason.MALFORMED
        return None

    def _on_vote(self, sender: ReplicaId, vote: Vote) -> None:
        if vote.phase != PHASE:
            self.reject(sender, Reason.UNKNOWN)
        elif vote.height > self.tree.final.height:
            certificate = self._votes.add(sender, vote)
            if certificate is not None:
                self._on_echo(sender, Echo(certificate))

    # Notarized chains

    def _on_echo(self, sender: ReplicaId, echo: Echo) -> None:
        """A certificate, from votes or from a peer; it waits for its block, which the voters hold."""
        certificate = echo.notarization
        if certificate.height <= self.tree.final.height:
            return
        if not self._sound(certificate):
            self.reject(sender, Reason.WEAK_CERTIFICATE)
        elif self.holds_or_waits(certificate.block, certificate.height, sender, echo):
            self._learn(certificate)

    def _sound(self, certificate: QuorumCertificate) -> bool:
        """A quorum of distinct signers; the host has verified the signatures."""
        if certificate.view == 0:
            return certificate == genesis_certificate(PHASE)
        return certificate.phase == PHASE and certificate.proves(self.committee.quorum)

    def _learn(self, certificate: QuorumCertificate) -> None:
        """Take in the certificate of a held block: a chain that may be longer, and may have a new final block."""
        newest = self.tree.get(certificate.block, certificate.height)
        if newest is None or newest.height <= self.tree.final.height:
            return
        length, longest = self.length(certificate), self.length(self.longest)
        if length > longest or (length == longest and certificate.view > self.longest.view):
            self.longest = certificate
            self.emit(Adopted(newest))
        for last in self.tree.ancestors(newest, self.tree.final.height + 1):
            if self.finalizes(last):
                self.commit(self.tree.parent(last))
                self._votes.forget_heights(self.tree.final.height)
                return

    def finalizes(self, last: Block) -> bool:
        """Whether a notarized block is the last of three adjacent ones from consecutive epochs."""
        middle = self.tree.parent(last)
        return last.view == middle.view + 1 == self.tree.parent(middle).view + 2

    def _persist_promise(self) -> None:
        self.emit(Persist("promise", Promise(self.voted, self._proposed, self.longest)))
