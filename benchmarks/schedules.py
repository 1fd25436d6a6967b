"""How fast Twins schedules are played, over all protocols of four replicas."""

from __future__ import annotations

import math
import time
from itertools import islice

from consensus.protocols import PROTOCOLS, load_protocol
from testbed.fuzz.arena import Arena
from testbed.fuzz.enumeration import has_views, space_of
from testbed.fuzz.schedules import FANS
from testbed.simulation import no_collection

_FAMILY = math.prod(FANS)
_FAMILIES, _APART, _PASSES = 4, 7, 25


def measure() -> dict[str, float]:
    """Schedules per CPU-second, as many of each protocol: each family as fast as it ever was in passes over all."""
    families = [
        (Arena(protocol, space), list(islice(space.spread(), begin, begin + _FAMILY)))
        for protocol in map(load_protocol, PROTOCOLS)
        if has_views(protocol) and (space := space_of(protocol)).committee.n == 4
        for begin in range(0, _FAMILIES * _APART * _FAMILY, _APART * _FAMILY)
    ]
    passes = [[_pass_s(arena, schedules) for arena, schedules in families] for _ in range(_PASSES)]
    return {"twins": _FAMILY * len(families) / sum(map(min, zip(*passes, strict=True)))}


def _pass_s(arena: Arena, schedules: list[tuple[int, ...]]) -> float:
    with no_collection():
        before_s = time.process_time()
        for outcome in arena.play_all(schedules):
            assert not outcome.failed, "a benchmark that fails measures nothing"
        return time.process_time() - before_s
