"""Shreds: a broadcast cut into pieces of which any `data` suffice, each passed on by relays along a tree of its own.

The source cuts a message into `data` shreds and codes `parity` more (Reed-Solomon: any `data` of all give it back), and
sends each to the root of another random tree over the members; everybody passes on at once what it has not seen. This
is Solana's Turbine (docs.solanalabs.com, "Turbine block propagation"); with a fan-out of all members it is Alpenglow's
Rotor. Coding takes no time here beyond what the hosts are charged.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from network.carriage import UNDER_WAY, Carriage
from network.gossip import Receiver
from network.plan import IntArray


@dataclass(frozen=True)
class ShredRules:
    """How messages are cut, and how shreds spread."""

    data: int = 32
    parity: int = 32
    fanout: int = 200
    """To how many each passes a shred on."""
    header_bytes: int = 88
    """Added to each shred: its place, and the proof that it belongs there."""
    whole_below_bytes: int = 0
    """Smaller messages go whole, each copy from the source."""


class Shredded:
    """A message on its way in shreds: how many each member has, and which orders the shreds go by."""

    __slots__ = ("count", "parcel", "places", "size_bytes", "trees")

    def __init__(self, parcel: Any, size_bytes: int, members: int, trees: IntArray) -> None:
        """`size_bytes` is that of one shred; `trees`, int64[shred, place], are members in order of their places."""
        self.parcel = parcel
        self.size_bytes = size_bytes
        self.trees = trees
        self.places = np.zeros((len(trees), members), dtype=np.int32)
        np.put_along_axis(self.places, trees, np.arange(trees.shape[1], dtype=np.int32)[None, :], axis=1)
        self.count = [0] * members


class Shreds:
    """Spreads broadcasts in shreds; see `network.dissemination.Dissemination`."""

    def __init__(
        self,
        carriage: Carriage,
        receivers: Sequence[Receiver],
        rules: ShredRules,
        rng: random.Random,
        up: Callable[[int], bool] = lambda member: True,
    ) -> None:
        """`up` says whether a member is running: one that is not takes no shreds and passes none on."""
        self._carriage = carriage
        self._receivers = receivers
        self._rules = rules
        self._rng = np.random.default_rng(rng.getrandbits(64))
        self._up = up
        self._take = [partial(self._on_shred, member) for member in range(len(receivers))]

    def spread(self, source: int, targets: IntArray, size_bytes: int, parcel: Any, now_ns: int) -> IntArray:
        """See `network.dissemination.Dissemination.spread`."""
        rules = self._rules
        if size_bytes < rules.whole_below_bytes:
            return self._carriage.carry(source, targets, size_bytes, parcel, self._receivers, now_ns)
        trees = targets[self._rng.random((rules.data + rules.parity, len(targets))).argsort(axis=1)]
        shred_bytes = self._shred_bytes(size_bytes)
        message = Shredded(parcel, shred_bytes, len(self._receivers), trees)
        for number, root in enumerate(trees[:, 0].tolist()):
            self._carriage.carry_few(source, (root,), shred_bytes, (message, number), self._take, now_ns)
        return np.full(len(targets), UNDER_WAY, dtype=np.int64)

    def egress_bytes(self, source: int, targets: IntArray, size_bytes: int) -> int:
        """See `network.dissemination.Dissemination.egress_bytes`."""
        if size_bytes < self._rules.whole_below_bytes:
            return size_bytes * len(targets)
        return self._shred_bytes(size_bytes) * (self._rules.data + self._rules.parity)

    def _shred_bytes(self, size_bytes: int) -> int:
        return -(-size_bytes // self._rules.data) + self._rules.header_bytes

    def _on_shred(self, me: int, shred: tuple[Shredded, int], now_ns: int) -> None:
        """Pass it on, and hand over the message with the last shred that was needed."""
        message, number = shred
        if not self._up(me):
            # Its host counts what it misses.
            self._receivers[me](message.parcel, now_ns)
            return
        first = int(message.places[number, me]) * self._rules.fanout + 1
        children = message.trees[number, first : first + self._rules.fanout]
        if len(children):
            self._carriage.carry(me, np.sort(children), message.size_bytes, (message, number), self._take, now_ns)
        message.count[me] += 1
        if message.count[me] == self._rules.data:
            self._receivers[me](message.parcel, now_ns)
