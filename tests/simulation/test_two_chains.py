"""Jolteon and HotStuff-2 in whole runs: what a dead leader costs, and what each rule is for."""

from __future__ import annotations

from typing import Any

import pytest

from consensus.chained import ChainedReplica
from consensus.effects import Broadcast, Persist, Send
from consensus.messages import Block, Payload, Proposal, QuorumCertificate, Timeout, TimeoutCertificate
from consensus.messages import genesis_certificate as genesis
from consensus.protocols.hotstuff2 import HotStuff2
from consensus.protocols.jolteon import Jolteon
from consensus.replica import Seat
from consensus.types import Height, ReplicaId, View
from testbed.result import Result
from tests.laboratory import MS, constant, run_matrix
from tests.simulation.runs import crash, failed, heights, kinds, partition

DELAY_MS, DELTA_MS = 10, 20
TIMEOUT_MS = {"hotstuff": 8 * DELTA_MS, "jolteon": 8 * DELTA_MS, "hotstuff2": 10 * DELTA_MS}
WAIT_MS = {"hotstuff": 0, "jolteon": 0, "hotstuff2": 2 * DELTA_MS}
LOAD = {"transactions_per_s": 200}


def run(protocol: str, n: int, duration_s: float, *faults: dict[str, Any], **options: Any) -> Result:
    consensus = {"delta_ms": DELTA_MS}
    return run_matrix(protocol, constant(n, DELAY_MS), duration_s, consensus=consensus, fault=list(faults), **options)


def proposals(result: Result) -> list[tuple[int, float, bool]]:
    """(view, when in ms, whether it became final), in order."""
    blocks = result.blocks
    times_ms = [at / MS for at in blocks["proposed_ns"].to_pylist()]
    return list(zip(blocks["view"].to_pylist(), times_ms, blocks["final"].to_pylist(), strict=True))


# Dead leaders


@pytest.mark.parametrize("protocol", TIMEOUT_MS)
def test_a_dead_leader_costs_two_timeouts_and_the_block_before_it(protocol: str) -> None:
    """It neither collects the votes of view 2, which leave δ after the proposal, nor leads view 3.

    Each view ends when all timeouts have met, δ after they are sent. The leader of view 4 then waits (HotStuff-2) or
    does not, and the one of view 5 proposes after 2δ whatever the protocol.
    """
    result = run(protocol, 7, 0.8, crash(3, 0.0))
    resumed_ms = 2 * DELAY_MS + 3 * DELAY_MS + 2 * TIMEOUT_MS[protocol] + WAIT_MS[protocol]
    assert proposals(result)[:5] == [
        (1, 0, True),
        (2, 2 * DELAY_MS, False),
        *((view, resumed_ms + 2 * DELAY_MS * (view - 4), True) for view in (4, 5, 6)),
    ]
    assert not failed(result)


@pytest.mark.parametrize("protocol", TIMEOUT_MS)
def test_a_leader_dead_from_the_start_costs_one_timeout(protocol: str) -> None:
    """Nobody had votes for it. n-1 replicas tell n-1 others, once."""
    result = run(protocol, 7, 0.35, crash(1, 0.0))
    first_ms = TIMEOUT_MS[protocol] + DELAY_MS + WAIT_MS[protocol]
    assert proposals(result)[:2] == [(2, first_ms, True), (3, first_ms + 2 * DELAY_MS, True)]
    assert kinds(result)["timeout"] == 6 * 6


@pytest.mark.parametrize("protocol", ["jolteon", "hotstuff2"])
def test_three_live_leaders_in_a_row_are_enough(protocol: str) -> None:
    """Of four replicas one may be dead, unlike in HotStuff: two leaders propose and a third makes the certificate."""
    result = run(protocol, 4, 8.0, crash(3, 0.0))
    assert not failed(result)
    assert heights(result)[3] == 0
    assert min(heights(result)[:3]) >= 20


# Rules: a Byzantine leader that passes over a commit


def forking(protocol: Any) -> Any:
    class Forking(protocol):  # type: ignore[misc]
        """Replica 2, once, proposes a second first block, with a timeout certificate that knows better."""

        forked = False

        def _propose(self) -> None:
            entered_by = self.entered_by
            if self.me == 2 == self.leader(self.view) and entered_by is not None and not self.forked:
                self.forked, self._proposed = True, self.view
                block = Block(genesis("vote").block, Height(1), self.view, self.me, Payload(0, 0, 0))
                self.emit(Broadcast(Proposal(block, genesis("vote"), entered_by)))
            else:
                super()._propose()

    return Forking


class IgnoringReports(Jolteon):
    def _covers(self, high: QuorumCertificate, gave_up: TimeoutCertificate) -> bool:
        return True


class WithoutLocks(HotStuff2):
    def _safe(self, block: Block, justify: QuorumCertificate) -> bool:
        return True


@pytest.mark.parametrize(("right", "wrong"), [(Jolteon, IgnoringReports), (HotStuff2, WithoutLocks)])
def test_without_its_vote_rule_one_byzantine_leader_breaks_agreement(right: Any, wrong: Any) -> None:
    """Replica 1's absence gives replica 2 a view that begins by a timeout, after a commit."""
    away = partition([1], 0.08, 0.3)
    name = right.facts.name
    safe = run(name, 4, 3.0, away, protocol_class=forking(right), workload=LOAD)
    assert not failed(safe), safe.report["safety"]["violations"]
    assert safe.blocks["height"].to_pylist().count(1) == 2, "the fork was proposed"
    assert "agreement" in failed(run(name, 4, 3.0, away, protocol_class=forking(wrong), workload=LOAD))


# Pacemaker: timer doubling (Guo, Hu, Zhang, The Computer Journal, 2024)


def doubling(protocol: type[ChainedReplica]) -> Any:
    class Doubling(protocol):  # type: ignore[misc, valid-type]
        """Views as HotStuff's authors sketch them: each replica gives up alone, and its timer doubles until a
        certificate comes; new-view messages go to the next leader, who waits for a quorum of them."""

        def __init__(self, seat: Seat) -> None:
            super().__init__(seat)
            self._shortest_ns = self._timeout_ns

        def on_timer(self, timer: str) -> None:
            if timer != "view":
                super().on_timer(timer)
                return
            self.voted = max(self.voted, self.view)
            next_leader = self.leader(self.view + 1)
            self.emit(Persist("promise", self._promise()), Send(next_leader, Timeout(self.view, self.high)))
            self._timeout_ns *= 2
            super()._enter(View(self.view + 1))

        def _enter(self, view: View, by: TimeoutCertificate | None = None) -> None:
            if view > self.view and by is None:
                self._timeout_ns = self._shortest_ns
                super()._enter(view)

        def _on_timeout(self, sender: ReplicaId, timeout: Timeout) -> None:
            self._learn(timeout.high_certificate)
            self._enter(View(timeout.high_certificate.view + 1))
            gave_up = self._timeouts.add(sender, timeout)
            if gave_up is not None and gave_up.view == self.view - 1:
                self.entered_by = gave_up
                self._propose()

    return Doubling


@pytest.mark.parametrize(("protocol", "crash_s"), [(Jolteon, 0.56), (HotStuff2, 0.72)])
def test_doubled_timers_stall_where_timeout_certificates_recover(protocol: Any, crash_s: float) -> None:
    """One replica is dead, another reboots while the timers of the rest are long; then the network is perfect.

    The rebooted one starts with its shortest timer, so from then on no view has all three in it for long enough; the
    quorum needs all three.
    """
    faults = (crash(3, 0.0), crash(1, crash_s, crash_s + 0.6))
    name = protocol.facts.name
    goes_on = {"expect": {"progress_after_s": 5.0}}
    healthy = run(name, 4, 60.0, *faults, **goes_on)
    stalled = run(name, 4, 60.0, *faults, **goes_on, protocol_class=doubling(protocol))
    assert last_commit_s(healthy) > 59
    assert last_commit_s(stalled) < 5
    # A stall is no safety violation, and an untroubled run of the same mutant goes on.
    assert failed(healthy) == set()
    assert failed(stalled) == {"recovery"}
    assert last_commit_s(run(name, 4, 20.0, crash(3, 0.0), protocol_class=doubling(protocol))) > 19


def last_commit_s(result: Result) -> float:
    return max(at for at in result.arrivals["committed_ns"].to_pylist() if at is not None) / 1e9
