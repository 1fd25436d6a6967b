"""Messages: blocks are what they hash to, certificates say what was signed."""

from __future__ import annotations

import msgspec
import pytest

from consensus.messages import (
    GENESIS,
    Ancestors,
    Block,
    Fetch,
    Message,
    Payload,
    QuorumCertificate,
    TimeoutCertificate,
    genesis_certificate,
)
from consensus.types import BlockId, Height, ReplicaId, View
from tests.consensus.stage import certificate, child, vote

BLOCK = child(GENESIS, 3, count=2)


@pytest.mark.parametrize(
    "change",
    [
        {"parent": BlockId(b"x")},
        {"height": Height(2)},
        {"view": View(4)},
        {"proposer": ReplicaId(1)},
        {"payload": Payload(1, 2, 2)},
        {"payload": Payload(0, 3, 2)},
        {"payload": Payload(0, 2, 3)},
    ],
)
def test_every_field_of_a_block_is_in_its_name(change: dict[str, object]) -> None:
    assert msgspec.structs.replace(BLOCK, **change).id != BLOCK.id
    assert len(BLOCK.id) == 32
    assert Block(BLOCK.parent, BLOCK.height, BLOCK.view, BLOCK.proposer, BLOCK.payload).id == BLOCK.id


def test_the_name_of_genesis_never_changes() -> None:
    """Stored chains and published digests hang on it."""
    assert GENESIS.id.hex() == "2aee4ba051bf83e5320266352bc1dfdad29e055342f3c7a958ac6a01af2321b6"
    assert GENESIS.height == GENESIS.view == 0


def test_a_certificate_pairs_signers_and_signatures() -> None:
    with pytest.raises(ValueError, match="one signature per signer"):
        QuorumCertificate(View(1), (ReplicaId(0),), (), "vote", Height(1), BLOCK.id)
    with pytest.raises(ValueError, match="one view per signer"):
        TimeoutCertificate(View(1), (ReplicaId(0),), (b"",), ())


@pytest.mark.parametrize(("signers", "proves"), [((0, 1, 2), True), ((0, 1), False), ((0, 1, 1), False), ((), False)])
def test_a_certificate_proves_a_quorum_of_distinct_signers(signers: tuple[int, ...], proves: bool) -> None:
    replicas = tuple(ReplicaId(i) for i in signers)
    made = QuorumCertificate(View(1), replicas, (b"",) * len(replicas), "vote", Height(1), BLOCK.id)
    assert made.proves(3) is proves


def test_everybody_holds_the_certificate_of_genesis() -> None:
    assert list(genesis_certificate("vote").evidence()) == []


def test_kinds_are_names_and_votes_go_by_their_phase() -> None:
    assert vote("prepare", 1, BLOCK).kind == "prepare"
    assert Fetch(BLOCK.id, Height(1), Height(0)).kind == "fetch"


def test_a_message_without_a_signature_is_its_own_statement() -> None:
    one = vote("prepare", 1, BLOCK)
    assert one.statement() is one
    assert msgspec.structs.replace(one, signature=b"x").statement() == one


def test_ancestors_weigh_their_transactions() -> None:
    assert Ancestors((BLOCK, child(BLOCK, 4, count=5))).payload_bytes == 7
    assert Ancestors((BLOCK, child(BLOCK, 4, count=5))).payload_count == 7
    assert Message.payload_bytes.fget(Fetch(BLOCK.id, Height(1), Height(0))) == 0  # type: ignore[attr-defined]


def test_a_certificate_that_does_not_say_what_was_signed_is_of_no_use() -> None:
    from consensus.messages import Certificate

    with pytest.raises(TypeError, match="does not say what its signers signed"):
        Certificate(View(1), (), ()).evidence()
    assert certificate("vote", 3, BLOCK).block == BLOCK.id
