"""Twins schedules in wrappers: which round what belongs to, whom it reaches, and that both copies follow it."""

from __future__ import annotations

import pytest

from consensus.byzantine import Partition, Rounds, Schedule, listening
from consensus.effects import Broadcast, Committed, Effect, Entered, Send
from consensus.messages import GENESIS, Block, Fetch, Message, Proposal, Timeout, Vote, genesis_certificate
from consensus.protocols.hotstuff import HotStuff
from consensus.protocols.pbft import Pbft, PrePrepare
from consensus.protocols.pbft_view_change import COMMIT, PREPARE
from consensus.protocols.simplex import Simplex
from consensus.protocols.simplex_chain import Chain, Notarized
from consensus.protocols.simplex_family import NOTARIZE
from consensus.protocols.tendermint import Tendermint
from consensus.protocols.tendermint_messages import PRECOMMIT, PREVOTE
from consensus.replica import Replica
from consensus.types import BlockId, Committee, Height, ReplicaId, View
from tests.consensus.test_byzantine import EMPTY, ME, N, Puppet, Stage, sent

FOUR = Committee.of(4)
GROUPS: Partition = ((0, 1, 4), (2, 3))
TOGETHER: Partition = ((0, 1, 2, 3, 4),)
ROUND_NS = 1_000
SCHEDULE = Schedule((2, 0, 1), (TOGETHER, GROUPS, TOGETHER), ROUND_NS)


def rounds(protocol: type[Replica], schedule: Schedule = SCHEDULE) -> Rounds:
    return Rounds(schedule, protocol, FOUR)


def vote(phase: str, view: int, height: int = 1) -> Vote:
    return Vote(phase, View(view), Height(height), BlockId(b"b" * 32))


def tendermint_view(height: int, number: int) -> int:
    return height * (1_000_000 * 4 + 1) + number


def block(view: int, height: int) -> Block:
    return Block(GENESIS.id, Height(height), View(view), ReplicaId(0), EMPTY)


HIGH = genesis_certificate("vote")


@pytest.mark.parametrize(
    ("protocol", "message", "number"),
    [
        (HotStuff, Proposal(block(3, 2), HIGH, None), 3),
        # Votes go to the next leader alone, who must not hear more than the schedule of its view lets it.
        (HotStuff, vote("vote", 3), 3),
        (HotStuff, Timeout(View(3), HIGH, None), 3),
        # A view of PBFT outlasts blocks: each height of it is a round.
        (Pbft, PrePrepare(View(1), block(1, 2)), 3),
        (Pbft, vote(PREPARE, 1, 2), 3),
        (Pbft, vote(COMMIT, 1, 2), 4),
        # Every height of Tendermint begins with another leader.
        (Tendermint, vote(PREVOTE, tendermint_view(2, 1)), 3),
        (Tendermint, vote(PRECOMMIT, tendermint_view(2, 1)), 4),
        (Simplex, vote(NOTARIZE, 3), 3),
        (Simplex, Notarized(Chain(genesis_certificate(NOTARIZE))), None),
    ],
    ids=lambda value: getattr(value, "__name__", None) or type(value).__name__,
)
def test_a_message_belongs_to_the_turn_of_its_view(
    protocol: type[Replica], message: Message, number: int | None
) -> None:
    assert rounds(protocol).round_of(message) == number


@pytest.mark.parametrize(
    ("protocol", "views"),
    [
        (HotStuff, [1, 2, 3, 4]),
        (Pbft, [0, 1, 2, 3]),
        (Tendermint, [tendermint_view(1, 0), tendermint_view(1, 1), tendermint_view(3, 0), tendermint_view(4, 0)]),
    ],
)
def test_the_schedule_leads_and_then_leaders_take_turns(protocol: type[Replica], views: list[int]) -> None:
    led = [rounds(protocol).leader(FOUR, View(view)) for view in views]
    assert led == [2, 0, 1, views[3] % 4]


def test_a_partition_is_in_force_in_its_round_and_not_for_ever() -> None:
    passes = rounds(HotStuff).passes
    assert passes(2, 0, 4, 0)
    assert not passes(2, 0, 2, 0)
    assert not passes(2, 3, 1, 2 * ROUND_NS - 1)
    assert passes(2, 3, 1, 2 * ROUND_NS)
    assert all(passes(number, 0, 2, 0) for number in (0, 1, 3, 4))


def test_an_honest_replica_hears_its_group_itself_and_its_twin() -> None:
    Puppet.made = []
    seat = Stage("silent").puppet.seat
    listener = listening(Puppet, rounds(HotStuff), ReplicaId(3))(seat)
    puppet = Puppet.made[-1]
    assert seat.me == ME
    for sender in (0, 1, 2, 3):
        listener.receive(ReplicaId(sender), vote("vote", 2), 5)
    # What the twin says is divided by the twin.
    assert [heard[0] for heard in puppet.heard] == [0, 1, 3]
    # Blocks can be had from everybody.
    listener.receive(ReplicaId(2), Fetch(BlockId(b"b" * 32), Height(1), Height(0)), 5)
    assert puppet.heard[-1][0] == 2


def test_what_does_not_say_its_round_is_of_the_round_that_its_hearer_is_in() -> None:
    Puppet.made = []
    listener = listening(Puppet, rounds(Simplex), ReplicaId(3))(Stage("silent").puppet.seat)
    puppet, silent = Puppet.made[-1], Notarized(Chain(genesis_certificate(NOTARIZE)))
    heard: list[int] = []
    for view in (1, 2, 3):
        puppet.wants = [Entered(View(view))]
        listener.fire("view", 5)
        puppet.wants = []
        listener.receive(ReplicaId(2), silent, 5)
        heard.append(len(puppet.heard))
    assert heard == [2, 3, 5]


def test_in_protocols_whose_views_outlast_blocks_a_commit_moves_it_on() -> None:
    Puppet.made = []
    listener = listening(Puppet, rounds(Pbft), ReplicaId(3))(Stage("silent").puppet.seat)
    puppet = Puppet.made[-1]
    lacks_height = Timeout(View(0), HIGH, None)
    listener.receive(ReplicaId(2), lacks_height, 5)
    puppet.wants = [Committed(block(0, 1))]
    listener.fire("any", 5)
    listener.receive(ReplicaId(2), lacks_height, 5)
    assert [heard[0] for heard in puppet.heard] == [2, "any"]


class Copies(Stage):
    """The two copies of replica 1 of five, nodes 1 and 5."""

    def __init__(self) -> None:
        groups: Partition = ((0, 1, 4), (2, 3, 5))
        together: Partition = (tuple(range(N + 1)),)
        super().__init__("twins", protocol=HotStuff, schedule=Schedule((0, 0, 0), (together, groups, together), 100))
        self.first, self.second = Puppet.made

    def say(self, copy: int, effect: Effect) -> list[tuple[int, Message]]:
        puppet = (self.first, self.second)[copy]
        puppet.wants = [effect]
        said = self.adversary.fire("any", 5) if copy == 0 else self.adversary.fire("byzantine/0/second/any", 5)
        puppet.wants = []
        return sent(said)


def test_each_copy_hears_and_reaches_its_own_group() -> None:
    copies = Copies()
    for sender in (0, 2, 3, 4):
        copies.hears(sender, vote("vote", 2), 5)
    assert [heard[0] for heard in copies.first.heard] == [0, 4]
    assert [heard[0] for heard in copies.second.heard] == [2, 3]
    words = vote("vote", 2)
    assert [to for to, _ in copies.say(0, Broadcast(words))] == [0, 1, 4]
    assert [to for to, _ in copies.say(1, Broadcast(words))] == [1, 2, 3]
    assert [to for to, _ in copies.say(1, Send(ReplicaId(0), words))] == []
    assert copies.deeds[0] == 2
    # In the other rounds all hear both.
    assert [to for to, _ in copies.say(1, Broadcast(vote("vote", 1)))] == [0, 1, 2, 3, 4]


def test_the_copies_hear_each_other_when_they_are_together() -> None:
    copies = Copies()
    copies.say(1, Broadcast(vote("vote", 2)))
    copies.say(1, Broadcast(vote("vote", 3)))
    for number in (2, 3):
        copies.hears(ME, vote("vote", number), 6)
    assert [heard[1].view for heard in copies.first.heard if heard[0] == ME] == [3]
    assert [heard[1].view for heard in copies.second.heard if heard[0] == ME] == [2, 3]
