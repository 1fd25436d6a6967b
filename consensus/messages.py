"""What replicas say to each other, and the blocks they say it about.

A protocol may define further messages by subclassing `Message`; these are the ones several protocols share. The
host signs what a replica emits (`statement`), checks what it receives (`evidence`), and asks three questions of
any message without knowing its protocol: which block it proposes, which certificates it carries, and how many
payload bytes travel with it beyond its encoding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b

import msgspec

from consensus.types import BlockId, Height, ReplicaId, View

_encode = msgspec.msgpack.Encoder().encode


Span = tuple[int, int, int]
"""(lane, first, count): transactions `first` .. `first + count - 1` of those that entered at replica `lane`."""


class Payload(msgspec.Struct, frozen=True, array_like=True):
    """Transactions `first` .. `first + count - 1` of the workload, `size_bytes` long together."""

    first: int
    count: int
    size_bytes: int

    @property
    def end(self) -> int:
        """The first transaction that is not in this payload."""
        return self.first + self.count

    @property
    def lanes(self) -> tuple[Span, ...]:
        """None: the order of arrival is the chain's."""
        return ()

    def emptied(self) -> Payload:
        """What stands in this payload's place and takes nothing."""
        return Payload(self.first, 0, 0)


@dataclass(frozen=True, slots=True)
class LanePayload:
    """A payload of transactions that entered at different replicas, `count` of them, `size_bytes` long together.

    `lanes` has a span of every lane that the chain has drawn from so far, by ascending lane, also where this payload
    takes none, so that a child continues where its parent ended, on whatever branch. `first` counts those before it.
    It is no Struct because the encoding of a `Payload`, which other runs are compared by, has no room for a tag.
    """

    first: int
    count: int
    size_bytes: int
    lanes: tuple[Span, ...]

    @property
    def end(self) -> int:
        """How many transactions the chain has when it ends with this payload."""
        return self.first + self.count

    def emptied(self) -> LanePayload:
        """See `Payload.emptied`."""
        return LanePayload(self.first, 0, 0, tuple((lane, first, 0) for lane, first, _ in self.lanes))


AnyPayload = Payload | LanePayload


class Block(msgspec.Struct, frozen=True, array_like=True, dict=True):
    """A block, named by the hash of its content.

    `view` is the leader's attempt that made it; longest-chain miners number their own blocks with it, which keeps
    two blocks of one miner on one parent apart.
    """

    parent: BlockId
    height: Height
    view: View
    proposer: ReplicaId
    payload: AnyPayload

    @cached_property
    def id(self) -> BlockId:
        """32 bytes of BLAKE2b over the encoding of all fields."""
        return BlockId(blake2b(_encode(self), digest_size=32).digest())


GENESIS = Block(BlockId(b""), Height(0), View(0), ReplicaId(0), Payload(0, 0, 0))


class Message(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag=True):
    """Base of everything a replica says. `signature` is the sender's, over `statement()`; the host fills it in."""

    signature: bytes = b""

    @property
    def kind(self) -> str:
        """The name under which this message is counted."""
        return type(self).__name__.lower()

    def statement(self) -> Message:
        """What the signature covers: by default this message without it."""
        return msgspec.structs.replace(self, signature=b"") if self.signature else self

    def certificates(self) -> Iterator[Certificate]:
        """Certificates carried inside, whose signatures the receiving host checks too."""
        return iter(())

    def evidence(self) -> Iterator[Evidence]:
        """All signatures carried inside, beside the sender's own."""
        for certificate in self.certificates():
            yield from certificate.evidence()

    def proposes(self) -> Block | None:
        """The block this message proposes for the first time, if it is a proposal."""
        return None

    @property
    def payload_bytes(self) -> int:
        """Bytes of transactions that travel with this message beside its encoding."""
        return 0

    @property
    def payload_count(self) -> int:
        """How many transactions those are, each of which a reference can stand for; 0 if they only go as they are."""
        block = self.proposes()
        return 0 if block is None else block.payload.count


Evidence = tuple[ReplicaId, Message, bytes]
"""Who signed which statement, and the signature."""


class Vote(Message, frozen=True, array_like=True, tag=True):
    """A signed yes to one block in one phase of one view."""

    phase: str
    view: View
    height: Height
    block: BlockId

    @property
    def kind(self) -> str:
        return self.phase


class Certificate(msgspec.Struct, frozen=True, array_like=True):
    """Signatures of distinct replicas, kept together as proof. `signers` ascend and pair with `signatures`."""

    view: View
    signers: tuple[ReplicaId, ...]
    signatures: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if len(self.signers) != len(self.signatures):
            raise ValueError("a certificate needs one signature per signer")

    def proves(self, quorum: int) -> bool:
        """Whether that many distinct replicas signed; whether the signatures are good is for the host to check."""
        return len(set(self.signers)) >= quorum

    def evidence(self) -> Iterator[Evidence]:
        """Each signature with the statement it covers."""
        raise TypeError(f"{type(self).__name__} does not say what its signers signed")


class QuorumCertificate(Certificate, frozen=True, array_like=True, dict=True):
    """A quorum's votes for one block in one phase of one view."""

    phase: str
    height: Height
    block: BlockId

    def evidence(self) -> Iterator[Evidence]:
        vote = Vote(self.phase, self.view, self.height, self.block)
        for signer, signature in zip(self.signers, self.signatures, strict=True):
            yield signer, vote, signature


def genesis_certificate(phase: str) -> QuorumCertificate:
    """The certificate that everybody holds for the genesis block: no votes, because none are needed."""
    return QuorumCertificate(View(0), (), (), phase, Height(0), GENESIS.id)


class Proposal(Message, frozen=True, array_like=True, tag=True):
    """A leader's new block, why it may extend its parent, and why this view may begin."""

    block: Block
    justify: QuorumCertificate
    timeout_certificate: TimeoutCertificate | None = None

    def certificates(self) -> Iterator[Certificate]:
        yield self.justify
        if self.timeout_certificate is not None:
            yield self.timeout_certificate

    def proposes(self) -> Block:
        return self.block

    @property
    def payload_bytes(self) -> int:
        return self.block.payload.size_bytes


class TimeoutVote(Message, frozen=True, array_like=True, tag=True):
    """What a `Timeout` signs: "I gave up `view`; the highest certificate I held was of `high_view`"."""

    view: View
    high_view: View


class TimeoutCertificate(Certificate, frozen=True, array_like=True):
    """A quorum gave up one view (DiemBFT v4, section 3.1). `high_views` pair with `signers`."""

    high_views: tuple[View, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.signers) != len(self.high_views):
            raise ValueError("a timeout certificate needs one view per signer")

    def evidence(self) -> Iterator[Evidence]:
        for signer, high_view, signature in zip(self.signers, self.high_views, self.signatures, strict=True):
            yield signer, TimeoutVote(self.view, high_view), signature


class Timeout(Message, frozen=True, array_like=True, tag=True):
    """A replica gives up `view`. It carries what a lagging receiver needs to arrive in that view too."""

    view: View
    high_certificate: QuorumCertificate
    timeout_certificate: TimeoutCertificate | None = None

    def statement(self) -> Message:
        return TimeoutVote(self.view, self.high_certificate.view)

    def certificates(self) -> Iterator[Certificate]:
        yield self.high_certificate
        if self.timeout_certificate is not None:
            yield self.timeout_certificate


class Fetch(Message, frozen=True, array_like=True, tag=True):
    """Please send `block` and those of its ancestors that are higher than `above`."""

    block: BlockId
    height: Height
    above: Height


class Ancestors(Message, frozen=True, array_like=True, tag=True):
    """The answer to a `Fetch`: a piece of one chain, highest block first."""

    blocks: tuple[Block, ...]

    @property
    def payload_bytes(self) -> int:
        return sum(block.payload.size_bytes for block in self.blocks)

    @property
    def payload_count(self) -> int:
        return sum(block.payload.count for block in self.blocks)
