"""Clients in runs: exact latencies, loads that are too much, forks that lose nothing, and what cheats would do."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consensus.messages import AnyPayload, Block, LanePayload
from consensus.protocols import protocol_names
from consensus.protocols.pbft import Pbft
from consensus.replica import Payloads, Seat
from node.chance import numpy_random
from testbed.clients import poisson
from testbed.scenario import make_scenario
from testbed.simulation import simulate
from testbed.sky import build_sky
from tests.laboratory import MS
from tests.simulation.client_runs import FREE, MINING, Diary, run, trace
from tests.simulation.runs import crash, failed, kinds, partition

EVERY_100_MS = {"parameters": {"block_interval_ms": 100}}


def summary_of(value: float, count: int = 1) -> dict[str, float]:
    return {"count": count, "mean": value, "p50": value, "p90": value, "p99": value, "max": value}


# Exact


def test_one_transactions_way_by_hand(tmp_path: Path) -> None:
    """Sent by lab/1 at 105 ms, it is at the primary, replica 0, at 115 ms, and waits for the block of 200 ms. Replica 1
    has that at 210 ms and prepares; so replica 0, the first of two and thus the median, has two prepares and both
    commits at 220 ms."""
    client = {"at": "lab/1", "to": "replica/0", "trace": trace(tmp_path, 0.105)}
    result, diary = run([client], n=2, consensus=EVERY_100_MS, workload={"share": "none"})
    workload = result.report["workload"]
    assert result.ok
    assert result.report["consensus"]["transaction_latency_ms"] == summary_of(115.0)
    assert [workload[key] for key in ("to_replica_ms", "in_mempool_ms", "in_consensus_ms")] == [
        summary_of(10.0),
        summary_of(85.0),
        summary_of(20.0),
    ]
    assert (workload["submitted"], workload["final"], workload["backlog"], workload["dropped"]) == (1, 1, 0, {})
    # The client's 250 bytes, among others.
    assert workload["goodput_share"] == 250 / result.report["network"]["bytes"]
    assert sum(result.replicas["sent_bytes"].to_pylist()) == result.report["network"]["bytes"] - 250
    assert diary.sent == [(105_000_000, 2, 0, "transaction", 250)]


def test_a_shared_transaction_is_proposed_by_whoever_leads_first(tmp_path: Path) -> None:
    """It enters at replica 3 at 120 ms, leaves in a batch at 140 ms and is at the primary at 150 ms: before 200."""
    client = {"at": "lab/1", "to": "replica/3", "trace": trace(tmp_path, 0.110)}
    shared, diary = run([client], consensus=EVERY_100_MS, workload={"share_interval_ms": 20})
    alone, _ = run([client], consensus=EVERY_100_MS, workload={"share": "none"})
    assert diary.of_kind("batch") == [(140_000_000, 3, None, 16 + 250)]
    # Prepares and commits are all there 30 ms after the proposal.
    assert shared.report["consensus"]["transaction_latency_ms"] == summary_of(200.0 + 30 - 110)
    assert alone.report["workload"]["final"] == 0, "the primary of PBFT never hears of it"
    assert kinds(shared)["transaction"] == 1
    assert kinds(shared)["batch"] == 3


def test_a_trace_is_replayed_to_the_nanosecond(tmp_path: Path) -> None:
    """In any order in the file; those after the end never come."""
    at_s, sizes = (0.3, 0.1, 0.1, 1.000000001, 99.0), (50, 60, 70, 80, 90)
    _, diary = run([{"at": "lab/2", "trace": trace(tmp_path, *at_s, sizes=sizes)}])
    sent = diary.of_kind("transaction")
    assert [(now_ns, size) for now_ns, _, _, size in sent] == [
        (100_000_000, 60),
        (100_000_000, 70),
        (300_000_000, 50),
        (1_000_000_001, 80),
    ]
    assert {target for _, _, target, _ in sent} == {2}, "the nearest is the one at the same place"
    assert sum(block.payload.size_bytes for block in diary.final.values()) == 260


def test_poisson_arrivals_have_their_rate_and_their_spread() -> None:
    """Within 3 standard errors: the rate, and the variance of counts per second, which is the rate too."""
    stream = poisson(numpy_random(7, "client/0"), 400.0, 250)
    times_ns = np.array([next(stream)[0] for _ in range(200_000)])
    seconds = int(times_ns[-1] // 10**9)
    counts = np.bincount((times_ns // 10**9).astype(int))[:seconds]
    assert abs(counts.mean() - 400) < 3 * (400 / seconds) ** 0.5
    assert abs(counts.var(ddof=1) / 400 - 1) < 3 * (2 / seconds) ** 0.5
    result, _ = run([{"at": "lab/0", "transactions_per_s": 400}, {"at": "lab/1", "transactions_per_s": 100}])
    assert abs(result.report["workload"]["submitted"] - 2000) < 3 * 2000**0.5


def test_the_nearest_replica_changes_as_satellites_pass() -> None:
    """A client under a plane of satellites: each transaction goes where the plan's delay is least at that time."""
    scenario = make_scenario(
        {
            "duration_s": 900,
            "consensus": {"protocol": "longest_chain", "parameters": {"block_interval_s": 60.0, "confirmations": 1}},
            "committee": [{"on": "s1", "select": "all"}],
            "shell": [
                {"planes": 2, "satellites_per_plane": 30, "altitude_km": 1200, "inclination_deg": 87, "isl": "ring"}
            ],
            "network": {"update_interval_s": 10, "isl_max_range_km": 9000},
            "ground_station": [
                {"name": "kiruna", "latitude_deg": 67.86, "longitude_deg": 20.22, "elevation_mask_deg": 5}
            ],
            "compute": FREE,
            "client": [{"at": "gs/kiruna", "transactions_per_s": 0.5}],
            "workload": {"share": "none"},
        }
    )
    diary, sky = Diary(), build_sky(scenario)
    result = simulate(scenario, sky=sky, observers=[diary])
    n = len(sky.plan.endpoints)
    assert (n, len(sky.whole_plan.endpoints), sky.whole_plan.endpoints[-1]) == (60, 61, "gs/kiruna")
    chosen = []
    for now_ns, source, target, _ in diary.of_kind("transaction"):
        delay_ns = sky.whole_plan.at(now_ns).delay_ns[source, :n]
        reachable = np.flatnonzero(delay_ns >= 0)
        assert target == (reachable[delay_ns[reachable].argmin()] if len(reachable) else 0)
        chosen.append(target)
    assert len(set(chosen)) > 3
    assert result.report["network"]["link_transmissions"] >= len(chosen) - result.report["network"]["drops"].get(
        "no_route", 0
    )


@pytest.mark.parametrize("protocol", protocol_names())
def test_every_protocol_orders_what_clients_send(protocol: str) -> None:
    consensus = {"parameters": {"block_interval_s": 0.2, "confirmations": 3}} if protocol == "longest_chain" else {}
    clients = [{"at": f"lab/{place}", "transactions_per_s": 50} for place in range(6)]
    result, diary = run(clients, n=6, protocol=protocol, duration_s=3, consensus=consensus)
    assert not failed(result)
    assert once_each(diary) >= result.report["workload"]["final"] > 450


@pytest.mark.parametrize("protocol", ["pbft", "hotstuff", "simplex", "tendermint"])
def test_an_idle_leader_sees_what_arrives(tmp_path: Path, protocol: str) -> None:
    """Without empty blocks it looks every sixteenth of Δ, so a block comes soon after the transaction, not before."""
    client = {"at": "lab/1", "trace": trace(tmp_path, 1.0)}
    consensus = {"delta_ms": 160.0, "parameters": {"propose_empty": False}}
    result, diary = run([client], protocol=protocol, consensus=consensus, workload={"share_interval_ms": 1})
    first_ns = min(at_ns for at_ns, block in diary.proposals if block.payload.count)
    # It is with every leader after 1 ms of collecting and 10 ms on the way; who has just proposed an empty block, as an
    # idle leader does when half of its view is over, waits another 30 ms for that.
    assert 1000 <= first_ns / 1e6 <= 1000 + 11 + 10 + 30
    assert result.report["workload"]["final"] == 1


@pytest.mark.parametrize(("transaction_bytes", "protocol"), [(250, "hotstuff"), (3, "hotstuff"), (250, "tendermint")])
def test_compact_blocks_refer_to_transactions_however_long_they_are(
    tmp_path: Path, transaction_bytes: int, protocol: str
) -> None:
    """Of the same trace, once with sizes of its own and once without: 6 bytes stand for each of 100 transactions."""
    at_s = [0.5 + number / 1000 for number in range(100)]
    egress_kb = []
    for sizes, default in (([5000] * 100, transaction_bytes), ((), 5000)):
        client = {"at": "lab/0", "trace": trace(tmp_path, *at_s, sizes=sizes)}
        workload = {"share": "none", "transaction_bytes": default}
        network = {"model": "fixed", "delay_ms": 10.0, "compact": {"enabled": True}}
        result, _ = run([client], protocol=protocol, duration_s=2, network=network, workload=workload)
        assert result.report["workload"]["final"] == 100
        egress_kb.append(result.report["network"]["leader_egress_kb"])
    assert egress_kb[0] == egress_kb[1]
    assert egress_kb[0]["max"] < 4


def test_what_is_shorter_than_its_reference_goes_as_it_is(tmp_path: Path) -> None:
    client = {"at": "lab/0", "trace": trace(tmp_path, 0.5, 0.6, sizes=[5, 6])}
    sent = []
    for enabled in (False, True):
        network = {"model": "fixed", "delay_ms": 10.0, "compact": {"enabled": enabled}}
        result, _ = run([client], network=network)
        sent.append(result.report["network"]["egress_mbps"])
    assert sent[0] == sent[1]


# A CPU that hashes

HASHING = {**FREE, "hash_us_per_mb": 20_000_000}
"""5 ms for a transaction of 250 bytes."""
EVERY_SECOND = {"delta_ms": 2000, "parameters": {"block_interval_ms": 1000}}


def test_transactions_and_batches_are_hashed_one_after_the_other(tmp_path: Path) -> None:
    """Two come to replica 3 at 515 ms, enter at 520 and 525 and leave in a batch each, 2 ms later. Others hash those in
    266 · 20 µs: the primary has the second at 542.32 ms."""
    client = {"at": "lab/1", "to": "replica/3", "trace": trace(tmp_path, 0.505, 0.505)}
    sharing: dict[str, Any] = {"consensus": EVERY_SECOND, "workload": {"share_interval_ms": 2}}
    hashed, diary = run([client], compute=HASHING, **sharing)
    free, at_once = run([client], **sharing)
    assert diary.of_kind("batch") == [(522 * MS, 3, None, 16 + 250), (527 * MS, 3, None, 16 + 250)]
    assert at_once.of_kind("batch") == [(517 * MS, 3, None, 16 + 500)]
    to_replica_ms = hashed.report["workload"]["to_replica_ms"]
    assert (to_replica_ms["p50"], to_replica_ms["max"]) == (15.0, 20.0)
    assert hashed.report["workload"]["final"] == free.report["workload"]["final"] == 2
    unloaded, _ = run([{**client, "trace": trace(tmp_path, 99.0)}], compute=HASHING, **sharing)
    more_ms = hashed.report["compute"]["work_ms"]["hash"] - unloaded.report["compute"]["work_ms"]["hash"]
    # The block brings the two once more, to the primary that signs it and three others; its encoding says which.
    assert 0 <= more_ms - (2 * 5 + 2 * 3 * 5.32 + 4 * 2 * 5) < 2


def test_nobody_proposes_or_passes_on_what_is_not_hashed_yet() -> None:
    """CPUs that have too much to do: blocks are valid, also of replicas that crash with work before them."""
    clients = [{"at": f"lab/{place}", "transactions_per_s": 250} for place in range(4)]
    faults = [crash(1, 0.9, 1.2), crash(2, 1.5, 1.6)]
    result, diary = run(clients, protocol="hotstuff", compute={**FREE, "hash_us_per_mb": 4_000_000}, fault=faults,
                        consensus={"delta_ms": 500})  # fmt: skip
    assert not failed(result)
    assert once_each(diary) >= result.report["workload"]["final"] > 50
    assert result.report["compute"]["utilisation"]["max"] > 0.9
    assert result.report["workload"]["dropped"]["receiver_down"] > 50


# Too much


def evenly(folder: Path, per_s: int, duration_s: int) -> str:
    return trace(folder, *((number + 0.5) / per_s for number in range(per_s * duration_s)))


@pytest.mark.parametrize(("per_s", "growth"), [(1250, 250.0), (1000, 0.0), (800, 0.0)])
def test_a_backlog_grows_by_what_blocks_cannot_take(tmp_path: Path, per_s: int, growth: float) -> None:
    """Blocks of at most 100 transactions every 100 ms: 1,000 a second, whatever is submitted."""
    client = {"at": "lab/0", "trace": evenly(tmp_path, per_s, 8)}
    result, _ = run(
        [client], duration_s=8, consensus=EVERY_100_MS, workload={"block_max_bytes": 25_000, "share": "none"}
    )
    workload = result.report["workload"]
    assert workload["backlog_growth_per_s"] == pytest.approx(growth)
    assert workload["backlog_growth_se"] == pytest.approx(0)
    assert workload["stable"] is (growth == 0)
    told = [warning for warning in result.report["warnings"] if "the load is unstable" in warning]
    assert len(told) == (growth > 0)
    assert workload["backlog"] == workload["submitted"] - workload["final"]


def test_a_random_load_is_told_from_one_that_is_too_much() -> None:
    """M/D/1 in bulk: 1,000 transactions a second can be served."""
    found = {}
    for per_s in (800.0, 1300.0):
        result, _ = run(
            [{"at": "lab/0", "transactions_per_s": per_s}],
            duration_s=8,
            consensus=EVERY_100_MS,
            workload={"block_max_bytes": 25_000, "share": "none"},
        )
        found[per_s] = result.report["workload"]
    assert (found[800.0]["stable"], found[1300.0]["stable"]) == (True, False)
    grown, se = found[1300.0]["backlog_growth_per_s"], found[1300.0]["backlog_growth_se"]
    assert abs(grown - 300) < 4 * se


def test_what_full_mempools_refuse_is_counted_and_hides_no_growth(tmp_path: Path) -> None:
    """A mempool of 200 transactions serves 1,000 of 1,250 a second and refuses the rest."""
    client = {"at": "lab/0", "trace": evenly(tmp_path, 1250, 8)}
    result, _ = run(
        [client],
        duration_s=8,
        consensus=EVERY_100_MS,
        workload={"block_max_bytes": 25_000, "mempool_max_bytes": 50_000, "share": "none"},
    )
    workload = result.report["workload"]
    assert workload["backlog"] <= 200
    assert workload["dropped"] == {"mempool_full": 10_000 - workload["final"] - workload["backlog"]}
    assert workload["backlog_growth_per_s"] == pytest.approx(250)
    assert workload["stable"] is False
    assert workload["in_mempool_ms"]["max"] < 400


# Faults, forks, restarts


def test_clients_suffer_losses_partitions_and_crashes_like_everybody() -> None:
    """Those at lab/3 are on its side of the partition; who finds its replica down is counted."""
    clients = [{"at": f"lab/{place}", "to": "replica/1", "transactions_per_s": 100} for place in (0, 3)]
    result, diary = run(
        clients,
        workload={"share": "none"},
        fault=[
            partition([3], 1.0, 2.0),
            crash(1, 2.5, 3.0),
            {"kind": "loss", "target": "lab/0", "rate": 0.5, "window_s": [3.0, 4.0]},
        ],
    )
    cut = [source for now_ns, source, _, _ in diary.of_kind("transaction") if 10**9 <= now_ns < 2 * 10**9]
    dropped = result.report["workload"]["dropped"]
    assert dropped["partition"] == cut.count(5) > 50
    assert 60 < dropped["receiver_down"] < 140
    assert 25 < dropped["fault_loss"] < 75
    assert set(dropped) <= set(result.report["network"]["drops"])
    workload = result.report["workload"]
    assert workload["submitted"] == sum(dropped.values()) + workload["final"] + workload["backlog"]
    assert not failed(result)


def test_forks_lose_no_transaction_and_take_none_twice() -> None:
    """Miners at 200 ms from each other, a block every 500 ms; clients at three places."""
    clients = [{"at": f"lab/{place}", "transactions_per_s": 40} for place in (0, 3, 5)]
    result, diary = run(
        clients,
        n=8,
        protocol="longest_chain",
        duration_s=40,
        consensus=MINING,
        network={"model": "fixed", "delay_ms": 200.0},
    )
    assert not failed(result)
    assert result.report["consensus"]["stale_blocks"] > 5
    assert once_each(diary) == result.report["workload"]["final"] > 3000
    assert any(block.payload.count for block in diary.blocks.values() if diary.final.get(block.height) != block)


def once_each(diary: Diary) -> int:
    """How many transactions are final, having checked that along each lane they are 0, 1, 2, … without exception."""
    ends: dict[int, int] = {}
    for height in sorted(diary.final):
        for lane, first, count in diary.final[height].payload.lanes:
            assert first == ends.get(lane, 0)
            ends[lane] = first + count
    return sum(ends.values())


def test_who_misses_a_batch_asks_for_it() -> None:
    """A tenth of all messages is lost. PBFT's primary, who alone proposes, still gets every lane."""
    clients = [{"at": f"lab/{place}", "transactions_per_s": 100} for place in (1, 2)]
    result, diary = run(
        clients,
        network={"model": "fixed", "delay_ms": 10.0},
        fault=[{"kind": "loss", "target": "all", "rate": 0.1, "window_s": [0.0, 3.0]}],
    )
    assert diary.of_kind("batch_request")
    workload = result.report["workload"]
    assert workload["final_share"] > 0.8
    assert workload["backlog"] < 100
    assert once_each(diary) == workload["final"]


@pytest.mark.parametrize("behaviour", ["equivocate", "twins", "fork"])
def test_adversaries_make_do_with_lanes(behaviour: str) -> None:
    """Their empty, shortened or displaced blocks continue the lanes too."""
    sizes = {"transaction_bytes": 100}
    fault = {"kind": "byzantine", "behaviour": behaviour, "target": "replica/1", "window_s": [0.5]}
    result, diary = run(
        [{"at": f"lab/{place}", "transactions_per_s": 100} for place in (0, 1)],
        protocol="hotstuff",
        fault=[fault],
        workload=sizes,
    )
    assert not failed(result)
    assert result.report["faults"][0]["effect"]["count"] > 0
    assert once_each(diary) == result.report["workload"]["final"] > 400


@pytest.mark.parametrize(("protocol", "share"), [("hotstuff", "none"), ("pbft", "all")])
def test_a_restarted_replica_still_has_its_mempool(tmp_path: Path, protocol: str, share: str) -> None:
    """What entered at replica 1 before it crashed is proposed when it leads again, or passed on when it is back."""
    client = {"at": "lab/1", "trace": trace(tmp_path, 0.5)}
    result, _ = run(
        [client], protocol=protocol, consensus=EVERY_100_MS, workload={"share": share}, fault=[crash(1, 0.505, 1.5)]
    )
    assert result.report["workload"]["final"] == 1
    assert result.report["consensus"]["transaction_latency_ms"]["mean"] > 1000


# Validity has mutants


def cheating(change: Any) -> type[Pbft]:
    """PBFT whose payloads are not what the mempool gave."""

    class Cheat(Pbft):
        def __init__(self, seat: Seat) -> None:
            super().__init__(replace(seat, payloads=changed(seat.payloads)))

    def changed(honest: Payloads) -> Payloads:
        def payloads(now_ns: int, max_bytes: int, parent: Block) -> AnyPayload:
            found = honest(now_ns, max_bytes, parent)
            assert isinstance(found, LanePayload)
            return change(found) if found.lanes and found.first else found

        return payloads

    return Cheat


def again(found: LanePayload) -> LanePayload:
    (lane, first, count), *rest = found.lanes
    return replace(
        found, lanes=((lane, first - 1, count + 1), *rest), count=found.count + 1, size_bytes=found.size_bytes + 250
    )


def too_early(found: LanePayload) -> LanePayload:
    (lane, first, count), *rest = found.lanes
    return replace(
        found, lanes=((lane, first, count + 500), *rest), count=found.count + 500, size_bytes=found.size_bytes + 125_000
    )


def too_small(found: LanePayload) -> LanePayload:
    return replace(found, size_bytes=found.size_bytes + 1)


@pytest.mark.parametrize("change", [again, too_early, too_small])
def test_a_cheat_with_lanes_is_seen(change: Any) -> None:
    client = {"at": "lab/0", "transactions_per_s": 400}
    options: dict[str, Any] = {"duration_s": 2, "consensus": EVERY_100_MS}
    assert failed(run([client], protocol_class=cheating(change), **options)[0]) == {"validity"}
    assert not failed(run([client], protocol_class=cheating(lambda found: found), **options)[0])


# Determinism

ONE_RUN = """
from tests.laboratory import MS
from tests.simulation.client_runs import run
clients = [{"at": f"lab/{k}", "transactions_per_s": 200} for k in (0, 2, 2)]
faults = [{"kind": "loss", "target": "all", "rate": 0.05, "window_s": [0.2, 1.5]}]
network = {"model": "normal", "delay_mean_ms": 10, "delay_std_ms": 3}
result, _ = run(clients, protocol="hotstuff", duration_s=2, network=network, fault=faults, seed=SEED)
print(result.digest, result.report["workload"]["final"])
"""


def test_the_digest_is_the_same_in_every_process_and_another_for_another_seed() -> None:
    def digest(hash_seed: str, seed: int) -> str:
        command = [sys.executable, "-c", ONE_RUN.replace("SEED", str(seed))]
        environment = {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(Path(__file__).parents[2])}
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout

    assert digest("0", 1) == digest("4242", 1) != digest("0", 2)
