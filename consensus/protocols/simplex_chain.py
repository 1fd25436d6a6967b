"""What Simplex and Minimmit say about notarized chains: the chain as a value, and the two messages that carry one.

Chan and Pass, ePrint 2023/463, section 2. A chain has one entry a view, a block or the dummy block ⊥, which Minimmit
calls the view's nullification.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from consensus.messages import Block, Certificate, Message, QuorumCertificate, genesis_certificate
from consensus.protocols.nullify import Nullification
from consensus.types import View

NOTARIZE = "notarize"


class Chain(msgspec.Struct, frozen=True, array_like=True):
    """A notarized chain: the certificate of its newest block, and the dummy blocks of the views after that."""

    notarization: QuorumCertificate
    dummies: tuple[Nullification, ...] = ()

    @property
    def length(self) -> View:
        """The last view it covers."""
        return View(self.notarization.view + len(self.dummies))

    def certificates(self) -> Iterator[Certificate]:
        yield self.notarization
        yield from self.dummies

    def proves(self, quorum: int) -> bool:
        """A quorum for the block and for each view after its own; whether signatures are good is for the host."""
        newest = self.notarization
        if newest.view == 0:
            notarized = newest == genesis_certificate(NOTARIZE)
        else:
            notarized = newest.phase == NOTARIZE and newest.proves(quorum)
        views = [dummy.view for dummy in self.dummies]
        in_turn = views == list(range(newest.view + 1, self.length + 1))
        return notarized and in_turn and all(dummy.proves(quorum) for dummy in self.dummies)


class Propose(Message, frozen=True, array_like=True, tag=True):
    """Section 2, step 1: the leader's new block, and the notarized chain that it extends."""

    block: Block
    chain: Chain

    @property
    def kind(self) -> str:
        return "proposal"

    def certificates(self) -> Iterator[Certificate]:
        return self.chain.certificates()

    def proposes(self) -> Block:
        return self.block

    @property
    def payload_bytes(self) -> int:
        return self.block.payload.size_bytes


class Notarized(Message, frozen=True, array_like=True, tag=True):
    """Section 2, step 4: a notarized chain, sent on by everybody who enters the next view with it."""

    chain: Chain

    def certificates(self) -> Iterator[Certificate]:
        return self.chain.certificates()
