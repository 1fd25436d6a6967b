"""MyProtocol: views of 4Δ with a leader each, and two rounds of votes, from all to all, for the leader's block.

When a view is over, everybody sends the next leader the certificate it is locked on. Δ later that leader extends the
block of the newest certificate it knows. Who sees this, and is locked on nothing newer, votes to certify the block. A
quorum of votes is a certificate: who has it within the view locks on it and votes to finalize. A quorum of those is
final. Safe if n > 3f: two quorums share an honest replica, and that certifies once a view; so a view certifies one
block, and once a quorum is locked on it, nothing that does not extend it. Live after GST: an honest leader knows all
honest locks before it proposes, and what is left of its view is enough for the proposal and two rounds.
"""

from consensus.chain import ChainReplica
from consensus.effects import Adopted, Broadcast, Entered, Persist, Reason, Send, SetTimer
from consensus.messages import GENESIS, Block, Message, Proposal, QuorumCertificate, Timeout, Vote, genesis_certificate
from consensus.pacemaker import BftParameters, epoch_ns
from consensus.replica import AllToAll, ProtocolFacts, Recovered, Seat
from consensus.tally import Tally
from consensus.types import Height, ReplicaId, View


class MyProtocol(ChainReplica):
    facts = ProtocolFacts(
        name="my_protocol", commit_delays="3δ", period="4Δ", shape=AllToAll(phases=2), timeout_deltas=4.0
    )
    Parameters = BftParameters
    messages = (Proposal, Vote, Timeout, *ChainReplica.messages)

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        self.view_ns = epoch_ns(seat.timeout_ns, seat.delta_ns, 4.0, seat.parameters)
        self.votes = Tally(seat.committee.quorum)

    def on_start(self, recovered: Recovered) -> None:
        self.recover_tree(recovered)
        self.proposed, self.voted = recovered.get("proposed", GENESIS), recovered.get("voted", GENESIS)
        self.lock = self.newest = recovered.get("lock", genesis_certificate("certify"))
        self.begin_view()

    def on_timer(self, timer: str) -> None:
        if timer == "view":
            self.begin_view()
        if timer == "propose":
            self.propose()
        super().on_timer(timer)

    def on_message(self, sender: ReplicaId, message: Message) -> None:
        if isinstance(message, Vote):
            self.on_vote(sender, message)
        elif isinstance(message, Proposal):
            self.on_proposal(sender, message)
        elif isinstance(message, Timeout):
            self.learn(message.high_certificate, sender, message)
        else:
            super().on_message(sender, message)

    def begin_view(self) -> None:
        view = self.view = View(self.now_ns // self.view_ns + 1)
        self.emit(Entered(view, self.newest.view < view - 1), SetTimer("view", view * self.view_ns - self.now_ns))
        self.emit(Send(self.leader(view), Timeout(View(view - 1), self.lock)))
        if self.leader(view) == self.me and view > self.proposed.view:
            self.emit(SetTimer("propose", self.delta_ns))

    def propose(self) -> None:
        parent = self.tree.get(self.newest.block, self.newest.height) or self.tree.final
        payload = self._seat.payloads(self.now_ns, self._seat.block_max_bytes, parent)
        if payload.count or parent is not self.tree.final or self._seat.parameters.propose_empty:
            self.proposed = Block(parent.id, Height(parent.height + 1), self.view, self.me, payload)
            self.emit(Persist("proposed", self.proposed), Broadcast(Proposal(self.proposed, self.newest)))

    def on_proposal(self, sender: ReplicaId, proposal: Proposal) -> None:
        block, justify = proposal.block, proposal.justify
        extends = block.parent == justify.block and block.height == justify.height + 1
        if not extends or block.proposer != sender or sender != self.leader(block.view):
            self.reject(sender, Reason.MALFORMED)
        elif self.learn(justify, sender, proposal):
            self.hold(block)
            if block.view == self.view > self.voted.view and justify.view >= self.lock.view:
                self.voted = block
                vote = Vote("certify", block.view, block.height, block.id)
                self.emit(Persist("voted", block), Adopted(block), Broadcast(vote))

    def on_vote(self, sender: ReplicaId, vote: Vote) -> None:
        counts = vote.height > self.tree.final.height and self.holds_or_waits(vote.block, vote.height, sender, vote)
        if counts and (certificate := self.votes.add(sender, vote)):
            self.learn(certificate, sender, vote)

    def learn(self, certificate: QuorumCertificate, sender: ReplicaId, message: Message) -> bool:
        if certificate != genesis_certificate("certify") and not certificate.proves(self.committee.quorum):
            self.reject(sender, Reason.WEAK_CERTIFICATE)
        elif block := self.holds_or_waits(certificate.block, certificate.height, sender, message):
            self.newest = max(self.newest, certificate, key=lambda each: each.view)
            if certificate.view == self.view > self.lock.view:
                self.lock = certificate
                vote = Vote("finalize", certificate.view, certificate.height, certificate.block)
                self.emit(Persist("lock", certificate), Broadcast(vote))
            if certificate.phase == "finalize":
                self.commit(block)
                self.votes.forget_heights(self.tree.final.height)
            return True
        return False
