"""Every performance figure, one row each, with its limit: `python -m benchmarks`; exit code 1 if one is missed."""

from __future__ import annotations

import sys

from benchmarks import engine, geometry


def main() -> int:
    """Measure and print."""
    missed = 0
    for measure in (geometry.measure, engine.measure):
        for work, measured, unit, limit in measure():
            least = limit < 0
            ok = measured >= -limit if least else measured <= limit
            missed += not ok
            bound = f"{'at least' if least else 'at most'} {abs(limit):,.10g} {unit}"
            print(f"{work:<78} {measured:>12,.3f} {unit:<4} {bound:<24} {'' if ok else 'MISSED'}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
