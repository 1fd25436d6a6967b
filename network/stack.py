"""The channel stack: what a run's passages go through, as a description and as the channels it describes.

The description is plain numbers, so that it can travel: the virtual engine and every node build the same channels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from network.channel import Channel, Entrance, Loss, Processing, Propagation, RandomDelay, Transmission
from network.faults import FaultChannel, Losing, Partition, Slow, Window
from network.internet import Internet, InternetRules
from network.plan import BoolArray, Plan

Chance = Callable[[str], np.random.Generator]
"""A generator of its own for each consumer's name."""


@dataclass(frozen=True)
class Draws:
    """Delays in ms that are drawn for each message alone: (mean, standard deviation) or (low, high)."""

    model: Literal["normal", "uniform"]
    first_ms: float
    second_ms: float

    def drawer(self, rng: np.random.Generator) -> Callable[[int], np.typing.NDArray[np.float64]]:
        """`draw(count)`: float64[count] in ms."""
        draw = rng.normal if self.model == "normal" else rng.uniform
        return lambda count: draw(self.first_ms, self.second_ms, count)


@dataclass(frozen=True)
class Strike:
    """A fault of the network: what it does, when, to passages of which members and between which pairs."""

    number: int
    kind: Literal["partition", "loss", "slow"]
    begin_ns: int
    end_ns: int | None
    members: tuple[int, ...]
    pairs: tuple[tuple[int, int], ...] = ()
    delay_ns: int = 0
    probability: float = 0.0

    def channel(self, inner: Channel, count: int, chance: Chance) -> FaultChannel:
        """The channel, between `count` members, that does this to what `inner` carries."""
        window = Window(self.begin_ns, self.end_ns)
        struck: BoolArray = np.zeros(count, dtype=np.bool_)
        struck[list(self.members)] = True
        if self.kind == "partition":
            return Partition.between(inner, window, struck)
        touched = struck[:, None] | struck[None, :]
        for one, other in self.pairs:
            touched[one, other] = touched[other, one] = True
        if self.kind == "slow":
            return Slow(inner, window, touched, self.delay_ns)
        return Losing(inner, window, touched, self.probability, chance(f"fault/{self.number}"))


@dataclass(frozen=True)
class Conditions:
    """Everything that happens to a passage beside its route's delay."""

    draws: Draws | None = None
    internet: InternetRules | None = None
    processing_ns_per_hop: int = 0
    transmission: bool = True
    by_links: bool = False
    """Only who gets onto the links, and when, is settled here: delays and queues are theirs."""
    loss: float = 0.0
    strikes: tuple[Strike, ...] = ()


def channels(conditions: Conditions, plan: Plan, chance: Chance) -> tuple[Channel, dict[int, FaultChannel]]:
    """The whole stack, and the faults in it by their number."""
    channel: Channel
    if conditions.draws is not None:
        channel = RandomDelay(plan, conditions.draws.drawer(chance("delay")))
    elif conditions.internet is not None:
        channel = Internet(plan, conditions.internet, chance("delay"))
    elif conditions.by_links:
        channel = Entrance()
    else:
        channel = Propagation(plan)
        if conditions.processing_ns_per_hop:
            channel = Processing(channel, plan, conditions.processing_ns_per_hop)
        if conditions.transmission:
            channel = Transmission(channel, plan)
    if conditions.loss:
        channel = Loss(channel, conditions.loss, chance("loss"))
    struck: dict[int, FaultChannel] = {}
    for strike in conditions.strikes:
        channel = struck[strike.number] = strike.channel(channel, len(plan.endpoints), chance)
    return channel, struck
