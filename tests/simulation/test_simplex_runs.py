"""Simplex in runs: what a dead leader costs, and that nobody ever finalizes and nullifies one view."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings

from consensus.effects import Broadcast, Effect
from consensus.messages import Vote
from consensus.protocols.nullify import Nullify
from consensus.protocols.simplex import FINALIZE, Simplex
from consensus.protocols.simplex_chain import NOTARIZE
from consensus.types import View
from tests.laboratory import MS, constant, run_matrix
from tests.simulation.mail import Mail
from tests.simulation.runs import crash, failed, heights, kinds
from tests.simulation.test_restarts import cases
from tests.simulation.test_restarts import restart as run_with_restarts
from tests.simulation.test_view_changes import run, troubles

quick = settings(deadline=None, max_examples=4, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
DELTA_MS, DELAY_MS = 20, 10
EAGER = {"block_interval_ms": 0}
"""What the other tests of view changes let leaders wait for is in the way of exact figures."""


# A dead leader


@pytest.mark.parametrize("n", [4, 7])
def test_a_dead_leader_costs_three_delta(n: int) -> None:
    """Section 1: 3Δ + δ until the next leader proposes, every time the dead one's turn comes."""
    result = run("simplex", constant(n, DELAY_MS), 1.0, crash(1, 0.0), parameters=EAGER)
    assert not failed(result)
    proposed_ns, begins_ns = [], 0
    for view in range(1, 3 * n):
        if view % n == 1:
            begins_ns += (3 * DELTA_MS + DELAY_MS) * MS
        else:
            proposed_ns.append(begins_ns)
            begins_ns += 2 * DELAY_MS * MS
    assert sorted(result.blocks["proposed_ns"].to_pylist())[: len(proposed_ns)] == proposed_ns
    first = [at for at in result.arrivals["committed_ns"].to_pylist() if at is not None]
    assert min(first) == (3 * DELTA_MS + 4 * DELAY_MS) * MS


@pytest.mark.parametrize("n", [4, 7])
def test_a_dead_leader_costs_a_vote_and_a_chain_of_all_to_all(n: int) -> None:
    """Up to just after the view's end: n-1 live replicas tell n-1 others, twice; nothing else is said."""
    duration_s = (3 * DELTA_MS + 1.5 * DELAY_MS) / 1e3
    result = run(
        "simplex", constant(n, DELAY_MS), duration_s, crash(1, 0.0), parameters=EAGER, expect={"progress": False}
    )
    each = (n - 1) * (n - 1)
    assert kinds(result) == {"nullify": each, "notarized": each, "proposal": n - 1, "notarize": n - 1}


def test_silent_replicas_cost_nothing_but_their_turns() -> None:
    """f of 7 down: the quorum of the other five still finalizes within 3δ."""
    result = run("simplex", constant(7, DELAY_MS), 3.0, crash(5, 0.0), crash(6, 0.0), parameters=EAGER)
    assert not failed(result)
    assert result.to_dict()["consensus"]["finality_ms"]["p50"] == 3 * DELAY_MS
    assert min(heights(result)[:5]) > 60


# Never both


class Watched(Simplex):
    """Notes which views it has finalized and nullified, over all its lives."""

    finalized: ClassVar[dict[int, set[View]]] = defaultdict(set)
    gave_up: ClassVar[dict[int, set[View]]] = defaultdict(set)

    def emit(self, *effects: Effect) -> None:
        super().emit(*effects)
        for effect in effects:
            message = effect.message if isinstance(effect, Broadcast) else None
            if isinstance(message, Nullify):
                self.gave_up[self.me].add(message.view)
            elif isinstance(message, Vote) and message.phase == FINALIZE:
                self.finalized[self.me].add(message.view)

    @classmethod
    def forget(cls) -> None:
        cls.finalized.clear()
        cls.gave_up.clear()

    @classmethod
    def both(cls) -> dict[int, set[View]]:
        """Views that one replica both finalized and nullified."""
        assert any(cls.finalized.values())
        return {me: views & cls.gave_up[me] for me, views in cls.finalized.items() if views & cls.gave_up[me]}


@given(case=troubles())
@quick
def test_nobody_finalizes_and_nullifies_one_view_in_any_trouble(case: Any) -> None:
    Watched.forget()
    _, delay_ns, faults, _, seed, _ = case
    result = run("simplex", delay_ns, 4.0, *faults, seed=seed, protocol_class=Watched)
    assert not failed(result) - {"non-vacuity"}
    assert not Watched.both()


@given(case=cases())
@quick
def test_nobody_does_over_restarts_and_everyone_catches_up(case: Any) -> None:
    Watched.forget()
    result = run_with_restarts("simplex", *case, protocol_class=Watched)
    assert not failed(result)
    assert not Watched.both()
    reached = heights(result)
    assert max(reached) - min(reached) <= 8 < min(reached), reached


# Mutant


class FinalizingAnyway(Simplex):
    """Votes to finalize a view that it has nullified."""

    def _nullify(self) -> None:
        super()._nullify()
        self.nullified = View(0)


def late_votes(protocol: type[Simplex]) -> Mail:
    """All time out before any vote arrives; then 2 sees view 1 nullified, and 0, 1 and 3 see its block notarized."""
    mail, first, second = Mail(protocol, 4), range(1, 2), range(2, 3)
    mail.release(0, 1, 2, 3, views=first, kinds=["proposal"])
    mail.time_out()
    mail.release(2, views=first, kinds=["nullify"])
    mail.release(0, 1, 3, views=first, kinds=[NOTARIZE])
    mail.release(0, views=first, kinds=[FINALIZE])
    mail.release(0, 1, 2, 3, views=second, kinds=["proposal", NOTARIZE, FINALIZE])
    return mail


def test_finalizing_what_one_has_nullified_breaks_agreement() -> None:
    """Section 3: both a block and ⊥ may be notarized in one view, so that a final block must exclude the latter."""
    diverged = late_votes(FinalizingAnyway)
    assert diverged.committed[0] == [1]
    assert diverged.committed[2][:1] == [2]
    assert not diverged.agreement.verdict().ok
    honest = late_votes(Simplex)
    assert honest.agreement.verdict().ok
    assert all(views == [2] for views in honest.committed)


def test_random_delays_and_losses_do_not_stop_it() -> None:
    network = {"model": "normal", "delay_mean_ms": 10.0, "delay_std_ms": 3.0, "loss": 0.1}
    result = run_matrix("simplex", constant(4, 0), 5.0, network=network, consensus={"delta_ms": 20})
    assert not failed(result)
    assert min(heights(result)) > 50
