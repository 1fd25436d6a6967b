"""Dead leaders, partitions that heal, loss: progress resumes, and nobody contradicts anybody."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.laboratory import constant, run_matrix
from tests.simulation.runs import crash, failed, heights, kinds, least, matrices, partition, tolerated

LEADER_BASED = ["pbft", "hotstuff", "jolteon", "hotstuff2", "tendermint", "simplex", "streamlet", "minimmit"]
WATCHED = ["minimmit"]
"""Watched for contradiction in the same few troubles, so those are not run twice."""
DELTA_MS = 20.0
quick = settings(deadline=None, max_examples=6, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


def run(protocol: str, delay_ns: Any, duration_s: float, *faults: dict[str, Any], **options: Any) -> Any:
    parameters = {"block_interval_ms": 20, **options.pop("parameters", {})}
    consensus = {"delta_ms": options.pop("delta_ms", DELTA_MS), "parameters": parameters}
    return run_matrix(protocol, delay_ns, duration_s, consensus=consensus, fault=list(faults), **options)


@pytest.mark.parametrize(
    ("protocol", "n"),
    # HotStuff of four is a case of its own: see test_hotstuff_needs_four_live_leaders_in_a_row.
    [
        (protocol, n)
        for protocol in LEADER_BASED
        for n in ((6, 7, 11) if protocol == "minimmit" else (4, 5, 7, 10, 13))
        if (protocol, n) != ("hotstuff", 4)
    ],
)
def test_f_dead_replicas_from_the_start_do_not_stop_the_rest(protocol: str, n: int) -> None:
    f = tolerated(protocol, n)
    result = run(protocol, constant(n, 10), 8.0, *(crash(i, 0.0) for i in range(f)))
    assert not failed(result)
    reached = heights(result)
    assert reached[:f] == [0] * f
    assert min(reached[f:]) > 5


@pytest.mark.parametrize("protocol", LEADER_BASED)
def test_more_than_f_dead_replicas_stop_everything_safely(protocol: str) -> None:
    faults = (crash(0, 0.0), crash(1, 0.0))
    result = run(protocol, constant(least(protocol), 10), 4.0, *faults, expect={"progress": False})
    assert not failed(result)
    assert max(heights(result), default=0) == 0


def test_hotstuff_needs_four_live_leaders_in_a_row() -> None:
    """BeeGees, PODC 2023: three certificates of consecutive views need a live fourth leader to make the last one."""
    result = run("hotstuff", constant(4, 10), 8.0, crash(3, 0.0), expect={"progress": False})
    assert not failed(result)
    assert kinds(result)["proposal"] > 50


@pytest.mark.parametrize("n", [4, 7])
def test_a_silent_primary_costs_one_timeout_and_one_view_change(n: int) -> None:
    """Section 4.4: replicas ask for view 1, its primary begins it at 8Δ + δ and proposes at once."""
    result = run("pbft", constant(n, 10), 0.5, crash(0, 0.0), parameters={"block_interval_ms": 0})
    counted = kinds(result)
    assert counted["view_change"] == (n - 1) * (n - 1)
    # The one view change more than a quorum that comes late is answered, as a laggard's would be.
    assert counted["new_view"] == n - 1 + ((n - 1) - -(-(n + (n - 1) // 3 + 1) // 2))
    first = [at for at in result.arrivals["committed_ns"].to_pylist() if at is not None]
    assert min(first) == (8 * 20 + 10 + 3 * 10) * 1_000_000


def test_a_dead_leader_costs_hotstuff_one_timeout() -> None:
    """Leader 1 of view 1 is dead: the timeouts meet at 8Δ + δ and leader 2 proposes at once."""
    result = run("hotstuff", constant(5, 10), 1.0, crash(1, 0.0), parameters={"block_interval_ms": 0})
    assert not failed(result)
    assert min(result.blocks["proposed_ns"].to_pylist()) == (8 * 20 + 10) * 1_000_000
    assert kinds(result)["timeout"] >= 9


def test_a_dead_leader_costs_hotstuff_three_commits_in_each_rotation() -> None:
    """The votes on the block before its view are lost, and with them the chains of three that would have made the two
    blocks below final: these wait for the next chain, which begins when two views have timed out."""
    n, dead, chain_ms = 7, 3, 60.0
    pause_ms = 2 * 8 * DELTA_MS + 3 * 10.0
    result = run("hotstuff", constant(n, 10), 4.0, crash(dead, 0.0), parameters={"block_interval_ms": 0})
    assert not failed(result)
    committed = dict.fromkeys(range(len(result.blocks)), None)
    for arrival in result.arrivals.to_pylist():
        row, at_ns = arrival["row"], arrival["committed_ns"]
        if at_ns is not None and (committed[row] is None or at_ns < committed[row]):
            committed[row] = at_ns
    took_ms: dict[int, set[float | None]] = {}
    for row, block in enumerate(result.blocks.to_pylist()):
        if n <= block["view"] < 6 * n:
            at_ns = committed[row]
            waited = None if at_ns is None else (at_ns - block["proposed_ns"]) / 1e6
            took_ms.setdefault((dead - block["view"]) % n, set()).add(waited)
    # By how many views the dead leader's is later; the first to know is the leader who collects the chain's last votes.
    late = {2: {20.0 + pause_ms + chain_ms}, 3: {40.0 + pause_ms + chain_ms}}
    assert took_ms == {1: {None}, **late, **{left: {chain_ms} for left in (4, 5, 6)}}


@pytest.mark.parametrize("protocol", LEADER_BASED)
@pytest.mark.parametrize("side", [[0, 1], [3], [0], [1, 2]])
def test_progress_resumes_when_a_partition_heals(protocol: str, side: list[int]) -> None:
    delay_ns = constant(least(protocol), 10)
    result = run(protocol, delay_ns, 9.0, partition(side, 1.0, 2.5))
    assert not failed(result)
    reached = heights(result)
    before = run(protocol, delay_ns, 2.5, partition(side, 1.0))
    assert min(reached) > max(heights(before)) + 20
    assert max(reached) - min(reached) <= 4


@pytest.mark.parametrize("protocol", LEADER_BASED)
def test_a_partition_in_three_heals(protocol: str) -> None:
    faults = (partition([0, 1], 0.5, 2.0), partition([2], 1.0, 2.5), partition([3], 0.2, 1.5))
    result = run(protocol, constant(least(protocol), 10), 12.0, *faults)
    assert not failed(result)
    assert min(heights(result)) > 50


@pytest.mark.parametrize(
    ("protocol", "loss", "n"),
    [
        *((protocol, loss, n) for protocol in ("pbft", "hotstuff") for loss in (0.05, 0.2) for n in (4, 7)),
        *((protocol, loss, n) for protocol in ("jolteon", "hotstuff2") for loss, n in ((0.2, 4), (0.1, 7))),
        ("minimmit", 0.1, 6),
    ],
)
def test_loss_slows_but_does_not_stop(protocol: str, loss: float, n: int) -> None:
    delay_ns = constant(n, 10)
    result = run(protocol, delay_ns, 30.0, network={"model": "fixed", "delay_ms": 10.0, "loss": loss})
    assert not failed(result), result.report["safety"]["violations"]
    assert min(heights(result)) > 10


def test_a_new_view_proposes_what_was_prepared_again_under_its_own_name() -> None:
    """Section 4.4, O: replica 1 alone could have committed it, so view 1 must not replace it."""
    # Prepares leave at 10 ms, commits at 20 ms: only the latter are cut off.
    cut = [partition([i], 0.02, 0.12) for i in range(3)]
    result = run("pbft", constant(4, 10), 2.0, *cut, parameters={"block_interval_ms": 0})
    assert not failed(result)
    first = [row for row, height in enumerate(result.blocks["height"].to_pylist()) if height == 1]
    assert len(first) == 1
    assert result.blocks["view"].to_pylist()[first[0]] == 0
    assert result.blocks["final"].to_pylist()[first[0]]
    assert kinds(result)["new_view"] >= 3


@pytest.mark.parametrize("protocol", LEADER_BASED)
def test_a_late_replica_fetches_what_it_missed(protocol: str) -> None:
    result = run(protocol, constant(least(protocol), 10), 12.0, partition([3], 0.5, 6.0))
    assert not failed(result)
    counted, reached = kinds(result), heights(result)
    assert max(reached) > 80
    assert max(reached) - min(reached) <= 4
    assert 0 < counted["ancestors"] <= counted["fetch"] < 100


def test_a_replica_that_nobody_joins_still_follows() -> None:
    """It asked for view 1 alone; blocks of view 0 reach it all the same, and it fetches none of them."""
    result = run("pbft", constant(4, 10), 10.0, partition([3], 0.5, 2.0))
    assert not failed(result)
    assert heights(result)[3] >= heights(result)[0] - 2
    assert kinds(result)["fetch"] < 20


@st.composite
def troubles(draw: st.DrawFn) -> tuple[int, Any, list[dict[str, Any]], float, int, int]:
    """Anything at all until 2 s, then peace."""
    n = draw(st.sampled_from([4, 6, 7]))
    faults = []
    for _ in range(draw(st.integers(1, 4))):
        begin_s, end_s = sorted(draw(st.lists(st.integers(1, 2000), min_size=2, max_size=2, unique=True)))
        window = [begin_s / 1e3, end_s / 1e3]
        replicas = draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=n - 1, unique=True))
        kind = draw(st.sampled_from(["crash", "partition", "loss", "slow"]))
        fault: dict[str, Any] = {"kind": kind, "window_s": window, "target": [f"replica/{i}" for i in replicas]}
        if kind == "loss":
            fault["rate"] = draw(st.floats(0.05, 1.0))
        if kind == "slow":
            fault["delay_ms"] = draw(st.integers(1, 300))
        faults.append(fault)
    window_size = draw(st.sampled_from([1, 3]))
    return n, draw(matrices(n)), faults, draw(st.sampled_from([0.0, 500.0])), draw(st.integers(0, 99)), window_size


def check_trouble(protocol: str, case: tuple[int, Any, list[dict[str, Any]], float, int, int], **options: Any) -> None:
    n, delay_ns, faults, sign_us, seed, window = case
    parameters = {"block_interval_ms": 10, **({"window": window} if protocol == "pbft" else {})}
    # Epochs and timers of 2Δ leave no room: signing must fit into Δ, beside the longest delay.
    result = run(
        protocol,
        delay_ns,
        10.0,
        *faults,
        parameters=parameters,
        delta_ms=DELTA_MS + 1 if protocol in ("minimmit", "streamlet") else DELTA_MS,
        seed=seed,
        compute={"signatures": "modelled", "sign_us": sign_us, "verify_us": 0},
        workload={"transactions_per_s": 50},
        **options,
    )
    assert not failed(result) - {"non-vacuity"}, result.report["safety"]["violations"]
    reached = heights(result)
    assert min(reached) > 5, reached
    assert max(reached) - min(reached) <= 8, reached
    # Bounded liveness: in the last second everybody commits something new.
    last = result.arrivals["committed_ns"].to_numpy(zero_copy_only=False)
    for replica in range(n):
        mine = last[result.arrivals["replica"].to_numpy() == replica]
        assert mine[mine == mine].max() > 8.5e9, replica


@pytest.mark.parametrize("protocol", [protocol for protocol in LEADER_BASED if protocol not in WATCHED])
@given(case=troubles())
@quick
def test_after_any_trouble_everyone_commits_again(protocol: str, case: Any) -> None:
    check_trouble(protocol, case)


def test_who_asks_for_a_view_again_and_again_keeps_nobody_from_giving_it_up() -> None:
    """Found by fuzzing: 3 comes back with a short timer while 0 and 2 wait, twice as long, for a silent primary."""
    result = run(
        "pbft",
        constant(4, 10),
        4.0,
        {"kind": "byzantine", "behaviour": "silent", "target": "replica/1"},
        {"kind": "loss", "target": "replica/3", "rate": 1.0, "window_s": [0.665, 0.697]},
        crash(3, 0.876, 0.882),
        expect={"progress_after_s": 2.0},
    )
    assert not failed(result), result.report["safety"]["violations"]
