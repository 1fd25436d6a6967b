"""Handover: when links are chosen anew, and when a newly chosen laser begins to carry.

Links are chosen at the start, on a grid, and where an outage begins or ends. A laser that was not chosen just before
must be acquired first. All of it follows from the times and the geometry: what was in force before a choice is looked
up by choosing it again, so that any time can be asked alone.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from network.constants import SECOND_NS
from network.isl import NO_PAIRS, among, unique_pairs
from network.links import Links, Topology
from network.plan import Outage

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

KEPT: Final = 4
"""Steps that are remembered: callers step back by an update when their clocks run ahead."""

BLOCK_NS: Final = 900 * SECOND_NS
"""With few terminals each choice hangs on the one before: one choice in a block of this length is kept for good."""

NEVER: Final = 2**63 - 1
"""Later than any time in ns."""

_Kept = TypeVar("_Kept")


def remember(memory: OrderedDict[int, _Kept], key: int, value: _Kept, kept: int = KEPT) -> _Kept:
    """Keep the newest few."""
    memory[key] = value
    if len(memory) > kept:
        memory.popitem(last=False)
    return value


def grid_ns(now_ns: int, interval_ns: int | None, offset_ns: int = 0) -> int:
    """The last of the times 0 and offset + k * interval, k >= 0, that is not after `now_ns`; None: only 0."""
    if interval_ns is None or now_ns < offset_ns:
        return 0
    return now_ns - (now_ns - offset_ns) % interval_ns


@dataclass(frozen=True)
class Choices:
    """The times at which links are chosen: 0, offset + k * interval for k >= 0, and those in `more_ns`, ascending.

    With an interval of None there is no grid.
    """

    interval_ns: int | None
    offset_ns: int = 0
    more_ns: tuple[int, ...] = ()

    def last_ns(self, now_ns: int) -> int:
        """The last choice that is not after `now_ns`."""
        at_ns = grid_ns(now_ns, self.interval_ns, self.offset_ns)
        passed = bisect_right(self.more_ns, now_ns)
        return max(at_ns, self.more_ns[passed - 1]) if passed else at_ns

    def next_ns(self, now_ns: int) -> int:
        """The first choice after `now_ns`, or `NEVER`."""
        passed = bisect_right(self.more_ns, now_ns)
        next_ns = self.more_ns[passed] if passed < len(self.more_ns) else NEVER
        if self.interval_ns is None:
            return next_ns
        on_grid_ns = grid_ns(now_ns, self.interval_ns, self.offset_ns) + self.interval_ns
        return min(next_ns, self.offset_ns if now_ns < self.offset_ns else on_grid_ns)

    def until_ns(self, until_ns: int) -> set[int]:
        """The choices in (0, `until_ns`]."""
        times_ns = {time_ns for time_ns in self.more_ns if 0 < time_ns <= until_ns}
        if self.interval_ns is not None:
            times_ns.update(range(self.offset_ns or self.interval_ns, until_ns + 1, self.interval_ns))
        return times_ns


@dataclass(frozen=True, eq=False)
class Lasers:
    """The ISLs of one choice.

    `pairs`  int64[k, 2], the chosen ones
    `held`   int64[h, 2], the pairs that need no acquisition if they are chosen next: those that are chosen, and
             the permanent ones, less what an outage strikes
    """

    pairs: IntArray
    held: IntArray


class Turn(NamedTuple):
    """What one choice brings that the one before it did not have, and what there is then.

    `handovers`     ground-satellite links that were not there
    `acquisitions`  lasers that must be acquired
    `lasers`        all chosen ones
    """

    handovers: int
    acquisitions: int
    lasers: int


class Handover:
    """The choices of a topology under outages, with a time that new lasers take before they carry.

    A permanent pair, one within a plane that its policy names once and for all, is never torn down: where limits
    part it, it carries again as soon as it is chosen. After an outage of the pair or of an end even it must be
    acquired. What is chosen at the start counts as acquired.

    A choice is made from the geometry alone, unless lasers are few: then those that exist go before new ones, and a
    time that is asked alone is reached from the start, or from the last choice that was kept (`BLOCK_NS`).
    """

    def __init__(
        self, topology: Topology, choices: Choices, outages: Sequence[Outage] = (), acquisition_ns: int = 0
    ) -> None:
        self.choices = choices
        self.acquisition_ns = acquisition_ns
        self._topology = topology
        self._outages = tuple(outages)
        self._index = {name: index for index, name in enumerate(topology.constellation.endpoints)} if outages else {}
        self._lasers: OrderedDict[int, Lasers] = OrderedDict()
        self._kept = KEPT
        self._milestones: dict[int, tuple[int, Lasers]] = {}
        self._links: OrderedDict[int, Links] = OrderedDict()
        self._turns: dict[int, Turn] = {}
        self._carries_ns: OrderedDict[int, IntArray] = OrderedDict()

    def links(self, chosen_ns: int) -> Links:
        """The links of a choice, those under acquisition among them; links that an outage strikes as well."""
        links = self._links.get(chosen_ns)
        if links is None:
            lasers = self.lasers(chosen_ns)
            links = self._topology.links_at(chosen_ns / SECOND_NS, self._down(chosen_ns), lasers.pairs)
            remember(self._links, chosen_ns, links)
            if chosen_ns and (before := self._links.get(self.choices.last_ns(chosen_ns - 1))) is not None:
                self._note(chosen_ns, before, links)
        return links

    def span_ns(self, now_ns: int) -> tuple[int, int]:
        """From when, and until when, the links that carry at `now_ns` do so: between choices and lasers made ready."""
        chosen_ns, next_ns = self.choices.last_ns(now_ns), self.choices.next_ns(now_ns)
        if not self.acquisition_ns or not chosen_ns:
            return chosen_ns, next_ns
        carries_ns = self.carries_ns(chosen_ns)
        ready_ns = np.unique(carries_ns[carries_ns > 0]).tolist()
        passed = bisect_right(ready_ns, now_ns)
        return max([chosen_ns, *ready_ns[:passed]]), min([next_ns, *ready_ns[passed:]])

    def carries_ns(self, chosen_ns: int) -> IntArray:
        """int64[k]: when each ISL of a choice begins to carry; 0 where it does so from the choice on."""
        carries_ns = self._carries_ns.get(chosen_ns)
        if carries_ns is None:
            carries_ns = remember(self._carries_ns, chosen_ns, self._acquired(chosen_ns))
        return carries_ns

    def changes_ns(self, until_ns: int) -> set[int]:
        """The times in (0, `until_ns`] at which links can change; a laser that was chosen at one is ready later."""
        times_ns = self.choices.until_ns(until_ns)
        return times_ns | {ready for time in times_ns if (ready := time + self.acquisition_ns) <= until_ns}

    def unseen(self, until_ns: int) -> int:
        """How many choices in (0, `until_ns`] `turns` would have to make, since nobody asked for them and theirs."""
        return len(self.choices.until_ns(until_ns) - self._turns.keys())

    def turns(self, until_ns: int) -> list[Turn]:
        """One for each choice in (0, `until_ns`], ascending."""
        times_ns = sorted(self.choices.until_ns(until_ns))
        for at_ns in times_ns:
            if at_ns not in self._turns:
                before = self.links(self.choices.last_ns(at_ns - 1))
                self._note(at_ns, before, self.links(at_ns))
        return [self._turns[at_ns] for at_ns in times_ns]

    def _note(self, chosen_ns: int, before: Links, links: Links) -> None:
        held = self.lasers(self.choices.last_ns(chosen_ns - 1)).held
        handovers = len(links.gsl) - int(among(links.gsl, before.gsl).sum())
        acquisitions = len(links.isl) - int(among(links.isl, held).sum())
        self._turns[chosen_ns] = Turn(handovers, acquisitions, len(links.isl))

    def over(self, topology: Topology) -> Handover:
        """The same times, outages and acquisition for another topology of the same satellites."""
        return Handover(topology, self.choices, self._outages, self.acquisition_ns)

    def _acquired(self, chosen_ns: int) -> IntArray:
        """Looks back by the acquisition time: who was held at every choice since then is acquired."""
        window_ns = [chosen_ns]
        while window_ns[-1] > max(0, chosen_ns - self.acquisition_ns):
            window_ns.append(self.choices.last_ns(window_ns[-1] - 1))
        self._kept = max(self._kept, len(window_ns) + KEPT)
        known = [self.lasers(at_ns) for at_ns in reversed(window_ns)][::-1]
        pairs = known[0].pairs
        carries_ns = np.zeros(len(pairs), dtype=np.int64)
        standing = np.ones(len(pairs), dtype=np.bool_)
        for later_ns, earlier in zip(window_ns, known[1:], strict=False):
            if not np.array_equal(earlier.held, pairs):
                new = standing & ~among(pairs, earlier.held)
                carries_ns[new] = later_ns + self.acquisition_ns
                standing &= ~new
        return carries_ns

    def lasers(self, chosen_ns: int) -> Lasers:
        """The ISLs of a choice."""
        missing, at_ns = [], chosen_ns
        while (known := self._known(at_ns)) is None:
            missing.append(at_ns)
            if self._topology.rules.isl_terminals is None or not at_ns:
                break
            at_ns = self.choices.last_ns(at_ns - 1)
        for at_ns in reversed(missing):
            known = remember(self._lasers, at_ns, self._choose(at_ns, known.held if known else NO_PAIRS), self._kept)
            if self._topology.rules.isl_terminals is not None:
                self._milestones.setdefault(at_ns // BLOCK_NS, (at_ns, known))
        assert known is not None
        return known

    def _known(self, at_ns: int) -> Lasers | None:
        milestone_ns, lasers = self._milestones.get(at_ns // BLOCK_NS, (None, None))
        return lasers if milestone_ns == at_ns else self._lasers.get(at_ns)

    def _choose(self, at_ns: int, existing: IntArray) -> Lasers:
        down = self._down(at_ns)
        pairs = self._topology.isl_at(at_ns / SECOND_NS, down, existing)
        absent = self._topology.permanent[~among(self._topology.permanent, pairs)]
        held = unique_pairs(np.concatenate((pairs, absent))) if len(absent) else pairs
        if down is not None:
            held = held[~(down[held[:, 0]] | down[held[:, 1]] | among(held, self._cut(at_ns)))]
        return Lasers(pairs, held)

    def _down(self, at_ns: int) -> BoolArray | None:
        """bool[n]: the satellites that are out; None if there is no outage."""
        active = [outage for outage in self._outages if outage.active(at_ns)]
        if not active:
            return None
        down = np.zeros(len(self._index), dtype=np.bool_)
        down[[self._index[name] for outage in active for name in outage.endpoints if name in self._index]] = True
        return down

    def _cut(self, at_ns: int) -> IntArray:
        """int64[k, 2]: the pairs of satellites whose link is out."""
        cut = [
            (self._index[one], self._index[other])
            for outage in self._outages
            if outage.active(at_ns)
            for one, other in outage.links
            if one in self._index and other in self._index
        ]
        return unique_pairs(np.array(cut, dtype=np.int64).reshape(-1, 2))
