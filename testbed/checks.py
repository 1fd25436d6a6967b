"""Checks that ride along on every run: each watches the trace, knows the rules by itself and trusts no replica.

The properties and their precise forms: agreement by parent links, commit order, validity, no double vote,
certificate soundness, progress, non-vacuity.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from consensus.leader import Leaders, round_robin
from consensus.messages import GENESIS, Ancestors, Block, Certificate, Message, QuorumCertificate, Vote
from consensus.replica import Lottery, ProtocolFacts
from consensus.types import BlockId, Committee, ReplicaId
from node.keys import Notary
from node.mempool import Pool
from node.trace import Observer
from node.wire import Envelope

_REMEMBERED = 1 << 16
_SHOWN = 5


@dataclass(frozen=True)
class Verdict:
    """What one check found."""

    name: str
    ok: bool
    detail: str
    violations: tuple[str, ...] = ()


class Check(Observer):
    """Base: collects violations; a check that saw nothing to check says so."""

    name = ""

    def __init__(self) -> None:
        self.seen = 0
        self.violations: list[str] = []
        self.broken = 0

    def violate(self, sentence: str) -> None:
        """Record one violation; the first few are kept in words."""
        self.broken += 1
        if len(self.violations) < _SHOWN:
            self.violations.append(sentence)

    def verdict(self) -> Verdict:
        """The result, at the end of the run."""
        detail = f"{self.broken} violations in {self.seen} {self.subject}" if self.broken else ""
        return Verdict(self.name, not self.broken, detail or f"{self.seen} {self.subject}", tuple(self.violations))

    subject = "events"


class Agreement(Check):
    """No two replicas commit different blocks at one height, and each chain grows by parent links."""

    name = "agreement"
    subject = "commits"

    def __init__(self) -> None:
        super().__init__()
        self._at_height: dict[int, tuple[BlockId, ReplicaId]] = {0: (GENESIS.id, ReplicaId(0))}

    def committed(self, now_ns: int, replica: ReplicaId, block: Block) -> None:
        self.seen += 1
        first, by = self._at_height.setdefault(block.height, (block.id, replica))
        if first != block.id:
            self.violate(
                f"height {block.height}: replica {by} has {first.hex()[:8]}, replica {replica} has {block.id.hex()[:8]}"
            )
            return
        below = self._at_height.get(block.height - 1)
        if below is None or below[0] != block.parent:
            self.violate(f"height {block.height}: {block.id.hex()[:8]} does not extend what was committed below it")


class CommitOrder(Check):
    """Each replica commits each height once, lowest first, each block on the one before."""

    name = "commit order"
    subject = "commits"

    def __init__(self, n: int) -> None:
        super().__init__()
        self._last: list[Block] = [GENESIS] * n

    def committed(self, now_ns: int, replica: ReplicaId, block: Block) -> None:
        self.seen += 1
        last = self._last[replica]
        self._last[replica] = block
        if block.parent != last.id or block.height != last.height + 1:
            self.violate(f"replica {replica} committed height {block.height} after height {last.height}")


class Validity(Check):
    """A committed block was proposed by the leader of its view, signed by it, with payload from the workload."""

    name = "validity"
    subject = "proposals and commits"

    def __init__(
        self,
        facts: ProtocolFacts,
        committee: Committee,
        notary: Notary,
        mempool: Pool,
        leaders: Leaders = round_robin,
    ) -> None:
        super().__init__()
        self._led = not isinstance(facts.shape, Lottery)
        self._committee = committee
        self._leaders = leaders
        self._notary = notary
        self._mempool = mempool
        self._proposed: dict[BlockId, tuple[Block, str]] = {}
        self._signed: set[BlockId] = set()
        self._known: dict[BlockId, Block] = {GENESIS.id: GENESIS}

    def proposed(self, now_ns: int, replica: ReplicaId, block: Block, message: Message) -> None:
        if block.id in self._proposed:
            return
        self.seen += 1
        fault = ""
        parent = self._known.get(block.parent)
        if block.proposer != replica:
            fault = f"names replica {block.proposer} as its proposer but came from replica {replica}"
        elif self._led and self._leaders(self._committee, block.view) != replica:
            fault = f"was proposed by replica {replica}, which does not lead view {block.view}"
        elif parent is None or block.height != parent.height + 1:
            fault = "has a parent that nobody proposed"
        elif not self._mempool.valid(block.payload, parent, now_ns):
            fault = "carries transactions that were not submitted by then or are already in its chain"
        self._proposed[block.id] = (block, fault)
        self._known[block.id] = block

    def sent(self, now_ns: int, envelope: Envelope, due_ns: Any, taken_ns: int) -> None:
        message, sender = envelope.message, envelope.sender
        block = message.proposes()
        blocks = (block,) if block is not None else message.blocks if type(message) is Ancestors else ()
        if any(each.proposer == sender for each in blocks) and self._notary.check(envelope):
            # Who proposed to itself alone answers for the block when others fetch it.
            self._signed.update(each.id for each in blocks if each.proposer == sender)

    def committed(self, now_ns: int, replica: ReplicaId, block: Block) -> None:
        self.seen += 1
        _, fault = self._proposed.get(block.id, (block, "was never proposed"))
        if not fault and self._committee.n > 1 and block.id not in self._signed:
            fault = "was never sent with a good signature"
        if fault:
            self.violate(f"replica {replica} committed height {block.height}, which {fault}")


class NoDoubleVote(Check):
    """An honest replica votes for one block only in each phase of a view (of a height of a view in PBFT)."""

    name = "no double vote"
    subject = "votes"

    def __init__(self, facts: ProtocolFacts, honest: frozenset[int]) -> None:
        super().__init__()
        self._honest = honest
        self._by_height = "height" in facts.one_vote_per
        self._votes: dict[tuple[Any, ...], BlockId] = {}

    def sent(self, now_ns: int, envelope: Envelope, due_ns: Any, taken_ns: int) -> None:
        vote = envelope.message
        if type(vote) is not Vote or envelope.sender not in self._honest:
            return
        self.seen += 1
        slot = (envelope.sender, vote.phase, vote.view, vote.height if self._by_height else 0)
        first = self._votes.setdefault(slot, vote.block)
        if first != vote.block:
            self.violate(f"replica {envelope.sender} voted twice in view {vote.view} ({vote.phase})")
        if len(self._votes) > _REMEMBERED:
            del self._votes[next(iter(self._votes))]


class CertificateSoundness(Check):
    """Every certificate has enough distinct members' good signatures, unless whoever sent it is Byzantine; none
    contradicts a quorum of its place, whoever sent it.

    Where fewer votes than a quorum make a certificate, a quorum may be spread over several, and two of one place may
    name different blocks as long as neither has one.
    """

    name = "certificate soundness"
    subject = "certificates"

    def __init__(self, facts: ProtocolFacts, committee: Committee, notary: Notary, honest: frozenset[int]) -> None:
        super().__init__()
        self._by_height = "height" in facts.one_vote_per
        self._honest = honest
        self._committee = committee
        self._size = facts.certificate_size(committee)
        self._notary = notary
        self._checked: dict[Any, None] = {}
        self._voters: dict[tuple[Any, ...], dict[BlockId, int]] = {}
        """Per place and block, one bit for each replica that a certificate names."""

    def sent(self, now_ns: int, envelope: Envelope, due_ns: Any, taken_ns: int) -> None:
        for certificate in envelope.message.certificates():
            if not certificate.signers or certificate in self._checked:
                continue
            self._checked[certificate] = None
            if len(self._checked) > _REMEMBERED >> 6:
                del self._checked[next(iter(self._checked))]
            self.seen += 1
            signers = set(certificate.signers)
            place = f"a certificate of view {certificate.view} sent by replica {envelope.sender}"
            if len(signers) < self._size or not signers <= set(range(self._committee.n)):
                self._blame(
                    envelope.sender, certificate, f"{place} has {len(signers)} distinct signers, not {self._size}"
                )
            elif not self._notary.vouches(certificate.evidence()):
                self._blame(envelope.sender, certificate, f"{place} carries a signature that does not verify")
            elif isinstance(certificate, QuorumCertificate):
                self._compare(certificate, place)

    def _blame(self, sender: ReplicaId, certificate: Certificate, sentence: str) -> None:
        """Whoever is Byzantine may send what proves nothing, but nobody honest may pass it on."""
        if sender in self._honest:
            self.violate(sentence)
        else:
            del self._checked[certificate]

    def _compare(self, certificate: QuorumCertificate, place: str) -> None:
        height = certificate.height if self._by_height else 0
        slot = (certificate.phase, certificate.view, height)
        voters = self._voters.setdefault(slot, {})
        for signer in certificate.signers:
            voters[certificate.block] = voters.get(certificate.block, 0) | 1 << signer
        if len(voters) > 1 and max(bits.bit_count() for bits in voters.values()) >= self._committee.quorum:
            self.violate(f"{place} contradicts another one of the same place")
        if len(self._voters) > _REMEMBERED:
            del self._voters[next(iter(self._voters))]


def progress_verdict(commits: int, expected: bool) -> Verdict:
    """At least one commit, unless the scenario expects none."""
    word = "commits" if commits != 1 else "commit"
    if expected:
        return Verdict("progress", commits > 0, f"{commits} {word}", () if commits else ("nothing was committed",))
    violations = () if not commits else (f"{commits} {word} where the scenario expects none",)
    return Verdict("progress", not commits, f"{commits} {word}, none expected", violations)


def recovery_verdict(last_commits_ns: Mapping[int, int], after_ns: int) -> Verdict:
    """Everybody of those given has committed something after `after_ns`; -1 stands for who has committed nothing."""
    stuck = sorted(replica for replica, at_ns in last_commits_ns.items() if at_ns < after_ns)
    violations = tuple(
        f"replica {replica} has committed nothing since {after_ns / 1e9:g} s" for replica in stuck[:_SHOWN]
    )
    detail = (
        f"{len(last_commits_ns) - len(stuck)} of {len(last_commits_ns)} replicas went on after {after_ns / 1e9:g} s"
    )
    return Verdict("recovery", not stuck, detail, violations)


def non_vacuity_verdict(n: int, deliveries: int, faults: Iterable[tuple[str, int]]) -> Verdict:
    """Messages flowed, and every fault that the scenario names took effect."""
    faults = list(faults)
    violations = [f"fault {name} had no effect" for name, effect in faults if not effect]
    if n > 1 and not deliveries:
        violations.append("no message was delivered")
    detail = f"{deliveries} deliveries, {len(faults)} faults"
    return Verdict("non-vacuity", not violations, detail, tuple(violations))


def bound_verdict(check: str) -> Verdict:
    """Nothing is faster than the zero-load bound, where the bound means something; `check` is the result's sentence."""
    ok = not check.startswith("FAILED")
    return Verdict("zero-load bound", ok, check, () if ok else (check.removeprefix("FAILED: "),))
