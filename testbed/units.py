"""From a scenario's units to the engine's: integer nanoseconds."""

from __future__ import annotations


def milliseconds(value: float) -> int:
    """Milliseconds of a scenario as integer nanoseconds."""
    return round(value * 1e6)


def seconds(value: float) -> int:
    """Seconds of a scenario as integer nanoseconds."""
    return round(value * 1e9)
