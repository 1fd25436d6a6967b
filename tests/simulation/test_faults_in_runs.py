"""Each fault of a scenario does in a run what its name says, and the result shows it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.laboratory import constant, run_matrix
from tests.simulation.runs import crash, failed, heights, partition

CONSENSUS = {"delta_ms": 20.0, "parameters": {"block_interval_ms": 20}}


def run(*faults: dict[str, Any], n: int = 4, duration_s: float = 2.0, **tables: Any) -> Any:
    return run_matrix("pbft", constant(n, 10), duration_s, consensus=CONSENSUS, fault=list(faults), **tables)


def effects(result: Any) -> list[tuple[str, int, str]]:
    return [(f["kind"], f["effect"]["count"], f["effect"]["unit"]) for f in result.report["faults"]]


def test_a_crash_loses_what_arrives_meanwhile() -> None:
    result = run(crash(3, 0.5, 1.0))
    assert not failed(result)
    assert effects(result) == [("crash", 1, "crashes")]
    assert set(result.report["network"]["drops"]) == {"receiver_down"}


def test_a_crash_from_the_start_says_nothing_at_all() -> None:
    result = run(crash(0, 0.0))
    assert not failed(result)
    assert 0 not in result.blocks["proposer"].to_pylist()
    assert heights(result)[0] == 0


def test_windows_that_overlap_or_touch_are_one_crash() -> None:
    result = run(crash(3, 0.3, 0.8), crash(3, 0.5, 1.0), crash(3, 1.0, 1.2))
    assert not failed(result)
    once = run(crash(3, 0.3, 1.2))
    assert result.digest == once.digest


def test_a_partition_drops_what_crosses_it_and_no_more() -> None:
    result = run(partition([3], 0.5, 1.0))
    assert not failed(result)
    assert effects(result)[0][1] == result.report["network"]["drops"]["partition"] > 0
    assert set(result.report["network"]["drops"]) == {"partition"}


def test_loss_drops_its_share() -> None:
    result = run({"kind": "loss", "target": "replica/2", "window_s": [0.0, 2.0], "rate": 0.3}, duration_s=4.0)
    assert not failed(result)
    assert effects(result)[0][1] == result.report["network"]["drops"]["fault_loss"] > 0


@pytest.mark.parametrize("replica", [0, 2])
def test_slow_messages_are_late_by_as_much(replica: int) -> None:
    # The first block is proposed after one block interval, at 20 ms.
    late = {"kind": "slow", "target": f"replica/{replica}", "window_s": [0.0], "delay_ms": 7.0}
    result = run(late)
    assert not failed(result)
    first = {
        replica: at
        for row, replica, at in zip(
            *(result.arrivals[name].to_pylist() for name in ("row", "replica", "committed_ns")), strict=True
        )
        if row == 0
    }
    if replica == 0:
        # Others hear of the block 17 ms later; the slow primary is not needed for either quorum.
        assert [first[i] for i in (1, 2, 3)] == [57_000_000] * 3
    else:
        assert [first[i] for i in (0, 1, 3)] == [50_000_000] * 3
        assert first[2] == 57_000_000


def test_faults_that_overlap_add_up() -> None:
    faults = (
        crash(3, 0.4, 0.9),
        partition([0], 0.6, 0.8),
        {"kind": "loss", "target": "all", "window_s": [0.2, 1.2], "rate": 0.1},
        {"kind": "slow", "target": "replica/1", "window_s": [0.1, 1.0], "delay_ms": 12.0},
    )
    result = run(*faults, duration_s=6.0)
    assert not failed(result)
    assert all(count > 0 for _, count, _ in effects(result))
    assert min(heights(result)) > 20


def test_a_faulty_run_repeats_exactly() -> None:
    faults = (
        crash(3, 0.4, 0.9),
        {"kind": "loss", "target": "all", "window_s": [0.2, 1.2], "rate": 0.2},
    )
    assert run(*faults).digest == run(*faults).digest
    assert run(*faults).digest != run(*faults, seed=2).digest
