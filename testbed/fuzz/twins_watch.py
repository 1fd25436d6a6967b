"""What is checked and counted while a Twins schedule is played, and what became of it.

Only honest replicas' facts count. Of the checks of every run (`testbed.checks`) these are agreement, commit order, no
double vote and certificates with too few signers or that contradict each other; runs find whoever says nonsense.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from consensus.effects import Entered
from consensus.messages import GENESIS, Block, Message, QuorumCertificate, Vote
from consensus.types import BlockId
from testbed.fuzz.schedules import Choices

if TYPE_CHECKING:
    from testbed.fuzz.arena import Arena


FEATURES = VIEW_CHANGES, LOCKS, EQUIVOCATIONS, RECOVERIES = "view changes", "locks", "equivocations", "recoveries"
"""Some honest replica gave a view up; honest replicas held different newest certificates, or voted differently, in one
round; the copies said two things of one place; all honest replicas committed something new after the schedule's end."""


@dataclass(slots=True)
class Outcome:
    """What became of one schedule."""

    choices: Choices
    violations: list[str] = field(default_factory=list)
    """Safety that was broken, in words."""
    stalled: tuple[int, ...] = ()
    """Honest replicas that committed nothing new after the schedule's end, if that was waited for or never came."""
    features: set[str] = field(default_factory=set)
    """Which of `FEATURES` it had."""
    committed: dict[int, list[tuple[int, Block]]] = field(default_factory=dict)
    """What each honest replica committed, in order: when, in ns, and which block."""
    ended_ns: int = 0

    @property
    def failed(self) -> bool:
        """Whether anything went wrong."""
        return bool(self.violations or self.stalled)

    @property
    def sentences(self) -> list[str]:
        """What went wrong, in words."""
        stalled = [f"recovery: replica {node} committed nothing after the schedule's end" for node in self.stalled]
        return [*self.violations, *stalled]


Places = dict[tuple[str, int, int], BlockId]
"""What was said for each phase, view and, where votes are cast per height, height."""


class TwinsWatch:
    """Follows one play."""

    def __init__(self, arena: Arena) -> None:
        space, protocol = arena.space, arena.protocol
        self._copies = (space.twin, space.committee.n)
        self._committee, self._turn, self._rounds = space.committee, protocol.turn, space.rounds
        self._certificate_size = protocol.facts.certificate_size(space.committee)
        self._by_height = "height" in protocol.facts.one_vote_per
        self.waiting = {node for node in range(space.committee.n) if node != space.twin}
        """Who has committed no block of a round after the last one yet."""
        self.outcome = Outcome(())
        self._votes: list[Places] = [{} for _ in range(space.committee.n)]
        self._first_votes: Places = {}
        self._of_copies: Places = {}
        self._voters: dict[tuple[str, int, int], dict[BlockId, int]] = {}
        """Per place and block, one bit for each replica that a certificate names."""
        self._certificates: dict[int, QuorumCertificate] = {}
        """Those looked at, by identity: one that many carry is looked at once."""
        self._newest: dict[int, int] = {}
        self._final: dict[int, BlockId] = {0: GENESIS.id}

    def ended(self, now_ns: int, recovering: bool) -> Outcome:
        """What has been found, at the end; if all should have recovered by now, also who has not."""
        self.outcome.stalled = tuple(sorted(self.waiting)) if recovering else ()
        if recovering and not self.waiting:
            self.outcome.features.add(RECOVERIES)
        self.outcome.ended_ns = now_ns
        return self.outcome

    def entered(self, node: int, fact: Entered) -> None:
        """A node is in a new view."""
        if fact.timed_out and node not in self._copies:
            self.outcome.features.add(VIEW_CHANGES)

    def committed(self, node: int, block: Block, now_ns: int) -> None:
        """A block is final for a node: agreement by parent links."""
        if node in self._copies:
            return
        chain = self.outcome.committed.setdefault(node, [])
        if block.height != len(chain) + 1:
            self.violate(f"commit order: replica {node} committed height {block.height} after height {len(chain)}")
        chain.append((now_ns, block))
        if self._final.setdefault(block.height, block.id) != block.id:
            self.violate(f"agreement: two blocks are final at height {block.height}")
        elif self._final.get(block.height - 1) != block.parent:
            self.violate(f"agreement: the final block of height {block.height} does not extend the one below")
        if (self._turn(self._committee, block.view, block.height) or 0) > self._rounds:
            self.waiting.discard(node)

    def said(self, node: int, message: Message, number: int) -> None:
        """A node says something in a round."""
        if type(message) is Vote:
            self._voted(node, message)
            return
        honest = node not in self._copies
        block = message.proposes()
        if block is not None and not honest:
            self._compare_copies(("proposal", block.view, block.height), block.id)
        newest = -1
        for certificate in message.certificates():
            if isinstance(certificate, QuorumCertificate):
                newest = max(newest, certificate.view)
                if certificate.signers and id(certificate) not in self._certificates:
                    self._certified(certificate)
        if newest >= 0 and number > 0 and honest and self._newest.setdefault(number, newest) != newest:
            self.outcome.features.add(LOCKS)

    def _certified(self, certificate: QuorumCertificate) -> None:
        self._certificates[id(certificate)] = certificate
        place = (certificate.phase, certificate.view, certificate.height if self._by_height else 0)
        if (signers := len(set(certificate.signers))) < self._certificate_size:
            self.violate(f"certificates: one of view {certificate.view} ({certificate.phase}) has {signers} signers")
        voters = self._voters.setdefault(place, {})
        for signer in certificate.signers:
            voters[certificate.block] = voters.get(certificate.block, 0) | 1 << signer
        if len(voters) > 1 and max(bits.bit_count() for bits in voters.values()) >= self._committee.quorum:
            self.violate(f"certificates: two of view {certificate.view} ({certificate.phase}) contradict each other")

    def _voted(self, node: int, vote: Vote) -> None:
        place = (vote.phase, vote.view, vote.height if self._by_height else 0)
        if node in self._copies:
            self._compare_copies(place, vote.block)
            return
        if self._votes[node].setdefault(place, vote.block) != vote.block:
            self.violate(f"double vote: replica {node} voted twice in view {vote.view} ({vote.phase})")
        if self._first_votes.setdefault(place, vote.block) != vote.block:
            self.outcome.features.add(LOCKS)

    def _compare_copies(self, place: tuple[str, int, int], block: BlockId) -> None:
        if self._of_copies.setdefault(place, block) != block:
            self.outcome.features.add(EQUIVOCATIONS)

    def violate(self, sentence: str) -> None:
        """Note what was broken, once."""
        if sentence not in self.outcome.violations:
            self.outcome.violations.append(sentence)
