"""Keys: real signatures, one verification per distinct signature, and nothing forged passes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from consensus.messages import GENESIS, Block, Payload, Proposal, QuorumCertificate, Vote, genesis_certificate
from consensus.types import Height, ReplicaId, View
from node.keys import Ed25519, Modelled, Notary
from node.wire import Envelope, signed_bytes

SCHEMES = [Ed25519.derived, Modelled]
BLOCK = Block(GENESIS.id, Height(1), View(1), ReplicaId(1), Payload(0, 0, 0))
VOTE = Vote("vote", View(1), Height(1), BLOCK.id)


def certified(notary: Notary, *signers: int) -> QuorumCertificate:
    replicas = tuple(ReplicaId(i) for i in signers)
    signatures = tuple(notary.sign(i, VOTE) for i in replicas)
    return QuorumCertificate(View(1), replicas, signatures, "vote", Height(1), BLOCK.id)


def envelope(notary: Notary, sender: int, message: Any) -> Envelope:
    return Envelope(
        ReplicaId(sender), msgspec.structs.replace(message, signature=notary.sign(ReplicaId(sender), message))
    )


@pytest.mark.parametrize("scheme_class", SCHEMES)
def test_only_the_owner_of_a_key_signs_for_it(scheme_class: Any) -> None:
    scheme = scheme_class(3, b"seed")
    signature = scheme.sign(ReplicaId(1), b"statement")
    assert len(signature) == 64
    assert scheme.verify(ReplicaId(1), b"statement", signature)
    assert not scheme.verify(ReplicaId(2), b"statement", signature)
    assert not scheme.verify(ReplicaId(1), b"another", signature)
    assert not scheme_class(3, b"other seed").verify(ReplicaId(1), b"statement", signature)
    assert scheme_class(3, b"seed").sign(ReplicaId(1), b"statement") == signature


@pytest.mark.parametrize("scheme_class", SCHEMES)
@pytest.mark.parametrize(
    ("replica", "signature"), [(3, bytes(64)), (-1, bytes(64)), (0, b""), (0, b"x"), (0, bytes(65))]
)
def test_nonsense_is_not_a_signature(scheme_class: Any, replica: int, signature: bytes) -> None:
    assert not scheme_class(3, b"seed").verify(ReplicaId(replica), b"statement", signature)


def test_ed25519_is_rfc_8032() -> None:
    """Section 7.1, test 1: the signature of the empty message is this one, so keys are used as they are."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    scheme = Ed25519.derived(1, b"seed")
    scheme._private[0] = Ed25519PrivateKey.from_private_bytes(
        bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    )
    assert scheme.sign(ReplicaId(0), b"").hex() == (
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
        "d25bf5f0595bbe24655141438e7a100b"
    )


@pytest.mark.parametrize("scheme_class", SCHEMES)
def test_a_signature_is_verified_once_however_many_ask(scheme_class: Any) -> None:
    notary = Notary(scheme_class(4, b"seed"), b"d")
    sent = envelope(notary, 1, VOTE)
    assert notary.check(sent)
    assert notary.check(sent)
    assert notary.check(Envelope(ReplicaId(1), sent.message))
    assert notary.verifications == 1


@pytest.mark.parametrize("scheme_class", SCHEMES)
def test_what_a_message_carries_is_verified_too(scheme_class: Any) -> None:
    notary = Notary(scheme_class(4, b"seed"), b"d")
    child = Block(BLOCK.id, Height(2), View(2), ReplicaId(2), Payload(0, 0, 0))
    good = certified(notary, 0, 1, 3)
    assert notary.check(envelope(notary, 2, Proposal(child, good)))
    assert notary.verifications == 4
    forged = msgspec.structs.replace(good, signatures=(*good.signatures[:2], bytes(64)))
    assert not notary.check(envelope(notary, 2, Proposal(child, forged)))
    borrowed = msgspec.structs.replace(good, signers=(ReplicaId(0), ReplicaId(1), ReplicaId(2)))
    assert not notary.check(envelope(notary, 2, Proposal(child, borrowed)))
    assert notary.check(envelope(notary, 2, Proposal(child, genesis_certificate("vote"))))


def test_a_good_signature_of_another_statement_is_not_taken_for_known() -> None:
    notary = Notary(Modelled(4, b"seed"), b"d")
    sent = envelope(notary, 1, VOTE)
    assert notary.check(sent)
    other = msgspec.structs.replace(VOTE, view=View(2), signature=sent.message.signature)
    assert not notary.check(Envelope(ReplicaId(1), other))


def test_a_signature_of_one_domain_is_worth_nothing_in_another() -> None:
    scheme = Modelled(4, b"seed")
    sent = envelope(Notary(scheme, b"one"), 1, VOTE)
    assert not Notary(scheme, b"two").check(sent)
    assert scheme.verify(ReplicaId(1), signed_bytes(VOTE, b"one"), sent.message.signature)
