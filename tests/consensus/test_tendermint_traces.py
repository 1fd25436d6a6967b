"""Tendermint, step by step, against runs of Malachite's Quint specification (informalsystems/malachite, Apache-2.0).

Committee v1 to v4, of which v2, v3, v4 propose in rounds 0, 1, 2. Each step has an input for one validator and what
it must answer. The specification answers with one thing at a time and goes on in steps of its own (`PendingDInput`,
`StepChangeDInput`, `ProposeValueDInput`); a replica of ours does all at once, so what it says to an input is compared
with all outputs up to the validator's next input. `OURS` lists every answer in which the two differ, and why.
"""

from __future__ import annotations

import json
from itertools import groupby
from typing import Any

import pytest

from consensus.effects import Broadcast, Committed, Effect, SetTimer
from consensus.messages import GENESIS, Block, Payload, QuorumCertificate, Vote, genesis_certificate
from consensus.protocols.tendermint import Tendermint
from consensus.protocols.tendermint_messages import (
    NIL,
    PRECOMMIT,
    PREVOTE,
    PROPOSE,
    STEPS,
    Standing,
    TendermintParameters,
    TendermintProposal,
)
from consensus.types import BlockId, Committee, Height, ReplicaId, View
from testbed.checks import Agreement
from tests.consensus.stage import seat
from tests.shared import shared

TRACES = (
    "decideForPastRoundTest--decidePastTest",
    "disagreementTest--disagreementTest",
    "heightLogicTest--catchUpToHigherRoundAfterHeightChangeTest",
    "heightLogicTest--everyoneIsFastInRound0Test",
    "heightLogicTest--fastProcessesDecidesAtHeight0SlowOneCatchesUpTest",
    "heightLogicTest--multiHeightRunTest",
    "heightLogicTest--preloadVotekeeperOnlyTest",
    "heightLogicTest--slowProcessAtHeight1Test",
    "hiddenLockTest--hiddenTest",
    "line26Test--line26Test",
    "line28Test--line28Test",
    "line32Test--line32InvalidTest",
    "line42Test--line42Test",
    "someMultiRoundTest--DecideForFutureRoundPrecommitFirstTest",
    "someMultiRoundTest--DecideFutureRoundTest",
)
STEP_NAMES = {"ProposeTimeout": PROPOSE, "PrevoteTimeout": PREVOTE, "PrecommitTimeout": PRECOMMIT}
FOLLOW_UPS = ("ProposeValueDInput", "PendingDInput", "StepChangeDInput", "NoDInput")
Said = tuple[Any, ...]
OURS: dict[tuple[str, int], list[Said]] = {
    # Line 34 holds before line 36 does; the specification takes line 36 alone, algorithm 1 leaves it open.
    ("preloadVotekeeperOnlyTest", 29): [
        ("vote", PREVOTE, 0, 0, "a"),
        ("timeout", 0, PREVOTE),
        ("vote", PRECOMMIT, 0, 0, "a"),
    ],
    # The validators have not begun their heights and set no timers for the votes that they find; ours have.
    ("fastProcessesDecidesAtHeight0SlowOneCatchesUpTest", 67): [("timeout", 0, PRECOMMIT)],
    ("slowProcessAtHeight1Test", 168): [("timeout", 0, PRECOMMIT)],
    ("catchUpToHigherRoundAfterHeightChangeTest", 214): [
        ("timeout", 0, PRECOMMIT),
        ("timeout", 1, PROPOSE),
        ("timeout", 1, PRECOMMIT),
    ],
    # The run goes on before the validator has looked at the proposal it holds of the round that it skips to.
    ("DecideFutureRoundTest", 127): [("timeout", 1, PROPOSE), ("vote", PREVOTE, 0, 1, "green")],
}


class Traced(Tendermint):
    """A replica with the specification's proposers."""

    def leader(self, view: int) -> ReplicaId:
        return ReplicaId((1 + self.round_of(view)) % 4)


def kind_and_content(entry: Any) -> tuple[str, Any]:
    return (entry, None) if isinstance(entry, str) else next(iter(entry.items()))


def number(validator: str) -> ReplicaId:
    return ReplicaId(int(validator[1:]) - 1)


def value_of(vote: dict[str, Any]) -> str | None:
    return None if vote["valueId"] == "Nil" else vote["valueId"]["Val"]


class Replay:
    """Four replicas of ours, told what the validators were told; heights of the trace count from 0, ours from 1."""

    def __init__(self, trace: str, protocol: type[Tendermint]) -> None:
        self.name = trace.partition("--")[2]
        entries = json.loads(shared(f"truth/tendermint-itf/{trace}.json").read_text(encoding="utf-8"))
        # What only moves messages shows the validators' last step again.
        steps = [next(same) for _, same in groupby(enumerate(entries), key=lambda pair: pair[1])]
        self.steps = [(at, entry) for at, entry in steps if entry["validator"] != "INIT"]
        self.to_propose: dict[ReplicaId, list[str]] = {ReplicaId(i): [] for i in range(4)}
        for _, entry in self.steps:
            kind, content = kind_and_content(entry["input"])
            if kind == "ProposeValueDInput":
                self.to_propose[number(entry["validator"])].append(content)
        self.numbers: dict[str, int] = {}
        self.replicas = [protocol(seat(i, TendermintParameters(), payloads=self.payloads(i))) for i in range(4)]
        self.blocks: dict[tuple[int, str], Block] = {}
        self.make_blocks()
        self.agreement = Agreement()
        self.votes: list[tuple[ReplicaId, Vote]] = []
        self.begun = dict.fromkeys(self.to_propose, -1)
        """The last height that each validator was told to start,"""
        self.early: dict[ReplicaId, list[Said]] = {}
        """and what ours has said when it began one before."""
        self.open: dict[ReplicaId, tuple[int, list[Said], list[Said]]] = {}
        """By validator: the step of its last input, what we said, what was expected."""

    # Values and blocks

    def payloads(self, me: int) -> Any:
        def payload(now_ns: int, most: int, parent: Block) -> Payload:
            wanted = self.to_propose[ReplicaId(me)]
            return self.payload(wanted.pop(0) if wanted else "nobody asked for this")

        return payload

    def payload(self, value: str) -> Payload:
        return Payload(0, self.numbers.setdefault(value, len(self.numbers) + 1), 0)

    def make_blocks(self) -> None:
        """A value is the block that its first proposer made; one that comes only as an old one was never valid."""
        proposals = []
        parents = {0: GENESIS}
        for _, entry in self.steps:
            for kind, content in map(kind_and_content, (entry["input"], entry["output"])):
                if kind in ("ProposalDInput", "ProposalOutput"):
                    proposals.append(content)
        for proposal in sorted(proposals, key=lambda each: (each["height"], each["round"])):
            height, value, old = proposal["height"], proposal["proposal"], proposal["validRound"] >= 0
            if (height, value) not in self.blocks:
                view = self.view(height, proposal["validRound"] if old else proposal["round"])
                proposer = ReplicaId(0) if old else number(proposal["srcAddress"])
                block = Block(parents[height].id, Height(height + 1), view, proposer, self.payload(value))
                self.blocks[height, value] = block
                # No height of these runs that has a height above it decides anything but its first block.
                parents.setdefault(height + 1, block)

    def view(self, height: int, round_number: int) -> View:
        return View(self.replicas[0].first_view(height + 1) + round_number)

    def value(self, block_id: BlockId) -> str | None:
        names = {block.id: value for (_, value), block in self.blocks.items()}
        return None if block_id == NIL else names.get(block_id, "unknown")

    # Steps

    def run(self) -> None:
        for at, entry in self.steps:
            validator = number(entry["validator"])
            kind, content = kind_and_content(entry["input"])
            if kind not in FOLLOW_UPS or (kind == "PendingDInput" and self.finds_votes(validator)):
                self.close(validator)
                self.open[validator] = (at, self.tell(validator, kind, content), [])
            self.open[validator][2].extend(self.expected(entry["output"]))
        for validator in list(self.open):
            self.close(validator)

    def finds_votes(self, validator: ReplicaId) -> bool:
        """Whether it is asked to look at votes of a height that it was not told to start."""
        height = self.replicas[validator].height
        return self.begun[validator] < height - 1 and any(vote.height == height for _, vote in self.votes)

    def close(self, validator: ReplicaId) -> None:
        """Compare; what the specification's driver still says of a height it has decided is not for us."""
        if validator not in self.open:
            return
        at, said, expected = self.open.pop(validator)
        decided = [position for position, each in enumerate(expected) if each[0] == "decided"]
        if decided:
            expected = expected[: decided[0] + 1]
        assert said == OURS.get((self.name, at), expected), f"step {at} of {self.name}: v{validator + 1}"

    def tell(self, validator: ReplicaId, kind: str, content: Any) -> list[Said]:
        replica = self.replicas[validator]
        if kind in ("StartDInput", "PendingDInput"):
            return self.begin(validator, asked=kind == "StartDInput")
        if kind == "TimeoutDInput":
            effects = replica.fire(STEP_NAMES[content], 0)
        elif kind == "ProposalDInput":
            valid = None if content["validRound"] < 0 else self.view(content["height"], content["validRound"])
            block = self.blocks[content["height"], content["proposal"]]
            message = TendermintProposal(self.view(content["height"], content["round"]), block, valid)
            effects = replica.receive(number(content["srcAddress"]), message, 0)
        elif kind == "VoteDInput":
            effects = replica.receive(number(content["srcAddress"]), self.vote(content), 0)
        elif kind == "CertificateDInput":
            effects = replica.receive(number(content[0]["srcAddress"]), self.certificate(content), 0)
        else:
            raise AssertionError(f"unknown input {kind}")
        return self.said(validator, effects)

    def begin(self, validator: ReplicaId, asked: bool) -> list[Said]:
        """Start a height, and find the votes that the network has kept for it."""
        replica = self.replicas[validator]
        said: list[Said] = self.early.pop(validator, [])
        if self.begun[validator] < 0:
            said = self.said(validator, replica.start({}, 0))
        self.begun[validator] = replica.height - 1
        if not asked:
            said = []
        for sender, vote in self.votes:
            if vote.height == replica.height and sender != validator:
                said += self.said(validator, replica.receive(sender, vote, 0))
        return said

    def vote(self, content: dict[str, Any]) -> Vote:
        height, value = content["height"], value_of(content)
        block = NIL if value is None else self.blocks[height, value].id
        phase = content["voteType"].lower()
        return Vote(phase, self.view(height, content["round"]), Height(height + 1), block)

    def certificate(self, contents: list[dict[str, Any]]) -> Standing:
        vote = self.vote(contents[0])
        signers = tuple(sorted(number(content["srcAddress"]) for content in contents))
        proof = QuorumCertificate(vote.view, signers, (b"",) * len(signers), vote.phase, vote.height, vote.block)
        return Standing(proof) if vote.phase == PRECOMMIT else Standing(genesis_certificate(PRECOMMIT), proof)

    def expected(self, output: Any) -> list[Said]:
        kind, content = kind_and_content(output)
        if kind == "VoteOutput":
            return [("vote", content["voteType"].lower(), content["height"], content["round"], value_of(content))]
        if kind == "ProposalOutput":
            return [("proposal", content["height"], content["round"], content["proposal"], content["validRound"])]
        if kind in ("TimeoutOutput", "GetValueAndScheduleTimeoutOutput"):
            return [("timeout", content[-2], STEP_NAMES[content[-1]])]
        if kind == "DecidedOutput":
            return [("decided", *content)]
        assert kind in ("NoConsensusOutput", "ErrorOutput"), kind
        return []

    def said(self, validator: ReplicaId, effects: Any) -> list[Said]:
        """What the specification has a word for; what comes after a decision belongs to the next height."""
        replica, height_over = self.replicas[validator], False
        said: list[Said] = []
        for effect in effects:
            found = self.word(replica, effect)
            if type(effect) is Committed:
                self.agreement.committed(0, validator, effect.block)
                self.early[validator] = []
            if found is not None:
                (self.early[validator] if height_over else said).append(found)
            height_over = height_over or type(effect) is Committed
            if isinstance(effect, Broadcast) and type(effect.message) is Vote:
                self.votes.append((validator, effect.message))
        return said

    def word(self, replica: Tendermint, effect: Effect) -> Said | None:
        if type(effect) is SetTimer and effect.timer in STEPS:
            return ("timeout", replica.round_of(replica.view), effect.timer)
        if type(effect) is Committed:
            return ("decided", replica.round_of(replica.committed.view), self.value(effect.block.id))
        message = effect.message if isinstance(effect, Broadcast) else None
        if type(message) is Vote:
            place = (message.height - 1, replica.round_of(message.view))
            return ("vote", message.phase, *place, self.value(message.block))
        if type(message) is TendermintProposal:
            old = -1 if message.valid_view is None else replica.round_of(message.valid_view)
            place = (message.block.height - 1, replica.round_of(message.view))
            return ("proposal", *place, self.value(message.block.id), old)
        return None


@pytest.mark.parametrize("trace", TRACES)
def test_each_step_is_answered_as_in_the_specification(trace: str) -> None:
    replay = Replay(trace, Traced)
    replay.run()
    assert bool(replay.agreement.broken) == (trace == "disagreementTest--disagreementTest")
    decisions = sum(kind_and_content(entry["output"])[0] == "DecidedOutput" for _, entry in replay.steps)
    assert replay.agreement.seen == decisions


def test_no_trace_is_left_out() -> None:
    assert sorted(path.stem for path in shared("truth/tendermint-itf").glob("*.json")) == sorted(TRACES)


# Mutants: the rules that the runs are about


class Unlocked(Traced):
    """Prevotes whatever is proposed (against lines 23 and 29)."""

    def answer(self, proposal: TendermintProposal) -> None:
        self.locked = None
        super().answer(proposal)


class Credulous(Traced):
    """Takes every block for valid (against lines 23, 29 and 36)."""

    def valid_here(self, proposal: TendermintProposal) -> bool:
        return True


class NeverOld(Traced):
    """Never proposes its valid block again (against line 16)."""

    def _propose(self) -> None:
        self.valid = None
        super()._propose()


class Hurried(Traced):
    """Is content with two votes of four (against lines 34, 36, 44, 47 and 49)."""

    def __init__(self, seat: Any) -> None:
        super().__init__(seat)
        self.committee = Committee.of(4, quorum=2)


class Deaf(Traced):
    """Never skips a round (against line 55)."""

    def skip_to(self, view: View) -> None:
        pass


@pytest.mark.parametrize(
    ("mutant", "trace"),
    [
        (Unlocked, "line26Test--line26Test"),
        (Credulous, "line32Test--line32InvalidTest"),
        (NeverOld, "line28Test--line28Test"),
        (NeverOld, "hiddenLockTest--hiddenTest"),
        (Hurried, "line42Test--line42Test"),
        (Deaf, "someMultiRoundTest--DecideFutureRoundTest"),
        (Deaf, "heightLogicTest--catchUpToHigherRoundAfterHeightChangeTest"),
    ],
)
def test_a_broken_rule_is_seen(mutant: type[Tendermint], trace: str) -> None:
    with pytest.raises(AssertionError, match=r"^step \d+ of "):
        Replay(trace, mutant).run()
