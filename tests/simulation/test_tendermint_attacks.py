"""Tendermint under attack: hidden locks, amnesia, too many faulty. Each attack with a mutant that falls to it.

Four replicas, driven message by message; 1, 2, 3 and 0 lead the rounds of height 1. Faulty ones are played by the
script. What the rest commit goes to the checks that ride along on every run.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import msgspec
import pytest

from consensus.effects import Broadcast, Committed, Effect, Persist, Reason, Rejected, Send, SetTimer
from consensus.messages import GENESIS, Block, Message, Payload, Vote
from consensus.protocols.tendermint import Tendermint
from consensus.protocols.tendermint_messages import (
    NIL,
    PRECOMMIT,
    PREVOTE,
    Promise,
    Standing,
    TendermintParameters,
    TendermintProposal,
)
from consensus.types import Height, ReplicaId, View
from testbed.checks import Agreement, CommitOrder
from tests.consensus.stage import seat

Passes = Callable[[int, int, Message], bool]


def everything(source: int, target: int, message: Message) -> bool:
    return True


class Script:
    """Replicas that hear each other as far as `passes` lets them; time passes only by their timers."""

    def __init__(
        self, honest: Collection[int], protocols: dict[int, type[Tendermint]] | None = None, passes: Passes = everything
    ) -> None:
        self.protocols = protocols or dict.fromkeys(honest, Tendermint)
        self.passes = passes
        self.agreement, self.order = Agreement(), CommitOrder(4)
        self.committed: dict[int, list[Block]] = {i: [] for i in sorted(honest)}
        self.decided_in: dict[int, View] = {}
        """In which round each has decided height 1."""
        self.rejected: list[Rejected] = []
        self.votes: dict[tuple[int, str, View], set[bytes]] = {}
        self.stores: dict[int, dict[Any, Any]] = {i: {} for i in sorted(honest)}
        self.timers: dict[int, set[str]] = {i: set() for i in sorted(honest)}
        self.replicas = {i: self.protocols[i](seat(i, TendermintParameters())) for i in sorted(honest)}
        self.carry([(i, replica.start({}, 0)) for i, replica in self.replicas.items()])

    def boot(self, i: int) -> None:
        """Crash, and start again from what was persisted."""
        self.timers[i].clear()
        self.replicas[i] = self.protocols[i](seat(i, TendermintParameters()))
        self.carry([(i, self.replicas[i].start(dict(self.stores[i]), 0))])

    def fire(self, timer: str, *replicas: int) -> None:
        """These timers run out, at the same time."""
        for i in replicas:
            assert timer in self.timers[i], f"replica {i} does not wait for {timer}"
            self.timers[i].discard(timer)
        self.carry([(i, self.replicas[i].fire(timer, 0)) for i in replicas])

    def say(self, source: int, message: Message, *targets: int) -> None:
        """A faulty replica says this to these."""
        self.carry([(source, [Send(ReplicaId(target), message) for target in targets])])

    def carry(self, wanted: Iterable[tuple[int, Sequence[Effect]]]) -> None:
        """Deliver what was said, first said first, until nobody says anything more."""
        queue = [(source, effect) for source, effects in wanted for effect in effects]
        while queue:
            source, effect = queue.pop(0)
            self.record(source, effect)
            if isinstance(effect, (Send, Broadcast)):
                for target in [effect.to] if isinstance(effect, Send) else sorted(self.replicas):
                    if target == source or (target in self.replicas and self.passes(source, target, effect.message)):
                        answer = self.replicas[target].receive(ReplicaId(source), effect.message, 0)
                        queue.extend((target, more) for more in answer)

    def record(self, source: int, effect: Effect) -> None:
        if isinstance(effect, Committed):
            self.committed[source].append(effect.block)
            for check in (self.agreement, self.order):
                check.committed(0, ReplicaId(source), effect.block)
        elif isinstance(effect, Persist):
            self.stores[source][effect.key] = effect.value
            if isinstance(effect.value, Promise) and effect.value.committed.height == 1:
                self.decided_in[source] = effect.value.committed.view
        elif isinstance(effect, SetTimer):
            self.timers[source].add(effect.timer)
        elif isinstance(effect, Rejected):
            self.rejected.append(effect)
        elif isinstance(effect, Broadcast) and isinstance(effect.message, Vote):
            vote = effect.message
            self.votes.setdefault((source, vote.phase, vote.view), set()).add(vote.block)

    @property
    def double_votes(self) -> int:
        return sum(len(blocks) > 1 for blocks in self.votes.values())


def view(round_number: int, height: int = 1) -> View:
    return View(height * 4_000_001 + round_number)


def made(round_number: int, count: int) -> Block:
    """One of several blocks of one proposer."""
    place = view(round_number)
    return Block(GENESIS.id, Height(1), place, ReplicaId(place % 4), Payload(0, count, count))


def vote(phase: str, round_number: int, block: Block | None) -> Vote:
    return Vote(phase, view(round_number), Height(1), NIL if block is None else block.id)


RED, BLUE = made(0, 1), made(0, 2)


class WithoutLocks(Tendermint):
    """Prevotes whatever is proposed."""

    def answer(self, proposal: TendermintProposal) -> None:
        self.locked = None
        super().answer(proposal)


# T3: the hidden lock


def hidden_lock() -> Script:
    """Replica 1 tells 0 blue, and 2 and 3 red; it prevotes red to those who lock it, and nil to 0."""
    script = Script((0, 2, 3))
    script.say(1, TendermintProposal(view(0), BLUE), 0)
    script.say(1, TendermintProposal(view(0), RED), 2, 3)
    script.say(1, vote(PREVOTE, 0, RED), 2, 3)
    script.say(1, vote(PREVOTE, 0, None), 0)
    assert [script.replicas[i].locked is not None for i in (0, 2, 3)] == [False, True, True]
    script.fire("prevote", 0)
    script.passes = lambda source, target, message: not isinstance(message, Standing)
    script.fire("precommit", 0, 2, 3)
    return script


def test_a_hidden_lock_delays_the_decision_and_does_no_harm() -> None:
    """Malachite, hiddenLock: round 1 fails because replica 0 has not seen the polka; round 2 decides red."""
    script = hidden_lock()
    # Round 1: replica 2 proposes red again, for which replica 0 has no polka.
    assert script.replicas[0].step == "propose"
    script.say(1, vote(PREVOTE, 0, RED), 0)
    assert script.rejected == [Rejected(ReplicaId(1), Reason.EQUIVOCATION)], "evidence of its two prevotes"
    script.fire("propose", 0)
    script.fire("prevote", 0, 2, 3)
    # The polka comes late, and round 2 decides.
    script.passes = everything
    script.carry([(2, [Broadcast(script.replicas[2].standing())])])
    assert not any(script.committed.values())
    script.fire("precommit", 0, 2, 3)
    assert {i: blocks[0] for i, blocks in script.committed.items()} == {0: RED, 2: RED, 3: RED}
    assert script.decided_in == dict.fromkeys((0, 2, 3), view(2))
    assert (script.agreement.broken, script.double_votes) == (0, 0)


def test_in_place_of_gossip_the_proposer_shows_the_lock() -> None:
    """Without the script's interference the polka comes with the proposal, and round 1 decides."""
    script = hidden_lock()
    script.passes = everything
    script.fire("repeat", 2)
    assert {i: blocks[0] for i, blocks in script.committed.items()} == {0: RED, 2: RED, 3: RED}
    assert script.decided_in == dict.fromkeys((0, 2, 3), view(1))


# T4: more faulty replicas than the protocol bears


@pytest.mark.parametrize(("liars", "broken"), [((1,), False), ((0, 1), True)])
def test_two_liars_of_four_break_agreement_and_the_check_sees_it(liars: tuple[int, ...], broken: bool) -> None:
    """Malachite, disagreement; Apalache, MC_n4_f2: an equivocating proposer and its accomplice, n = 4."""
    script = Script([i for i in range(4) if i not in liars])
    for target, block in ((2, RED), (3, BLUE)):
        script.say(1, TendermintProposal(view(0), block), target)
        for liar in liars:
            for phase in (PREVOTE, PRECOMMIT):
                script.say(liar, vote(phase, 0, block), target)
    assert bool(script.agreement.broken) == broken
    if broken:
        assert (script.committed[2], script.committed[3]) == ([RED], [BLUE])
        assert "height 1: replica 2 has" in script.agreement.violations[0]
    assert script.double_votes == 0, "the honest ones voted once"


# T5: amnesia


def amnesia(protocol: type[Tendermint], restart: bool = False) -> Script:
    """CometBFT, MC_n4_f2_amnesia: 0, 1 and 2 lock a block that 2 alone sees decided; then 2 is cut off.

    In round 2 replica 3, which has seen no polka, proposes another block to two who should still be locked.
    """

    def passes(source: int, target: int, message: Message) -> bool:
        if source == 2:
            return target != 3 and isinstance(message, Vote) and (message.phase, message.view) == (PREVOTE, view(0))
        return not (isinstance(message, TendermintProposal) and message.view == view(0) and target == 3)

    script = Script(range(4), {0: protocol, 1: protocol, 2: Tendermint, 3: Tendermint}, passes)
    assert [len(script.committed[i]) for i in range(4)] == [0, 0, 1, 0]
    script.fire("propose", 3)
    script.fire("prevote", 3)
    script.fire("precommit", 0, 1, 3)
    if restart:
        for i in (0, 1):
            script.boot(i)
        script.fire("repeat", 3)
    # Round 1 is led by 2, who is away.
    script.fire("propose", 0, 1, 3)
    script.fire("precommit", 0, 1, 3)
    return script


class ForgetfulStore(Tendermint):
    """Its store keeps all but the locks."""

    def emit(self, *effects: Effect) -> None:
        for effect in effects:
            if isinstance(effect, Persist) and isinstance(effect.value, Promise):
                effect = Persist(effect.key, msgspec.structs.replace(effect.value, locked=None, valid=None))
            super().emit(effect)


@pytest.mark.parametrize("restart", [False, True])
def test_locks_outlive_rounds_and_restarts(restart: bool) -> None:
    """Replicas 0 and 1 do not help replica 3; when 0 leads, in round 3, it proposes what they hold, and 3 follows."""
    script = amnesia(Tendermint, restart)
    assert [len(script.committed[i]) for i in range(4)] == [0, 0, 1, 0]
    script.fire("prevote", 0, 1, 3)
    script.fire("precommit", 0, 1, 3)
    assert [script.committed[i][0].view for i in range(4)] == [view(0)] * 4
    assert (script.agreement.broken, script.order.broken, script.double_votes) == (0, 0, 0)


@pytest.mark.parametrize(("mutant", "restart"), [(WithoutLocks, False), (WithoutLocks, True), (ForgetfulStore, True)])
def test_two_who_forget_their_locks_break_agreement_without_voting_twice(
    mutant: type[Tendermint], restart: bool
) -> None:
    """The evidence is of amnesia: nobody has voted for two blocks in one round."""
    script = amnesia(mutant, restart)
    assert script.agreement.broken > 0
    assert (script.committed[2][0].view, script.committed[3][0].view) == (view(0), view(2))
    assert script.double_votes == 0


def test_a_store_that_forgets_locks_harms_nobody_who_does_not_restart() -> None:
    assert amnesia(ForgetfulStore).agreement.broken == 0
