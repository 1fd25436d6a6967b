"""Mistakes in faults: targets that match nothing, windows outside the run, keys of another kind."""

from collections.abc import Iterator

from testbed.scenario.lines import KeyPath
from testbed.scenario.mistakes import Mistake, readable
from testbed.scenario.models import Fault
from testbed.scenario.places import Places

_OWN_KEYS = {"rate": "loss", "delay_ms": "slow", "behaviour": "byzantine"}
_ON_LINKS = ("outage", "loss", "slow")


def check_fault(places: Places, fault: Fault, path: KeyPath) -> Iterator[Mistake]:
    """One fault, against its kind, the run and the places of the scenario."""
    yield from readable(_keys(fault, path))
    yield from readable(_targets(places, fault, path))
    yield from readable(_window(places, fault, path))


def _keys(fault: Fault, path: KeyPath) -> Iterator[Mistake]:
    for key, kind in _OWN_KEYS.items():
        value = getattr(fault, key)
        if value is None and fault.kind == kind:
            yield Mistake((*path, key), f'missing; kind = "{kind}" needs it')
        elif value is not None and fault.kind != kind:
            yield Mistake((*path, key), f'belongs to kind = "{kind}", not to kind = "{fault.kind}"', value)


def _targets(places: Places, fault: Fault, path: KeyPath) -> Iterator[Mistake]:
    single = isinstance(fault.target, str)
    if not fault.targets:
        yield Mistake((*path, "target"), "needs at least one target", [])
    if fault.kind == "partition" and "all" in fault.targets:
        yield Mistake((*path, "target"), "leaves nobody on the other side of the partition", fault.target)
    for index, target in enumerate(fault.targets):
        where = (*path, "target") if single else (*path, "target", index)
        yield from readable(_target(places, fault, target, where))


def _target(places: Places, fault: Fault, target: str, path: KeyPath) -> Iterator[Mistake]:
    if target.startswith("link/") and fault.kind not in _ON_LINKS:
        yield Mistake(path, f"links can have outage, loss or slow, not {fault.kind}", target)
    elif (why := places.target_mistake(target)) is not None:
        yield Mistake(path, why, target)


def _window(places: Places, fault: Fault, path: KeyPath) -> Iterator[Mistake]:
    duration_s = places.draft.duration_s
    end_s = duration_s if fault.end_s is None else fault.end_s
    if not fault.begin_s < end_s <= duration_s:
        text = f"must begin before it ends and lie inside the run, 0 to {duration_s:g} s"
        yield Mistake((*path, "window_s"), text, fault.window_s)
