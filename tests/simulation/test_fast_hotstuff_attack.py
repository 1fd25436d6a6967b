"""The Fast-HotStuff attack: a chain of certificates that skips views must not commit.

Four honest replicas, leaders given by round. Found by Twins (twins-simulator; relab/hotstuff skips it as
`fhsbug_test.go`): in round 5 node 1 alone knows that block 4 is certified, in round 7 node 2 alone knows that
block 6 is, and both are children of block 3. The replicas are driven message by message; only their own pacemakers
move them from view to view. What they commit goes to the checks that ride along on every run.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence

import pytest

from consensus.chained import ChainedReplica
from consensus.effects import Broadcast, Committed, Effect, Send
from consensus.messages import Block, Message, Payload, Proposal, Vote
from consensus.protocols.hotstuff import HotStuff
from consensus.protocols.hotstuff2 import HotStuff2
from consensus.protocols.jolteon import Jolteon
from consensus.replica import Seat
from consensus.types import Committee, ReplicaId
from testbed.checks import Agreement, CommitOrder

ALL = [{0, 1, 2, 3}]
WITHOUT_1 = [{0, 2, 3}, {1}]
WITHOUT_2 = [{0, 1, 3}, {2}]


class VulnerableJolteon(Jolteon):
    """The rule as Fast-HotStuff first had it: a parent is enough."""

    def _linked(self, child: Block, parent: Block) -> bool:
        return True


class VulnerableHotStuff2(HotStuff2):
    """The same mistake in HotStuff-2."""

    def _linked(self, child: Block, parent: Block) -> bool:
        return True


class VulnerableThreeChain(HotStuff):
    """Three certified blocks in a row commit, whatever their views."""

    def _linked(self, child: Block, parent: Block) -> bool:
        return True


class Script:
    """Four replicas, and who hears whom in which round."""

    def __init__(
        self,
        protocol: type[ChainedReplica],
        leaders: Mapping[int, int],
        partitions: Mapping[int, Sequence[set[int]]],
        muted: Mapping[int, int],
        last: int,
    ) -> None:
        """`muted[round]` is a leader whose proposal of that round reaches nobody else; after `last` all are deaf."""

        class Scripted(protocol):  # type: ignore[misc, valid-type]
            def leader(self, view: int) -> ReplicaId:
                return ReplicaId(leaders.get(view, 0))

        self.partitions, self.muted, self.round, self.last = partitions, muted, 1, last
        self.now_ns = 0
        self.committed: dict[int, list[int]] = {i: [] for i in range(4)}
        self.agreement, self.order = Agreement(), CommitOrder(4)
        committee = Committee.of(4)
        payloads: Callable[[int, int, Block], Payload] = lambda now, most, parent: Payload(parent.payload.end, 0, 0)  # noqa: E731
        self.replicas = [
            Scripted(Seat(ReplicaId(i), committee, 1, None, random.Random(i), payloads, 0, ChainedReplica.Parameters()))
            for i in range(4)
        ]
        self.carry((i, replica.start({}, 0)) for i, replica in enumerate(self.replicas))

    def hears(self, source: int, target: int, message: Message) -> bool:
        if source == target:
            return True
        if isinstance(message, Proposal) and self.muted.get(message.block.view) == source:
            return False
        # Proposals and votes name their round; timeouts make up the beginning of the current one.
        said_in = self.round
        if isinstance(message, Proposal):
            said_in = message.block.view
        elif isinstance(message, Vote):
            said_in = message.view
        return said_in <= self.last and any({source, target} <= group for group in self.partitions.get(said_in, ALL))

    def carry(self, effects: Iterable[tuple[int, Sequence[Effect]]]) -> None:
        """Deliver what was said, first said first, until nobody says anything more."""
        queue = [(source, effect) for source, wanted in effects for effect in wanted]
        while queue:
            source, effect = queue.pop(0)
            if isinstance(effect, Committed):
                self.committed[source].append(effect.block.view)
                for check in (self.agreement, self.order):
                    check.committed(self.now_ns, ReplicaId(source), effect.block)
            elif isinstance(effect, (Send, Broadcast)):
                for target in [effect.to] if isinstance(effect, Send) else range(4):
                    if self.hears(source, target, effect.message):
                        wanted = self.replicas[target].receive(ReplicaId(source), effect.message, self.now_ns)
                        queue.extend((target, more) for more in wanted)

    def begin(self, number: int) -> None:
        """The largest group gives up view after view until it is in this one."""
        self.round = number
        group = max(self.partitions.get(number, ALL), key=len)
        for _ in range(40):
            behind = [i for i in sorted(group) if self.replicas[i].view < number]
            if not behind:
                # A leader that waits after a timeout has waited long enough.
                self.now_ns += 10
                self.carry([(i, self.replicas[i].fire("propose", self.now_ns)) for i in sorted(group)])
                return
            self.now_ns += 10
            for timer in ("view", "fetch"):
                self.carry([(i, self.replicas[i].fire(timer, self.now_ns)) for i in behind])
        raise AssertionError(f"round {number} did not begin: {[r.view for r in self.replicas]}")


def published(protocol: type[ChainedReplica]) -> Script:
    """The schedule as Twins gives it; rounds 1 and 2, led by node 0 as are all unnamed ones, come before it."""
    script = Script(
        protocol,
        leaders={5: 1, 7: 2, 8: 1, 9: 1, 10: 2, 11: 2},
        partitions={
            **dict.fromkeys((6, 7, 10, 11), WITHOUT_1),
            **dict.fromkeys((8, 9), WITHOUT_2),
        },
        muted={5: 1, 7: 2, 9: 1},
        last=11,
    )
    for number in (6, 8, 10):
        script.begin(number)
    return script


def stretched(protocol: type[ChainedReplica]) -> Script:
    """The same with one more certified block on either side, for three-chains."""
    script = Script(
        protocol,
        leaders={5: 1, 7: 2, 8: 1, 9: 1, 10: 2, 11: 2, 12: 1, 13: 1, 14: 2, 15: 2},
        partitions={
            **dict.fromkeys((6, 7, 10, 11, 14, 15), WITHOUT_1),
            **dict.fromkeys((8, 9, 12, 13), WITHOUT_2),
        },
        muted={5: 1, 7: 2, 9: 1, 11: 2, 13: 1},
        last=15,
    )
    for number in (6, 8, 10, 12, 14):
        script.begin(number)
    return script


def views(script: Script, node: int, common: int) -> list[int]:
    return [view for view in script.committed[node] if view > common]


@pytest.mark.parametrize("protocol", [VulnerableJolteon, VulnerableHotStuff2])
def test_the_vulnerable_two_chain_rule_commits_two_children_of_block_3(protocol: type[ChainedReplica]) -> None:
    script = published(protocol)
    assert views(script, 1, 3)[0] == 4
    for node in (0, 2, 3):
        assert views(script, node, 3)[0] == 6
    assert_forked(script)


@pytest.mark.parametrize("protocol", [Jolteon, HotStuff2])
def test_two_chains_of_consecutive_views_are_safe_there(protocol: type[ChainedReplica]) -> None:
    script = published(protocol)
    assert views(script, 1, 3) == []
    for node in (0, 2, 3):
        assert views(script, node, 3) in ([], [6], [6, 10])
    assert any(views(script, node, 3)[:1] == [6] for node in (0, 2, 3)), "a rule that never commits is no rule"
    assert_one_chain(script)
    # Non-vacuity: node 1 holds a certificate above block 4, and it is the views that forbid the commit.
    assert script.replicas[1].high.view > 4


def test_the_vulnerable_three_chain_rule_breaks_agreement_in_the_stretched_schedule() -> None:
    script = stretched(VulnerableThreeChain)
    assert views(script, 1, 3)[0] == 4
    for node in (0, 2, 3):
        assert views(script, node, 3)[0] == 6
    assert_forked(script)


@pytest.mark.parametrize("schedule", [published, stretched])
def test_hotstuff_is_safe_in_both(schedule: Callable[[type[ChainedReplica]], Script]) -> None:
    script = schedule(HotStuff)
    assert_one_chain(script)
    # Non-vacuity: node 1 holds a certificate above block 4, and it is the views that forbid the commit.
    assert script.replicas[1].high.view > 4
    assert 4 not in script.committed[1]


def assert_one_chain(script: Script) -> None:
    """The checks are content, and had commits of every replica to look at."""
    for verdict in (script.agreement.verdict(), script.order.verdict()):
        assert verdict.ok, verdict.violations
    assert all(script.committed.values())


def assert_forked(script: Script) -> None:
    """Agreement is broken at block 4's height, although each replica's own chain is in order."""
    broken = script.agreement.verdict()
    assert not broken.ok
    assert broken.violations[0].startswith("height 4: replica ")
    assert script.order.verdict().ok


def test_both_blocks_of_the_attack_have_the_same_parent() -> None:
    script = published(VulnerableJolteon)
    four = next(b for b in script.replicas[1].tree.ancestors(script.replicas[1].tree.final, 0) if b.view == 4)
    six = next(b for b in script.replicas[2].tree.ancestors(script.replicas[2].tree.final, 0) if b.view == 6)
    assert (four.parent, four.height) == (six.parent, six.height)
    assert script.replicas[1].tree.parent(four).view == 3
