"""What can be named in a scenario: shells, planes, endpoints, replicas, links, and lists of these.

Answers from a draft. Whatever depends on a key that could not be read raises `UnreadableError`.
"""

from functools import cached_property
from typing import Final

from network.elements import read_elements
from testbed.scenario.base import UnreadableError
from testbed.scenario.models import Committee, Scenario
from testbed.scenario.quantities import nothing_called
from testbed.scenario.space import Elements, Shell, Walker
from testbed.tables import TableError, read_regions

GROUND: Final = "ground"
TERRESTRIAL: Final = "terrestrial"
LABORATORY: Final = "laboratory"
PLACES: Final = (GROUND, TERRESTRIAL, LABORATORY)
PLANE: Final = "plane:"


class Places:
    """The places of one scenario and how many replicas each has."""

    def __init__(self, draft: Scenario) -> None:
        self.draft = draft

    def shell(self, name: str) -> Shell | None:
        """The shell of that name. Raises UnreadableError if it may be one whose name could not be read."""
        names = [getattr(shell, "name", None) for shell in self.draft.shell]
        if name in names:
            return self.draft.shell[names.index(name)]
        if None in names:
            raise UnreadableError("name")
        return None

    @cached_property
    def station_names(self) -> tuple[str, ...]:
        """All ground stations' names, in order."""
        return tuple(station.name for station in self.draft.ground_station)

    @cached_property
    def operators(self) -> tuple[str, ...]:
        """Everybody who runs a shell or a station."""
        tables = (*self.draft.shell, *self.draft.ground_station)
        return tuple(dict.fromkeys(table.operator for table in tables if table.operator is not None))

    @cached_property
    def regions(self) -> tuple[str, ...]:
        """The regions of an `internet` network. Raises UnreadableError if their table cannot be read."""
        file = self.draft.network.regions_file
        try:
            return () if file is None else read_regions(file).names
        except TableError:
            raise UnreadableError("regions_file") from None  # the file has its own check

    @cached_property
    def _catalogue(self) -> dict[str, tuple[str, ...]]:
        """Catalogue numbers by element-set shell, as endpoints have them."""
        return {shell.name: _numbers(shell) for shell in self.draft.shell if isinstance(shell, Elements)}

    def satellites(self, shell: Shell) -> int:
        """How many satellites a shell has; for element sets before any are dropped."""
        if isinstance(shell, Elements):
            return len(self._catalogue[shell.name])
        return shell.planes * shell.satellites_per_plane

    def population(self, block: Committee) -> int | None:
        """How many endpoints a committee block can choose from; None where it is up to the block."""
        if block.on == LABORATORY:
            return None
        if block.on in (GROUND, TERRESTRIAL):
            return len(self.draft.ground_station)
        shell = self.shell(block.on)
        if shell is None:
            raise UnreadableError("on")
        return self.satellites(shell)

    def members(self, block: Committee) -> int:
        """How many replicas a block adds. Raises UnreadableError if that is a mistake of its own."""
        if isinstance(block.select, tuple):
            return len(block.select)
        if block.select.startswith(PLANE):
            shell = self.shell(block.on)
            number = block.select.removeprefix(PLANE)
            if not isinstance(shell, Walker) or not number.isdecimal() or int(number) >= shell.planes:
                raise UnreadableError("select")
            return shell.satellites_per_plane
        found = block.count if block.count is not None else self.population(block)
        if found is None:
            raise UnreadableError("count")
        return found

    @cached_property
    def replicas(self) -> int:
        """n, the size of the whole committee."""
        return sum(map(self.members, self.draft.committee))

    @cached_property
    def laboratory_members(self) -> int:
        """How many endpoints lab/0, lab/1, … there are."""
        return sum(self.members(block) for block in self.draft.committee if block.on == LABORATORY)

    def target_mistake(self, target: str) -> str | None:
        """Why a fault's target matches nothing; None if it matches something."""
        kind, _, rest = target.partition("/")
        match kind:
            case "all" if not rest:
                return None
            case "replica":
                return _number_mistake("replica", rest, self.replicas)
            case "shell":
                return self._shell_mistake(rest)
            case "plane":
                return self._plane_mistake(*_halves(rest))
            case "link":
                return self._link_mistake(rest)
            case "operator":
                return nothing_called(rest, "operator", self.operators) if rest not in self.operators else None
            case _:
                return self.endpoint_mistake(target)

    def endpoint_mistake(self, endpoint: str) -> str | None:
        """Why no endpoint has this name; None if one has."""
        kind, _, rest = endpoint.partition("/")
        match kind:
            case "sat":
                return self._satellite_mistake(*_halves(rest))
            case "gs" | "net" if rest in self.station_names:
                return None
            case "gs" | "net":
                return nothing_called(rest, "ground station", self.station_names)
            case "lab":
                return _number_mistake("lab", rest, self.laboratory_members)
            case _:
                return (
                    f'"{endpoint}" matches nothing; a target is replica/3, sat/SHELL/PLANE/INDEX, gs/NAME, '
                    "net/NAME, lab/0, plane/SHELL/4, shell/NAME, operator/NAME, link/A~B or all"
                )

    def _shell_mistake(self, name: str) -> str | None:
        if self.shell(name) is not None:
            return None
        return nothing_called(name, "shell", [shell.name for shell in self.draft.shell])

    def _plane_mistake(self, name: str, plane: str) -> str | None:
        shell = self.shell(name)
        if shell is None:
            return self._shell_mistake(name)
        if not isinstance(shell, Walker):
            return f'shell "{name}" comes from element sets and has no planes'
        return _number_mistake(f"plane/{name}", plane, shell.planes)

    def _link_mistake(self, ends: str) -> str | None:
        one, tilde, other = ends.partition("~")
        if not tilde or one == other:
            return f'"link/{ends}" must name two endpoints, as in link/A~B'
        return self.endpoint_mistake(one) or self.endpoint_mistake(other)

    def _satellite_mistake(self, name: str, rest: str) -> str | None:
        shell = self.shell(name)
        if shell is None:
            return self._shell_mistake(name)
        if isinstance(shell, Elements):
            missing = rest not in self._catalogue[name]
            return f'no satellite of shell "{name}" has the catalogue number "{rest}"' if missing else None
        plane, index = _halves(rest)
        if not plane.isdecimal() or not index.isdecimal():
            return f'"sat/{name}/{rest}" must be sat/SHELL/PLANE/INDEX, such as sat/{name}/00/07'
        if int(plane) >= shell.planes or int(index) >= shell.satellites_per_plane:
            last = f"sat/{name}/{shell.planes - 1:02d}/{shell.satellites_per_plane - 1:02d}"
            return f'"sat/{name}/{rest}" matches nothing; the last satellite is {last}'
        written = f"{int(plane):02d}/{int(index):02d}"
        return None if rest == written else f'"sat/{name}/{rest}" must be written sat/{name}/{written}'


def _numbers(shell: Elements) -> tuple[str, ...]:
    try:
        return tuple(str(model.satnum) for model in read_elements(shell.file))
    except (ValueError, OSError):
        raise UnreadableError("file") from None  # the file has its own check


def _number_mistake(kind: str, number: str, count: int) -> str | None:
    if number.isdecimal() and str(int(number)) == number and int(number) < count:
        return None
    there_are = f"there are {kind}/0 to {kind}/{count - 1}" if count else "there are none"
    return f'"{kind}/{number}" matches nothing; {there_are}'


def _halves(text: str) -> tuple[str, str]:
    first, _, rest = text.partition("/")
    return first, rest
