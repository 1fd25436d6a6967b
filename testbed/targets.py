"""What a fault's target means: replicas, endpoints and links of one network."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from network.constellation import Constellation

Link = tuple[str, str]


@dataclass(frozen=True)
class Target:
    """What a fault strikes.

    `replicas`   replicas named, or sitting at an endpoint that is
    `endpoints`  places, with or without replicas; of a named replica, its own
    `links`      pairs of endpoints
    `pairs`      pairs of replicas or clients that sit at the two ends of one of the links
    `clients`    clients sitting at one of the endpoints, numbered after the replicas
    """

    replicas: frozenset[int] = frozenset()
    endpoints: frozenset[str] = frozenset()
    links: frozenset[Link] = frozenset()
    pairs: frozenset[tuple[int, int]] = frozenset()
    clients: frozenset[int] = frozenset()

    def __or__(self, other: "Target") -> "Target":
        return Target(
            self.replicas | other.replicas,
            self.endpoints | other.endpoints,
            self.links | other.links,
            self.pairs | other.pairs,
            self.clients | other.clients,
        )


def _parts(target: str) -> tuple[str, str]:
    kind, _, rest = target.partition("/")
    return kind, rest


class Directory:
    """Knows the names of one network. In a hybrid one, gs/NAME and net/NAME are the same place."""

    def __init__(
        self,
        members: Sequence[str],
        constellation: Constellation | None = None,
        stations: Sequence[str] = (),
        *,
        clients: Sequence[str] = (),
        hybrid: bool = False,
        operators: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """`operators` says which shells (shell/NAME) and places are whose."""
        self._operators = operators or {}
        self._hybrid = hybrid
        self._constellation = constellation
        self._members = [self._place(endpoint) for endpoint in members]
        self._replicas: dict[str, set[int]] = {}
        for replica, place in enumerate(self._members):
            self._replicas.setdefault(place, set()).add(replica)
        self._clients: dict[str, set[int]] = {}
        for client, place in enumerate(map(self._place, clients), start=len(members)):
            self._clients.setdefault(place, set()).add(client)
        satellites = constellation.endpoints if constellation is not None else ()
        grounds = [f"{kind}/{name}" for kind in ("gs", "net") for name in stations]
        self._endpoints = frozenset(map(self._place, (*satellites, *grounds, *members, *clients)))

    def resolve(self, targets: Iterable[str]) -> Target:
        """All that the targets name together; what is not there counts for nothing."""
        found = Target()
        for target in targets:
            found |= self._resolve(target)
        return found

    def _resolve(self, target: str) -> Target:
        kind, rest = _parts(target)
        if kind == "replica":
            place = self._members[int(rest)]
            return Target(
                replicas=frozenset({int(rest)}),
                endpoints=frozenset({place}),
                clients=frozenset(self._clients.get(place, ())),
            )
        if kind == "link":
            one, other = map(self._place, rest.split("~", 1))
            first, second = (self._replicas.get(end, set()) | self._clients.get(end, set()) for end in (one, other))
            known = {one, other} <= self._endpoints
            return Target(links=frozenset({(one, other)} if known else ()), pairs=frozenset(product(first, second)))
        endpoints = self._named(kind, rest, target) & self._endpoints
        replicas = {replica for place in endpoints for replica in self._replicas.get(place, ())}
        clients = {client for place in endpoints for client in self._clients.get(place, ())}
        return Target(replicas=frozenset(replicas), endpoints=frozenset(endpoints), clients=frozenset(clients))

    def _named(self, kind: str, rest: str, target: str) -> frozenset[str]:
        """The endpoints behind a name that is not a replica's or a link's."""
        if kind == "all":
            return self._endpoints
        if kind == "operator":
            return frozenset[str]().union(*(self._named(*_parts(name), name) for name in self._operators.get(rest, ())))
        if kind == "shell":
            return self._satellites(rest)
        if kind == "plane":
            shell, _, plane = rest.partition("/")
            return self._satellites(shell, int(plane))
        return frozenset({self._place(target)})

    def _satellites(self, shell: str, plane: int | None = None) -> frozenset[str]:
        if self._constellation is None:
            return frozenset()
        satellites = self._constellation.satellites_of(shell)
        if plane is not None:
            satellites = satellites[np.equal(self._constellation.plane_of[satellites], plane)]
        return frozenset(self._constellation.endpoints[index] for index in satellites)

    def _place(self, endpoint: str) -> str:
        """The one name of a place."""
        return f"gs/{endpoint.removeprefix('net/')}" if self._hybrid and endpoint.startswith("net/") else endpoint
