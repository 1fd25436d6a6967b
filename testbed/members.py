"""Who sits where: the committee's endpoints in replica order."""

from collections.abc import Sequence

from network.constellation import Constellation
from network.internet import Regions
from node.chance import python_random
from testbed.scenario.mistakes import Mistake
from testbed.scenario.models import Committee, Scenario
from testbed.scenario.places import GROUND, LABORATORY, PLANE, TERRESTRIAL


def choose_members(
    scenario: Scenario, constellation: Constellation | None
) -> tuple[list[str], list[Committee], list[Mistake]]:
    """Endpoints in replica order, the block that each comes from, and what only the geometry shows to be impossible.

    Replicas follow the order of the `[[committee]]` blocks, within a block by ascending index.
    """
    members: list[str] = []
    blocks: list[Committee] = []
    mistakes: list[Mistake] = []
    laboratory = 0
    for number, block in enumerate(scenario.committee):
        if block.on == LABORATORY:
            chosen = _laboratory(block, laboratory)
            laboratory += len(chosen)
        else:
            population = _population(scenario, constellation, block.on)
            chosen, wrong = _choose(scenario, constellation, number, population)
            mistakes += wrong
        members += chosen
        blocks += [block] * len(chosen)
    return members, blocks, mistakes


def places_of(scenario: Scenario, regions: Regions, endpoints: Sequence[str]) -> tuple[int, ...]:
    """In which region of an `internet` each of these endpoints is, by number; clients are where replicas are."""
    place = [regions.names.index(block.region or "") for block in scenario.committee for _ in range(block.count or 0)]
    return tuple(place[int(endpoint.removeprefix("lab/"))] for endpoint in endpoints)


def _laboratory(block: Committee, first: int) -> list[str]:
    if not isinstance(block.select, str):
        return list(block.select)
    return [f"lab/{first + index}" for index in range(block.count or 0)]


def _population(scenario: Scenario, constellation: Constellation | None, place: str) -> list[str]:
    """All endpoints at a place, by ascending index."""
    if place in (GROUND, TERRESTRIAL):
        prefix = "gs" if place == GROUND else "net"
        return [f"{prefix}/{station.name}" for station in scenario.ground_station]
    if constellation is None:
        return []
    return [constellation.endpoints[index] for index in constellation.satellites_of(place)]


def _choose(
    scenario: Scenario, constellation: Constellation | None, number: int, population: Sequence[str]
) -> tuple[list[str], list[Mistake]]:
    """A block's members out of a population that may be smaller than the file said."""
    block, path = scenario.committee[number], ("committee", number)
    if not isinstance(block.select, str):
        index = {endpoint: place for place, endpoint in enumerate(population)}
        missing = [
            Mistake((*path, "select", place), "was left out: its element set cannot be flown at the start", name)
            for place, name in enumerate(block.select)
            if name not in index
        ]
        return sorted((name for name in block.select if name in index), key=index.__getitem__), missing
    if block.select.startswith(PLANE) and constellation is not None:
        plane = int(block.select.removeprefix(PLANE))
        satellites = constellation.satellites_of(block.on)
        in_plane = satellites[constellation.plane_of[satellites] == plane]
        return [constellation.endpoints[index] for index in in_plane], []
    count = len(population) if block.count is None or block.select == "all" else block.count
    if count > len(population):
        text = f'must be at most {len(population)}, the satellites of shell "{block.on}" that can be flown at the start'
        return [], [Mistake((*path, "count"), text, block.count)]
    return [population[index] for index in _indices(scenario.seed, number, block.select, count, len(population))], []


def _indices(seed: int, number: int, select: str, count: int, total: int) -> list[int]:
    """Ascending indices of `count` out of `total`."""
    if select == "spread":
        return [place * total // count for place in range(count)]
    if select == "random":
        return sorted(python_random(seed, f"committee/{number}").sample(range(total), count))
    return list(range(count))
