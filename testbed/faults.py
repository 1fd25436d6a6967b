"""The scenario's faults: which channels they wrap, when whose node is down, and how to ask what they did."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from network.channel import Channel
from network.faults import FaultChannel, Losing, Partition, Slow, Window
from node.host import Host
from testbed.chance import numpy_random
from testbed.units import milliseconds, seconds

if TYPE_CHECKING:
    from testbed.scenario import Fault, Scenario
    from testbed.sky import Sky


@dataclass(frozen=True)
class ActiveFault:
    """A fault of the scenario, and how to ask what it did."""

    kind: str
    target: tuple[str, ...]
    window_s: tuple[float, ...]
    effect: Callable[[], int]
    unit: str

    @property
    def name(self) -> str:
        """How messages call it."""
        return f"{self.kind} of {', '.join(self.target)}"


def with_faults(channel: Channel, scenario: Scenario, sky: Sky) -> tuple[Channel, dict[int, FaultChannel]]:
    """The channel wrapped by the faults of the network, and these by the number of their fault."""
    struck: dict[int, FaultChannel] = {}
    for number, fault in enumerate(scenario.fault):
        if fault.kind in ("partition", "loss", "slow"):
            channel = struck[number] = _fault_channel(scenario, sky, channel, number, fault)
    return channel, struck


def active_faults(
    scenario: Scenario,
    sky: Sky,
    struck: dict[int, FaultChannel],
    crashes: list[dict[int, Window]],
    hosts: list[Host],
) -> list[ActiveFault]:
    """Every fault of the scenario with how to ask what it did, in the scenario's order."""

    def effect(number: int, fault: Fault) -> tuple[Callable[[], int], str]:
        if fault.kind == "crash":
            down = [(crashes[replica], hosts[replica]) for replica in sky.target(fault.targets).replicas]
            return (lambda: sum(_down_alone(number, windows, host.crashes_ns) for windows, host in down)), "crashes"
        if fault.kind == "outage":
            return (lambda: sky.outage_effect(fault)), "pairs of replicas cut or detoured"
        return (lambda: struck[number].affected), "messages"

    return [
        ActiveFault(fault.kind, fault.targets, tuple(fault.window_s), *effect(number, fault))
        for number, fault in enumerate(scenario.fault)
    ]


def _window(fault: Fault) -> Window:
    return Window(seconds(fault.begin_s), None if fault.end_s is None else seconds(fault.end_s))


def _fault_channel(scenario: Scenario, sky: Sky, inner: Channel, number: int, fault: Fault) -> FaultChannel:
    n = len(sky.plan.endpoints)
    target = sky.target(fault.targets)
    at_target = np.zeros(n, dtype=bool)
    at_target[list(target.replicas)] = True
    window = _window(fault)
    if fault.kind == "partition":
        return Partition.between(inner, window, at_target)
    touched = at_target[:, None] | at_target[None, :]
    for one, other in target.pairs:
        touched[one, other] = touched[other, one] = True
    if fault.kind == "slow":
        return Slow(inner, window, touched, milliseconds(fault.delay_ms or 0.0))
    return Losing(inner, window, touched, fault.rate or 0.0, numpy_random(scenario.seed, f"fault/{number}"))


def crashes_of(scenario: Scenario, sky: Sky) -> list[dict[int, Window]]:
    """The crashes of each replica, by the number of their fault."""
    crashes: list[dict[int, Window]] = [{} for _ in sky.plan.endpoints]
    for number, fault in enumerate(scenario.fault):
        if fault.kind == "crash":
            for replica in sky.target(fault.targets).replicas:
                crashes[replica][number] = _window(fault)
    return crashes


def _down_alone(number: int, windows: dict[int, Window], crashes_ns: Sequence[int]) -> bool:
    """Whether a replica was down because of this fault of its crashes and of no other."""
    window = windows[number]
    others = [other for other_number, other in windows.items() if other_number != number]
    covered_ns: float = window.begin_ns
    for other in sorted(others, key=lambda other: other.begin_ns):
        if other.begin_ns <= covered_ns:
            covered_ns = max(covered_ns, math.inf if other.end_ns is None else other.end_ns)
    adds = covered_ns < (math.inf if window.end_ns is None else window.end_ns)
    return adds and any(at_ns <= window.begin_ns for at_ns in crashes_ns)
