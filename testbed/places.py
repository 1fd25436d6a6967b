"""Where members sit, as the names of their endpoints say."""

from __future__ import annotations

from testbed.scenario.places import GROUND, LABORATORY, TERRESTRIAL

ORBIT = "orbit"
_CLASSES = {"sat": ORBIT, "gs": GROUND, "net": TERRESTRIAL, "lab": LABORATORY}
_IN_PLANE = 4


def place_of(endpoint: str) -> str:
    """orbit, ground, terrestrial or laboratory."""
    return _CLASSES[endpoint.split("/")[0]]


def plane_of(endpoint: str) -> str | None:
    """Of a satellite of a Walker shell, such as s1/03; None for all others: element sets know no planes."""
    parts = endpoint.split("/")
    return "/".join(parts[1:3]) if len(parts) == _IN_PLANE and parts[0] == "sat" else None


def group_of(endpoint: str) -> str:
    """Its plane; without one, its shell or its place."""
    place = place_of(endpoint)
    return plane_of(endpoint) or (endpoint.split("/")[1] if place == ORBIT else place)
