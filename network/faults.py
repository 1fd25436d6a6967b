"""Faults of the network: channels that misbehave inside a window of time, for the members a scenario names.

A passage is touched when it leaves inside the window. Each counts what it did, so that a fault which never took
effect can be reported.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from network.channel import Channel, Drop
from network.plan import BoolArray, IntArray


@dataclass(frozen=True)
class Window:
    """[begin_ns, end_ns); `end_ns` None lasts for ever."""

    begin_ns: int
    end_ns: int | None = None

    def __contains__(self, now_ns: int) -> bool:
        return self.begin_ns <= now_ns and (self.end_ns is None or now_ns < self.end_ns)


class FaultChannel(ABC):
    """Base of the faults: `touched` says which passages (bool[source, target]) the fault is about."""

    def __init__(self, inner: Channel, window: Window, touched: BoolArray) -> None:
        self._inner = inner
        self._window = window
        self._touched = touched
        self.affected = 0
        """Messages that this fault has dropped or delayed so far."""

    def carry(self, source: int, targets: IntArray, size_bytes: int, now_ns: int) -> IntArray:
        due_ns = self._inner.carry(source, targets, size_bytes, now_ns)
        if now_ns in self._window:
            hit = self._touched[source].take(targets) & (due_ns >= 0)
            self.affected += self._strike(due_ns, hit)
        return due_ns

    @abstractmethod
    def _strike(self, due_ns: IntArray, hit: BoolArray) -> int:
        """Change `due_ns` in place where `hit`; returns how many messages were changed."""


class Partition(FaultChannel):
    """Nothing passes between the two sides."""

    @classmethod
    def between(cls, inner: Channel, window: Window, one_side: BoolArray) -> Partition:
        """The partition of those marked in `one_side`, bool[member], from all others."""
        return cls(inner, window, one_side[:, None] != one_side[None, :])

    def _strike(self, due_ns: IntArray, hit: BoolArray) -> int:
        due_ns[hit] = Drop.PARTITION
        return int(hit.sum())


class Losing(FaultChannel):
    """Touched messages are lost with a probability."""

    def __init__(
        self, inner: Channel, window: Window, touched: BoolArray, probability: float, rng: np.random.Generator
    ) -> None:
        super().__init__(inner, window, touched)
        self._probability = probability
        self._rng = rng

    def _strike(self, due_ns: IntArray, hit: BoolArray) -> int:
        lost = hit & (self._rng.random(len(hit)) < self._probability)
        due_ns[lost] = Drop.FAULT_LOSS
        return int(lost.sum())


class Slow(FaultChannel):
    """Touched messages take longer."""

    def __init__(self, inner: Channel, window: Window, touched: BoolArray, delay_ns: int) -> None:
        super().__init__(inner, window, touched)
        self._delay_ns = delay_ns

    def _strike(self, due_ns: IntArray, hit: BoolArray) -> int:
        due_ns[hit] += self._delay_ns
        return int(hit.sum())
