"""Handover: who is chosen and when it changes, when a laser carries, and that answers hang on the time alone."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from network.constants import SECOND_NS
from network.constellation import Constellation
from network.ground import GroundStation
from network.gsl import GslPolicy
from network.handover import NEVER, Choices, Handover
from network.isl import IslPolicy
from network.links import LinkRules, Topology
from network.orbit import OrbitPlan
from network.plan import Outage
from network.timetable import Timetable
from network.walker import WalkerShell

START = datetime(2026, 11, 22, tzinfo=UTC)
TWELVE_NS = 12 * SECOND_NS


@pytest.fixture(scope="module")
def star():
    """Cross-plane links that go off at high latitudes and come back."""
    shell = WalkerShell("s1", "walker_star", 6, 11, phasing=3, altitude_km=780, inclination_deg=86.4)
    return Topology(Constellation([shell], START), rules=LinkRules({"s1": IslPolicy(polar_cutoff_deg=55)}))


TINY = Topology(Constellation([WalkerShell("s1", "walker_delta", 2, 2, 0, 550, 53)], START))


class Slideshow:
    """A topology whose ISLs are given by hand, one set for each second."""

    def __init__(self, constellation, shown, permanent=()):
        self.constellation = constellation
        self.rules = LinkRules()
        self.permanent = np.array(permanent, dtype=np.int64).reshape(-1, 2)
        self._shown = shown

    def isl_at(self, at_s, without=None, existing=None):
        chosen = sorted(self._shown[min(int(at_s), len(self._shown) - 1)])
        if without is not None:
            chosen = [pair for pair in chosen if not without[list(pair)].any()]
        return np.array(chosen, dtype=np.int64).reshape(-1, 2)


def slides(star, *shown, seconds=1, acquisition_s=3, permanent=(), outages=()):
    """A handover on a grid of so many seconds; each slide stands for one second."""
    boundaries = tuple(sorted({time for outage in outages for time in outage.boundaries_ns}))
    choices = Choices(seconds * SECOND_NS, 0, boundaries)
    topology = Slideshow(star.constellation, shown, permanent)
    return Handover(topology, choices, outages, acquisition_s * SECOND_NS)


def carries_s(handover, at_s):
    """When each laser of the choice at a second carries, in seconds; 0 for at once."""
    at_ns = round(at_s * SECOND_NS)
    found = handover.lasers(at_ns).pairs.tolist(), (handover.carries_ns(at_ns) / SECOND_NS).tolist()
    return dict(zip(map(tuple, found[0]), found[1], strict=True))


A, B = (0, 1), (2, 3)


def test_the_grid_of_starlink():
    """Seconds 12, 27, 42 and 57 of each minute."""
    grid = Choices(15 * SECOND_NS, 12 * SECOND_NS)
    assert sorted(time // SECOND_NS for time in grid.until_ns(72 * SECOND_NS)) == [12, 27, 42, 57, 72]
    assert [grid.last_ns(time * SECOND_NS) // SECOND_NS for time in (0, 11, 12, 26, 27, 71, 72)] == [
        *(0, 0, 12, 12, 27, 57, 72)
    ]
    assert grid.last_ns(27 * SECOND_NS - 1) == 12 * SECOND_NS
    assert [grid.next_ns(time * SECOND_NS) // SECOND_NS for time in (0, 11, 12, 26, 27, 71)] == [12, 12, 27, 27, 42, 72]


def test_choices_without_grid_or_with_more_times():
    assert Choices(None).until_ns(10**15) == set()
    assert Choices(None, more_ns=(0, 7)).until_ns(10) == {7}
    assert [Choices(None, more_ns=(0, 7)).last_ns(now) for now in (0, 6, 7, 8)] == [0, 0, 7, 7]
    assert [Choices(None, more_ns=(0, 7)).next_ns(now) for now in (0, 6, 7)] == [7, 7, NEVER]
    both = Choices(10, 4, (0, 13, 20))
    assert [both.next_ns(now) for now in (0, 4, 12, 13, 14, 20, 24)] == [4, 13, 13, 14, 20, 24, 34]
    assert sorted(both.until_ns(24)) == [4, 13, 14, 20, 24]
    assert [both.last_ns(now) for now in (3, 4, 13, 14, 19, 20, 23, 24)] == [0, 4, 13, 14, 14, 20, 20, 24]


def test_a_new_laser_carries_when_its_time_has_passed(star):
    handover = slides(star, {A}, {A, B}, {A, B}, {A, B}, {A, B}, {A, B})
    assert [carries_s(handover, at_s) for at_s in range(6)] == [
        *({A: 0}, {A: 0, B: 4}, {A: 0, B: 4}, {A: 0, B: 4}, {A: 0, B: 0}, {A: 0, B: 0})
    ]


def test_one_that_was_away_for_one_choice_begins_anew(star):
    handover = slides(star, {A}, {A}, set(), {A}, {A}, set(), {A}, {A}, {A}, {A})
    assert [carries_s(handover, at_s).get(A) for at_s in range(10)] == [0, 0, None, 6, 6, None, 9, 9, 9, 0]


def test_the_window_opens_at_its_nanosecond(star):
    # Chosen at 4 s, ready at 5 s; in between the choice at 4 s stands with one laser less.
    handover = slides(star, {A}, *[{A, B}] * 9, seconds=4, acquisition_s=1)
    s = SECOND_NS
    spans = [handover.span_ns(time_ns) for time_ns in (0, 4 * s - 1, 4 * s, 5 * s - 1, 5 * s, 8 * s - 1, 8 * s)]
    assert spans == [
        (0, 4 * s),
        (0, 4 * s),
        (4 * s, 5 * s),
        (4 * s, 5 * s),
        (5 * s, 8 * s),
        (5 * s, 8 * s),
        (8 * s, 12 * s),
    ]
    assert carries_s(handover, 4) == {A: 0, B: 5}
    assert {4 * 10**9, 5 * 10**9} <= handover.changes_ns(5 * 10**9)
    assert 5 * 10**9 not in handover.changes_ns(5 * 10**9 - 1)


def test_acquisition_outlasts_intervals(star):
    """Two lasers on their way at once, each ready in its own time, in the middle of later intervals."""
    handover = slides(star, set(), {A}, {A}, {A, B}, *[{A, B}] * 9, seconds=1, acquisition_s=2.5)
    assert [carries_s(handover, at_s) for at_s in (3, 4, 5, 6)] == [
        *({A: 3.5, B: 5.5}, {A: 0, B: 5.5}, {A: 0, B: 5.5}, {A: 0, B: 0})
    ]
    assert [handover.span_ns(round(now_s * 1e9))[0] / 1e9 for now_s in (3.4, 3.5, 3.9, 4.2, 5.4, 5.5, 5.99)] == [
        *(3, 3.5, 3.5, 4, 5, 5.5, 5.5)
    ]


def test_permanent_lasers_come_back_at_once_but_not_after_an_outage(star):
    shown = [{A, B}, {B}, {A, B}, {A, B}, {A, B}, {A, B}, {A, B}, {A, B}, {A, B}, {A, B}]
    assert carries_s(slides(star, *shown, permanent=[A]), 2) == {A: 0, B: 0}
    assert carries_s(slides(star, *shown), 2) == {A: 5, B: 0}
    names = star.constellation.endpoints
    for struck in ({"endpoints": frozenset({names[0]})}, {"links": frozenset({(names[1], names[0])})}):
        outage = Outage(2 * SECOND_NS, 3_500_000_000, **struck)
        after = slides(star, *shown, permanent=[A], outages=[outage])
        assert carries_s(after, 3.5) == carries_s(after, 6) == {A: 6.5, B: 0}
        assert carries_s(after, 7) == {A: 0, B: 0}


def test_an_outage_at_the_start_means_acquisition(star):
    """What is chosen at the start counts as acquired; what is out then is not."""
    outage = Outage(0, SECOND_NS, endpoints=frozenset({star.constellation.endpoints[0]}))
    assert carries_s(slides(star, *[{A, B}] * 5, outages=[outage]), 1) == {A: 4, B: 0}


@given(st.lists(st.frozensets(st.sampled_from([A, B, (0, 2), (1, 3)])), min_size=1, max_size=12), st.integers(0, 5))
def test_acquired_is_who_was_there_all_the_time(shown, acquisition_s):
    """Against the definition, for every second and every laser."""
    handover = slides(TINY, *shown, acquisition_s=acquisition_s)
    for at_s in range(len(shown)):
        for pair, ready_s in carries_s(handover, at_s).items():
            began = next((k + 1 for k in range(at_s, -1, -1) if pair not in shown[k]), 0)
            expected = began + acquisition_s
            assert ready_s == (0 if began == 0 or expected <= at_s else expected)


# ---- In a plan ----

OUTAGES = (
    Outage(31_000_000_001, 50 * SECOND_NS, endpoints=frozenset({"sat/s1/02/04"})),
    Outage(0, 22 * SECOND_NS, links=frozenset({("sat/s1/01/03", "sat/s1/01/04")})),
)
CUT_OFF, BEST = IslPolicy(polar_cutoff_deg=55), GslPolicy("best", 2)
MEMBERS = ("gs/a", "sat/s1/02/04", "sat/s1/05/09", "gs/b", "sat/s1/00/00")


def shell_plan(star, *, isl=CUT_OFF, gsl=BEST, acquisition_s=12, interval_s=15, offset_s=0, **more):
    stations = [GroundStation("a", 50, 10, elevation_mask_deg=10), GroundStation("b", -33, 150, elevation_mask_deg=10)]
    rules = LinkRules({"s1": isl}, gsl=gsl, isl_terminals=more.pop("terminals", None))
    keys = {
        "reconfiguration_interval_ns": None if interval_s is None else interval_s * SECOND_NS,
        "reconfiguration_offset_ns": offset_s * SECOND_NS,
        "isl_acquisition_ns": round(acquisition_s * SECOND_NS),
    }
    return OrbitPlan(MEMBERS, Topology(star.constellation, stations, rules), **keys | more)


def carried(plan, at_ns):
    """The ISLs of a mesh as pairs of nodes."""
    mesh = plan.mesh(at_ns)
    isl = mesh.link_class <= 2
    return set(zip(mesh.graph.tail[isl].tolist(), mesh.graph.head[isl].tolist(), strict=True))


def test_a_mesh_gets_its_lasers_when_they_are_acquired(star):
    """A cross-plane laser that comes back below the cut-off is missing for 12 s, to the nanosecond."""
    plan, at_once = shell_plan(star), shell_plan(star, acquisition_s=0)
    late = 0
    for chosen_s in range(15, 300, 15):
        chosen_ns = chosen_s * SECOND_NS
        before, now = carried(at_once, chosen_ns - 1), carried(at_once, chosen_ns)
        late += len(now - before)
        for at_ns in (chosen_ns, chosen_ns + TWELVE_NS - 1):
            assert carried(plan, at_ns) == now & before
        assert carried(plan, chosen_ns + TWELVE_NS) == now
    assert late >= 10


def test_routes_are_chosen_anew_when_a_laser_is_ready(star):
    plan = shell_plan(star)
    for chosen_ns in range(15 * SECOND_NS, 300 * SECOND_NS, 15 * SECOND_NS):
        ready_ns = chosen_ns + TWELVE_NS
        come = carried(plan, ready_ns) != carried(plan, ready_ns - 1)
        assert (plan.at(ready_ns).routes is not plan.at(ready_ns - 1).routes) == come
        if come:
            # Delays are those of the lengths at that moment, over the links of the choice.
            links = plan.topology.measured_at(ready_ns / SECOND_NS, plan.handover.links(chosen_ns))
            found = dict(zip(map(tuple, links.isl.tolist()), links.isl_km, strict=True))
            mesh = plan.mesh(ready_ns)
            for tail, head, delay_ns in zip(mesh.graph.tail, mesh.graph.head, mesh.delay_ns, strict=True):
                if (tail, head) in found:
                    assert delay_ns == pytest.approx(found[tail, head] / 299_792.458 * 1e9, abs=1)


PLANS = {
    "acquisition": {"gsl": GslPolicy("visibility", terminals=1)},
    "short intervals": {"interval_s": 4, "offset_s": 3, "update_interval_ns": 7_700_000_000},
    "few terminals": {"isl": IslPolicy("nearest"), "terminals": 3, "interval_s": 5, "update_interval_ns": None},
    "outages": {"outages": OUTAGES, "offset_s": 12, "update_interval_ns": 5 * SECOND_NS},
    "outages and few terminals": {"outages": OUTAGES, "interval_s": None, "terminals": 3},
}


@pytest.mark.parametrize("keys", PLANS.values(), ids=PLANS)
def test_answers_hang_on_the_time_alone(star, keys):
    """Asked in order, shuffled, and each of a plan of its own."""
    plan = shell_plan(star, **keys)
    changes_ns = plan.changes_ns(65 * SECOND_NS)
    times_ns = sorted({time_ns + step for time_ns in changes_ns for step in (-1, 0)})
    told = {time_ns: (plan.at(time_ns).delay_ns.tolist(), carried(plan, time_ns)) for time_ns in times_ns}
    shuffled = Random(1).sample(times_ns, len(times_ns))
    other = shell_plan(star, **keys)
    for place, time_ns in enumerate(shuffled):
        asked = shell_plan(star, **keys) if place % 12 == 0 else other
        assert (asked.at(time_ns).delay_ns.tolist(), carried(asked, time_ns)) == told[time_ns]
    # And between changes nothing happens.
    for time_ns, later_ns in pairwise(changes_ns):
        assert plan.at(time_ns) is plan.at(later_ns - 1)


def test_a_timetable_is_a_plans_row(star):
    plan = shell_plan(star, outages=OUTAGES, offset_s=12)
    timetable = Timetable.of(plan, 0, 80 * SECOND_NS)
    rows = set()
    for time_ns in [at_ns + step for at_ns in plan.changes_ns(80 * SECOND_NS)[:-1] for step in (-1, 0, 1)]:
        assert timetable.at(time_ns).delay_ns[0].tolist() == plan.at(time_ns).delay_ns[0].tolist()
        rows.add(str(plan.at(time_ns).hops[0].tolist()))
    assert len(rows) > 1


def test_a_frozen_plan_acquires_nothing(star):
    plan = shell_plan(star, interval_s=None, update_interval_ns=None)
    assert plan.constant
    assert plan.changes_ns(10**15) == []
    assert plan.at(10**15) is plan.at(0)
    assert carried(plan, 0) == carried(shell_plan(star, acquisition_s=0), 0)


@pytest.mark.parametrize("isl", [IslPolicy("nearest", isl_per_satellite=4), IslPolicy()])
@pytest.mark.parametrize("terminals", [1, 2, 3])
def test_no_satellite_has_more_lasers_than_terminals(star, isl, terminals):
    plan = shell_plan(star, isl=isl, terminals=terminals)
    for at_s in range(0, 300, 15):
        chosen = plan.handover.lasers(at_s * SECOND_NS).pairs
        assert np.bincount(chosen.ravel()).max() == terminals


def test_who_gets_the_lasers(star):
    """Permanent links within a plane, then those that exist, then the shortest."""
    topology = Topology(star.constellation, rules=LinkRules({"s1": IslPolicy()}, isl_terminals=3))
    free = Topology(star.constellation, rules=LinkRules({"s1": IslPolicy()}))
    permanent = set(map(tuple, free.permanent.tolist()))
    assert len(permanent) == 66
    every, chosen = free.links_at(0), set(map(tuple, topology.isl_at(0).tolist()))
    assert permanent < chosen
    across = sorted((km, *pair) for pair, km in zip(every.isl.tolist(), every.isl_km.tolist(), strict=True))
    taken, used = set(), set()
    for _, one, other in across:
        if (one, other) not in permanent and not {one, other} & used:
            taken.add((one, other))
            used |= {one, other}
    assert chosen - permanent == taken
    # The ones that were refused now, if they exist, go before.
    refused = np.array(sorted(set(map(tuple, every.isl.tolist())) - chosen))
    second = set(map(tuple, topology.isl_at(0, existing=refused).tolist()))
    assert permanent < second
    assert len((second - permanent) & taken) < len((second - permanent) - taken)


def test_with_one_laser_nothing_is_permanent(star):
    """A satellite cannot hold both its neighbours: whichever comes must be acquired."""
    plan = shell_plan(star, isl=IslPolicy("ring"), terminals=1)
    assert not len(plan.topology.permanent)
    assert len(shell_plan(star, isl=IslPolicy("ring"), terminals=2).topology.permanent) == 66
    outage = Outage(0, SECOND_NS, endpoints=frozenset({"sat/s1/02/04"}))
    struck = shell_plan(star, isl=IslPolicy("ring"), terminals=1, outages=[outage])
    first = struck.handover.lasers(0).pairs
    assert len(first) < len(plan.handover.lasers(0).pairs) or not np.array_equal(first, plan.handover.lasers(0).pairs)
    assert not struck.handover.carries_ns(0).any()
    now, ready_ns = struck.handover.lasers(SECOND_NS).pairs, struck.handover.carries_ns(SECOND_NS)
    new = np.array([pair not in first.tolist() for pair in now.tolist()])
    assert ready_ns.tolist() == np.where(new, 13 * SECOND_NS, 0).tolist()


def test_existing_lasers_are_kept(star):
    """Shorter pairs do not drive out a laser that is there, however long ago it was chosen and whoever asks when."""
    isl = IslPolicy(polar_cutoff_deg=70)
    choices_ns = range(0, 1201 * SECOND_NS, 15 * SECOND_NS)
    free = Topology(star.constellation, rules=LinkRules({"s1": isl}))
    allowed = [set(map(tuple, free.isl_at(at_ns / SECOND_NS).tolist())) for at_ns in choices_ns]
    plan = shell_plan(star, isl=isl, terminals=3)
    chosen = [set(map(tuple, plan.handover.lasers(at_ns).pairs.tolist())) for at_ns in choices_ns]
    for before, now, possible in zip(chosen, chosen[1:], allowed[1:], strict=False):
        assert before & possible <= now
    assert chosen[-1] != set(map(tuple, plan.topology.isl_at(1200).tolist()))
    assert chosen[60] != chosen[70] != chosen[79]
    other = shell_plan(star, isl=isl, terminals=3)
    for place in (80, 2, 70, 61, 60, 59, 3, 79, 80):
        assert set(map(tuple, other.handover.lasers(choices_ns[place]).pairs.tolist())) == chosen[place]


def test_turns_are_counted_by_hand(star):
    plan = shell_plan(star, outages=OUTAGES)
    turns = plan.handover.turns(300 * SECOND_NS)
    times_ns = [0, *sorted(plan.handover.choices.until_ns(300 * SECOND_NS))]
    assert len(turns) == len(times_ns) - 1
    for before_ns, at_ns, turn in zip(times_ns, times_ns[1:], turns, strict=False):
        before, now = plan.handover.links(before_ns), plan.handover.links(at_ns)
        assert turn.handovers == len(set(map(tuple, now.gsl.tolist())) - set(map(tuple, before.gsl.tolist())))
        assert turn.acquisitions == (plan.handover.carries_ns(at_ns) == at_ns + TWELVE_NS).sum()
        assert turn.lasers == len(now.isl)
    assert sum(turn.handovers for turn in turns) >= 2
    walked = shell_plan(star, outages=OUTAGES)
    assert walked.handover.unseen(300 * SECOND_NS) == len(turns)
    for at_ns in times_ns:
        walked.at(at_ns)
    assert walked.handover.unseen(300 * SECOND_NS) == 0
    assert walked.handover.turns(300 * SECOND_NS) == turns
