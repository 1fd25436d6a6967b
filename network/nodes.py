"""The nodes of the routing graph, and the links between them as directed edges.

A satellite is one node. A place on the ground that relays is one node too; one that does not is two, of which
one only sends and one only receives, so that no route can pass through it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from network.constants import propagation_ns
from network.links import LinkRates, Links
from network.plan import UNREACHABLE

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

NS_PER_BYTE_AT_1_GBPS: Final = 8.0
NS_PER_BYTE_AT_1_MBPS: Final = 8000.0


@dataclass(frozen=True, eq=False)
class Fibre:
    """Fibre between all ground stations: int64[m, m] one-way delays, `UNREACHABLE` where there is none.

    Its ends are sites net/NAME apart from the satellites' stations gs/NAME. In a `hybrid` network both names
    mean one place, where traffic passes between fibre and satellites.
    """

    delay_ns: IntArray
    hybrid: bool = False


class Nodes:
    """Satellites first, then places on the ground: stations gs/NAME, then fibre sites net/NAME if apart."""

    def __init__(
        self,
        satellites: Sequence[str],
        stations: Sequence[str],
        *,
        ground_relay: bool = False,
        fibre: Fibre | None = None,
    ) -> None:
        hybrid = fibre is not None and fibre.hybrid
        sites = stations if fibre is not None and not hybrid else ()
        places = [f"gs/{name}" for name in stations] + [f"net/{name}" for name in sites]
        relays = np.arange(len(places)) < len(stations) * (ground_relay or hybrid)
        self.names: tuple[str, ...] = (*satellites, *places, *places)
        self._satellites = len(satellites)
        self._send: IntArray = len(satellites) + np.arange(len(places))
        self._receive: IntArray = np.where(relays, self._send, self._send + len(places))
        self._index = {name: index for index, name in enumerate((*satellites, *places))}
        if hybrid:
            self._index |= {f"net/{name}": self._index[f"gs/{name}"] for name in stations}
        self._fibre = np.empty((0, 2), dtype=np.int64)
        self._fibre_ns = np.empty(0, dtype=np.int64)
        if fibre is not None:
            ends = np.argwhere((fibre.delay_ns != UNREACHABLE) & ~np.eye(len(stations), dtype=np.bool_))
            self._fibre_ns = fibre.delay_ns[ends[:, 0], ends[:, 1]]
            self._fibre = ends + len(sites)
        self._within_site_ns: dict[str, int] = {}
        if fibre is not None and sites:
            inside = np.diag(fibre.delay_ns).tolist()
            self._within_site_ns = dict(zip(places[len(stations) :], inside, strict=True))

    def __len__(self) -> int:
        return len(self.names)

    @property
    def fibres(self) -> int:
        """How many directed links of fibre there are."""
        return len(self._fibre)

    def senders(self, endpoints: Sequence[str]) -> IntArray:
        """int64[n]: the nodes at which endpoints send. Raises ValueError for a name that is not in the network."""
        if strange := [name for name in endpoints if name not in self._index]:
            raise ValueError(f"{strange[0]!r} is no endpoint of this network")
        return np.array([self._index[name] for name in endpoints], dtype=np.int64)

    def receivers(self, senders: IntArray) -> IntArray:
        """int64[n]: the nodes at which those that send at `senders` receive."""
        place = np.maximum(senders - self._satellites, 0)
        on_ground = senders >= self._satellites
        return np.where(on_ground, self._receive[place], senders) if len(self._receive) else senders

    def edges(self, links: Links) -> tuple[IntArray, IntArray]:
        """Tails and heads, int64[e] each: ISLs there and back, GSLs up and down, fibre."""
        (one, other), (station, satellite), (begin, end) = links.isl.T, links.gsl.T, self._fibre.T
        return (
            np.concatenate((one, other, self._send[station], satellite, self._send[begin])),
            np.concatenate((other, one, satellite, self._receive[station], self._receive[end])),
        )

    def delays_ns(self, links: Links) -> IntArray:
        """int64[e]: propagation delays in the order of `edges`, each rounded once."""
        isl, gsl = propagation_ns(links.isl_km), propagation_ns(links.gsl_km)
        return np.concatenate((isl, isl, gsl, gsl, self._fibre_ns))

    def ns_per_byte(self, links: Links, rates: LinkRates) -> FloatArray:
        """float64[e]: transmission times of a byte in the order of `edges`."""
        isl, gsl = len(links.isl), len(links.gsl)
        return np.repeat(
            [
                NS_PER_BYTE_AT_1_GBPS / rates.isl_gbps,
                NS_PER_BYTE_AT_1_MBPS / rates.gsl_up_mbps,
                NS_PER_BYTE_AT_1_MBPS / rates.gsl_down_mbps,
                NS_PER_BYTE_AT_1_GBPS / rates.terrestrial_gbps,
            ],
            [2 * isl, gsl, gsl, len(self._fibre)],
        )

    def within_ns(self, endpoint: str) -> int:
        """The delay between two replicas at the same endpoint: that of the fibre inside a site, else none."""
        return self._within_site_ns.get(endpoint, 0)

    def down(self, endpoints: Iterable[str]) -> BoolArray:
        """bool[nodes]: all nodes of these endpoints; names that are not in the network count for nothing."""
        mask = np.zeros(len(self), dtype=np.bool_)
        known = self.senders([name for name in endpoints if name in self._index])
        mask[known] = mask[self.receivers(known)] = True
        return mask
