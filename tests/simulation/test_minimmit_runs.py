"""Minimmit in runs: what a dead leader and a two-faced one cost, what a partition does, and what can never be."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings

from consensus.effects import Broadcast, Committed, Effect, Send
from consensus.messages import Block, Payload, Vote
from consensus.protocols.minimmit import Minimmit
from consensus.protocols.nullify import Nullify
from consensus.protocols.simplex_chain import NOTARIZE, Propose
from consensus.replica import Seat
from consensus.tally import Tally
from consensus.types import BlockId, ReplicaId, View
from testbed.result import Result
from tests.laboratory import MS, constant, run_matrix
from tests.simulation.mail import Mail
from tests.simulation.runs import crash, failed, heights, kinds, partition
from tests.simulation.test_restarts import cases, check_leader_based
from tests.simulation.test_view_changes import check_trouble, run, troubles

quick = settings(deadline=None, max_examples=4, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
DELTA_MS, DELAY_MS = 20, 10
TIMER_NS = 2 * DELTA_MS * MS + 1
"""What arrives just at 2Δ is in time."""
EAGER = {"block_interval_ms": 0}
"""What the other tests of view changes let leaders wait for is in the way of exact figures."""


# A dead leader


@pytest.mark.parametrize("n", [6, 11])
def test_a_dead_leader_costs_two_delta(n: int) -> None:
    """2Δ + δ until the next leader proposes, every time the dead one's turn comes."""
    result = run("minimmit", constant(n, DELAY_MS), 1.0, crash(1, 0.0), parameters=EAGER)
    assert not failed(result)
    proposed_ns, begins_ns = [], 0
    for view in range(1, 3 * n):
        if view % n == 1:
            begins_ns += TIMER_NS + DELAY_MS * MS
        else:
            proposed_ns.append(begins_ns)
            begins_ns += 2 * DELAY_MS * MS
    assert sorted(result.blocks["proposed_ns"].to_pylist())[: len(proposed_ns)] == proposed_ns
    first = [at for at in result.arrivals["committed_ns"].to_pylist() if at is not None]
    assert min(first) == TIMER_NS + 3 * DELAY_MS * MS


@pytest.mark.parametrize("n", [6, 11])
def test_a_dead_leader_costs_a_vote_and_a_chain_of_all_to_all(n: int) -> None:
    """Up to just after the view's end: n-1 live replicas tell n-1 others, twice; nothing else is said."""
    duration_s = (2 * DELTA_MS + 1.5 * DELAY_MS) / 1e3
    result = run(
        "minimmit", constant(n, DELAY_MS), duration_s, crash(1, 0.0), parameters=EAGER, expect={"progress": False}
    )
    each = (n - 1) * (n - 1)
    assert kinds(result) == {"nullify": each, "notarized": each, "proposal": n - 1, "notarize": n - 1}


@pytest.mark.parametrize(("n", "f"), [(6, 1), (11, 2)])
def test_silent_replicas_cost_nothing_but_their_turns(n: int, f: int) -> None:
    """The n-f others are the quorum, and still final within 2δ."""
    result = run("minimmit", constant(n, DELAY_MS), 2.0, *(crash(n - 1 - i, 0.0) for i in range(f)), parameters=EAGER)
    assert not failed(result)
    assert result.to_dict()["consensus"]["finality_ms"]["max"] == 2 * DELAY_MS
    assert min(heights(result)[: n - f]) > 50


# A partition


def test_both_halves_of_a_partition_go_on_and_neither_is_final() -> None:
    """2f+1 of 5f+1 are less than a half: that is the price of fast views. One of the branches becomes final after."""
    halves = run("minimmit", constant(6, DELAY_MS), 2.0, partition([0, 1, 2], 0.5), parameters=EAGER)
    assert not failed(halves)
    assert max(heights(halves)) <= 25
    proposed = list(zip(halves.blocks["height"].to_pylist(), halves.blocks["proposer"].to_pylist(), strict=True))
    sides = [max(height for height, proposer in proposed if (proposer < 3) == left) for left in (True, False)]
    assert min(sides) > 40
    healed = run("minimmit", constant(6, DELAY_MS), 3.0, partition([0, 1, 2], 0.5, 2.0), parameters=EAGER)
    assert not failed(healed)
    assert min(heights(healed)) > max(sides)


# A leader that says different things


def two_faced(protocol: type[Minimmit], *sides: Sequence[int], votes: bool) -> Any:
    """Replica 1, once it has transactions, proposes a block to each side, may vote for both, and never nullifies."""

    class TwoFaced(protocol):  # type: ignore[misc, valid-type]
        def emit(self, *effects: Effect) -> None:
            for effect in effects:
                message = effect.message if isinstance(effect, Broadcast) else None
                if self.me == 1 and isinstance(message, Propose) and message.block.payload.count:
                    for side, block in zip(sides, (message.block, emptied(message.block)), strict=True):
                        self._tell(side, Propose(block, message.chain))
                        if votes:
                            self._tell(side, Vote(NOTARIZE, block.view, block.height, block.id))
                elif self.me != 1 or not isinstance(message, Nullify):
                    super().emit(effect)

        def _tell(self, side: Sequence[int], message: Any) -> None:
            super().emit(*(Send(ReplicaId(to), message) for to in side))

    return TwoFaced


def emptied(block: Block) -> Block:
    return msgspec.structs.replace(block, payload=Payload(block.payload.first, 0, 0))


def with_two_faced(protocol: type[Minimmit], *sides: Sequence[int], votes: bool) -> Result:
    return run_matrix(
        "minimmit",
        constant(6, DELAY_MS),
        1.0,
        consensus={"delta_ms": DELTA_MS},
        workload={"transactions_per_s": 2000},
        protocol_class=two_faced(protocol, *sides, votes=votes),
    )


class Stubborn(Minimmit):
    """Never nullifies what it has voted for, whatever the proof."""

    def _contradict(self) -> None:
        pass


def test_a_two_faced_leader_costs_two_delta_and_two_delays_and_without_proofs_everything() -> None:
    """Two votes for either block, and one replica that times out: three against each block, but one nullify vote."""
    sides = (0, 2), (3, 4)
    honest = with_two_faced(Minimmit, *sides, votes=False)
    assert not failed(honest)
    views, proposed_ns = honest.blocks["view"].to_pylist(), honest.blocks["proposed_ns"].to_pylist()
    began = dict(zip(views, proposed_ns, strict=True))
    assert began[8] - began[7] == TIMER_NS + 2 * DELAY_MS * MS
    assert min(heights(honest)) > 25
    stuck = with_two_faced(Stubborn, *sides, votes=False)
    assert max(stuck.blocks["view"].to_pylist()) == 7
    assert max(heights(stuck)) < 7


class Hasty(Minimmit):
    """Takes a notarized block for a final one."""

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        self._finalizing = Tally(self._certificate_size)


def test_finalizing_what_is_only_notarized_breaks_agreement() -> None:
    """Two blocks of one view may be notarized, so neither is final, and certificates may disagree."""
    sides = (0, 2), (3, 4, 5)
    honest = with_two_faced(Minimmit, *sides, votes=True)
    assert failed(honest) == {"no double vote"}, "the leader's"
    by_view: dict[int, int] = defaultdict(int)
    for view in honest.blocks["view"].to_pylist():
        by_view[view] += 1
    assert by_view[7] == 2
    assert min(heights(honest)) > 25
    assert "agreement" in failed(with_two_faced(Hasty, *sides, votes=True))


# Never both (X1, X2 of section 3), and what a block leaves out has been nullified


class Watched(Minimmit):
    """Notes what all have said and what became final, over all their lives."""

    ballots: ClassVar[dict[View, dict[BlockId, set[int]]]] = defaultdict(lambda: defaultdict(set))
    gave_up: ClassVar[dict[View, set[int]]] = defaultdict(set)
    final: ClassVar[dict[BlockId, Block]] = {}
    broken: ClassVar[set[str]] = set()

    def emit(self, *effects: Effect) -> None:
        super().emit(*effects)
        for effect in effects:
            message = effect.message if isinstance(effect, Broadcast) else None
            if isinstance(message, Nullify):
                self.gave_up[message.view].add(self.me)
            elif isinstance(message, Vote):
                mine = self.ballots[message.view][message.block]
                if self.me not in mine and self.me in self.gave_up[message.view]:
                    self.broken.add("a vote in a nullified view")
                mine.add(self.me)
            elif isinstance(effect, Committed):
                self.final[effect.block.id] = effect.block

    @classmethod
    def forget(cls) -> None:
        for notes in (cls.ballots, cls.gave_up, cls.final, cls.broken):
            notes.clear()

    @classmethod
    def found(cls, n: int) -> set[str]:
        """What must not be."""
        f = (n - 1) // 5
        broken = set(cls.broken)
        for view, blocks in cls.ballots.items():
            counts = sorted((len(voters) for voters in blocks.values()), reverse=True)
            if counts[0] >= n - f and (len(counts) > 1 or len(cls.gave_up[view]) > 2 * f):
                broken.add("a final block with a rival or a nullification")
            if sum(counts) > len(set().union(*blocks.values())):
                broken.add("two votes in a view")
        for block in cls.final.values():
            before = cls.final[block.parent].view if block.height > 1 else 0
            if any(len(cls.gave_up[View(view)]) <= 2 * f for view in range(before + 1, block.view)):
                broken.add("a view left out and not nullified")
        return broken


@given(case=troubles())
@quick
def test_after_any_trouble_everyone_commits_again_and_nothing_was_contradicted(case: Any) -> None:
    Watched.forget()
    check_trouble("minimmit", case, protocol_class=Watched)
    assert not Watched.found(case[0])


@given(case=cases())
@quick
def test_restarts_are_safe_and_everyone_catches_up_and_nothing_was_contradicted(case: Any) -> None:
    Watched.forget()
    check_leader_based("minimmit", case, protocol_class=Watched)
    assert not Watched.found(case[0])


# Mutants


class Forgiving(Watched):
    """Votes in a view that it has nullified."""

    def _free(self, view: View) -> bool:
        return view > self.voted


class Impatient(Watched):
    """Nullifies when the timer fires, as in Simplex, whether it has voted or not."""

    def _time_out(self) -> None:
        self._nullify()
        self._set_timer()


def late_votes(protocol: type[Watched], *, proposed_first: bool) -> Mail:
    """All time out before or after they have the proposal; then 0 hears the votes of view 1, the rest who nullified."""
    Watched.forget()
    mail, first, second = Mail(protocol, 6), range(1, 2), range(2, 3)
    rest, everyone = range(1, 6), range(6)
    if proposed_first:
        mail.release(*everyone, views=first, kinds=["proposal"])
    mail.time_out()
    mail.release(*everyone, views=first, kinds=["proposal"])
    mail.release(*rest, views=first, kinds=["nullify"])
    mail.release(0, views=first, kinds=[NOTARIZE])
    mail.release(*everyone, views=second, kinds=["proposal", NOTARIZE])
    return mail


@pytest.mark.parametrize(("mutant", "proposed_first"), [(Forgiving, False), (Impatient, True)])
def test_voting_and_nullifying_in_one_view_breaks_agreement(mutant: type[Watched], proposed_first: bool) -> None:
    """Without proof that the block cannot be final, either excludes the other."""
    diverged = late_votes(mutant, proposed_first=proposed_first)
    assert diverged.committed[0][:1] == [1]
    assert diverged.committed[2][:1] == [2]
    assert not diverged.agreement.verdict().ok
    assert "a final block with a rival or a nullification" in Watched.found(6)
    honest = late_votes(Watched, proposed_first=proposed_first)
    assert honest.agreement.verdict().ok
    assert not Watched.found(6)
    assert honest.committed[0] == ([1] if proposed_first else [2])
