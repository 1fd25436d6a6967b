"""Mistakes in faults: targets that match nothing, windows outside the run, keys of another kind."""

from collections.abc import Iterator

from consensus.byzantine import BEHAVIOURS
from testbed.scenario.check_protocol import is_lottery
from testbed.scenario.check_schedule import check_schedule
from testbed.scenario.lines import KeyPath
from testbed.scenario.mistakes import Mistake, readable
from testbed.scenario.models import Fault
from testbed.scenario.places import Places
from testbed.scenario.quantities import Choice

_NEEDS = {"loss": "rate", "slow": "delay_ms", "byzantine": "behaviour"}
_OF_BEHAVIOURS = ("victims", "delay_ms", "leaders", "partitions")
_KINDS = {
    "rate": ("loss",),
    "behaviour": ("byzantine",),
    **dict.fromkeys(_OF_BEHAVIOURS, ("byzantine",)),
    "delay_ms": ("slow", "byzantine"),
}
_ON_LINKS = ("outage", "loss", "slow")


def check_fault(places: Places, fault: Fault, path: KeyPath) -> Iterator[Mistake]:
    """One fault, against its kind, the run and the places of the scenario."""
    yield from readable(_keys(fault, path))
    yield from readable(_behaviour(places, fault, path))
    yield from readable(_targets(places, fault, path))
    yield from readable(_window(places, fault, path))
    yield from readable(check_schedule(places, fault, path))


def _keys(fault: Fault, path: KeyPath) -> Iterator[Mistake]:
    needed = _NEEDS.get(fault.kind)
    if needed is not None and getattr(fault, needed) is None:
        yield Mistake((*path, needed), f'missing; kind = "{fault.kind}" needs it')
    for key, kinds in _KINDS.items():
        value = getattr(fault, key)
        if value is not None and fault.kind not in kinds:
            yield Mistake((*path, key), f'belongs to kind = "{kinds[0]}", not to kind = "{fault.kind}"', value)


def _behaviour(places: Places, fault: Fault, path: KeyPath) -> Iterator[Mistake]:
    """It is on the menu, means something in this protocol, and takes the keys that are given."""
    name = fault.behaviour
    if fault.kind != "byzantine" or name is None:
        return
    behaviour = BEHAVIOURS.get(name)
    if behaviour is None:
        text = Choice().refusal(name, tuple(BEHAVIOURS))
        yield Mistake((*path, "behaviour"), text, name)
        return
    for key in _OF_BEHAVIOURS:
        if getattr(fault, key) is not None and key not in behaviour.takes:
            yield Mistake((*path, key), f'means nothing to behaviour = "{name}"', getattr(fault, key))
    for index, victim in enumerate(fault.victim_names or ()):
        where = (*path, "victims") if isinstance(fault.victims, str) else (*path, "victims", index)
        if victim.startswith("link/"):
            yield Mistake(where, "victims are replicas, not links", victim)
        elif (why := places.target_mistake(victim)) is not None:
            yield Mistake(where, why, victim)
    protocol = places.draft.consensus.protocol
    wanted = {"leaders": False, "mining": True}.get(behaviour.suits)
    if wanted is not None and wanted != is_lottery(protocol):
        yield Mistake((*path, "behaviour"), f"means nothing in {protocol}, which has no {behaviour.suits}", name)


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
