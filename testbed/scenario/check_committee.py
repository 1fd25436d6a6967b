"""Mistakes in the committee: members where there is no place for them."""

from collections.abc import Callable, Iterator
from pathlib import Path

from testbed.scenario.base import UnreadableError
from testbed.scenario.dissemination import WHOLE
from testbed.scenario.lines import KeyPath
from testbed.scenario.mistakes import Mistake, key_text, readable
from testbed.scenario.models import Committee
from testbed.scenario.places import GROUND, LABORATORY, PLACES, PLANE, TERRESTRIAL, Places
from testbed.scenario.quantities import did_you_mean, nothing_called
from testbed.scenario.space import LABORATORY_MODELS, Walker
from testbed.tables import DelayMatrix, TableError, read_delays, read_rtts

_SELECTIONS = ("all", "spread", "random", "first")


def check_block(places: Places, block: Committee, path: KeyPath) -> Iterator[Mistake]:
    """A committee block's place exists, fits the network, and has the members that are asked for."""
    for check in (_place, _network, _select, _count, _region, _receiver):
        yield from readable(check(places, block, path))


def _place(places: Places, block: Committee, path: KeyPath) -> Iterator[Mistake]:
    if block.on in (GROUND, TERRESTRIAL):
        if not places.draft.ground_station:
            yield Mistake((*path, "on"), "needs at least one [[ground_station]], or ground_stations", block.on)
        elif block.on == GROUND and not places.draft.shell:
            yield Mistake((*path, "on"), "needs at least one [[shell]] to talk through", block.on)
    elif block.on not in PLACES and places.shell(block.on) is None:
        names = (*(shell.name for shell in places.draft.shell), *PLACES)
        menu = ", ".join(f'"{name}"' for name in dict.fromkeys(names))
        yield Mistake((*path, "on"), f"must be one of {menu}{did_you_mean(block.on, names)}", block.on)


def _network(places: Places, block: Committee, path: KeyPath) -> Iterator[Mistake]:
    network = places.draft.network
    if block.on == LABORATORY and not network.laboratory:
        menu = ", ".join(f'"{model}"' for model in LABORATORY_MODELS)
        yield Mistake((*path, "on"), f"needs a laboratory network: [network] model one of {menu}", block.on)
    elif block.on != LABORATORY and network.laboratory:
        text = f'must be "laboratory", the only place in a network of model = "{network.model}"'
        yield Mistake((*path, "on"), text, block.on)
    elif block.on == TERRESTRIAL and network.terrestrial == "none":
        yield Mistake((*path, "on"), 'needs [network] terrestrial = "fibre" or a CSV', block.on)
    elif block.on == TERRESTRIAL and isinstance(network.terrestrial, Path):
        labels = _labels(read_rtts, network.terrestrial)
        unknown = [name for name in places.station_names if name not in labels]
        if unknown:
            text = f"{network.terrestrial.name} has no round-trip times for {', '.join(unknown[:3])}"
            yield Mistake((*path, "on"), text, block.on)


def _region(places: Places, block: Committee, path: KeyPath) -> Iterator[Mistake]:
    network = places.draft.network
    if network.model != "internet":
        if block.region is not None:
            yield Mistake((*path, "region"), 'needs [network] model = "internet"', block.region)
    elif block.region is None:
        yield Mistake((*path, "region"), 'missing; model = "internet" needs it')
    elif network.regions_file is not None and block.region not in places.regions:
        yield Mistake((*path, "region"), nothing_called(block.region, "region", places.regions), block.region)


def _receiver(places: Places, block: Committee, path: KeyPath) -> Iterator[Mistake]:
    compact, receiver = places.draft.network.compact, block.receiver
    if receiver is None:
        return
    known = (WHOLE, *(kind.name for kind in compact.receiver))
    if not compact.enabled:
        yield Mistake((*path, "receiver"), "needs [network.compact] enabled = true", receiver)
    elif receiver not in known:
        yield Mistake((*path, "receiver"), nothing_called(receiver, "receiver", known), receiver)


def _select(places: Places, block: Committee, path: KeyPath) -> Iterator[Mistake]:
    select = block.select
    if not isinstance(select, str):
        yield from _named(places, block, select, path)
    elif select.startswith(PLANE):
        yield from _plane(places, block, select, path)
    elif select not in _SELECTIONS:
        menu = ", ".join(f'"{name}"' for name in _SELECTIONS)
        text = f'must be one of {menu}, "plane:N", or a list of endpoints{did_you_mean(select, _SELECTIONS)}'
        yield Mistake((*path, "select"), text, select)


def _plane(places: Places, block: Committee, select: str, path: KeyPath) -> Iterator[Mistake]:
    if block.on in PLACES:
        yield Mistake((*path, "select"), f'has no meaning on "{block.on}", which has no planes', select)
        return
    shell = places.shell(block.on)
    number = select.removeprefix(PLANE)
    if isinstance(shell, Walker) and not (number.isdecimal() and int(number) < shell.planes):
        yield Mistake((*path, "select"), f"must be plane:0 to plane:{shell.planes - 1}", select)
    elif shell is not None and not isinstance(shell, Walker):
        yield Mistake((*path, "select"), f'shell "{shell.name}" comes from element sets and has no planes', select)


def _named(places: Places, block: Committee, names: tuple[str, ...], path: KeyPath) -> Iterator[Mistake]:
    if block.on == LABORATORY:
        yield Mistake((*path, "select"), "has no use in a laboratory, whose replicas are numbered; give count")
        return
    if not names:
        yield Mistake((*path, "select"), "needs at least one endpoint", list(names))
    kinds = {GROUND: "gs/", TERRESTRIAL: "net/"}
    prefix = kinds.get(block.on, f"sat/{block.on}/")
    for index, name in enumerate(names):
        if not name.startswith(prefix):
            text = f'must be an endpoint of "{block.on}", such as {prefix}…'
            yield Mistake((*path, "select", index), text, name)
        elif (why := places.endpoint_mistake(name)) is not None:
            yield Mistake((*path, "select", index), why, name)
        elif (first := names.index(name)) < index:
            yield Mistake(
                (*path, "select", index), f"has its seat already, by {key_text((*path, 'select', first))}", name
            )


def _count(places: Places, block: Committee, path: KeyPath) -> Iterator[Mistake]:
    population = places.population(block)
    if population is None:
        if block.count is None:
            yield Mistake((*path, "count"), "missing; how many replicas the laboratory has")
        return
    if block.count is None:
        return
    what = "ground stations" if block.on in (GROUND, TERRESTRIAL) else f'satellites of shell "{block.on}"'
    whole = block.select == "all" or block.select not in _SELECTIONS
    if block.count > population:
        yield Mistake((*path, "count"), f"must be at most {population}, the number of {what}", block.count)
    elif whole and block.count != (size := _whole_size(places, block, population)):
        text = f"must be {size}, as many as select takes, or be left out"
        yield Mistake((*path, "count"), text, block.count)


def _whole_size(places: Places, block: Committee, population: int) -> int:
    return population if block.select == "all" else places.members(block)


def check_matrix_size(places: Places) -> Iterator[Mistake]:
    """A delay matrix has a row for each laboratory replica."""
    network = places.draft.network
    if network.model != "matrix" or network.file is None:
        return
    rows = len(_labels(read_delays, network.file))
    if places.laboratory_members > rows:
        last = max(index for index, block in enumerate(places.draft.committee) if block.on == LABORATORY)
        text = f"makes {places.laboratory_members} replicas, but {network.file.name} has {rows} places"
        yield Mistake(("committee", last, "count"), text, places.draft.committee[last].count)


def _labels(read: Callable[[Path], DelayMatrix], file: Path) -> tuple[str, ...]:
    try:
        return read(file).labels
    except TableError:
        raise UnreadableError("file") from None  # the file has its own check
