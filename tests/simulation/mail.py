"""Replicas of Simplex and its kin whose messages lie about until a test releases them."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from typing import Any

from consensus.effects import Broadcast, Committed, Effect, Send
from consensus.messages import Message, Payload
from consensus.protocols.simplex_chain import Propose
from consensus.protocols.simplex_family import NotarizingReplica
from consensus.replica import Seat
from consensus.types import Committee, ReplicaId, View
from testbed.checks import Agreement


class Mail:
    """`n` replicas and all that they have said to each other."""

    def __init__(self, protocol: type[NotarizingReplica], n: int) -> None:
        parameters = protocol.Parameters()
        committee = Committee.of(n, resilience=protocol.facts.resilience)
        self.replicas = [
            protocol(Seat(ReplicaId(i), committee, 100, None, random.Random(i), self._empty, 0, parameters))
            for i in range(n)
        ]
        self.lying: list[tuple[int, int, Message]] = []
        self.agreement = Agreement()
        self.committed: list[list[View]] = [[] for _ in range(n)]
        for i, replica in enumerate(self.replicas):
            self._post(i, replica.start({}, 0))

    @staticmethod
    def _empty(now_ns: int, most: int, parent: Any) -> Payload:
        return Payload(parent.payload.end, 0, 0)

    def time_out(self) -> None:
        for i, replica in enumerate(self.replicas):
            self._post(i, replica.fire("view", 300))

    def release(self, *targets: int, views: range, kinds: Collection[str]) -> None:
        """Deliver what there is for these, about these views and of these kinds, and what it leads to."""
        while due := [each for each in self.lying if self._due(each, targets, views, kinds)]:
            self.lying.remove(due[0])
            source, target, message = due[0]
            self._post(target, self.replicas[target].receive(ReplicaId(source), message, 300))

    @staticmethod
    def _due(lying: tuple[int, int, Message], targets: Sequence[int], views: range, kinds: Collection[str]) -> bool:
        _, target, message = lying
        about = message.block.view if isinstance(message, Propose) else getattr(message, "view", 0)
        return target in targets and message.kind in kinds and about in views

    def _post(self, source: int, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Committed):
                self.committed[source].append(effect.block.view)
                self.agreement.committed(0, ReplicaId(source), effect.block)
            elif isinstance(effect, (Send, Broadcast)):
                targets = [int(effect.to)] if isinstance(effect, Send) else range(len(self.replicas))
                self.lying.extend((source, target, effect.message) for target in targets)
