"""Every check has a mutant that trips it, in a scenario able to show it; the honest protocol passes the same one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from consensus.effects import Broadcast, Committed, Effect, Send
from consensus.messages import Block, Payload, Proposal, QuorumCertificate, Vote, genesis_certificate
from consensus.protocols.hotstuff import HotStuff
from consensus.protocols.longest_chain import LongestChain, Mined
from consensus.protocols.pbft import COMMIT, PREPARE, Pbft, PrePrepare
from consensus.protocols.tendermint import Tendermint
from consensus.protocols.tendermint_messages import RoundCertificate, Standing
from consensus.replica import Replica, Seat
from consensus.types import BlockId, Height, ReplicaId, View
from tests.laboratory import constant, run_matrix
from tests.simulation.runs import crash, failed, partition

MINING = {"parameters": {"block_interval_s": 0.1, "confirmations": 3}}


def run(
    protocol: str, mutant: type[Replica] | None, *faults: dict[str, Any], duration_s: float = 3.0, **tables: Any
) -> set[str]:
    """The checks that fail for a mutant of a protocol, or for the protocol itself."""
    consensus = MINING if protocol == "longest_chain" else {"delta_ms": 20.0}
    tables.setdefault("workload", {"transactions_per_s": 200})
    delay_ns = constant(4, 10)
    result = run_matrix(
        protocol, delay_ns, duration_s, consensus=consensus, fault=list(faults), protocol_class=mutant, **tables
    )
    return failed(result)


# Quorums


def too_small(seat: Seat) -> Seat:
    return replace(seat, committee=replace(seat.committee, quorum=seat.committee.f + 1))


class SmallQuorumPbft(Pbft):
    def __init__(self, seat: Seat) -> None:
        super().__init__(too_small(seat))


class SmallQuorumHotStuff(HotStuff):
    def __init__(self, seat: Seat) -> None:
        super().__init__(too_small(seat))

    def leader(self, view: int) -> ReplicaId:
        """Leaders of two views in turn, so that each side can make chains of its own."""
        return ReplicaId(view // 4 % 4)


class SmallQuorumTendermint(Tendermint):
    def __init__(self, seat: Seat) -> None:
        super().__init__(too_small(seat))


class PatientHotStuff(HotStuff):
    def leader(self, view: int) -> ReplicaId:
        return ReplicaId(view // 4 % 4)


def test_quorums_of_f_plus_1_break_agreement_and_certificates() -> None:
    split = partition([0, 1], 0.0, 2.0)
    assert not run("pbft", None, split)
    assert "agreement" in run("pbft", SmallQuorumPbft, split)
    assert not run("tendermint", None, split)
    assert "agreement" in run("tendermint", SmallQuorumTendermint, split)
    assert run("hotstuff", PatientHotStuff, split, duration_s=6.0) == {
        "validity"
    }  # by other leaders than the facts say
    assert {"agreement", "certificate soundness"} <= run("hotstuff", SmallQuorumHotStuff, split, duration_s=6.0)


# Locks


class Forking(HotStuff):
    """Replica 2, once, proposes a second first block: it has a timeout certificate, but no newer certificate."""

    forked = False

    def _propose(self) -> None:
        entered_by = self.entered_by
        if self.me == 2 == self.leader(self.view) and entered_by is not None and not self.forked:
            self.forked, self._proposed = True, self.view
            genesis = genesis_certificate("vote")
            block = Block(genesis.block, Height(1), self.view, self.me, Payload(0, 0, 0))
            self.emit(Broadcast(Proposal(block, genesis, entered_by)))
        else:
            super()._propose()


class ForkingWithoutLocks(Forking):
    def _safe(self, block: Block, justify: QuorumCertificate) -> bool:
        return True


def test_without_the_lock_one_byzantine_leader_breaks_agreement() -> None:
    away = partition([1], 0.08, 0.3)
    assert not run("hotstuff", Forking, away)
    assert "agreement" in run("hotstuff", ForkingWithoutLocks, away)


# Commit rules; those without consecutive views are in `test_fast_hotstuff_attack`


class Disorderly(Pbft):
    """Commits pairs of blocks the wrong way round."""

    kept: Committed | None = None

    def emit(self, *effects: Effect) -> None:
        for effect in effects:
            if type(effect) is not Committed:
                super().emit(effect)
            elif self.kept is None:
                self.kept = effect
            else:
                super().emit(effect, self.kept)
                self.kept = None


class Skipping(Pbft):
    """Leaves every other block out."""

    def emit(self, *effects: Effect) -> None:
        super().emit(*(e for e in effects if type(e) is not Committed or e.block.height % 2))


@pytest.mark.parametrize("mutant", [Disorderly, Skipping])
def test_unordered_commits_trip_commit_order(mutant: type[Replica]) -> None:
    assert not run("pbft", None)
    assert "commit order" in run("pbft", mutant)


# Leaders


class Equivocating(Pbft):
    """Replica 0 tells 1 and 2 different things, and `accomplices` vote for both."""

    accomplices = frozenset({0})

    def emit(self, *effects: Effect) -> None:
        for effect in effects:
            message = effect.message if isinstance(effect, (Send, Broadcast)) else None
            if self.me not in self.accomplices:
                super().emit(effect)
            elif self.me == 0 and isinstance(message, PrePrepare):
                other = msgspec.structs.replace(message.block, payload=Payload(message.block.payload.first, 0, 0))
                if message.block.payload.count == 0:
                    other = msgspec.structs.replace(other, payload=Payload(0, 1, 128))
                for to, block in ((1, message.block), (2, other)):
                    self.support(ReplicaId(to), block)
                    for accomplice in self.accomplices - {0}:
                        super().emit(Send(ReplicaId(accomplice), PrePrepare(self.view, block)))
            elif not isinstance(message, Vote):
                super().emit(effect)

    def support(self, to: ReplicaId, block: Block) -> None:
        wanted: list[Any] = [PrePrepare(self.view, block)] if self.me == 0 else []
        wanted += [Vote(phase, self.view, block.height, block.id) for phase in (PREPARE, COMMIT)]
        super().emit(*(Send(to, message) for message in wanted))

    def _on_pre_prepare(self, sender: ReplicaId, message: PrePrepare) -> None:
        if self.me in self.accomplices and self.me != 0 and sender == 0:
            self.support(ReplicaId(2 if message.block.payload.count == 0 else 1), message.block)
            self.support(ReplicaId(1 if message.block.payload.count == 0 else 2), message.block)
        else:
            super()._on_pre_prepare(sender, message)


class EquivocatingPair(Equivocating):
    accomplices = frozenset({0, 3})


def test_an_equivocating_leader_is_harmless_within_the_bound_and_not_above() -> None:
    assert "agreement" not in run("pbft", Equivocating)
    found = run("pbft", EquivocatingPair, workload={"transactions_per_s": 2000, "transaction_bytes": 128})
    assert {"agreement", "no double vote"} <= found


class Usurping(HotStuff):
    """Replica 3 leads every view."""

    def leader(self, view: int) -> ReplicaId:
        return ReplicaId(3)


class UsurpingTendermint(Tendermint):
    """Replica 3 leads every view."""

    def leader(self, view: int) -> ReplicaId:
        return ReplicaId(3)


@pytest.mark.parametrize(("protocol", "mutant"), [("hotstuff", Usurping), ("tendermint", UsurpingTendermint)])
def test_a_wrong_leader_trips_validity(protocol: str, mutant: type[Replica]) -> None:
    assert run(protocol, mutant) == {"validity"}


class Inventing(Pbft):
    """Proposes transactions that nobody submitted."""

    def __init__(self, seat: Seat) -> None:
        super().__init__(replace(seat, payloads=lambda now_ns, most, parent: Payload(parent.payload.end, 9, 9 * 512)))


class Repeating(Pbft):
    """Proposes the same transactions again and again."""

    def __init__(self, seat: Seat) -> None:
        super().__init__(replace(seat, payloads=lambda now_ns, most, parent: Payload(0, 1, 512)))


@pytest.mark.parametrize("mutant", [Inventing, Repeating])
def test_invented_payload_trips_validity(mutant: type[Replica]) -> None:
    assert run("pbft", mutant) == {"validity"}


class Forging(LongestChain):
    """Replica 0 does not sign its blocks; others meet them only as ancestors of its later ones, which it signs."""

    def emit(self, *effects: Effect) -> None:
        for effect in effects:
            message = effect.message if isinstance(effect, Broadcast) else None
            if self.me == 0 and isinstance(message, Mined) and message.block.view % 2:
                super().emit(Broadcast(msgspec.structs.replace(message, signature=b"x" * 64)))
            else:
                super().emit(effect)


def test_forged_signatures_trip_validity() -> None:
    assert not run("longest_chain", None, duration_s=20.0)
    assert "validity" in run("longest_chain", Forging, duration_s=20.0)


# Votes and certificates


class DoubleVoting(HotStuff):
    def emit(self, *effects: Effect) -> None:
        for effect in effects:
            super().emit(effect)
            if self.me == 1 and isinstance(effect, Send) and type(effect.message) is Vote:
                super().emit(Send(effect.to, msgspec.structs.replace(effect.message, block=BlockId(bytes(32)))))


def test_a_double_voter_trips_no_double_vote() -> None:
    assert run("hotstuff", DoubleVoting) == {"no double vote"}


class Amnesic(Pbft):
    """Votes for whatever came last."""

    def emit(self, *effects: Effect) -> None:
        for effect in effects:
            super().emit(effect)
            if self.me == 2 and isinstance(effect, Broadcast) and isinstance(effect.message, Vote):
                super().emit(Broadcast(msgspec.structs.replace(effect.message, block=BlockId(bytes(32)))))


def test_a_double_voter_of_pbft_trips_it_too() -> None:
    assert run("pbft", Amnesic) == {"no double vote"}


class WeakCertificates(HotStuff):
    """Replica 1 proposes with certificates that it has tampered with."""

    def emit(self, *effects: Effect) -> None:
        for effect in effects:
            message = getattr(effect, "message", None)
            if self.me == 1 and isinstance(message, Proposal) and message.justify.view > 4:
                super().emit(Broadcast(msgspec.structs.replace(message, justify=self.tampered(message.justify))))
            else:
                super().emit(effect)

    def tampered(self, justify: QuorumCertificate) -> QuorumCertificate:
        raise NotImplementedError


class TooFewSigners(WeakCertificates):
    def tampered(self, justify: QuorumCertificate) -> QuorumCertificate:
        return msgspec.structs.replace(justify, signers=justify.signers[:2], signatures=justify.signatures[:2])


class DuplicateSigners(WeakCertificates):
    def tampered(self, justify: QuorumCertificate) -> QuorumCertificate:
        return msgspec.structs.replace(justify, signers=justify.signers[:1] * 3, signatures=justify.signatures[:1] * 3)


class ForgedSigners(WeakCertificates):
    def tampered(self, justify: QuorumCertificate) -> QuorumCertificate:
        return msgspec.structs.replace(justify, signatures=(bytes(64),) * 3)


class OtherBlock(WeakCertificates):
    def tampered(self, justify: QuorumCertificate) -> QuorumCertificate:
        return msgspec.structs.replace(justify, view=View(justify.view - 1))


class ForgedRounds(Tendermint):
    """Replica 1 claims that rounds are over for which it has no votes."""

    def standing(self) -> Standing:
        honest = super().standing()
        if self.me != 1:
            return honest
        signers = tuple(map(ReplicaId, range(3)))
        forged = RoundCertificate(self.view, signers, (bytes(64),) * 3, self.height, (BlockId(b""),) * 3)
        return Standing(honest.committed, honest.polka, forged)


def test_forged_rounds_trip_certificate_soundness_and_move_nobody() -> None:
    away = partition([0, 1], 1.0, 2.0)
    assert not run("tendermint", None, away)
    assert run("tendermint", ForgedRounds, away) == {"certificate soundness"}


@pytest.mark.parametrize("mutant", [TooFewSigners, DuplicateSigners, ForgedSigners, OtherBlock])
def test_weak_certificates_trip_certificate_soundness(mutant: type[Replica]) -> None:
    found = run("hotstuff", mutant)
    assert "certificate soundness" in found
    assert "agreement" not in found


# Nothing happened


def test_a_silent_network_trips_progress_and_non_vacuity() -> None:
    for protocol in ("pbft", "hotstuff", "tendermint"):
        network = {"model": "fixed", "delay_ms": 10.0, "loss": 1.0}
        assert run(protocol, None, network=network) == {"progress", "non-vacuity"}
        assert run(protocol, None, network=network, expect={"progress": False}) == {"non-vacuity"}


def test_progress_where_none_is_expected_trips_progress() -> None:
    assert run("pbft", None, expect={"progress": False}) == {"progress"}


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "partition", "target": "replica/1", "window_s": [1.005, 1.006]},
        {"kind": "loss", "target": "replica/2", "window_s": [1.005, 1.006], "rate": 1.0},
        {"kind": "slow", "target": "replica/2", "window_s": [1.005, 1.006], "delay_ms": 5.0},
    ],
)
def test_a_fault_that_touches_nothing_trips_non_vacuity(fault: dict[str, Any]) -> None:
    # Whatever is sent is sent at a multiple of 10 ms.
    assert run("pbft", None, fault) == {"non-vacuity"}


def test_a_fault_on_a_dead_replica_has_no_effect_either() -> None:
    slow = {"kind": "loss", "target": "replica/3", "window_s": [1.0, 1.1], "rate": 0.000001}
    assert run("pbft", None, crash(3, 0.0), slow) == {"non-vacuity"}
