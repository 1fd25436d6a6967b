"""The checks, event by event: what each lets pass and what it does not."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from consensus.messages import GENESIS, Block, Payload, Proposal, QuorumCertificate, Vote, genesis_certificate
from consensus.protocols.hotstuff import HotStuff
from consensus.protocols.longest_chain import LongestChain
from consensus.protocols.minimmit import Minimmit
from consensus.protocols.pbft import Pbft
from consensus.types import BlockId, Committee, Height, ReplicaId, View
from node.keys import Modelled, Notary
from node.mempool import Mempool
from node.wire import Envelope
from testbed.checks import (
    Agreement,
    CertificateSoundness,
    Check,
    CommitOrder,
    NoDoubleVote,
    Validity,
    non_vacuity_verdict,
    progress_verdict,
)

N = 4


def block(parent: Block, view: int, count: int = 0, **changes: Any) -> Block:
    payload = Payload(parent.payload.end, count, 100 * count)
    made = Block(parent.id, Height(parent.height + 1), View(view), ReplicaId(view % N), payload)
    return msgspec.structs.replace(made, **changes)


ONE = block(GENESIS, 1)
TWO = block(ONE, 2)
RIVAL = block(GENESIS, 2)


@pytest.fixture
def notary() -> Notary:
    return Notary(Modelled(N, b"seed"), b"d")


def signed(notary: Notary, sender: int, message: Any) -> Envelope:
    signature = notary.sign(ReplicaId(sender), message)
    return Envelope(ReplicaId(sender), msgspec.structs.replace(message, signature=signature))


def commit(check: Check, replica: int, *blocks: Block) -> Check:
    for one in blocks:
        check.committed(0, ReplicaId(replica), one)
    return check


# Agreement and order


def test_one_chain_agrees_however_far_each_has_come() -> None:
    check = Agreement()
    commit(check, 0, ONE, TWO)
    commit(check, 1, ONE)
    assert check.verdict().ok
    assert check.verdict().detail == "3 commits"


def test_two_blocks_at_one_height_disagree() -> None:
    verdict = commit(commit(Agreement(), 0, ONE), 1, RIVAL).verdict()
    assert not verdict.ok
    assert verdict.violations == (f"height 1: replica 0 has {ONE.id.hex()[:8]}, replica 1 has {RIVAL.id.hex()[:8]}",)


def test_agreement_is_by_parent_links_not_by_heights_alone() -> None:
    """The Fast-HotStuff attack commits different views at one height: two heights that both sides never share."""
    check = commit(Agreement(), 0, ONE)
    commit(check, 1, block(RIVAL, 3))
    assert not check.verdict().ok
    rootless = msgspec.structs.replace(ONE, parent=BlockId(b"elsewhere"))
    assert not commit(Agreement(), 0, rootless).verdict().ok


@pytest.mark.parametrize("blocks", [(TWO,), (ONE, ONE), (ONE, block(RIVAL, 3)), (TWO, ONE), (RIVAL, TWO)])
def test_commits_out_of_order_are_seen(blocks: tuple[Block, ...]) -> None:
    assert not commit(CommitOrder(N), 2, *blocks).verdict().ok
    assert commit(CommitOrder(N), 2, ONE, TWO).verdict().ok


def test_only_the_first_violations_are_put_in_words() -> None:
    check = commit(CommitOrder(N), 0, *[TWO] * 50)
    assert len(check.verdict().violations) == 5
    assert check.verdict().detail == "50 violations in 50 commits"


# Validity


def validity(notary: Notary, protocol: Any = HotStuff) -> Validity:
    return Validity(protocol.facts, Committee.of(N), notary, Mempool(lambda count: [10] * count, 100))


def propose(
    check: Validity, notary: Notary, made: Block, *, by: int | None = None, now_ns: int = 100, sign: bool = True
) -> None:
    sender = made.proposer if by is None else ReplicaId(by)
    message = Proposal(made, genesis_certificate("vote"))
    check.proposed(now_ns, sender, made, message)
    envelope = signed(notary, sender, message)
    if not sign:
        envelope = Envelope(sender, msgspec.structs.replace(message, signature=bytes(64)))
    check.sent(now_ns, envelope, None, now_ns)


def test_a_block_of_its_leader_with_submitted_payload_is_valid(notary: Notary) -> None:
    check = validity(notary)
    good = block(GENESIS, 1, count=3)
    propose(check, notary, good)
    propose(check, notary, block(good, 2, count=7))
    commit(check, 0, good, block(good, 2, count=7))
    assert check.verdict().ok


@pytest.mark.parametrize(
    ("made", "options", "what"),
    [
        (block(GENESIS, 1), {"by": 2}, "names replica 1 as its proposer"),
        (block(GENESIS, 1, proposer=ReplicaId(2)), {}, "does not lead view 1"),
        (block(TWO, 3), {}, "has a parent that nobody proposed"),
        (block(GENESIS, 1, height=Height(2)), {}, "has a parent that nobody proposed"),
        (block(GENESIS, 1, count=11), {}, "were not submitted"),
        (block(GENESIS, 1, payload=Payload(0, 1, 99)), {}, "were not submitted"),
        (block(GENESIS, 1), {"sign": False}, "was never sent with a good signature"),
    ],
)
def test_invalid_blocks_are_seen_when_they_are_committed(
    notary: Notary, made: Block, options: dict[str, Any], what: str
) -> None:
    check = validity(notary)
    propose(check, notary, made, **options)
    assert check.verdict().ok, "only commits count"
    (violation,) = commit(check, 3, made).verdict().violations
    assert what in violation


def test_a_block_from_nowhere_is_invalid(notary: Notary) -> None:
    assert "was never proposed" in commit(validity(notary), 0, ONE).verdict().violations[0]


def test_anothers_signature_does_not_make_a_block_its_proposers(notary: Notary) -> None:
    check = validity(notary)
    propose(check, notary, ONE, sign=False)
    check.sent(0, signed(notary, 3, Proposal(ONE, genesis_certificate("vote"))), None, 0)
    assert not commit(check, 0, ONE).verdict().ok


def test_miners_lead_nothing(notary: Notary) -> None:
    check = validity(notary, LongestChain)
    anyones = block(GENESIS, 1, proposer=ReplicaId(3))
    propose(check, notary, anyones)
    assert commit(check, 0, anyones).verdict().ok


# Votes


def vote(check: Check, notary: Notary, sender: int, phase: str, view: int, made: Block) -> Check:
    check.sent(0, signed(notary, sender, Vote(phase, View(view), made.height, made.id)), None, 0)
    return check


def test_one_vote_per_view_and_phase(notary: Notary) -> None:
    check = NoDoubleVote(HotStuff.facts, frozenset(range(N)))
    vote(check, notary, 0, "vote", 1, ONE)
    vote(check, notary, 0, "vote", 1, ONE)
    vote(check, notary, 0, "vote", 2, RIVAL)
    vote(check, notary, 1, "vote", 1, RIVAL)
    assert check.verdict().ok
    assert vote(check, notary, 0, "vote", 1, TWO).verdict().violations == ("replica 0 voted twice in view 1 (vote)",)


def test_pbft_votes_once_per_height_of_a_view(notary: Notary) -> None:
    check = NoDoubleVote(Pbft.facts, frozenset(range(N)))
    vote(check, notary, 0, "prepare", 0, ONE)
    vote(check, notary, 0, "prepare", 0, TWO)
    vote(check, notary, 0, "commit", 0, ONE)
    assert check.verdict().ok
    assert not vote(check, notary, 0, "prepare", 0, RIVAL).verdict().ok


def test_what_byzantine_replicas_vote_is_their_business(notary: Notary) -> None:
    check = NoDoubleVote(HotStuff.facts, frozenset({0, 1, 2}))
    vote(check, notary, 3, "vote", 1, ONE)
    assert vote(check, notary, 3, "vote", 1, RIVAL).verdict().ok


# Certificates


def certificate(notary: Notary, view: int, made: Block, *signers: int) -> QuorumCertificate:
    one = Vote("vote", View(view), made.height, made.id)
    replicas = tuple(ReplicaId(i) for i in signers)
    signatures = tuple(notary.sign(i, one) if i < N else bytes(64) for i in replicas)
    return QuorumCertificate(View(view), replicas, signatures, "vote", made.height, made.id)


def soundness(
    notary: Notary, *certificates: QuorumCertificate, honest: frozenset[int] = frozenset(range(N))
) -> CertificateSoundness:
    check = CertificateSoundness(HotStuff.facts, Committee.of(N), notary, honest)
    for one in certificates:
        check.sent(0, signed(notary, 2, Proposal(TWO, one)), None, 0)
    return check


def test_a_quorum_of_good_signatures_is_sound_and_checked_once(notary: Notary) -> None:
    good = certificate(notary, 1, ONE, 0, 1, 3)
    check = soundness(notary, good, good, genesis_certificate("vote"), certificate(notary, 1, ONE, 0, 1, 2))
    assert check.verdict().ok
    assert check.seen == 2


@pytest.mark.parametrize(
    ("signers", "what"), [((0, 1), "2 distinct"), ((0, 1, 1), "2 distinct"), ((0, 1, 9), "signers")]
)
def test_too_few_duplicate_or_strange_signers_are_seen(notary: Notary, signers: tuple[int, ...], what: str) -> None:
    check = soundness(notary, certificate(notary, 1, ONE, *signers))
    assert what in check.verdict().violations[0]


def test_signatures_of_something_else_are_seen(notary: Notary) -> None:
    good = certificate(notary, 1, ONE, 0, 1, 3)
    check = soundness(notary, msgspec.structs.replace(good, view=View(2)))
    assert "does not verify" in check.verdict().violations[0]


def test_a_byzantine_replica_may_send_what_proves_nothing_but_nobody_may_pass_it_on(notary: Notary) -> None:
    weak = certificate(notary, 1, ONE, 0, 1)
    check = soundness(notary, weak, weak, honest=frozenset({0, 1, 3}))
    assert check.verdict().ok
    check.sent(0, signed(notary, 3, Proposal(TWO, weak)), None, 0)
    assert "sent by replica 3" in check.verdict().violations[0]


def test_two_quorums_contradict_each_other_whoever_sends_them(notary: Notary) -> None:
    both = certificate(notary, 2, RIVAL, 0, 1, 2), certificate(notary, 2, TWO, 0, 1, 3)
    assert not soundness(notary, *both, honest=frozenset({0, 1, 3})).verdict().ok


def test_two_quorums_of_one_view_contradict(notary: Notary) -> None:
    check = soundness(notary, certificate(notary, 2, RIVAL, 0, 1, 2), certificate(notary, 2, TWO, 0, 1, 3))
    assert "contradicts" in check.verdict().violations[0]


def test_smaller_certificates_contradict_when_together_they_name_a_quorum(notary: Notary) -> None:
    """Minimmit with f = 0: one vote is a certificate, and all four decide."""
    check = CertificateSoundness(Minimmit.facts, Committee.of(N, resilience=5), notary, frozenset(range(N)))
    for made, signer in [(RIVAL, 0), (TWO, 1), (TWO, 0), (TWO, 2)]:
        check.sent(0, signed(notary, 2, Proposal(TWO, certificate(notary, 2, made, signer))), None, 0)
    assert check.verdict().ok
    check.sent(0, signed(notary, 2, Proposal(TWO, certificate(notary, 2, TWO, 3, 1))), None, 0)
    assert "contradicts" in check.verdict().violations[0]


# Something happened


@pytest.mark.parametrize(
    ("commits", "expected", "ok"), [(0, True, False), (1, True, True), (0, False, True), (3, False, False)]
)
def test_progress_is_what_the_scenario_expects(commits: int, expected: bool, ok: bool) -> None:
    verdict = progress_verdict(commits, expected)
    assert verdict.ok is ok
    assert bool(verdict.violations) is not ok


def test_non_vacuity_wants_messages_and_every_faults_effect() -> None:
    assert non_vacuity_verdict(4, 10, [("crash", 1)]).ok
    assert non_vacuity_verdict(1, 0, []).ok
    assert non_vacuity_verdict(4, 0, []).violations == ("no message was delivered",)
    assert non_vacuity_verdict(4, 9, [("a", 0), ("b", 2)]).violations == ("fault a had no effect",)
