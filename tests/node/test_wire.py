"""The wire: every message of every protocol survives it, and weighs what it is."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from consensus.messages import (
    GENESIS,
    Ancestors,
    Block,
    Fetch,
    Message,
    Payload,
    Proposal,
    QuorumCertificate,
    Timeout,
    TimeoutCertificate,
    TimeoutVote,
    Vote,
    genesis_certificate,
)
from consensus.protocols import PROTOCOLS, load_protocol
from consensus.protocols.longest_chain import Mined
from consensus.protocols.nullify import Nullification, Nullify
from consensus.protocols.pbft import PrePrepare
from consensus.protocols.pbft_view_change import NewView, Prepared, ViewChange
from consensus.protocols.simplex_chain import Chain, Notarized, Propose
from consensus.protocols.streamlet import Echo
from consensus.protocols.tendermint_messages import NIL, RoundCertificate, Standing, TendermintProposal
from consensus.types import BlockId, Height, ReplicaId, View
from node.wire import Envelope, decoder, encode, signed_bytes

BLOCK = Block(GENESIS.id, Height(1), View(3), ReplicaId(3), Payload(0, 4, 2048))
CHILD = Block(BLOCK.id, Height(2), View(4), ReplicaId(0), Payload(4, 1, 512))
SIGNERS = (ReplicaId(0), ReplicaId(2), ReplicaId(3))
SIGNATURES = (b"a" * 64, b"b" * 64, b"c" * 64)
OTHERS = (b"d" * 64, b"e" * 64, b"f" * 64)
CERTIFICATE = QuorumCertificate(View(3), SIGNERS, SIGNATURES, "vote", Height(1), BLOCK.id)
GAVE_UP = TimeoutCertificate(View(4), SIGNERS, OTHERS, (View(1), View(3), View(2)))
CHANGE = ViewChange(
    View(4), ReplicaId(2), genesis_certificate("commit"), (Prepared(CERTIFICATE, BLOCK),), signature=b"v"
)
OVER = RoundCertificate(View(4), SIGNERS, OTHERS, Height(1), (BLOCK.id, NIL, BLOCK.id))
LONGER = Chain(CERTIFICATE, (Nullification(View(4), SIGNERS, OTHERS),))
SAMPLES: dict[type[Message], tuple[Message, int, int]] = {
    Vote: (Vote("vote", View(3), Height(1), BLOCK.id, signature=b"s" * 64), 0, 1),
    Proposal: (Proposal(CHILD, CERTIFICATE, GAVE_UP, signature=b"s" * 64), 512, 7),
    Timeout: (Timeout(View(4), CERTIFICATE, None, signature=b"s" * 64), 0, 4),
    Fetch: (Fetch(BLOCK.id, Height(1), Height(0)), 0, 1),
    Ancestors: (Ancestors((CHILD, BLOCK)), 2560, 1),
    PrePrepare: (PrePrepare(View(3), BLOCK), 2048, 1),
    ViewChange: (CHANGE, 0, 4),
    NewView: (NewView(View(4), (CHANGE, CHANGE)), 0, 5),
    Mined: (Mined(BLOCK), 2048, 1),
    TendermintProposal: (TendermintProposal(View(4), BLOCK, View(3), signature=b"s" * 64), 2048, 1),
    Standing: (Standing(CERTIFICATE, None, OVER, signature=b"s" * 64), 0, 7),
    Propose: (Propose(CHILD, LONGER, signature=b"s" * 64), 512, 7),
    Nullify: (Nullify(View(4), signature=b"s" * 64), 0, 1),
    Notarized: (Notarized(LONGER), 0, 7),
    Echo: (Echo(CERTIFICATE), 0, 4),
}
"""Each kind of message with the bytes of transactions beside it and the distinct signatures that it carries."""


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
def test_every_message_of_every_protocol_survives_the_wire(name: str) -> None:
    protocol = load_protocol(name)
    decode = decoder(protocol.messages).decode
    for kind in protocol.messages:
        message, _, _ = SAMPLES[kind]
        received = decode(encode(message))
        assert type(received) is kind
        assert received == message


@pytest.mark.parametrize("kind", SAMPLES, ids=lambda kind: kind.__name__)
def test_an_envelope_weighs_its_encoding_and_its_transactions(kind: type[Message]) -> None:
    message, payload_bytes, signatures = SAMPLES[kind]
    envelope = Envelope(ReplicaId(3), message)
    assert envelope.size_bytes == len(encode(message)) + payload_bytes
    assert (message.payload_count > 0) == (payload_bytes > 0)
    assert len(envelope.signatures) == signatures
    assert envelope.valid is None


@pytest.mark.parametrize("other", ["hotstuff", "longest_chain"])
def test_a_decoder_refuses_what_its_protocol_does_not_know(other: str) -> None:
    with pytest.raises(msgspec.DecodeError):
        decoder(load_protocol(other).messages).decode(encode(SAMPLES[PrePrepare][0]))


@pytest.mark.parametrize("junk", [b"", b"\x00", b"\x93\xa4Vote\x01", b"\xc1" * 9])
def test_a_decoder_refuses_junk(junk: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decoder(load_protocol("pbft").messages).decode(junk)


def test_a_certificate_with_fewer_signatures_than_signers_cannot_be_decoded() -> None:
    good = encode(Proposal(CHILD, CERTIFICATE))
    bad = good.replace(b"\x93\xc4\x40" + b"a" * 64, b"\x92", 1)
    assert bad != good
    with pytest.raises(msgspec.DecodeError):
        decoder(load_protocol("hotstuff").messages).decode(bad)


def test_a_signature_covers_the_statement_and_the_domain_but_not_itself() -> None:
    vote: Any = SAMPLES[Vote][0]
    unsigned = msgspec.structs.replace(vote, signature=b"")
    assert signed_bytes(vote.statement(), b"d") == signed_bytes(unsigned.statement(), b"d")
    assert signed_bytes(vote.statement(), b"d") != signed_bytes(vote.statement(), b"e")
    other = msgspec.structs.replace(vote, block=BlockId(bytes(32)))
    assert signed_bytes(vote.statement(), b"d") != signed_bytes(other.statement(), b"d")


def test_statements_of_different_kinds_never_look_alike() -> None:
    statements = [signed_bytes(message.statement(), b"d") for message, _, _ in SAMPLES.values()]
    assert len(set(statements)) == len(statements)


def test_a_timeout_signs_its_view_and_that_of_its_certificate() -> None:
    timeout: Any = SAMPLES[Timeout][0]
    assert timeout.statement() == TimeoutVote(View(4), View(3))


def test_a_certificates_evidence_is_what_its_signers_signed() -> None:
    vote = Vote("vote", View(3), Height(1), BLOCK.id)
    assert list(CERTIFICATE.evidence()) == [(r, vote, s) for r, s in zip(SIGNERS, SIGNATURES, strict=True)]
    assert list(LONGER.dummies[0].evidence()) == [
        (r, Nullify(View(4)), s) for r, s in zip(SIGNERS, OTHERS, strict=True)
    ]
    assert [statement for _, statement, _ in GAVE_UP.evidence()] == [
        TimeoutVote(View(4), View(1)),
        TimeoutVote(View(4), View(3)),
        TimeoutVote(View(4), View(2)),
    ]
    assert [statement for _, statement, _ in OVER.evidence()] == [
        Vote("precommit", View(4), Height(1), block) for block in (BLOCK.id, NIL, BLOCK.id)
    ]
