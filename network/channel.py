"""Channels turn a passage into a due time or a reason why it never arrives.

A channel answers for all targets of a message at once. Channels wrap channels: each adds one of the four parts of
one-way delay (propagation, processing, transmission; queueing comes with the `links` model) or takes messages away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Protocol

import numpy as np

from network.plan import IntArray, Plan


class Drop(IntEnum):
    """Why a message never arrives; stands in place of its due time, which is never negative."""

    NO_ROUTE = -1
    LOSS = -2
    PARTITION = -3
    FAULT_LOSS = -4
    RECEIVER_DOWN = -5
    BUFFER_FULL = -6
    LINK_LOST = -7


class Channel(Protocol):
    """Whether and when a message arrives."""

    def carry(self, source: int, targets: IntArray, size_bytes: int, now_ns: int) -> IntArray:
        """Due times, int64[targets], of one message that leaves member `source` at `now_ns`; a `Drop` where none."""


Few = Callable[[int, Sequence[int], int, int], list[int]]
"""`few(source, targets, size_bytes, now_ns)`: due times of one message, as `Channel.carry` gives them."""


def few(channel: Channel) -> Few:
    """How a channel answers for a few targets: its own `carry_few`, if it has one."""
    quick: Few | None = getattr(channel, "carry_few", None)
    if quick is not None:
        return quick

    def due_ns(source: int, targets: Sequence[int], size_bytes: int, now_ns: int) -> list[int]:
        found: list[int] = channel.carry(source, np.array(targets, np.int64), size_bytes, now_ns).tolist()
        return found

    return due_ns


class Entrance:
    """Everything gets through at once: what follows is up to the links."""

    def carry(self, source: int, targets: IntArray, size_bytes: int, now_ns: int) -> IntArray:
        return np.full(len(targets), now_ns, dtype=np.int64)


class Propagation:
    """Light along the route."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def carry(self, source: int, targets: IntArray, size_bytes: int, now_ns: int) -> IntArray:
        delay_ns = self._plan.at(now_ns).delay_ns[source].take(targets)
        due_ns: IntArray = delay_ns + now_ns
        unreachable = delay_ns < 0
        if unreachable.any():
            due_ns[unreachable] = Drop.NO_ROUTE
        return due_ns


class RandomDelay:
    """Each message's delay is drawn alone, without order between messages: for laboratory networks.

    `draw(count)` gives float64[count] milliseconds; what is below zero counts as zero. The plan only says who can be
    reached: an outage cuts random links as well.
    """

    def __init__(self, plan: Plan, draw: Callable[[int], np.typing.NDArray[np.float64]]) -> None:
        self._plan = plan
        self._draw = draw

    def carry(self, source: int, targets: IntArray, size_bytes: int, now_ns: int) -> IntArray:
        delay_ms = np.maximum(self._draw(len(targets)), 0.0)
        due_ns: IntArray = np.rint(delay_ms * 1e6).astype(np.int64) + now_ns
        due_ns[self._plan.at(now_ns).delay_ns[source].take(targets) < 0] = Drop.NO_ROUTE
        return due_ns


class Processing:
    """A fixed time at every hop of the route."""

    def __init__(self, inner: Channel, plan: Plan, ns_per_hop: int) -> None:
        self._inner = inner
        self._plan = plan
        self._ns_per_hop = ns_per_hop

    def carry(self, source: int, targets: IntArray, size_bytes: int, now_ns: int) -> IntArray:
        due_ns = self._inner.carry(source, targets, size_bytes, now_ns)
        hops = self._plan.at(now_ns).hops[source].take(targets)
        due_ns[due_ns >= 0] += (hops * self._ns_per_hop)[due_ns >= 0]
        return due_ns


class Transmission:
    """The time to put the message on the slowest link of its route."""

    def __init__(self, inner: Channel, plan: Plan) -> None:
        self._inner = inner
        self._plan = plan

    def carry(self, source: int, targets: IntArray, size_bytes: int, now_ns: int) -> IntArray:
        due_ns = self._inner.carry(source, targets, size_bytes, now_ns)
        ns_per_byte = self._plan.at(now_ns).ns_per_byte[source].take(targets)
        added_ns = np.rint(ns_per_byte * size_bytes).astype(np.int64)
        arrives = due_ns >= 0
        due_ns[arrives] += added_ns[arrives]
        return due_ns


class Loss:
    """Each message is lost with the same probability, independently."""

    def __init__(self, inner: Channel, probability: float, rng: np.random.Generator) -> None:
        self._inner = inner
        self._probability = probability
        self._rng = rng

    def carry(self, source: int, targets: IntArray, size_bytes: int, now_ns: int) -> IntArray:
        due_ns = self._inner.carry(source, targets, size_bytes, now_ns)
        lost = self._rng.random(len(targets)) < self._probability
        due_ns[lost & (due_ns >= 0)] = Drop.LOSS
        return due_ns
