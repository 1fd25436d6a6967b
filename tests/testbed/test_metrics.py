"""Metrics of blocks, on ledgers told by hand: every expected number can be checked with a pencil."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from consensus.messages import GENESIS, Block, Payload
from consensus.protocols.longest_chain import Mined
from consensus.types import Height, ReplicaId, View
from node.mempool import Mempool
from testbed.ledger import Ledger
from testbed.metrics import BlockMetrics
from testbed.prediction import predicted_forks
from tests.laboratory import MS

NOTHING_SUBMITTED = Mempool(None, 100)
ONE_SECOND_NS = 1_000 * MS


class Story:
    """A ledger and the milliseconds at which things happen to it."""

    def __init__(self, n: int = 4) -> None:
        self.n = n
        self.ledger = Ledger(n)

    def proposed(self, at_ms: int, by: int, parent: Block = GENESIS, payload: Payload | None = None) -> Block:
        """`by` proposes a child of `parent`."""
        payload = payload or Payload(parent.payload.end, 0, 0)
        block = Block(parent.id, Height(parent.height + 1), View(at_ms), ReplicaId(by), payload)
        self.ledger.proposed(at_ms * MS, ReplicaId(by), block, Mined(block=block))
        return block

    def held(self, block: Block, at_ms: Mapping[int, int]) -> None:
        """Replica to time."""
        for replica, time_ms in at_ms.items():
            self.ledger.held(time_ms * MS, ReplicaId(replica), block)

    def committed(self, block: Block, at_ms: Mapping[int, int]) -> None:
        """Replica to time."""
        for replica, time_ms in at_ms.items():
            self.ledger.committed(time_ms * MS, ReplicaId(replica), block)

    def adopted(self, replica: int, *blocks: Block) -> None:
        """The replica's tips, one after the other."""
        for block in blocks:
            self.ledger.adopted(0, ReplicaId(replica), block)

    def metrics(self, weights: Sequence[float] | None = None, honest: Sequence[int] | None = None) -> BlockMetrics:
        trusted = np.isin(np.arange(self.n), range(self.n) if honest is None else honest)
        return BlockMetrics(self.ledger, trusted, np.array(weights or [1.0] * self.n), ONE_SECOND_NS)

    def consensus(self, quorum: int = 3, mempool: Mempool = NOTHING_SUBMITTED, **of: Any) -> dict[str, Any]:
        return self.metrics(**of).consensus(quorum, 0, 0, mempool)


def all_equal(value: float, count: int = 1) -> dict[str, float]:
    """The summary of `count` times the same value."""
    return {"count": count, "mean": value, "p50": value, "p90": value, "p99": value, "max": value}


def test_a_whole_consensus_report() -> None:
    """Two final blocks, one of them pending at two replicas; a stale rival of the first; a rival too high to count.

    | block | height | proposed | committed by                       |
    | a     | 1      | 50 ms    | 0, 1, 2, 3 at 150, 160, 170, 190 ms |
    | rival | 1      | 55 ms    | nobody: stale                      |
    | b     | 2      | 90 ms    | 0, 1: pending                      |
    | c, d  | 3      | later    | nobody: above the final height     |
    """
    story = Story()
    every_ten_ms = Mempool(lambda count: [10 * MS] * count, 100)
    every_ten_ms.arrived(50 * MS)
    a = story.proposed(50, by=0, payload=Payload(0, 2, 200))
    story.proposed(55, by=1)
    b = story.proposed(90, by=1, parent=a)
    story.proposed(95, by=2, parent=b)
    story.proposed(96, by=3, parent=b)
    story.committed(a, {0: 150, 1: 160, 2: 170, 3: 190})
    story.committed(b, {0: 200, 1: 210})
    assert story.metrics().consensus(3, timed_out=2, views=5, mempool=every_ten_ms) == {
        "proposed_blocks": 5,
        "committed_blocks": 2,
        "pending_blocks": 1,
        "stale_blocks": 1,
        "fork_rate": {"value": 0.5, "se": pytest.approx(0.125**0.5), "count": 1, "of": 2},
        "stale_rate": {"value": pytest.approx(1 / 3), "se": pytest.approx((2 / 27) ** 0.5), "count": 1, "of": 3},
        "max_reorg_depth": 0,
        "finality_ms": all_equal(110.0),
        "finality_first_ms": all_equal(100.0),
        "finality_quorum_ms": all_equal(120.0),
        "finality_last_ms": all_equal(140.0),
        "block_interval_ms": all_equal(40.0),
        "chain_growth_per_s": 2.0,
        "view_changes": 2,
        "views_per_block": 2.5,
        "transactions_per_s": 2.0,
        # Submitted at 10 and 20 ms, final at the median replica at 160 ms.
        "transaction_latency_ms": {"count": 2, "mean": 145.0, "p50": 140.0, "p90": 150.0, "p99": 150.0, "max": 150.0},
        "chain_quality": {"k": 10, "min": None, "mean": None, "whole": 1.0},
        # Shares 1/2, 1/2, 0, 0 of the chain for a quarter of the power each.
        "leader_share_ratio": {"min": 0.0, "max": 2.0},
        "leader_share_gini": 0.5,
    }


def test_an_empty_ledger_reports_nothing() -> None:
    """No blocks: counts of zero, and no statistics."""
    report = Story().consensus()
    nothing = {"value": None, "se": None, "count": 0, "of": 0}
    assert report == {
        **dict.fromkeys(report),
        **dict.fromkeys(
            (
                "proposed_blocks",
                "committed_blocks",
                "pending_blocks",
                "stale_blocks",
                "max_reorg_depth",
                "view_changes",
            ),
            0,
        ),
        "fork_rate": nothing,
        "stale_rate": nothing,
        "chain_quality": {"k": 10, "min": None, "mean": None, "whole": None},
        "leader_share_ratio": {"min": None, "max": None},
        "chain_growth_per_s": 0.0,
        "transactions_per_s": 0.0,
    }
    assert set(Story().metrics().propagation().values()) == {None}


@pytest.mark.parametrize(("n", "median"), [(4, 2), (5, 3), (7, 4), (10, 5)])
def test_the_median_replica_is_the_lower_one(n: int, median: int) -> None:
    """The ⌈m/2⌉-th of m replicas: with an even number, the lower of the two in the middle."""
    story = Story(n)
    block = story.proposed(0, by=0)
    story.committed(block, {replica: 10 * (replica + 1) for replica in range(n)})
    assert story.consensus(quorum=n)["finality_ms"] == all_equal(10.0 * median)
    assert story.consensus(quorum=n)["finality_quorum_ms"] == all_equal(10.0 * n)


def test_percentiles_over_blocks_are_nearest_ranks() -> None:
    """Ten blocks that take 1, 2 .. 10 ms: p50 is the fifth, p90 the ninth, p99 the tenth."""
    story, parent = Story(1), GENESIS
    for took_ms in range(1, 11):
        parent = story.proposed(100 * took_ms, by=0, parent=parent)
        story.committed(parent, {0: 101 * took_ms})
    assert story.consensus(quorum=1)["finality_ms"] == {
        "count": 10,
        "mean": 5.5,
        "p50": 5.0,
        "p90": 9.0,
        "p99": 10.0,
        "max": 10.0,
    }


def test_only_the_first_commit_and_the_first_sight_count() -> None:
    """A restarted replica may say again what it said before; a second proposal keeps the first time."""
    story = Story(2)
    block = story.proposed(10, by=0)
    story.ledger.proposed(99 * MS, ReplicaId(1), block, Mined(block=block))
    for times in ({0: 20, 1: 30}, {0: 70, 1: 80}):
        story.held(block, {1: times[1]})
        story.committed(block, times)
    assert story.ledger.commits == 2
    assert story.consensus(quorum=2)["finality_last_ms"] == all_equal(20.0)
    assert story.metrics().propagation()["t100_ms"] == all_equal(20.0)


def test_the_base_is_who_was_up_at_the_proposal() -> None:
    """Replica 3 is down for the first block and back for the second, which it never commits."""
    story = Story()
    story.ledger.stopped(5 * MS, ReplicaId(3))
    first = story.proposed(10, by=0)
    story.ledger.restarted(20 * MS, ReplicaId(3))
    second = story.proposed(30, by=1, parent=first)
    story.held(first, {1: 20, 2: 30, 3: 500})
    story.held(second, {0: 40, 2: 50, 3: 600})
    story.committed(first, {0: 110, 1: 120, 2: 130, 3: 900})
    story.committed(second, {0: 210, 1: 220, 2: 230})
    assert story.metrics().base.tolist() == [[True, True, True, False], [True] * 4]
    report = story.consensus()
    assert (report["committed_blocks"], report["pending_blocks"]) == (2, 1)
    assert report["finality_ms"] == all_equal(110.0)
    assert report["finality_last_ms"] == all_equal(120.0)
    assert story.metrics().propagation()["t100_ms"]["max"] == 570.0


def test_who_was_up_within_a_time() -> None:
    """Both ends included: who stops or starts at the very instant was up at it."""
    ledger = Ledger(2)
    ledger.stopped(10, ReplicaId(1))
    ledger.restarted(20, ReplicaId(1))
    spans = [(0, 5), (0, 10), (10, 15), (11, 19), (11, 20), (15, 30), (25, 30)]
    assert [bool(ledger.up_within(begin, end)[1]) for begin, end in spans] == [
        True,
        True,
        True,
        False,
        True,
        True,
        True,
    ]


def test_what_only_dishonest_replicas_say_does_not_count() -> None:
    """Committed means by at least one honest replica; final, by all honest ones."""
    story = Story()
    lie, truth = story.proposed(0, by=3), story.proposed(10, by=0)
    story.committed(lie, {3: 20})
    story.committed(truth, {0: 110, 1: 120, 2: 130})
    report = story.consensus(honest=[0, 1, 2])
    assert (report["committed_blocks"], report["pending_blocks"], report["stale_blocks"]) == (1, 0, 1)
    assert report["finality_last_ms"] == all_equal(120.0)


def test_fork_and_stale_counts_stop_at_the_highest_final_height() -> None:
    """Two rivals at height 1, one at height 2, and a crowd at height 3 that nobody has decided on."""
    story = Story()
    one = story.proposed(0, by=0)
    story.proposed(1, by=1)
    story.proposed(2, by=2)
    two = story.proposed(10, by=0, parent=one)
    story.proposed(11, by=1, parent=one)
    for at_ms in range(20, 30):
        story.proposed(at_ms, by=3, parent=two)
    story.committed(one, {0: 100})
    story.committed(two, {0: 100})
    chain = story.metrics().chain
    assert (chain.rows.tolist(), chain.stale, chain.heights, chain.conflicts) == ([0, 3], 3, 2, 2)
    assert story.consensus()["fork_rate"] == {"value": 1.0, "se": 0.0, "count": 2, "of": 2}
    assert story.consensus()["stale_rate"]["value"] == 0.6


def test_reorg_depth_is_what_a_replica_abandons_at_once() -> None:
    """Three blocks of one's own branch for a longer one; a branch that merely grows abandons nothing."""
    story = Story()
    root = story.proposed(0, by=0)
    losing, winning = [root], [root]
    for at_ms in range(1, 4):
        losing.append(story.proposed(at_ms, by=1, parent=losing[-1]))
    for at_ms in range(11, 15):
        winning.append(story.proposed(at_ms, by=2, parent=winning[-1]))
    story.adopted(0, *winning)
    assert story.consensus()["max_reorg_depth"] == 0
    story.adopted(1, losing[1], winning[2])
    assert story.consensus()["max_reorg_depth"] == 1
    story.adopted(2, *losing, winning[4])
    assert story.consensus()["max_reorg_depth"] == 3


@pytest.mark.parametrize(
    ("proposers", "weights", "expected"),
    [
        ([0, 1, 2, 3], [1.0, 1.0, 1.0, 1.0], 0.0),
        ([0, 0, 0, 0], [1.0, 1.0, 1.0, 1.0], 0.75),
        # Three times the power and three times the blocks is fair.
        ([0, 0, 0, 1], [3.0, 1.0], 0.0),
        ([0, 0, 1, 1], [3.0, 1.0], 0.25),
    ],
)
def test_gini_is_of_blocks_for_their_power(proposers: list[int], weights: list[float], expected: float) -> None:
    """A node's main-chain share over its power share: 1 for all is fair."""
    story, parent = Story(len(weights)), GENESIS
    for at_ms, proposer in enumerate(proposers):
        parent = story.proposed(at_ms, by=proposer, parent=parent)
        story.committed(parent, dict.fromkeys(range(len(weights)), 100))
    assert story.consensus(weights=weights)["leader_share_gini"] == pytest.approx(expected)


def test_a_whole_propagation_report() -> None:
    """Holders include the proposer at 0; a block that never reached everybody counts as far as it got.

    First block held after 0, 10, 20, 40 ms; second after 0, 30 ms, and never by two.
    """
    story = Story()
    first = story.proposed(100, by=0)
    second = story.proposed(200, by=1, parent=first)
    story.held(first, {1: 110, 2: 120, 3: 140})
    story.held(second, {0: 230})
    assert story.metrics(weights=[1.0, 1.0, 1.0, 5.0]).propagation() == {
        "t50_ms": {"count": 2, "mean": 20.0, "p50": 10.0, "p90": 30.0, "p99": 30.0, "max": 30.0},
        "t90_ms": all_equal(40.0),
        "t99_ms": all_equal(40.0),
        "t100_ms": all_equal(40.0),
        "pooled_ms": {
            "count": 6,
            "mean": pytest.approx(100 / 6, abs=1e-6),
            "p50": 10.0,
            "p90": 40.0,
            "p99": 40.0,
            "max": 40.0,
        },
        # (0 + 10 + 20 + 5 · 40) / 8, of the only block that reached all.
        "mean_weighted_ms": 28.75,
        # Neither block has any transactions.
        "effective50_mbps": None,
        "effective90_mbps": None,
    }


def test_a_block_that_nobody_honest_was_up_for_is_left_out_of_the_mean() -> None:
    """A Byzantine miner alone proposed the second."""
    story = Story(2)
    first = story.proposed(100, by=0)
    story.held(first, {1: 110})
    story.ledger.stopped(150 * MS, ReplicaId(0))
    story.proposed(200, by=1, parent=first)
    assert story.metrics(honest=[0]).propagation()["mean_weighted_ms"] == 0.0
    assert story.metrics(honest=[0, 1]).propagation()["mean_weighted_ms"] == 2.5


def test_effective_throughput_is_size_over_time() -> None:
    """1,000 bytes at half of four replicas after 4 ms and at all after 8 ms: 2 and 1 Mbit/s.

    What takes no time (all are there at once, or half of a pair is), and what has no size, does not count.
    """
    story = Story()
    full = story.proposed(100, by=0, payload=Payload(0, 4, 1000))
    at_once = story.proposed(200, by=0, parent=full, payload=Payload(4, 4, 1000))
    empty = story.proposed(300, by=0, parent=at_once)
    slow = story.proposed(400, by=0, parent=empty, payload=Payload(8, 4, 2000))
    story.held(full, {1: 104, 2: 106, 3: 108})
    story.held(at_once, {1: 200, 2: 200, 3: 200})
    story.held(empty, {1: 301, 2: 302, 3: 303})
    story.held(slow, {1: 404, 2: 408})
    report = story.metrics().propagation()
    assert report["effective50_mbps"] == {"count": 2, "mean": 3.0, "p50": 2.0, "p90": 4.0, "p99": 4.0, "max": 4.0}
    assert report["effective90_mbps"] == all_equal(1.0)


def test_satellites_and_stations_have_a_block_at_different_times() -> None:
    """Among those of the base at each place: a satellite that is down, and a station that proposes, at 0."""
    story = Story(6)
    places = ["orbit", "ground", "orbit", "ground", "orbit", "orbit"]
    story.ledger.stopped(5 * MS, ReplicaId(5))
    block = story.proposed(100, by=1)
    story.held(block, {0: 110, 2: 120, 3: 170, 4: 130, 5: 500})
    assert story.metrics().propagation(places)["by_place"] == {
        "ground": {"t50_ms": all_equal(0.0), "t90_ms": all_equal(70.0), "t100_ms": all_equal(70.0)},
        "orbit": {"t50_ms": all_equal(20.0), "t90_ms": all_equal(30.0), "t100_ms": all_equal(30.0)},
    }
    lost = story.proposed(200, by=0, parent=block)
    story.held(lost, {1: 210, 2: 220, 3: 240})
    found = story.metrics().propagation(places)["by_place"]
    assert (found["orbit"]["t50_ms"]["count"], found["orbit"]["t100_ms"]["count"]) == (2, 1)
    assert found["ground"]["t100_ms"] == {"count": 2, "mean": 55.0, "p50": 40.0, "p90": 70.0, "p99": 70.0, "max": 70.0}
    assert "by_place" not in story.metrics().propagation(["orbit"] * 6)


def test_predictions_of_forks() -> None:
    """Decker and Wattenhofer's own numbers: 1/λ = 633.68 s, ∫(1-f) = 11.37 s, 10,000 heights: 1.78 %."""
    predicted = predicted_forks(11.37, 633.68, heights=10_000, blocks=10_179)
    assert 0.01778 < predicted["fork_rate"]["predicted"] < 0.01780  # type: ignore[operator]
    x = 11.37 / 633.68
    assert predicted == {
        "fork_rate": {"predicted": pytest.approx(1 - np.exp(-x)), "se": pytest.approx(0.001322, rel=1e-3)},
        "stale_rate": {"predicted": pytest.approx(x / (1 + x)), "se": pytest.approx(0.001304, rel=1e-3)},
    }
    assert predicted_forks(1.0, 10.0, 0, 0)["fork_rate"]["se"] is None


def test_what_a_longer_chain_undid_is_stale_though_somebody_had_committed_it() -> None:
    """A chain of one confirmation: replica 0 commits a, then everybody the longer branch b, c."""
    story = Story(n=2)
    a = story.proposed(10, by=0)
    b = story.proposed(20, by=1)
    c = story.proposed(30, by=1, parent=b)
    story.committed(a, {0: 10})
    story.committed(b, {0: 40, 1: 20})
    story.committed(c, {0: 40, 1: 30})
    report = story.consensus()
    assert story.metrics().chain.rows.tolist() == [1, 2]
    assert (report["committed_blocks"], report["stale_blocks"], report["pending_blocks"]) == (3, 1, 1)
    assert report["stale_rate"]["value"] == pytest.approx(1 / 3)
    assert report["block_interval_ms"] == all_equal(10.0)
    assert report["chain_growth_per_s"] == 2.0
