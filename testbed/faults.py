"""The scenario's faults: when whose node is down, and what each fault has done in the end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from network.faults import Window
from testbed.terms import window_of

if TYPE_CHECKING:
    from testbed.scenario import Fault, Scenario
    from testbed.sky import Sky

Crashes = list[dict[int, Window]]
"""For each replica its crashes, by the number of their fault."""


@dataclass(frozen=True)
class FaultEffect:
    """A fault of the scenario, and what it did."""

    kind: str
    target: tuple[str, ...]
    window_s: tuple[float, ...]
    count: int
    unit: str
    behaviour: str | None = None

    @property
    def name(self) -> str:
        """How messages call it."""
        kind = self.kind if self.behaviour is None else f"{self.kind} ({self.behaviour})"
        return f"{kind} of {', '.join(self.target)}"


def crashes_of(scenario: Scenario, sky: Sky) -> Crashes:
    """The crashes of each replica, by the number of their fault."""
    crashes: Crashes = [{} for _ in sky.plan.endpoints]
    for number, fault in enumerate(scenario.fault):
        if fault.kind == "crash":
            for replica in sky.target(fault.targets).replicas:
                crashes[replica][number] = window_of(fault)
    return crashes


def windows_down(windows: Mapping[int, Window]) -> list[tuple[int, int | None]]:
    """When a node is down, in ns: its crashes as windows that neither overlap nor touch, earliest first."""
    united: list[tuple[int, int | None]] = []
    for window in sorted(windows.values(), key=lambda window: window.begin_ns):
        begin_ns, end_ns = window.begin_ns, window.end_ns
        if not united or (united[-1][1] is not None and united[-1][1] < begin_ns):
            united.append((begin_ns, end_ns))
            continue
        last_begin_ns, last_end_ns = united[-1]
        later_ns = None if last_end_ns is None or end_ns is None else max(last_end_ns, end_ns)
        united[-1] = (last_begin_ns, later_ns)
    return united


def fault_effects(
    scenario: Scenario, sky: Sky, affected: Mapping[int, int], crashes_ns: Sequence[Sequence[int]]
) -> list[FaultEffect]:
    """What every fault did, in the scenario's order.

    `affected` counts the messages that network faults touched, and what adversaries did, by the fault's number;
    `crashes_ns` says for each replica when its node crashed.
    """
    crashes = crashes_of(scenario, sky)

    def effect(number: int, fault: Fault) -> tuple[int, str]:
        if fault.kind == "crash":
            struck = sky.target(fault.targets).replicas
            return sum(_down_alone(number, crashes[replica], crashes_ns[replica]) for replica in struck), "crashes"
        if fault.kind == "outage":
            return sky.outage_effect(fault), "pairs of replicas cut or detoured"
        return affected.get(number, 0), "deeds" if fault.kind == "byzantine" else "messages"

    return [
        FaultEffect(fault.kind, fault.targets, tuple(fault.window_s), *effect(number, fault), fault.behaviour)
        for number, fault in enumerate(scenario.fault)
    ]


def _down_alone(number: int, windows: Mapping[int, Window], crashes_ns: Sequence[int]) -> bool:
    """Whether a replica was down because of this fault of its crashes and of no other."""
    window = windows[number]
    others = [other for other_number, other in windows.items() if other_number != number]
    covered_ns: float = window.begin_ns
    for other in sorted(others, key=lambda other: other.begin_ns):
        if other.begin_ns <= covered_ns:
            covered_ns = max(covered_ns, math.inf if other.end_ns is None else other.end_ns)
    adds = covered_ns < (math.inf if window.end_ns is None else window.end_ns)
    return adds and any(at_ns <= window.begin_ns for at_ns in crashes_ns)
