"""The Internet as a few regions: latencies drawn anew for each message, and one uplink for each member.

Large messages leave a member one after the other, at the rate that its uplink and the receiver's downlink both have;
smaller ones neither wait nor take time to send. Source: Aoki et al., "SimBlock: a blockchain network simulator", IEEE
INFOCOM Workshops 2019, and its published code (NetworkConfiguration, Network, Node).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from network.channel import Drop
from network.plan import FloatArray, IntArray, Plan

MS_OFF_THE_MEAN: Final = 5
"""The least latency of a pair of regions is so much below its mean: what the mean must exceed."""
_SHAPE_PER_MS: Final = 0.2
"""Pareto's shape is so many times the mean; with the scale above, the mean comes out as it should."""


@dataclass(frozen=True)
class Regions:
    """What links any two regions, and what members in them have."""

    names: tuple[str, ...]
    latency_ms: tuple[tuple[float, ...], ...]
    """Means, a row for each region to send from; each more than `MS_OFF_THE_MEAN`."""
    up_mbps: tuple[float, ...]
    down_mbps: tuple[float, ...]

    def mean_latency_ms(self) -> FloatArray:
        """float64[from, to]."""
        return np.array(self.latency_ms, dtype=np.float64)


@dataclass(frozen=True)
class InternetRules:
    """What happens to a message on its way."""

    regions: Regions
    places: tuple[int, ...]
    """In which of the regions each member is."""
    until_arrival: bool = False
    """Whether an uplink stays taken until the message has arrived, as in SimBlock, or only until it has been sent."""
    small_below_bytes: int = 1024
    """What is smaller neither waits for the uplink nor takes time to send,"""
    small_message_ns: int = 0
    """but takes so much longer."""
    processing_ns: int = 0
    """Added to every message before it is sent."""


class Internet:
    """Whether and when messages between members in regions arrive; see `network.channel.Channel`."""

    def __init__(self, plan: Plan, rules: InternetRules, rng: np.random.Generator) -> None:
        """The plan only says who can be reached: outages cut members off here too."""
        self._plan = plan
        self._outages = not plan.constant
        self._uniform = rng.random
        self._random = random.Random(rng.bytes(32)).random
        """The same for one at a time, many times faster."""
        self._until_arrival = rules.until_arrival
        self._small_below_bytes = rules.small_below_bytes
        self._small_ns = rules.small_message_ns + rules.processing_ns
        self._processing_ns = rules.processing_ns
        self._places = rules.places
        place = np.array(rules.places, dtype=np.intp)
        mean_ms = rules.regions.mean_latency_ms()
        self._least_ns = (mean_ms - MS_OFF_THE_MEAN)[:, place] * 1e6
        # Pareto: the least, times U^(-1/shape) of a uniform U.
        self._exponent = (-1 / (_SHAPE_PER_MS * mean_ms))[:, place]
        self._pairs = list(zip(self._least_ns.tolist(), self._exponent.tolist(), strict=True))
        rate_mbps = np.minimum.outer(np.array(rules.regions.up_mbps), np.array(rules.regions.down_mbps))
        self._ns_per_byte: list[list[float]] = (8_000 / rate_mbps).tolist()
        self._free_ns = [0] * len(place)
        """When each uplink is free."""

    def carry(self, source: int, targets: IntArray, size_bytes: int, now_ns: int) -> IntArray:
        """See `Channel.carry`."""
        if len(targets) == 1 or size_bytes >= self._small_below_bytes:
            return np.array(self.carry_few(source, targets.tolist(), size_bytes, now_ns), np.int64)
        place = self._places[source]
        latency_ns = (1 - self._uniform(len(targets))) ** self._exponent[place].take(targets)
        latency_ns *= self._least_ns[place].take(targets)
        due_ns: IntArray = latency_ns.astype(np.int64)
        due_ns += now_ns + self._small_ns
        if self._outages:
            due_ns[self._plan.at(now_ns).delay_ns[source].take(targets) < 0] = Drop.NO_ROUTE
        return due_ns

    def carry_few(self, source: int, targets: Sequence[int], size_bytes: int, now_ns: int) -> list[int]:
        """See `network.channel.few`."""
        place, draw = self._places[source], self._random
        least_ns, exponent = self._pairs[place]
        reach_ns = self._plan.at(now_ns).delay_ns[source] if self._outages else None
        small, due_ns = size_bytes < self._small_below_bytes, []
        for target in targets:
            if reach_ns is not None and reach_ns[target] < 0:
                due_ns.append(int(Drop.NO_ROUTE))
                continue
            latency_ns = int(least_ns[target] * (1 - draw()) ** exponent[target])
            if small:
                due_ns.append(now_ns + self._small_ns + latency_ns)
                continue
            free_ns = self._free_ns[source]
            sent_ns = (free_ns if free_ns > now_ns else now_ns) + self._processing_ns
            sent_ns += round(self._ns_per_byte[place][self._places[target]] * size_bytes)
            self._free_ns[source] = sent_ns + latency_ns if self._until_arrival else sent_ns
            due_ns.append(sent_ns + latency_ns)
        return due_ns
