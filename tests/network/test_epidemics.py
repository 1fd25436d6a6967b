"""Gossip against the theory of epidemics: who is reached, in how many rounds, how late, with how many copies.

Where a limit for large n is off at the n that is simulated, the expected value is that of an independent Monte-Carlo
run at that n, which lies within 5 % of the limit given beside it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest

from network.gossip import GossipRules, everybody, regular_peers
from network.plan import IntArray
from tests.network.spreading import Line, Party, steady
from tests.shared import shared

N = 1_000
EVERYBODY = everybody(N)
ALL = 10**6
FLOOD = GossipRules(push=ALL, lazy=0)
TELL = GossipRules(push=0, lazy=ALL, retry_ns=0)
SECOND = 10**9


@cache
def infect_and_die(fanout: int, runs: int) -> tuple[IntArray, IntArray]:
    """(members reached, rounds it took) of each run: everybody pushes once, to so many of all others."""
    reached, rounds = [], []
    for seed in range(1_000, 1_000 + runs):
        party = Party(N, steady())
        party.spread(party.gossip(EVERYBODY, GossipRules(push=fanout, lazy=0), seed))
        party.run()
        times = party.reached()
        reached.append(len(times) + 1)
        rounds.append(times[-1])
    return np.array(reached), np.array(rounds)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fanout", "expected", "tolerance"),
    [
        (2, 0.7977, 0.02),
        (3, 0.9403, 0.005),
        (4, 0.9801, 0.005),
        (5, 0.9930, 0.005),
        (6, 0.9975, 0.005),
        (8, 0.99965, 0.005),
    ],
)
def test_r1_coverage_solves_s_equals_1_minus_exp_of_minus_ks(fanout: int, expected: float, tolerance: float) -> None:
    reached, _ = infect_and_die(fanout, 150 if fanout == 8 else 12)
    share = float(reached.mean()) / N
    assert share == pytest.approx(expected, abs=tolerance)
    limit = 0.5
    for _ in range(100):
        limit = 1 - math.exp(-fanout * limit)
    assert share == pytest.approx(limit, abs=tolerance)


@pytest.mark.slow
def test_r2_all_are_reached_as_often_as_a_random_graph_has_no_lonely_member() -> None:
    """exp(-e^-c) with c = 8 - ln n is 0.714. Others have measured 0.685; with eight different others each, so that a
    member is left out with probability (1 - 8/(n-1))^(n-1), it is 0.723."""
    reached, _ = infect_and_die(8, 150)
    whole = float((reached == N).mean())
    assert whole == pytest.approx(math.exp(-math.exp(-(8 - math.log(N)))), abs=0.05)
    assert whole == pytest.approx(math.exp(-N * (1 - 8 / (N - 1)) ** (N - 1)), abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "runs", "expected"), [(64, 200, 11.4), (256, 100, 14.75), (1024, 60, 18.1), (4096, 12, 21.5)]
)
def test_r3_one_call_a_round_takes_log2_n_plus_ln_n_rounds(n: int, runs: int, expected: float) -> None:
    """And 1.2 more, as n grows. Calls go to anybody, oneself too, as in the theory."""
    rules = GossipRules(push=1, lazy=0, rounds=60, round_ns=1)
    peers = [range(n)] * n
    rounds = []
    for seed in range(runs):
        party = Party(n, steady())
        party.spread(party.gossip(peers, rules, seed))
        party.run(until_all_have_it=True)
        rounds.append(party.clock.now_ns)
    assert float(np.mean(rounds)) == pytest.approx(expected, abs=0.3)
    assert float(np.mean(rounds)) == pytest.approx(math.log2(n) + math.log(n) + 1.2, abs=0.5)


@pytest.mark.parametrize(("degree", "mean", "most"), [(4, 5.63, 8), (8, 3.59, 5), (16, 2.77, 4)])
def test_r4_a_flood_over_equal_links_takes_the_hops_of_a_random_graph(degree: int, mean: float, most: int) -> None:
    """About ln n / ln(d - 1): 6.29, 3.55, 2.55."""
    hops = floods(N, degree, [(seed, source) for seed in range(2) for source in (0, 1, 2)], lambda number: steady())
    assert float(np.mean(hops)) == pytest.approx(mean, rel=0.02)
    assert float(np.median(np.max(hops, axis=1))) == most


def exponential(seed: int | tuple[int, int]) -> Line:
    """Each passage takes Exp(1) seconds."""
    rng = np.random.default_rng(seed)
    return Line(lambda source, targets, size_bytes: np.rint(rng.exponential(SECOND, len(targets))).astype(np.int64))


def floods(n: int, degree: int, cases: Sequence[tuple[int, int]], line) -> list[IntArray]:
    """Arrivals of a flood over a random regular graph, for each (seed of the graph, source)."""
    graphs = {seed: regular_peers(n, degree, seed) for seed, _ in cases}
    found = []
    for number, (seed, source) in enumerate(cases):
        party = Party(n, line(number))
        party.spread(party.gossip(graphs[seed], FLOOD), source)
        party.run()
        found.append(party.reached())
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "graphs", "sources", "half", "mean", "last"),
    [(1_000, 60, 1, 1.138, 1.126, 2.10), (4_000, 30, 2, 1.366, 1.366, 2.59)],
)
def test_r5_a_flood_over_exponential_links_is_first_passage_percolation(
    n: int, graphs: int, sources: int, half: float, mean: float, last: float
) -> None:
    """Typically ln n / (d - 2), 1.151 and 1.382; the last ln n (1/(d - 2) + 1/d), 2.02 and 2.42."""
    cases = [(seed, source) for seed in range(graphs) for source in range(sources)]
    times_s = np.array(floods(n, 8, cases, lambda number: exponential((n, number)))) / SECOND
    assert float(np.median(times_s, axis=1).mean()) == pytest.approx(half, rel=0.03)
    assert float(times_s.max(axis=1).mean()) == pytest.approx(last, rel=0.03)
    assert float(times_s.mean()) == pytest.approx(mean, rel=0.03)


@pytest.mark.slow
@pytest.mark.parametrize(("fanout", "expected", "runs"), [(4, 8.3, 12), (8, 5.1, 150)])
def test_r6_infect_and_die_takes_more_rounds_than_log_k_of_n(fanout: int, expected: float, runs: int) -> None:
    """4.98 and 3.3."""
    _, rounds = infect_and_die(fanout, runs)
    assert float(rounds.mean()) == pytest.approx(expected, abs=0.3)


def graphs() -> list[tuple[int, int, list[list[int]]]]:
    """(n, links, peers)."""
    ours = regular_peers(100, 7, 3)
    return [(100, 350, [list(some) for some in ours])]


def simblocks_graph() -> tuple[int, int, list[list[int]]]:
    edges = json.loads((shared("truth/simblock") / "E4_N300_nocbr_600s_s10" / "edges.json").read_text())
    peers: list[list[int]] = [[] for _ in range(300)]
    for one, other in edges:
        peers[one - 1].append(other - 1)
        peers[other - 1].append(one - 1)
    return 300, len(edges), [sorted(some) for some in peers]


def test_r7_a_flood_sends_two_copies_over_each_link_less_one_for_each_member_reached() -> None:
    for n, links, peers in graphs():
        party = Party(n, exponential(5))
        gossip = party.gossip(peers, FLOOD)
        party.spread(gossip)
        party.run()
        assert gossip.account.bodies == len(party.line.sent) == 2 * links - (n - 1)
        assert gossip.account.duplicates == 2 * links - 2 * (n - 1)


@pytest.mark.parametrize("spare", [False, True])
@pytest.mark.parametrize("simblock", [False, True])
def test_r7_telling_all_and_asking_the_first_takes_each_body_to_each_member_once(simblock: bool, spare: bool) -> None:
    """2E announcements, n-1 requests, n-1 bodies; with mining that is SimBlock's 5,765 events for a block."""
    n, links, peers = simblocks_graph() if simblock else graphs()[0]
    party = Party(n, exponential(5))
    gossip = party.gossip(peers, TELL, spare=party.carriage if spare else None)
    party.spread(gossip)
    party.run()
    account = gossip.account
    assert len(party.reached()) == n - 1
    assert (account.announcements, account.requests, account.bodies) == (2 * links, n - 1, n - 1)
    assert account.duplicates == 0
    if simblock:
        assert account.announcements + account.requests + account.bodies + 1 == 5_765
    copies = 2 * links + 2 * (n - 1)
    assert len(party.line.sent) < copies if spare else len(party.line.sent) == copies
    assert party.carriage.copies == party.clock.delivered == copies


def test_sparing_announcements_changes_nothing_else() -> None:
    """Over steady links, where chance plays no part, everybody gets it when they did, and sends and gets as much."""
    n, _, peers = graphs()[0]
    seen = []
    for spare in (False, True):
        party = Party(n, steady(10))
        party.spread(party.gossip(peers, TELL, spare=party.carriage if spare else None))
        party.run()
        meter = party.meter
        seen.append((party.got_ns, meter.sent, meter.received, meter.peaks().tolist()))
    assert seen[0] == seen[1]


def test_a_gossip_that_leaves_out_one_peer_is_seen() -> None:
    """The mutant of R7: whoever is told last is not told."""
    n, links, peers = graphs()[0]
    party = Party(n, exponential(5))
    gossip = party.gossip([some[:-1] for some in peers], TELL)
    party.spread(gossip)
    party.run()
    assert gossip.account.announcements != 2 * links


@pytest.mark.slow
def test_a_fanout_one_short_is_seen() -> None:
    """The mutant of R1 and R6."""
    reached, rounds = infect_and_die(3, 12)
    assert float(reached.mean()) / N != pytest.approx(0.9801, abs=0.005)
    assert float(rounds.mean()) != pytest.approx(8.3, abs=0.3)
