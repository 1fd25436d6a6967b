"""What becomes of transactions, on ledgers told by hand; and whether a backlog that is given grows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from consensus.messages import GENESIS, Block, Payload
from consensus.protocols.longest_chain import Mined
from consensus.types import Height, ReplicaId, View
from node.mempool import Mempool
from testbed.ledger import Ledger
from testbed.metrics import BlockMetrics
from testbed.metrics_definitions import result_schema
from testbed.throughput import workload_report, workload_warnings
from tests.laboratory import MS


def told(
    counts: list[int], *, gap_ms: int, every_ms: int = 100, end_ms: int = 2000, takes_ms: int = 50
) -> dict[str, Any]:
    """A transaction every `gap_ms`; a block of `counts[k]` at (k + 1) `every_ms`, final `takes_ms` later at both."""
    ledger, parent = Ledger(2), GENESIS
    pool = Mempool(lambda count: [gap_ms * MS] * count, 100)
    for number, count in enumerate(counts, start=1):
        payload = Payload(parent.payload.end, count, 100 * count)
        parent = Block(parent.id, Height(number), View(number), ReplicaId(0), payload)
        ledger.proposed(number * every_ms * MS, ReplicaId(0), parent, Mined(block=parent))
        for replica in (0, 1):
            ledger.committed((number * every_ms + takes_ms) * MS, ReplicaId(replica), parent)
    metrics = BlockMetrics(ledger, np.ones(2, dtype=bool), np.ones(2), end_ms * MS)
    return workload_report(metrics, pool, end_ms * MS, bytes_sent=100_000)


def test_a_stable_load_by_hand() -> None:
    """100 a second in blocks of ten, but for the first, which sees ten too: 10 .. 100 ms."""
    report = told([10] * 19, gap_ms=10)
    assert {key: value for key, value in report.items() if not key.endswith("_ms")} == {
        "submitted": 200,
        "submitted_per_s": 100.0,
        "dropped": {},
        "final": 190,
        "final_share": 0.95,
        "goodput_bytes_per_s": 9500.0,
        "goodput_share": 0.19,
        "backlog": 10,
        "backlog_growth_per_s": 0.0,
        "backlog_growth_se": 0.0,
        "stable": True,
    }
    assert (report["to_replica_ms"]["max"], report["in_consensus_ms"]["mean"]) == (0.0, 50.0)
    assert report["in_mempool_ms"]["mean"] == pytest.approx(45.0)
    assert not list(workload_warnings(report))


def test_an_unstable_load_is_said_to_be() -> None:
    """100 a second, of which blocks take 70."""
    report = told([7] * 19, gap_ms=10)
    assert (report["backlog_growth_per_s"], report["backlog_growth_se"], report["stable"]) == (30.0, 0.0, False)
    assert list(workload_warnings(report)) == [
        "the load is unstable: transactions without finality grew by 30 ± 0 a second in the second half of the run, to "
        "67 waiting; transaction_latency_ms is of the 66.5 % that became final"
    ]


@pytest.mark.parametrize(
    ("told_of", "stable"),
    [
        ({"counts": [10] * 10}, False),  # nothing from the middle on
        ({"counts": [10] * 19, "takes_ms": 1000}, None),  # the first is final when half of the run is over
        ({"counts": []}, None),
        ({"counts": [10, 90], "every_ms": 900}, None),  # one block in the second half shows nothing
        ({"counts": [10, 0] * 9}, True),  # a block of ten every 200 ms for 50 in a second
    ],
)
def test_what_a_run_can_tell(told_of: dict[str, Any], stable: bool | None) -> None:
    gap_ms = 20 if told_of["counts"][1:2] == [0] else 10
    assert told(gap_ms=gap_ms, **told_of)["stable"] is stable


def test_without_transactions_nothing_is_stable_or_not() -> None:
    metrics = BlockMetrics(Ledger(2), np.ones(2, dtype=bool), np.ones(2), 0)
    report = workload_report(metrics, Mempool(None, 100), 0, 0)
    assert report == {
        **dict.fromkeys(report),
        **dict.fromkeys(("submitted", "final", "backlog"), 0),
        "dropped": {},
    }


def test_the_report_has_what_the_schema_has() -> None:
    assert set(told([10] * 19, gap_ms=10)) == set(result_schema()["properties"]["workload"]["properties"])
