"""CPU time of the geometry: a shell of Starlink, 100 stations, all pairs of them, routes chosen anew each step."""

from datetime import UTC, datetime
from time import process_time

import numpy as np

from network.constants import SECOND_NS
from network.constellation import Constellation
from network.ground import GroundStation
from network.isl import IslLimits, IslPolicy
from network.links import LinkRules, Topology
from network.orbit import OrbitPlan
from network.plan import UNREACHABLE
from network.walker import WalkerShell

STATIONS = 100
STEPS = 100


def measure() -> dict[str, float]:
    """CPU seconds of each of the geometry's rows."""
    plan = _plan()
    _step(plan, 0)  # imports, time scale and caches are not what is measured
    single = min(_timed(plan, [second]) for second in range(1, 6))
    series = _timed(plan, range(100, 100 + STEPS))
    return {"snapshot": single, "series": series}


def _plan() -> OrbitPlan:
    shell = WalkerShell("s1", "walker_delta", 72, 22, phasing=39, altitude_km=550, inclination_deg=53)
    constellation = Constellation([shell], datetime(2026, 11, 22, tzinfo=UTC))
    rules = LinkRules(isl={"s1": IslPolicy()}, isl_limits=IslLimits(max_range_km=5016))
    stations = _stations()
    endpoints = [f"gs/{station.name}" for station in stations]
    return OrbitPlan(endpoints, Topology(constellation, stations, rules), reconfiguration_interval_ns=SECOND_NS)


def _stations() -> list[GroundStation]:
    """Places spread evenly over the latitudes that the shell serves, by the golden angle."""
    sine = np.sin(np.radians(52)) * (2 * np.arange(STATIONS) + 1 - STATIONS) / STATIONS
    longitude_deg = (137.50776405 * np.arange(STATIONS)) % 360 - 180
    places = zip(np.degrees(np.arcsin(sine)).tolist(), longitude_deg.tolist(), strict=True)
    return [GroundStation(f"g{number}", *place) for number, place in enumerate(places)]


def _timed(plan: OrbitPlan, seconds: range | list[int]) -> float:
    begin = process_time()
    for second in seconds:
        _step(plan, second)
    return process_time() - begin


def _step(plan: OrbitPlan, second: int) -> None:
    if (plan.at(second * SECOND_NS).delay_ns == UNREACHABLE).any():
        raise AssertionError("the benchmark's stations must all reach each other")
