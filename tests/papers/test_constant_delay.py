"""With one constant delay δ between all, latencies and message counts are exact numbers, not statistics."""

import numpy as np
import pytest

from testbed.result import Result
from tests.laboratory import MS, constant, run_matrix
from tests.papers.measured import measured

DELTA_MS = 10.0
DELTA_NS = round(DELTA_MS * MS)
COMMITTEES = (4, 7, 16, 31)
BLOCKS = 12
SLOW = {"consensus": {"delta_ms": 2 * DELTA_MS}}


def messages(result: Result) -> dict[str, int]:
    """How many messages of each kind were sent; one is a (sender, receiver ≠ sender) pair."""
    return {kind: count["messages"] for kind, count in result.to_dict()["network"]["by_kind"].items()}


def pbft(n: int) -> Result:
    """PBFT up to just before the primary commits block `BLOCKS` and proposes the next."""
    return run_matrix("pbft", constant(n, DELTA_MS), (3 * BLOCKS - 0.5) * DELTA_MS / 1e3)


def simplex(n: int) -> Result:
    """Simplex up to just before the votes to finalize block `BLOCKS` leave and the next proposal."""
    return run_matrix("simplex", constant(n, DELTA_MS), (2 * BLOCKS - 0.5) * DELTA_MS / 1e3)


def streamlet(n: int) -> Result:
    """Streamlet with Δ = 2δ, so epochs of 4δ, up to just before epoch `BLOCKS + 1`."""
    return run_matrix("streamlet", constant(n, DELTA_MS), (4 * BLOCKS - 0.5) * DELTA_MS / 1e3, **SLOW)


def hotstuff(n: int) -> Result:
    """Chained HotStuff up to just after the votes for block `BLOCKS` have left."""
    return run_matrix("hotstuff", constant(n, DELTA_MS), (2 * (BLOCKS - 1) + 1.5) * DELTA_MS / 1e3)


@pytest.mark.parametrize("n", COMMITTEES)
def test_pbft_commits_at_exactly_three_delays(n: int) -> None:
    """OSDI 1999, section 4.2: pre-prepare, prepare, commit, at every replica; the next block follows at once."""
    seen = measured(pbft(n))
    assert len(seen.height) == BLOCKS - 1
    assert (seen.finality_ns == 3 * DELTA_NS).all()
    assert seen.proposed_ns.tolist() == [3 * DELTA_NS * (height - 1) for height in seen.height.tolist()]


@pytest.mark.parametrize("n", COMMITTEES)
def test_pbft_sends_2n2_n_1_messages_per_decision(n: int) -> None:
    """The primary sends a prepare too: n-1 pre-prepares, n(n-1) prepares and n(n-1) commits, nothing else."""
    sent = messages(pbft(n))
    assert sent == {"pre_prepare": BLOCKS * (n - 1), "prepare": BLOCKS * n * (n - 1), "commit": BLOCKS * n * (n - 1)}
    assert sum(sent.values()) == BLOCKS * (2 * n * n - n - 1)


def test_pbft_checkpoints_are_counted_apart() -> None:
    """Section 4.3: one checkpoint of every replica to all others, each `checkpoint_interval` blocks."""
    n, interval = 4, 5
    result = run_matrix(
        "pbft",
        constant(n, DELTA_MS),
        (3 * BLOCKS - 0.5) * DELTA_MS / 1e3,
        consensus={"parameters": {"checkpoint_interval": interval}},
    )
    sent = messages(result)
    assert sent.pop("checkpoint") == n * (n - 1) * ((BLOCKS - 1) // interval)
    assert sum(sent.values()) == BLOCKS * (2 * n * n - n - 1)


@pytest.mark.parametrize("n", COMMITTEES)
def test_hotstuff_proposes_every_two_delays_and_is_final_after_seven(n: int) -> None:
    """Block b is proposed at 2δ(b-1) and committed at 2δ(b+2)+δ; only the proposer of block b+3 has it δ earlier."""
    seen = measured(hotstuff(n))
    heights = seen.height.tolist()
    assert heights == list(range(1, BLOCKS - 2))
    assert seen.proposed_ns.tolist() == [2 * DELTA_NS * (b - 1) for b in heights]
    for b, committed in zip(heights, seen.committed_ns, strict=True):
        expected = np.full(n, (2 * (b + 2) + 1) * DELTA_NS)
        expected[(b + 3) % n] -= DELTA_NS
        assert committed.tolist() == expected.tolist()


@pytest.mark.parametrize("n", COMMITTEES)
def test_hotstuff_finality_is_seven_delays_as_a_median_and_less_by_a_share_as_a_mean(n: int) -> None:
    """The median over replicas is 7δ, their mean 7δ - δ/n: the collector's own last hop is free."""
    result = hotstuff(n)
    finality = result.to_dict()["consensus"]["finality_ms"]
    assert finality == {"count": BLOCKS - 3} | dict.fromkeys(("mean", "p50", "p90", "p99", "max"), 7 * DELTA_MS)
    assert (measured(result).finality_ns.sum(axis=1) == (7 * n - 1) * DELTA_NS).all()


@pytest.mark.parametrize("n", COMMITTEES)
def test_hotstuff_sends_2n_2_messages_per_block(n: int) -> None:
    """One proposal to all others, and a vote of all but the next leader, whose own stays at home."""
    assert messages(hotstuff(n)) == {"proposal": BLOCKS * (n - 1), "vote": BLOCKS * (n - 1)}


@pytest.mark.parametrize("n", COMMITTEES)
def test_simplex_proposes_every_two_delays_and_is_final_after_three(n: int) -> None:
    """ePrint 2023/463, section 1: an optimistic block time of 2δ and confirmation after 3δ, at every replica."""
    seen = measured(simplex(n))
    heights = seen.height.tolist()
    assert heights == list(range(1, BLOCKS))
    assert seen.proposed_ns.tolist() == [2 * DELTA_NS * (height - 1) for height in heights]
    assert (seen.finality_ns == 3 * DELTA_NS).all()


@pytest.mark.parametrize("n", COMMITTEES)
def test_simplex_sends_3n2_2n_1_messages_per_block(n: int) -> None:
    """n-1 proposals; n(n-1) votes to notarize, chains sent on and votes to finalize."""
    sent = messages(simplex(n))
    each = n * (n - 1)
    assert sent == {
        "proposal": BLOCKS * (n - 1),
        "notarize": BLOCKS * each,
        "notarized": (BLOCKS - 1) * each,
        "finalize": (BLOCKS - 1) * each,
    }
    assert sum(sent.values()) + 2 * each == BLOCKS * (3 * n * n - 2 * n - 1)


@pytest.mark.parametrize("n", COMMITTEES)
def test_streamlet_proposes_every_epoch_and_is_final_two_delays_into_the_next(n: int) -> None:
    """ePrint 2020/088, section 3: the middle one of three is final when the third is notarized, at E + 2δ."""
    seen = measured(streamlet(n))
    heights = seen.height.tolist()
    assert heights == list(range(1, BLOCKS))
    assert seen.proposed_ns.tolist() == [4 * DELTA_NS * (height - 1) for height in heights]
    assert (seen.finality_ns == (4 + 2) * DELTA_NS).all()


@pytest.mark.parametrize("n", COMMITTEES)
def test_streamlet_sends_n2_1_messages_per_block(n: int) -> None:
    """n-1 proposals and n(n-1) votes; nothing is echoed while all know the same chain."""
    assert messages(streamlet(n)) == {"proposal": BLOCKS * (n - 1), "vote": BLOCKS * n * (n - 1)}


RUNS = {"pbft": (pbft, 3), "hotstuff": (hotstuff, 7), "simplex": (simplex, 3), "streamlet": (streamlet, 6)}


@pytest.mark.parametrize("protocol", RUNS)
@pytest.mark.parametrize("n", COMMITTEES)
def test_the_result_says_that_nothing_was_lost_against_the_bound(protocol: str, n: int) -> None:
    """Bound and measurement are the same whole number of delays."""
    run, delays = RUNS[protocol]
    result = run(n)
    count = result.to_dict()["consensus"]["finality_ms"]["count"]
    assert result.to_dict()["bound"] == {
        "blocks": count,
        "finality_ms": delays * DELTA_MS,
        "ratio": 1.0,
        "ratio_min": 1.0,
        "check": f"ok: all {count} blocks",
    }
    assert result.ok
