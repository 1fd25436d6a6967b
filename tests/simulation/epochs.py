"""Streamlet epoch by epoch, as Twins drives protocols: who leads which epoch, and who hears whom in it.

A twin is a second machine with the same number and the same key, each correct by itself (Bano et al., OPODIS 2021).
Within an epoch messages arrive at once, or never.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from consensus.effects import Broadcast, Committed, Effect, Send
from consensus.messages import Block, Message, Payload, Proposal
from consensus.protocols.streamlet import Streamlet
from consensus.replica import Seat
from consensus.types import Committee, ReplicaId
from testbed.checks import Agreement, CommitOrder

DELTA_NS = 2
EPOCH_NS = 2 * DELTA_NS

Cut = AbstractSet[tuple[str, int, int]]
"""Links that carry nothing of a kind, "proposal" or "vote" (which is all the rest): (kind, source, target)."""


class Epochs:
    """A committee of four; machines from number 4 on are twins of replica 0."""

    def __init__(self, protocol: type[Streamlet], leaders: Mapping[int, int], twins: int = 0) -> None:
        class Scripted(protocol):  # type: ignore[misc, valid-type]
            def leader(self, view: int) -> ReplicaId:
                return ReplicaId(leaders.get(view, view % 4))

        def payloads(machine: int) -> Callable[[int, int, Block], Payload]:
            return lambda now_ns, most, parent: Payload(parent.payload.end, machine, machine)

        committee, parameters = Committee.of(4), Streamlet.Parameters()
        self.identity = [0, 1, 2, 3, *[0] * twins]
        self.replicas: list[Streamlet] = [
            Scripted(Seat(ReplicaId(i), committee, DELTA_NS, None, random.Random(i), payloads(machine), 0, parameters))
            for machine, i in enumerate(self.identity)
        ]
        self.honest = [machine for machine, i in enumerate(self.identity) if not twins or i]
        self.committed: list[list[Block]] = [[] for _ in self.replicas]
        self.agreement, self.order = Agreement(), CommitOrder(4)
        self.epoch = 0
        self._cut: Cut = frozenset()

    def run(self, cut: Cut = frozenset()) -> None:
        """One more epoch, in which those are cut off from each other."""
        begins_ns = self.epoch * EPOCH_NS
        self.epoch += 1
        self._cut = cut
        if self.epoch == 1:
            self._carry([(i, replica.start({}, 0)) for i, replica in enumerate(self.replicas)], 0)
        else:
            self._fire("epoch", begins_ns)
        self._fire("fetch", begins_ns + DELTA_NS)

    def _fire(self, timer: str, now_ns: int) -> None:
        self._carry([(i, replica.fire(timer, now_ns)) for i, replica in enumerate(self.replicas)], now_ns)

    def _hears(self, source: int, target: int, message: Message) -> bool:
        kind = "proposal" if isinstance(message, Proposal) else "vote"
        return source == target or (kind, source, target) not in self._cut

    def _carry(self, effects: Iterable[tuple[int, Sequence[Effect]]], now_ns: int) -> None:
        """Deliver what was said, first said first, until nobody says anything more."""
        queue = [(source, effect) for source, wanted in effects for effect in wanted]
        while queue:
            source, effect = queue.pop(0)
            if isinstance(effect, Committed):
                self._note(source, effect.block, now_ns)
            elif isinstance(effect, (Send, Broadcast)):
                for target, replica in enumerate(self.replicas):
                    meant = isinstance(effect, Broadcast) or effect.to == self.identity[target]
                    if meant and self._hears(source, target, effect.message):
                        sender = ReplicaId(self.identity[source])
                        wanted = replica.receive(sender, effect.message, now_ns)
                        queue.extend((target, more) for more in wanted)

    def _note(self, machine: int, block: Block, now_ns: int) -> None:
        self.committed[machine].append(block)
        if machine in self.honest:
            replica = ReplicaId(self.identity[machine])
            self.agreement.committed(now_ns, replica, block)
            self.order.committed(now_ns, replica, block)

    @property
    def safe(self) -> bool:
        """Whether the checks of every run are content with the honest replicas."""
        return self.agreement.verdict().ok and self.order.verdict().ok


@dataclass(frozen=True)
class Schedule:
    """Who leads which epoch, and what does not arrive in it."""

    leaders: Mapping[int, int]
    cuts: Sequence[Cut]
    twins: int = 0

    @classmethod
    def drawn(cls, seed: int, epochs: int, twins: int) -> Schedule:
        """As Twins' generator draws them, but link by link: each epoch has its own leader and its own losses."""
        chance = random.Random(seed)
        machines = range(4 + twins)
        cuts = []
        for _ in range(epochs):
            lost = {kind: chance.choice((0.0, 0.3, 0.6)) for kind in ("proposal", "vote")}
            links = [(kind, i, j) for kind in lost for i in machines for j in machines if i != j]
            cuts.append(frozenset(link for link in links if chance.random() < lost[link[0]]))
        return cls({epoch: chance.randrange(4) for epoch in range(1, epochs + 1)}, cuts, twins)

    def play(self, protocol: type[Streamlet]) -> Epochs:
        """What a protocol makes of it."""
        epochs = Epochs(protocol, self.leaders, self.twins)
        for cut in self.cuts:
            epochs.run(cut)
        return epochs
