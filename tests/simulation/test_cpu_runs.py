"""CPU time in whole runs: finality against the time per vote, exactly; whom it keeps busy; what it leaves alone."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from consensus.types import Committee
from testbed.result import Result
from tests.laboratory import MS, constant, run_matrix
from tests.simulation.runs import crash, heights

DELAY_MS = 100
DELAY_NS = DELAY_MS * MS
PATIENT = {"delta_ms": 100_000}
"""Nobody gives a view up, however busy everybody is."""


def compute(**costs: Any) -> dict[str, Any]:
    return {"signatures": "modelled", "sign_us": 0, "verify_us": 0, **costs}


def pbft(n: int, duration_s: float, **tables: Any) -> Result:
    return run_matrix("pbft", constant(n, DELAY_MS), duration_s, consensus=PATIENT, **tables)


def commits(result: Result) -> list[list[int]]:
    """For each block that all have committed: when each did, in ns."""
    n = len(set(result.arrivals["replica"].to_pylist()))
    times = result.arrivals["committed_ns"].to_pylist()
    rows = [times[at : at + n] for at in range(0, len(times), n)]
    return [row for row in rows if None not in row]


def replayed(n: int, verify_ns: int, blocks: int) -> list[list[int]]:
    """The same by a replay of PBFT that knows nothing of hosts: counts of votes, and one time per CPU."""
    quorum, number = Committee.of(n).quorum, count()
    free_ns, heap = [0] * n, []
    votes: list[Counter[tuple[str, int]]] = [Counter() for _ in range(n)]
    done: list[set[tuple[str, int]]] = [set() for _ in range(n)]
    committed: list[list[int]] = [[] for _ in range(n)]

    def tell(sender: int, kind: str, block: int, now_ns: int) -> None:
        for target in range(n):
            if target != sender:
                heapq.heappush(heap, (now_ns + DELAY_NS, next(number), target, kind, block))
        hear(sender, kind, block, now_ns)

    def hear(me: int, kind: str, block: int, now_ns: int) -> None:
        if kind == "pre-prepare":
            done[me].add((kind, block))
            tell(me, "prepare", block, now_ns)
        else:
            votes[me][kind, block] += 1
        for this, before in (("prepare", "pre-prepare"), ("commit", "prepare")):
            ready = (before, block) in done[me] and votes[me][this, block] >= quorum
            if ready and (this, block) not in done[me]:
                done[me].add((this, block))
                if this == "prepare":
                    tell(me, "commit", block, now_ns)
                else:
                    committed[me].append(now_ns)
                    if me == 0:
                        tell(0, "pre-prepare", block + 1, now_ns)

    tell(0, "pre-prepare", 1, 0)
    while any(len(times) < blocks for times in committed):
        due_ns, _, target, kind, block = heapq.heappop(heap)
        free_ns[target] = max(free_ns[target], due_ns) + verify_ns
        hear(target, kind, block, free_ns[target])
    return [list(times) for times in zip(*(times[:blocks] for times in committed), strict=True)]


@pytest.mark.parametrize("n", [4, 7])
@pytest.mark.parametrize("verify_us", [0, 1, 130, 14_000, 35_000, 250_000])
def test_pbft_with_a_cpu_is_a_replay_of_it_to_the_nanosecond(n: int, verify_us: int) -> None:
    """From a CPU that takes no time to one that takes more for a vote than the network does."""
    duration_s = 2 * (1 + n * verify_us / 25_000)
    found = commits(pbft(n, duration_s, compute=compute(verify_us=verify_us)))
    assert len(found) >= 4
    assert found == replayed(n, verify_us * 1_000, len(found))


def finality_ns(n: int, verify_us: float) -> int:
    """Of the first block, everywhere."""
    (first, *_) = commits(pbft(n, 0.31 + n * verify_us / 2e5, compute=compute(verify_us=verify_us)))
    return max(first)


@pytest.mark.parametrize("n", [4, 10, 16])
def test_finality_rises_by_two_quorums_of_votes_while_the_cpu_keeps_up(n: int) -> None:
    """3δ + 2(q-1)v: of each phase's votes a replica waits for all but its own, one after the other."""
    quorum = Committee.of(n).quorum
    for verify_us in (0.001, 100, 1_000, 1e5 / n):
        verify_ns = round(verify_us * 1_000)
        assert finality_ns(n, verify_us) == 3 * DELAY_NS + 2 * (quorum - 1) * verify_ns


def test_the_curve_of_finality_against_time_per_vote_rises_and_ends_as_a_straight_line() -> None:
    """Where votes cost more than the network, finality is votes times their cost: linear in n·v."""
    n = 10
    sweep_us = [0, 50, 100, 1_000, 10_000, 30_000, 100_000, 300_000, 1_000_000, 2_000_000]
    curve = [finality_ns(n, verify_us) for verify_us in sweep_us]
    assert curve == sorted(set(curve))
    per_vote = [found / (n * verify_us * 1_000) for found, verify_us in zip(curve[-3:], sweep_us[-3:], strict=True)]
    # Each replica has heard at most the pre-prepare and all votes of both phases, and at least two quorums of them.
    assert all(2 * (Committee.of(n).quorum - 1) / n < each < 2 + 1 for each in per_vote)
    assert abs(per_vote[-1] - per_vote[-2]) < abs(per_vote[-2] - per_vote[-3]) < 0.1


def test_what_a_run_reports_is_what_its_messages_cost() -> None:
    """In PBFT each message has one signature, made once for all who get it and verified by each."""
    n = 4
    result = pbft(n, 3.0, compute=compute(sign_us=10, verify_us=20))
    part, work = result.report["compute"], result.report["compute"]["work_ms"]
    deliveries = result.report["engine"]["deliveries"]
    assert part["queueing_ms"]["count"] == deliveries > 200
    assert work["verify"] == pytest.approx(deliveries * 0.02)
    assert work["sign"] == pytest.approx(result.report["network"]["messages"] / (n - 1) * 0.01)
    assert (work["hash"], work["execute"]) == (0, 0)
    busy_ms = work["sign"] + work["verify"] - work["undone"]
    assert part["utilisation"]["mean"] * n * 3_000 == pytest.approx(busy_ms, abs=0.01)
    # Only the primary says three things a block.
    assert part["busiest"]["utilisation"] == part["utilisation"]["max"]


def test_a_saturated_cpu_is_busy_all_the_time_and_never_more() -> None:
    part = pbft(7, 40.0, compute=compute(verify_us=250_000)).report["compute"]
    assert 0.9 < part["utilisation"]["p50"] <= part["utilisation"]["max"] <= 1
    assert part["queueing_ms"]["mean"] > 100


def test_nothing_is_counted_where_nothing_takes_time() -> None:
    assert pbft(4, 1.0).report["compute"] == {
        "utilisation": {"count": 4, "mean": 0, "p50": 0, "p90": 0, "p99": 0, "max": 0},
        "busiest": {"replica": 0, "utilisation": 0},
        "queueing_ms": {"count": 0, "mean": None, "max": 0},
        "work_ms": {"sign": 0, "verify": 0, "hash": 0, "execute": 0, "undone": 0},
    }


LOAD = {"workload": {"transactions_per_s": 1000, "transaction_bytes": 250}}


def test_execution_costs_what_was_committed_and_no_commit_waits_for_its_own() -> None:
    """The first block is as fast as ever; the primary proposes the next one before it executes."""
    free, costly = (pbft(4, 3.0, compute=compute(execute_us=cost), **LOAD) for cost in (0, 100))
    assert commits(free)[:2] == commits(costly)[:2]
    transactions = costly.blocks["transactions"].to_pylist()
    rows, times = (costly.arrivals[name].to_pylist() for name in ("row", "committed_ns"))
    executed = sum(transactions[row] for row, time in zip(rows, times, strict=True) if time is not None)
    assert executed > 0
    assert costly.report["compute"]["work_ms"]["execute"] == pytest.approx(executed * 0.1)


def test_execution_slower_than_the_network_shows_in_finality() -> None:
    """300 transactions a block, 2 ms each, keep a replica from its votes for 600 ms."""
    free, costly = (pbft(4, 12.0, compute=compute(execute_us=cost), **LOAD) for cost in (0, 2_000))
    finality = [result.report["consensus"]["finality_ms"]["p50"] for result in (free, costly)]
    assert finality[0] == 300
    assert finality[1] > 800


def test_hashing_shows_in_finality_by_size() -> None:
    """A block of 250 kB, hashed by its proposer and by each who gets it, at 4 ms per MB."""
    load = {"workload": {"transactions_per_s": 10_000, "transaction_bytes": 1_000, "block_max_bytes": 250_000}}
    result = pbft(4, 3.0, compute=compute(hash_us_per_mb=4_000), **load)
    blocks = result.report["consensus"]["committed_blocks"]
    assert blocks > 5
    finality_ms = result.report["consensus"]["finality_ms"]["p50"]
    assert 302 < finality_ms < 302.02


@pytest.mark.parametrize(("verification", "proposal_ns"), [("batch", 100 + 7 * 6), ("aggregate", 50 + 100 + 7 * 5)])
def test_a_certificate_costs_those_who_did_not_see_its_votes_as_much_as_it_should(
    verification: str, proposal_ns: int
) -> None:
    """HotStuff, n = 7: a proposal has its own signature and, but for the first, the five of a certificate.

    Costs are so small that the runs have the same messages.
    """
    costs = {"verification": verification, f"{verification}_base_us": 0.1, f"{verification}_us": 0.007}
    tables = compute(verify_us=0.05), compute(verify_us=0.05, **costs)
    one_by_one, together = (run_matrix("hotstuff", constant(7, 10), 1.005, compute=table).report for table in tables)
    deliveries = one_by_one["engine"]["deliveries"]
    assert together["engine"]["deliveries"] == deliveries
    verifications = round(one_by_one["compute"]["work_ms"]["verify"] * 1e6) // 50
    certified, rest = divmod(verifications - deliveries, 5)
    assert rest == 0
    assert certified > 250
    expected_ns = 50 * (deliveries - certified) + proposal_ns * certified
    assert round(together["compute"]["work_ms"]["verify"] * 1e6) == expected_ns


def digests(**tables: Any) -> set[str]:
    return {pbft(4, 2.0, **tables).digest for _ in range(2)}


def test_the_same_costs_are_the_same_run_and_others_are_another() -> None:
    tables = {"compute": compute(preset="radiation_hardened", verification="batch"), **LOAD}
    once = digests(**tables)
    assert len(once) == 1
    for change in ({"verify_us": 100}, {"hash_us_per_mb": 1}, {"execute_us": 9_000}):
        assert digests(**{**tables, "compute": {**tables["compute"], **change}}) != once


def test_a_replica_that_crashes_while_it_executes_catches_up_and_is_never_more_than_busy() -> None:
    """Replica 2 goes down 10 ms after it has committed a block that takes it 100 ms to execute."""
    tables = {"compute": compute(execute_us=500), "consensus": {"delta_ms": 300}, **LOAD}
    whole = run_matrix("hotstuff", constant(4, DELAY_MS), 2.0, **tables)
    rows, replicas, times = (whole.arrivals[name].to_pylist() for name in ("row", "replica", "committed_ns"))
    committed_ns = next(
        time for row, replica, time in zip(rows, replicas, times, strict=True) if (row, replica) == (1, 2)
    )
    down_s = (committed_ns + 10 * MS) / 1e9
    result = run_matrix("hotstuff", constant(4, DELAY_MS), 12.0, fault=[crash(2, down_s, 4.0)], **tables)
    assert result.ok, result.report["safety"]["violations"]
    part = result.report["compute"]
    assert part["work_ms"]["undone"] > 0
    assert part["utilisation"]["max"] <= 1
    assert heights(result)[2] > max(heights(whole))


def first_votes() -> Iterator[tuple[int, list[int]]]:
    """By hand, n = 4, v = 10 ms, δ = 100 ms: quorum 3, so everybody commits at 3δ + 4v."""
    yield 10_000, [340 * MS] * 4


def test_the_replay_is_right_by_hand() -> None:
    for verify_us, times in first_votes():
        assert replayed(4, verify_us * 1_000, 1)[0] == times
