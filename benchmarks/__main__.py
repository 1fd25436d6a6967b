"""Every performance figure, one row each, with its limit: `python -m benchmarks`; exit code 1 if one is missed."""

from __future__ import annotations

import sys

from benchmarks import engine, geometry, links, nodes, schedules
from benchmarks.limits import LIMITS


def main() -> int:
    """Measure and print."""
    missed = 0
    for measure in (geometry.measure, engine.measure, links.measure, schedules.measure, nodes.measure):
        for key, measured in measure().items():
            limit = LIMITS[key]
            ok = limit.met_by(measured)
            missed += not ok
            print(limit.row(measured) + ("" if ok else "   MISSED"), flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
