"""Tendermint: Buchman, Kwon, Milosevic, "The latest gossip on BFT consensus", 2018 (arXiv 1807.04938), algorithm 1.

Each height decides one block, in rounds. A round's proposer proposes, everybody prevotes, and precommits what a
quorum has prevoted (a polka); a quorum of precommits decides. Whoever precommits is locked: in later rounds it
prevotes only its locked block, or one that a polka of the same or a later round backs (lines 22 to 33). A proposer
proposes the newest block of which it has seen a polka again (line 16). Timeouts grow with the round.

A view is a round of a height: view = height · (10⁶n + 1) + round, so that views ascend, no two rounds share one,
and replica (height + round) mod n = view mod n leads it. A block keeps the view that made it.

Deviations:
- The paper's gossip brings whatever one replica has heard to all; here a message goes to its receivers once, and may
  be lost. A replica that stays in one round too long says its votes again and where it stands: proofs of the newest
  decision, of its valid block and of the end of the round before. So does the proposer of an old block. Whoever has
  decided more answers with its own proofs; blocks are fetched.
- Of two proposals or votes for one place the first counts, as in Malachite; certificates always do.
- A proof that the round before is over ends it (line 65, after someone else's wait).
- A block names its parent, so a proof of one decides all below, without the heights between.
- Timeouts: propose 4Δ, prevote and precommit 2Δ, all Δ longer with every round, as lemma 5 asks from round 1 on.

Faults: n > 3f. Constant delay δ: decided at 3δ, the next height follows at once, so the period is 3δ; n-1 proposals
and n(n-1) prevotes and precommits a block. A dead proposer of round r costs propose(r) + precommit(r) + 2δ.
"""

from __future__ import annotations

from consensus.effects import Adopted, Broadcast, Entered, Persist, Reason, SetTimer
from consensus.messages import Ancestors, Block, Fetch, Message, QuorumCertificate, Vote
from consensus.pacemaker import ProposalPace
from consensus.protocols.tendermint_catch_up import CatchingUp
from consensus.protocols.tendermint_messages import (
    NIL,
    NOBODY,
    PRECOMMIT,
    PREVOTE,
    PROPOSE,
    REPEAT,
    STEPS,
    TIMEOUT_DELTAS,
    Ballot,
    Standing,
    TendermintParameters,
    TendermintProposal,
    Timeouts,
)
from consensus.replica import AllToAll, ProtocolFacts, Recovered, Seat
from consensus.tally import OPENED, may_open
from consensus.types import BlockId, ReplicaId, View

_PACE = "pace"


class Tendermint(CatchingUp):
    """One replica of Tendermint."""

    facts = ProtocolFacts(
        name="tendermint",
        paper="Buchman, Kwon, Milosevic, arXiv 1807.04938",
        fault_bound="n > 3f",
        responsive="yes, except after a failed round",
        commit_delays="3δ",
        period="3δ",
        messages_per_block="2n²-n-1",
        view_change="2n(n-1) votes for nil",
        shape=AllToAll(phases=2),
        timeout_deltas=TIMEOUT_DELTAS,
        one_vote_per=("view",),
        final_phase=PRECOMMIT,
    )
    Parameters = TendermintParameters
    messages = (TendermintProposal, Vote, Standing, Fetch, Ancestors)

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        self._proposed: TendermintProposal | None = None
        self._waiting: dict[str, View] = {}
        self._timeouts = Timeouts(seat)
        self._pace = ProposalPace.of(seat, self._timeouts.propose_ns)
        self._turn_began_ns = self._seen_ns = 0

    @property
    def step(self) -> str:
        """step_p."""
        return STEPS[len(self.cast)]

    # Events

    def on_start(self, recovered: Recovered) -> None:
        again = self.recover_promise(recovered)
        self._proposed = recovered.get("proposed")
        self._begin()
        if again:
            self.say_again()

    def on_message(self, sender: ReplicaId, message: Message) -> None:
        if type(message) is Vote:
            self._on_vote(sender, message)
        elif type(message) is TendermintProposal:
            self._on_proposal(sender, message)
        elif type(message) is Standing:
            self.on_standing(sender, message)
        else:
            super().on_message(sender, message)
            self.settle()

    def on_timer(self, timer: str) -> None:
        if timer == REPEAT:
            self.say_again()
            self._set(REPEAT)
        elif timer == _PACE:
            self._propose()
        elif timer not in STEPS:
            super().on_timer(timer)
        elif self._waiting.get(timer) != self.view:
            return
        elif timer == PRECOMMIT:  # line 65
            self.over = self.ballots.get((self.view, PRECOMMIT), NOBODY).round_certificate(self.view, self.height)
            self.enter(View(self.view + 1))
        elif timer == self.step:  # lines 57 and 61
            self._vote(PREVOTE if timer == PROPOSE else PRECOMMIT, NIL)
            self.advance()

    # Rounds (lines 11 to 21)

    def enter(self, view: View) -> None:
        self.view, self.cast = view, {}
        self._begin()

    def _begin(self) -> None:
        self._turn_began_ns = self.now_ns
        self.emit(Entered(self.view, timed_out=self.round_of(self.view) > 0))
        self._set(REPEAT)
        if self.step == PROPOSE:
            if self.leader(self.view) == self.me:
                self._propose()
            else:
                self._wait(PROPOSE)
        self.advance()

    def _propose(self) -> None:
        """The valid block again, or a new one as soon as the pace allows it."""
        if self.leader(self.view) != self.me or self.step != PROPOSE:
            return
        message = self._proposed
        if message is not None and message.view == self.view:
            self.emit(Broadcast(message))
            return
        if self.valid is not None:
            block = self.tree.get(self.valid.block, self.valid.height)
            assert block is not None, "a block is held before it is valid"
            message = TendermintProposal(self.view, block, self.valid.view)
            self.emit(Broadcast(self.standing()))
        else:
            self._wait(PROPOSE)
            parent = self.tree.final
            payload = self._seat.payloads(self.now_ns, self._seat.block_max_bytes, parent)
            wait_ns = self._pace.wait_ns(self.now_ns, self._turn_began_ns, self._seen_ns, payload.count > 0)
            if wait_ns:
                self.emit(SetTimer(_PACE, wait_ns))
                return
            message = TendermintProposal(self.view, Block(parent.id, self.height, self.view, self.me, payload))
        self._proposed = message
        self.emit(Persist("proposed", message), Broadcast(message))

    def _wait(self, step: str) -> None:
        """Lines 21, 34 and 47: once in a round."""
        if self._waiting.get(step) != self.view:
            self._waiting[step] = self.view
            self._set(step)

    def _set(self, timer: str) -> None:
        self.emit(SetTimer(timer, self._timeouts.of(timer, self.round_of(self.view))))

    # Lines 22 to 48, in this round

    def _on_proposal(self, sender: ReplicaId, message: TendermintProposal) -> None:
        block, view = message.block, message.view
        if sender != self.leader(view):
            self.reject(sender, Reason.WRONG_LEADER)
            return
        if self.height_of(view) <= self.tree.final.height or (view != self.view and len(self.proposals) >= OPENED):
            return
        sound = self._sound_proposal(message)
        if not sound:
            self.reject(sender, Reason.MALFORMED)
        elif not self.holds_or_waits(block.parent, block.height - 1, sender, message):
            return
        first = self.proposals.setdefault(view, message)
        if first.block != block or first.valid_view != message.valid_view:
            self.reject(sender, Reason.EQUIVOCATION)
            return
        self._seen_ns = self.now_ns
        if sound:
            self.hold(block)
            self.settle()
        self.skip_to(view)
        self.advance()

    def _sound_proposal(self, message: TendermintProposal) -> bool:
        block, valid_view = message.block, message.valid_view
        new = valid_view is None and block.view == message.view
        old = valid_view is not None and block.view <= valid_view < message.view
        led = block.proposer == self.leader(block.view)
        placed = block.height == self.height_of(block.view) == self.height_of(message.view)
        return (new or old) and led and placed

    def _on_vote(self, sender: ReplicaId, vote: Vote) -> None:
        if vote.height <= self.tree.final.height:
            return
        if vote.phase not in (PREVOTE, PRECOMMIT) or vote.height != self.height_of(vote.view):
            self.reject(sender, Reason.MALFORMED)
            return
        ballot = self.ballots.get((vote.view, vote.phase))
        if ballot is None:
            if not may_open(self.ballots, sender):
                return
            ballot = self.ballots[vote.view, vote.phase] = Ballot()
        count = ballot.add(sender, vote)
        if count == 0:
            if ballot.votes[sender].block != vote.block:
                self.reject(sender, Reason.EQUIVOCATION)
            return
        quorum = self.committee.quorum
        if count == quorum and vote.block != NIL:
            certificate = ballot.certificate(vote)
            if vote.phase == PREVOTE:
                self.polkas.setdefault(vote.view, certificate)
            else:
                self.decide(sender, certificate)
        if vote.view > self.view:
            self.skip_to(vote.view)
        elif quorum in (count, len(ballot.votes)):
            self.advance()

    def advance(self) -> None:
        """Whatever now holds in this round, in the order of the paper."""
        proposal = self.proposals.get(self.view)
        if proposal is not None and self.step == PROPOSE:
            self.answer(proposal)
        prevotes = self.ballots.get((self.view, PREVOTE), NOBODY)
        precommits = self.ballots.get((self.view, PRECOMMIT), NOBODY)
        if self.step == PREVOTE and len(prevotes.votes) >= self.committee.quorum:
            self._wait(PREVOTE)  # line 34
        polka = self.polkas.get(self.view)
        if polka is not None and proposal is not None and self.step != PROPOSE and self._backs(polka, proposal):
            self._lock(polka)
        if self.step == PREVOTE and prevotes.count.get(NIL, 0) >= self.committee.quorum:
            self._vote(PRECOMMIT, NIL)  # line 44
        if len(precommits.votes) >= self.committee.quorum:
            self._wait(PRECOMMIT)  # line 47

    def answer(self, proposal: TendermintProposal) -> None:
        """Lines 22 and 28."""
        block, locked, valid_view = proposal.block, self.locked, proposal.valid_view
        free = locked is None or locked.block == block.id
        if valid_view is not None:
            polka = self.polkas.get(valid_view)
            if polka is None or polka.block != block.id:
                return
            free = free or (locked is not None and locked.view <= valid_view)
        if free and self.valid_here(proposal):
            self.emit(Adopted(block))
            self._vote(PREVOTE, block.id)
        else:
            self._vote(PREVOTE, NIL)

    def valid_here(self, proposal: TendermintProposal) -> bool:
        return self._sound_proposal(proposal) and proposal.block.parent == self.tree.final.id

    def _backs(self, polka: QuorumCertificate, proposal: TendermintProposal) -> bool:
        return polka.block == proposal.block.id and self.valid_here(proposal)

    def _lock(self, polka: QuorumCertificate) -> None:
        """Line 36, for the first time."""
        if self.valid is not None and self.valid.view == polka.view:
            return
        self.valid = polka
        if self.step == PREVOTE:
            self.locked = polka
            self._vote(PRECOMMIT, polka.block)
        else:
            self.persist_promise()

    def _vote(self, phase: str, block: BlockId) -> None:
        self.cast[phase] = block
        self.persist_promise()
        self.emit(Broadcast(Vote(phase, self.view, self.height, block)))
