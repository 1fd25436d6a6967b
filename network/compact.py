"""Compact messages: the header first, with transactions by reference, and only what the receiver lacks afterwards.

A receiver that knows every transaction has the message as soon as the compact one is there; one that lacks some asks
whoever sent it, and waits for them. Source: Corallo, "Compact Block Relay", Bitcoin BIP 152 (low-bandwidth mode is what
gossip's lazy pull makes of it).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from network.carriage import UNDER_WAY, Carriage
from network.clock import Action
from network.plan import IntArray

Sizes = Callable[[Any, int], tuple[int, int]]
"""`sizes(parcel, size_bytes)`: bytes of the compact message, and of all that it leaves out."""


@dataclass(frozen=True)
class CompactRules:
    """What a receiver lacks."""

    misses: float = 0.0
    """How often it lacks some transactions,"""
    missing: Sequence[float] = (0.1,)
    """and what share of the bytes left out; of several shares each time one is drawn."""
    request_bytes: int = 64


class Compact:
    """Carries messages compactly over another carriage; see `network.carriage.Carriage`."""

    def __init__(
        self,
        carriage: Carriage,
        sizes: Sizes,
        rules: Sequence[CompactRules | None],
        rng: random.Random,
        up: Callable[[int], bool] = lambda member: True,
    ) -> None:
        """`rules` of each member; one that has none neither sends nor takes compact messages. `up` says whether a
        member is running: one that is not neither asks nor answers. Nobody asks twice: protocols fetch what they miss.
        """
        self.spared_bytes = 0
        """How much all copies that went compactly were smaller than whole ones; what was asked for later is not off."""
        self._up = up
        self._carriage = carriage
        self._sizes = sizes
        self._rules = rules
        self._rng = rng
        members = range(len(rules))
        self._take_header = [partial(self._on_header, member) for member in members]
        self._take_request = [partial(self._on_request, member) for member in members]

    def carry(
        self, source: int, targets: IntArray, size_bytes: int, parcel: Any, actions: Sequence[Action], now_ns: int
    ) -> IntArray:
        """See `Carriage.carry`; what arrives compactly can still lack something, so only losses are known at once."""
        some = targets.tolist()
        return np.array(self.carry_few(source, some, size_bytes, parcel, actions, now_ns), dtype=np.int64)

    def carry_few(
        self, source: int, targets: Sequence[int], size_bytes: int, parcel: Any, actions: Sequence[Action], now_ns: int
    ) -> list[int]:
        """See `Carriage.carry_few`."""
        compact_bytes, left_out_bytes = self._sizes(parcel, size_bytes)
        rules = self._rules
        if not left_out_bytes or rules[source] is None:
            return self._carriage.carry_few(source, targets, size_bytes, parcel, actions, now_ns)
        letter, due_ns = (source, left_out_bytes, parcel, actions), []
        for target in targets:
            if rules[target] is None:
                due_ns += self._carriage.carry_few(source, (target,), size_bytes, parcel, actions, now_ns)
            else:
                self.spared_bytes += left_out_bytes
                (at_ns,) = self._carriage.carry_few(source, (target,), compact_bytes, letter, self._take_header, now_ns)
                due_ns.append(UNDER_WAY if at_ns >= 0 else at_ns)
        return due_ns

    def _on_header(self, me: int, letter: tuple[int, int, Any, Sequence[Action]], now_ns: int) -> None:
        source, _, parcel, actions = letter
        rules = self._rules[me]
        assert rules is not None, "only who has rules is sent compact messages"
        if self._rng.random() >= rules.misses or not self._up(me):
            actions[me](parcel, now_ns)
        else:
            question = me, letter
            self._carriage.carry_few(me, (source,), rules.request_bytes, question, self._take_request, now_ns)

    def _on_request(self, me: int, question: tuple[int, tuple[int, int, Any, Sequence[Action]]], now_ns: int) -> None:
        asker, (_, left_out_bytes, parcel, actions) = question
        if not self._up(me):
            return
        rules = self._rules[asker]
        assert rules is not None, "only who has rules lacks anything"
        size_bytes = round(left_out_bytes * self._rng.choice(rules.missing))
        self._carriage.carry_few(me, (asker,), size_bytes, parcel, actions, now_ns)
