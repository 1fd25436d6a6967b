"""Mistakes in the schedule of twins: nodes that do not exist, rounds without a leader or a partition."""

from collections.abc import Iterator

from testbed.scenario.check_protocol import facts_of
from testbed.scenario.lines import KeyPath
from testbed.scenario.mistakes import Mistake, readable
from testbed.scenario.models import Fault
from testbed.scenario.places import Places


def check_schedule(places: Places, fault: Fault, path: KeyPath) -> Iterator[Mistake]:
    """A schedule is about this committee, and there is only one."""
    if fault.leaders is None and fault.partitions is None:
        return
    for key, other in (("leaders", "partitions"), ("partitions", "leaders")):
        if getattr(fault, key) is None:
            yield Mistake((*path, key), f"missing; a schedule has {other} and {key}")
    yield from readable(_alone(places, fault, path))
    yield from readable(_leaders(places, fault, path))
    yield from readable(_partitions(places, fault, path))


def _alone(places: Places, fault: Fault, path: KeyPath) -> Iterator[Mistake]:
    if len(fault.targets) != 1 or not fault.targets[0].startswith("replica/"):
        yield Mistake(
            (*path, "target"), "must be one replica, such as replica/3: a schedule has one twin", fault.target
        )
    if fault.victims is not None:
        yield Mistake((*path, "victims"), "means nothing beside a schedule, whose partitions say who hears whom")
    if fault.begin_s > 0 or fault.end_s is not None:
        yield Mistake((*path, "window_s"), "means nothing beside a schedule, which has rounds", fault.window_s)
    scheduled = [each for each in places.draft.fault if each.leaders is not None or each.partitions is not None]
    if scheduled[0] is not fault:
        yield Mistake((*path, "leaders"), "is the second schedule: another fault has one")
    name = places.draft.consensus.protocol
    facts = facts_of(name)
    if facts is not None and facts.timeout_deltas is None:
        yield Mistake((*path, "leaders"), f"means nothing in {name}, which has no views")


def _leaders(places: Places, fault: Fault, path: KeyPath) -> Iterator[Mistake]:
    if fault.leaders == ():
        yield Mistake((*path, "leaders"), "needs at least one round", [])
    for index, leader in enumerate(fault.leaders or ()):
        if not 0 <= leader < places.replicas:
            yield Mistake((*path, "leaders", index), f"must be between 0 and {places.replicas - 1}", leader)


def _partitions(places: Places, fault: Fault, path: KeyPath) -> Iterator[Mistake]:
    if fault.leaders is not None and fault.partitions is not None and len(fault.leaders) != len(fault.partitions):
        rounds = f"{len(fault.leaders)}, one for each leader, not {len(fault.partitions)}"
        yield Mistake((*path, "partitions"), f"must be {rounds}")
    nodes = list(range(places.replicas + 1))
    for index, groups in enumerate(fault.partitions or ()):
        if sorted(node for group in groups for node in group) != nodes:
            text = f"must have each of the nodes 0 to {places.replicas} in one group"
            yield Mistake((*path, "partitions", index), text, groups)
