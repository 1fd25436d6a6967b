"""What Tendermint's replicas say, promise, count and wait for; the algorithm is in `tendermint`."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from consensus.messages import Block, Certificate, Evidence, Message, QuorumCertificate, Vote
from consensus.pacemaker import BftParameters, timeout_ns
from consensus.replica import Seat
from consensus.types import BlockId, Height, ReplicaId, View

PROPOSE, PREVOTE, PRECOMMIT = STEPS = ("propose", "prevote", "precommit")
"""step_p; a timer for each, and a phase of votes for the last two."""
REPEAT = "repeat"
NIL = BlockId(b"")
TIMEOUT_DELTAS = 4.0


class TendermintProposal(Message, frozen=True, array_like=True, tag=True):
    """⟨PROPOSAL, h, round, v, validRound⟩ (line 19)."""

    view: View
    block: Block
    valid_view: View | None = None

    @property
    def kind(self) -> str:
        return "proposal"

    def proposes(self) -> Block | None:
        return self.block if self.valid_view is None else None

    @property
    def payload_bytes(self) -> int:
        return self.block.payload.size_bytes

    @property
    def payload_count(self) -> int:
        return self.block.payload.count


class RoundCertificate(Certificate, frozen=True, array_like=True):
    """A quorum's precommits of one round, whatever they are for: the round is over. `blocks` pair with `signers`."""

    height: Height
    blocks: tuple[BlockId, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.signers) != len(self.blocks):
            raise ValueError("a round certificate needs one block per signer")

    def evidence(self) -> Iterator[Evidence]:
        for signer, block, signature in zip(self.signers, self.blocks, self.signatures, strict=True):
            yield signer, Vote(PRECOMMIT, self.view, self.height, block), signature


class Standing(Message, frozen=True, array_like=True, tag=True):
    """Where a replica stands, with proofs that bring others there: what gossip would have told them."""

    committed: QuorumCertificate
    polka: QuorumCertificate | None = None
    over: RoundCertificate | None = None

    def certificates(self) -> Iterator[Certificate]:
        yield from (proof for proof in (self.committed, self.polka, self.over) if proof is not None)


class Promise(msgspec.Struct, frozen=True):
    """What a restarted replica must remember so as never to contradict itself."""

    view: View
    cast: dict[str, BlockId]
    locked: QuorumCertificate | None
    valid: QuorumCertificate | None
    committed: QuorumCertificate
    over: RoundCertificate | None


class Ballot:
    """The votes of one phase of one round: the first of each replica."""

    __slots__ = ("count", "votes")

    def __init__(self) -> None:
        self.votes: dict[ReplicaId, Vote] = {}
        self.count: dict[BlockId, int] = {}

    def __iter__(self) -> Iterator[ReplicaId]:
        return iter(self.votes)

    def __len__(self) -> int:
        return len(self.votes)

    def __contains__(self, sender: object) -> bool:
        return sender in self.votes

    def add(self, sender: ReplicaId, vote: Vote) -> int:
        """How many are now for the same block; 0 for a replica that has voted before."""
        if sender in self.votes:
            return 0
        self.votes[sender] = vote
        count = self.count[vote.block] = self.count.get(vote.block, 0) + 1
        return count

    def certificate(self, of: Vote) -> QuorumCertificate:
        """The votes for the same block as this one."""
        signers = tuple(sorted(sender for sender, vote in self.votes.items() if vote.block == of.block))
        signatures = tuple(self.votes[signer].signature for signer in signers)
        return QuorumCertificate(of.view, signers, signatures, of.phase, of.height, of.block)

    def round_certificate(self, view: View, height: Height) -> RoundCertificate:
        """All votes."""
        signers = tuple(sorted(self.votes))
        votes = [self.votes[signer] for signer in signers]
        signatures = tuple(vote.signature for vote in votes)
        return RoundCertificate(view, signers, signatures, height, tuple(vote.block for vote in votes))


NOBODY = Ballot()
"""Where nobody has voted yet."""


class TendermintParameters(BftParameters, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a scenario may set; by default `timeout_ms` for proposals, half of it for votes, a quarter for growth."""

    timeout_propose_ms: float | None = None
    timeout_prevote_ms: float | None = None
    timeout_precommit_ms: float | None = None
    timeout_growth_ms: float | None = None
    """How much longer each of them is with every round."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("timeout_propose_ms", "timeout_prevote_ms", "timeout_precommit_ms"):
            if (value := getattr(self, name)) is not None and value <= 0:
                raise ValueError(f"`{name}` must be greater than 0")
        if self.timeout_growth_ms is not None and self.timeout_growth_ms < 0:
            raise ValueError("`timeout_growth_ms` must not be negative")


class Timeouts:
    """How long a replica waits for a step, and before it says everything again, in each round."""

    def __init__(self, seat: Seat) -> None:
        own: TendermintParameters = seat.parameters
        first_ns = timeout_ns(seat, TIMEOUT_DELTAS)

        def chosen(value_ms: float | None, default_ns: int) -> int:
            return default_ns if value_ms is None else round(value_ms * 1e6)

        self.propose_ns = chosen(own.timeout_propose_ms, first_ns)
        self._growth_ns = chosen(own.timeout_growth_ms, first_ns // 4)
        self._first_ns = {
            # A proposer that must let the block interval pass is not late.
            PROPOSE: self.propose_ns + round(own.block_interval_ms * 1e6),
            PREVOTE: chosen(own.timeout_prevote_ms, first_ns // 2),
            PRECOMMIT: chosen(own.timeout_precommit_ms, first_ns // 2),
        }
        self._repeat_ns = sum(self._first_ns.values()) + 4 * seat.delta_ns

    def of(self, timer: str, round_number: int) -> int:
        """In ns; a round in which every step runs out is over before anything is said again."""
        if timer == REPEAT:
            return self._repeat_ns + len(STEPS) * self._growth_ns * round_number
        return self._first_ns[timer] + self._growth_ns * round_number
