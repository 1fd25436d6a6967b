"""Handovers and acquisitions, counted over the times at which links are chosen."""

from typing import Any, Final

from network.constants import SECOND_NS
from network.links import Topology
from network.orbit import OrbitPlan
from network.plan import Plan

SURVEYED: Final = 120
"""Choices that `quorbit sky` looks at: half an hour of the grid of 15 s."""

MOST_UNSEEN: Final = 2000
"""Choices that a result looks at again, at most: about 10 s for a shell of Starlink."""


def handover_counts(plan: Plan, until_ns: int) -> dict[str, int | None]:
    """What a result says: ground links and lasers that a run's choices of links brought after the start.

    None without satellites, and where a run passed by more than `MOST_UNSEEN` choices without asking for a route.
    """
    if not isinstance(plan, OrbitPlan) or plan.handover.unseen(until_ns) > MOST_UNSEEN:
        return {"handovers": None, "acquisitions": None}
    turns = plan.handover.turns(until_ns)
    return {
        "handovers": sum(turn.handovers for turn in turns),
        "acquisitions": sum(turn.acquisitions for turn in turns),
    }


def handover_rows(topology: Topology | None, plan: Plan, until_ns: int) -> list[dict[str, Any]]:
    """What `quorbit sky` says, for all stations of a topology; no row where links are never chosen anew.

    The mean hold is the time that all lasers together were chosen, by the number of acquisitions.
    """
    if topology is None or not isinstance(plan, OrbitPlan):
        return []
    handover = plan.handover.over(topology)
    times_ns = sorted(handover.choices.until_ns(until_ns))[:SURVEYED]
    if not times_ns:
        return []
    turns = handover.turns(times_ns[-1])
    spent_s = times_ns[-1] / SECOND_NS
    handovers = sum(turn.handovers for turn in turns)
    acquisitions = sum(turn.acquisitions for turn in turns)
    lasers = sum(turn.lasers for turn in turns) / len(turns)
    stations = len(topology.stations)
    return [
        {
            "until_s": spent_s,
            "choices": len(turns),
            "handovers": handovers,
            "per_station_per_minute": handovers / stations / spent_s * 60 if stations else None,
            "acquisitions": acquisitions,
            "per_hour": acquisitions / spent_s * 3600,
            "mean_hold_s": lasers * spent_s / acquisitions if acquisitions else None,
        }
    ]
