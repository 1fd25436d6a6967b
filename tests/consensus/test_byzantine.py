"""Adversaries one by one: what each makes of the words of the replica inside, and that it counts its deeds."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from consensus.byzantine import BEHAVIOURS, Scheme, corrupted
from consensus.byzantine.lying import FLOOD, INFLATION
from consensus.effects import Adopted, Broadcast, Committed, Effect, Entered, Persist, Send, SetTimer
from consensus.messages import GENESIS, Block, Message, Payload, Proposal, QuorumCertificate, Vote, genesis_certificate
from consensus.protocols.hotstuff import HotStuff
from consensus.protocols.longest_chain import LongestChain, Mined
from consensus.protocols.pbft import Pbft, PrePrepare
from consensus.protocols.pbft_view_change import COMMIT, PREPARE
from consensus.replica import NOTHING, Replica, Seat
from consensus.types import BlockId, Committee, Height, ReplicaId, View

N, ME, DELTA_NS = 5, ReplicaId(1), 100
OTHERS = [0, 2, 3, 4]
FULL, EMPTY = Payload(0, 3, 750), Payload(0, 0, 0)
BLOCK = Block(GENESIS.id, Height(1), View(1), ME, FULL)
EMPTIED = Block(GENESIS.id, Height(1), View(1), ME, EMPTY)
PROPOSAL = PrePrepare(View(1), BLOCK)
VOTE = Vote(PREPARE, View(1), Height(1), BLOCK.id)


class Puppet:
    """An honest replica that says what it is told to."""

    made: list[Puppet]

    def __init__(self, seat: Seat) -> None:
        self.seat = seat
        self.wants: Sequence[Effect] = NOTHING
        self.heard: list[tuple[Any, ...]] = []
        Puppet.made.append(self)

    def start(self, recovered: Any, now_ns: int) -> Sequence[Effect]:
        self.heard.append(("start", dict(recovered), now_ns))
        return self.wants

    def receive(self, sender: ReplicaId, message: Message, now_ns: int) -> Sequence[Effect]:
        self.heard.append((sender, message, now_ns))
        return self.wants

    def fire(self, timer: str, now_ns: int) -> Sequence[Effect]:
        self.heard.append((timer, now_ns))
        return self.wants

    def submit(self, payload: Payload, now_ns: int) -> Sequence[Effect]:
        self.heard.append(("submit", payload, now_ns))
        return self.wants


class Stage:
    """One adversary around a puppet."""

    def __init__(self, *behaviours: str, protocol: type[Replica] = Pbft, parameters: Any = None, **scheme: Any):
        Puppet.made = []
        seat = Seat(
            me=ME,
            committee=Committee.of(N),
            delta_ns=DELTA_NS,
            timeout_ns=1000,
            random=random.Random(1),
            payloads=lambda now_ns, max_bytes, parent: Payload(parent.payload.end, now_ns, 0),
            block_max_bytes=1000,
            parameters=parameters,
        )
        self.deeds: Counter[int] = Counter()
        schemes = [
            Scheme(**{"number": number, "behaviour": name, "replicas": (ME,), "begin_ns": 0, "end_ns": None, **scheme})
            for number, name in enumerate(behaviours)
        ]
        self.adversary = corrupted(Puppet, protocol, schemes, self.deeds)(seat)
        self.puppet = Puppet.made[0]

    def says(self, *wants: Effect, now_ns: int = 0) -> list[Effect]:
        """What others see of what the replica inside wants, on some event."""
        self.puppet.wants = wants
        seen = list(self.adversary.fire("any", now_ns))
        self.puppet.wants = NOTHING
        return seen

    def hears(self, sender: int, message: Message, now_ns: int = 0) -> list[Effect]:
        return list(self.adversary.receive(ReplicaId(sender), message, now_ns))


def sent(effects: Sequence[Effect]) -> list[tuple[int, Message]]:
    """Who gets what, unsigned, copies of a broadcast spelt out."""
    found: list[tuple[int, Message]] = []
    for effect in effects:
        if isinstance(effect, Broadcast):
            found += [(to, effect.message) for to in range(N)]
        elif isinstance(effect, Send):
            found.append((effect.to, effect.message))
    return found


def to_others(effects: Sequence[Effect]) -> list[tuple[int, Message]]:
    return [(to, message) for to, message in sent(effects) if to != ME]


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_what_is_neither_said_nor_a_fact_passes_and_facts_do_not(name: str) -> None:
    protocol = LongestChain if BEHAVIOURS[name].suits == "mining" else Pbft
    stage = Stage(name, protocol=protocol)
    kept = Persist("promise", BLOCK)
    assert stage.says(Entered(View(2)), kept, Adopted(GENESIS), Committed(GENESIS)) == [kept]


@pytest.mark.parametrize("name", sorted(set(BEHAVIOURS) - {"clock_skew", "amnesia"}))
def test_outside_its_window_an_adversary_is_honest(name: str) -> None:
    protocol = LongestChain if BEHAVIOURS[name].suits == "mining" else Pbft
    stage = Stage(name, protocol=protocol, begin_ns=10, end_ns=20)
    for now_ns in (9, 20):
        for words in (Broadcast(PROPOSAL), Broadcast(VOTE), Send(ReplicaId(3), VOTE)):
            assert sent(stage.says(words, now_ns=now_ns)) == sent([words])
    assert not stage.deeds.total()


def test_the_same_event_reaches_the_replica_inside() -> None:
    stage = Stage("silent")
    stage.adversary.start({"a": GENESIS}, 1)
    stage.hears(3, VOTE, 2)
    stage.adversary.submit(FULL, 3)
    stage.adversary.fire("view", 4)
    assert stage.puppet.heard == [("start", {"a": GENESIS}, 1), (3, VOTE, 2), ("submit", FULL, 3), ("view", 4)]


def test_several_edit_in_turn() -> None:
    """A second block for half of the others, and the votes of nobody."""
    stage = Stage("equivocate", "slow")
    delayed = stage.says(Broadcast(PROPOSAL))
    assert all(isinstance(effect, SetTimer) for effect in delayed)
    assert stage.deeds[0] == 2
    assert stage.deeds[1] == N


# Withholding


def test_silence() -> None:
    stage = Stage("silent")
    assert to_others(stage.says(Broadcast(PROPOSAL), Broadcast(VOTE), Send(ReplicaId(0), VOTE))) == []
    assert stage.deeds[0] == 4 + 4 + 1


def test_silence_as_a_leader() -> None:
    stage = Stage("silent_leader")
    assert sent(stage.says(Broadcast(PROPOSAL))) == [(ME, PROPOSAL)]
    assert stage.says(Broadcast(VOTE)) == [Broadcast(VOTE)]
    assert stage.deeds[0] == 4


def test_a_block_withheld_from_victims() -> None:
    stage = Stage("withhold_block", victims=(0, 4))
    assert to_others(stage.says(Broadcast(PROPOSAL))) == [(2, PROPOSAL), (3, PROPOSAL)]
    assert stage.says(Broadcast(VOTE)) == [Broadcast(VOTE)]


def test_a_commit_only_for_the_victim() -> None:
    """Votes of the last phase, and certificates made of them."""
    stage = Stage("withhold_commit", victims=(4,))
    commit = Vote(COMMIT, View(1), Height(1), BLOCK.id)
    assert to_others(stage.says(Broadcast(commit))) == [(4, commit)]
    assert stage.says(Broadcast(VOTE)) == [Broadcast(VOTE)]
    signed = (ReplicaId(0), ReplicaId(2)), (b"a", b"b")
    for phase, hearers in ((COMMIT, [4]), (PREPARE, OTHERS)):
        proof = QuorumCertificate(View(1), *signed, phase, Height(1), BLOCK.id)
        words = Broadcast(Proposal(BLOCK, proof))
        assert [to for to, _ in to_others(stage.says(words))] == hearers
    # By default the victim is the next replica; genesis is nobody's commit.
    assert [to for to, _ in to_others(Stage("withhold_commit").says(Broadcast(commit)))] == [2]
    early = Broadcast(Proposal(BLOCK, genesis_certificate(COMMIT)))
    assert Stage("withhold_commit").says(early) == [early]


def test_slowness() -> None:
    stage = Stage("slow")
    (timer,) = stage.says(Broadcast(VOTE))
    assert isinstance(timer, SetTimer)
    assert timer.delay_ns == 900
    assert stage.adversary.fire(timer.timer, 900) == [Broadcast(VOTE)]
    (other,) = Stage("slow", delay_ns=7).says(Broadcast(VOTE))
    assert isinstance(other, SetTimer)
    assert other.delay_ns == 7


# Lying


def test_two_blocks_for_one_place() -> None:
    stage = Stage("equivocate", victims=(0, 2), replicas=(ME, 4))
    other = PrePrepare(View(1), EMPTIED)
    heard = to_others(stage.says(Broadcast(PROPOSAL)))
    assert heard == [(0, other), (2, other), (3, PROPOSAL), (4, PROPOSAL), (4, other)]
    # An empty block has no rival that carries only what was submitted.
    assert stage.says(Broadcast(PrePrepare(View(1), EMPTIED))) == [Broadcast(PrePrepare(View(1), EMPTIED))]


def test_votes_for_both_of_two_blocks() -> None:
    stage = Stage("double_vote")
    stage.hears(0, PrePrepare(View(1), BLOCK))
    stage.hears(0, PrePrepare(View(1), EMPTIED))
    rival = Vote(PREPARE, View(1), Height(1), EMPTIED.id)
    assert to_others(stage.says(Broadcast(VOTE))) == [(to, vote) for vote in (VOTE, rival) for to in OTHERS]


def test_votes_for_whatever_others_vote_for() -> None:
    """At once for a block that nobody has, and later for any that others name; for each once."""
    stage = Stage("double_vote")
    said = to_others(stage.says(Broadcast(VOTE)))
    assert len(said) == 8
    assert len({message.block for _, message in said}) == 2  # type: ignore[attr-defined]
    rival = Vote(PREPARE, View(1), Height(1), BlockId(b"rival"))
    assert to_others(stage.hears(3, rival)) == [(to, rival) for to in OTHERS]
    assert stage.hears(2, rival) == []
    assert stage.hears(2, Vote(COMMIT, View(1), Height(1), BlockId(b"rival"))) == []


def test_a_fork_below_the_newest_certificate() -> None:
    """The new block's parent is its grandparent, with the certificate of that one."""
    stage = Stage("fork", protocol=HotStuff)
    blocks, certificates = [GENESIS], [genesis_certificate("vote")]
    for height in (1, 2, 3):
        block = Block(blocks[-1].id, Height(height), View(height), ReplicaId(height), Payload(0, 0, 0))
        stage.hears(height, Proposal(block, certificates[-1]))
        blocks.append(block)
        certificates.append(QuorumCertificate(View(height), (), (), "vote", Height(height), block.id))
    honest = Block(blocks[3].id, Height(4), View(4), ME, Payload(0, 0, 0))
    seen = to_others(stage.says(Broadcast(Proposal(honest, certificates[3])), now_ns=9))
    forked = Block(blocks[2].id, Height(3), View(4), ME, Payload(0, 9, 0))
    assert seen == [(to, Proposal(forked, certificates[2])) for to in OTHERS]


def test_old_words_again() -> None:
    stage = Stage("replay")
    assert stage.says(Broadcast(PROPOSAL)) == [Broadcast(PROPOSAL)]
    assert to_others(stage.says(Broadcast(VOTE))) == [(to, words) for words in (VOTE, PROPOSAL) for to in OTHERS]


def test_wrong_signatures_for_others_only() -> None:
    stage = Stage("wrong_signature")
    said = dict(sent(stage.says(Broadcast(VOTE))))
    assert said.pop(ME).signature == b""
    assert {message.signature for message in said.values()} == {bytes(64)}
    assert sorted(said) == OTHERS


@pytest.mark.parametrize(("name", "ahead"), [("inflate_view", [INFLATION * N]), ("flood", range(1, FLOOD + 1))])
def test_views_ahead(name: str, ahead: Sequence[int]) -> None:
    stage = Stage(name)
    said = to_others(stage.says(Broadcast(VOTE)))
    assert [message.view for to, message in said if to == 3] == [1, *(1 + more for more in ahead)]  # type: ignore[attr-defined]
    assert stage.deeds[0] == len(ahead) * 4


# Confusion


def test_forgetting_all_but_blocks() -> None:
    stage = Stage("amnesia", delay_ns=50, begin_ns=70, end_ns=150)
    first = stage.adversary.start({b"old": BLOCK, "promise": VOTE}, 0)
    assert [timer.delay_ns for timer in first if isinstance(timer, SetTimer)] == [70]
    (timer,) = (each.timer for each in first if isinstance(each, SetTimer))
    stage.says(Persist("promise", PROPOSAL), Persist(b"new", EMPTIED), Persist("final", GENESIS))
    (again,) = stage.adversary.fire(timer, 70)
    assert again == SetTimer(timer, 50)
    assert len(Puppet.made) == 2
    assert Puppet.made[-1].heard == [("start", {b"old": BLOCK, b"new": EMPTIED, "final": GENESIS}, 70)]
    assert stage.deeds[0] == 1
    assert stage.adversary.fire(timer, 150) == ()


def test_a_clock_that_is_ahead_and_fast() -> None:
    stage = Stage("clock_skew", delay_ns=1000, begin_ns=100, end_ns=200)
    (timer,) = stage.says(SetTimer("view", 40), now_ns=50)
    assert timer == SetTimer("view", 40)
    (timer,) = stage.says(SetTimer("view", 40), now_ns=110)
    assert timer == SetTimer("view", 20)
    stage.hears(3, VOTE, 130)
    # What it proposes has arrived by everybody's clock; its own never goes back.
    assert stage.puppet.seat.payloads(9_999, 0, GENESIS).count == 130
    stage.hears(3, VOTE, 210)
    assert [event[-1] for event in stage.puppet.heard] == [50, 1120, 1160, 1160]


# Mining


def mined(height: int, miner: int, parent: Block = GENESIS) -> Block:
    return Block(parent.id, Height(height), View(height), ReplicaId(miner), Payload(0, 0, 0))


class Mine(Stage):
    """A secret miner, and what it does when a block is found."""

    def finds(self, height: int) -> list[int]:
        """Its own miner finds a block; which of its blocks others hear of, by height."""
        block = mined(height, ME)
        said = self.says(Broadcast(Mined(block)))
        assert Send(ME, Mined(block)) in said
        self.puppet.wants = [Adopted(block)]
        said += self.hears(ME, Mined(block))
        self.puppet.wants = NOTHING
        return [message.block.height for to, message in to_others(said) if to == 0]  # type: ignore[attr-defined]

    def others_find(self, height: int, adopted: bool = False) -> list[int]:
        block = mined(height, 2)
        self.puppet.wants = [Adopted(block)] if adopted else NOTHING
        said = self.hears(2, Mined(block))
        self.puppet.wants = NOTHING
        return [message.block.height for to, message in to_others(said) if to == 0]  # type: ignore[attr-defined]


def test_selfish_mining_is_eyal_and_sirers_algorithm_1() -> None:
    mine = Mine("selfish_mining", protocol=LongestChain)
    assert mine.others_find(1, adopted=True) == []
    # One ahead, and others find one: both branches are public. The next decides.
    assert mine.finds(2) == []
    assert mine.others_find(2) == [2]
    assert mine.finds(3) == [3]
    # Nothing secret, nothing won: the next is kept.
    assert mine.finds(4) == []
    assert mine.others_find(4) == [4]
    assert mine.others_find(5, adopted=True) == []
    # Three ahead: one for one, until the lead is two; then everything.
    assert [mine.finds(height) for height in (6, 7, 8)] == [[], [], []]
    assert mine.others_find(6) == [6]
    assert mine.others_find(7) == [7, 8]
    assert mine.others_find(8) == []
    assert mine.deeds[0] == 6


def test_a_private_attack_publishes_when_others_think_they_are_final() -> None:
    parameters = LongestChain.Parameters(confirmations=2)
    mine = Mine("private_attack", protocol=LongestChain, parameters=parameters)
    assert [mine.finds(1), mine.finds(2), mine.finds(3)] == [[], [], []]
    assert mine.others_find(1) == []
    assert mine.others_find(2) == [1, 2, 3]
    # Behind from the start, and given up when three behind: then it hears what it has missed.
    before = len(mine.puppet.heard)
    assert [mine.others_find(height) for height in (4, 5)] == [[], []]
    assert len(mine.puppet.heard) == before
    mine.others_find(6)
    assert [event[1].block.height for event in mine.puppet.heard[before:]] == [1, 2, 4, 5, 6]


# Twins


def test_two_copies_with_one_key_talk_to_different_replicas() -> None:
    stage = Stage("twins", victims=(0, 2), begin_ns=10, end_ns=20)
    first, second = Puppet.made
    assert second.seat.payloads(5, 0, GENESIS).count == first.seat.payloads(5, 0, GENESIS).count - 1
    # In the window each hears its own part, and speaks to it.
    stage.hears(0, VOTE, 12)
    stage.hears(3, VOTE, 12)
    assert [event[0] for event in first.heard] == [3]
    assert [event[0] for event in second.heard] == [0]
    first.wants = [Broadcast(PROPOSAL), SetTimer("view", 3), Persist("promise", BLOCK)]
    second.wants = [Broadcast(VOTE), SetTimer("view", 4), Persist("promise", EMPTIED), Adopted(BLOCK)]
    said = list(stage.adversary.start({}, 13))
    assert to_others(said) == [(3, PROPOSAL), (4, PROPOSAL), (0, VOTE), (2, VOTE)]
    timers = [effect for effect in said if isinstance(effect, SetTimer)]
    assert [timer.delay_ns for timer in timers] == [3, 4]
    assert [effect for effect in said if isinstance(effect, Persist)] == [Persist("promise", BLOCK)]
    assert stage.deeds[0] == 2
    # Own words come back to whoever said them, in that order.
    first.wants = second.wants = NOTHING
    stage.hears(ME, PROPOSAL, 13)
    stage.hears(ME, VOTE, 13)
    assert first.heard[-1][:2] == (ME, PROPOSAL)
    assert second.heard[-1][:2] == (ME, VOTE)
    stage.adversary.fire(timers[1].timer, 17)
    assert second.heard[-1] == ("view", 17)
    # After it both listen, and the first speaks for both.
    stage.hears(2, VOTE, 21)
    assert first.heard[-1][:2] == second.heard[-1][:2] == (2, VOTE)
    second.wants = [Broadcast(VOTE)]
    assert to_others(stage.adversary.fire(timers[1].timer, 22)) == []
