"""With one constant delay δ between all, latencies and message counts are exact numbers, not statistics."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from testbed.result import Result
from tests.laboratory import MS, constant, run_matrix
from tests.papers.measured import measured

DELTA_MS = 10.0
DELTA_NS = round(DELTA_MS * MS)
COMMITTEES = (4, 7, 16, 31)
LARGER_COMMITTEES = (6, 7, 16, 31)
"""In which Minimmit tolerates a fault."""
BLOCKS = 12
SLOW = {"consensus": {"delta_ms": 2 * DELTA_MS}}


def messages(result: Result) -> dict[str, int]:
    """How many messages of each kind were sent; one is a (sender, receiver ≠ sender) pair."""
    return {kind: count["messages"] for kind, count in result.to_dict()["network"]["by_kind"].items()}


def pbft(n: int) -> Result:
    """PBFT up to just before the primary commits block `BLOCKS` and proposes the next."""
    return run_matrix("pbft", constant(n, DELTA_MS), (3 * BLOCKS - 0.5) * DELTA_MS / 1e3)


CHAIN = {"hotstuff": 3, "jolteon": 2, "hotstuff2": 2}
"""How many blocks in a row are certified when the first is final: 2δ for each, and δ to tell."""


def chained(protocol: str, n: int) -> Result:
    """A chained protocol up to just after the votes for block `BLOCKS` have left."""
    return run_matrix(protocol, constant(n, DELTA_MS), (2 * (BLOCKS - 1) + 1.5) * DELTA_MS / 1e3)


def tendermint(n: int, **tables: Any) -> Result:
    """Tendermint up to just before block `BLOCKS` is decided and the next proposed."""
    return run_matrix("tendermint", constant(n, DELTA_MS), (3 * BLOCKS - 0.5) * DELTA_MS / 1e3, **tables)


def simplex(n: int) -> Result:
    """Simplex up to just before the votes to finalize block `BLOCKS` leave and the next proposal."""
    return run_matrix("simplex", constant(n, DELTA_MS), (2 * BLOCKS - 0.5) * DELTA_MS / 1e3)


def streamlet(n: int) -> Result:
    """Streamlet with Δ = 2δ, so epochs of 4δ, up to just before epoch `BLOCKS + 1`."""
    return run_matrix("streamlet", constant(n, DELTA_MS), (4 * BLOCKS - 0.5) * DELTA_MS / 1e3, **SLOW)


def minimmit(n: int) -> Result:
    """Minimmit up to just before block `BLOCKS` is notarized and final, and the next proposed."""
    return run_matrix("minimmit", constant(n, DELTA_MS), (2 * BLOCKS - 0.5) * DELTA_MS / 1e3)


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
def test_tendermint_decides_at_exactly_three_delays(n: int) -> None:
    """arXiv 1807.04938, algorithm 1: proposal, prevotes, precommits; the next height follows at once, led in turn."""
    seen = measured(tendermint(n))
    heights = list(range(1, BLOCKS))
    assert seen.height.tolist() == heights
    assert (seen.finality_ns == 3 * DELTA_NS).all()
    assert seen.proposed_ns.tolist() == [3 * DELTA_NS * (height - 1) for height in heights]
    assert seen.proposer.tolist() == [height % n for height in heights]


@pytest.mark.parametrize("n", COMMITTEES)
def test_tendermint_sends_2n2_n_1_messages_per_decision(n: int) -> None:
    """n-1 proposals, n(n-1) prevotes and n(n-1) precommits, nothing else."""
    sent = messages(tendermint(n))
    assert sent == {"proposal": BLOCKS * (n - 1), "prevote": BLOCKS * n * (n - 1), "precommit": BLOCKS * n * (n - 1)}
    assert sum(sent.values()) == BLOCKS * (2 * n * n - n - 1)


TIMEOUTS_MS = {"timeout_propose_ms": 47, "timeout_prevote_ms": 31, "timeout_precommit_ms": 29, "timeout_growth_ms": 13}


def first_decided_ns(result: Result) -> list[int]:
    """When each replica that is up decides its first block."""
    assert result.ok, result.report["safety"]["violations"]
    times: dict[int, int] = {}
    for replica, at in zip(
        result.arrivals["replica"].to_pylist(), result.arrivals["committed_ns"].to_pylist(), strict=True
    ):
        if at is not None:
            times[replica] = min(at, times.get(replica, at))
    return sorted(times.values())


@pytest.mark.parametrize(("n", "dead"), [(4, 0), (4, 1), (7, 1), (7, 2), (10, 3)])
def test_dead_proposers_cost_tendermint_exactly_their_timeouts(n: int, dead: int) -> None:
    """Each dead proposer of round r: propose(r), δ for nil prevotes, δ for nil precommits, precommit(r).

    k of them cost Σ = k·base + growth·k(k-1)/2 of either timeout (CometBFT #3102), and 2δ each.
    """
    faults = [{"kind": "crash", "target": f"replica/{1 + r}", "window_s": [0.0]} for r in range(dead)]
    result = run_matrix("tendermint", constant(n, DELTA_MS), 1.0, consensus={"parameters": TIMEOUTS_MS}, fault=faults)
    lost_ms = sum(47 + 13 * r + 29 + 13 * r + 2 * DELTA_MS for r in range(dead))
    assert lost_ms == dead * (47 + 29 + 2 * DELTA_MS) + 2 * 13 * dead * (dead - 1) / 2
    assert first_decided_ns(result) == [(lost_ms + 3 * DELTA_MS) * MS] * (n - dead)


def test_an_idle_tendermint_proposer_is_not_given_up() -> None:
    """With nothing to propose it waits for half its time, 47 ms, and no round fails."""
    parameters = {**TIMEOUTS_MS, "propose_empty": False}
    result = run_matrix("tendermint", constant(4, DELTA_MS), 1.0, consensus={"parameters": parameters})
    assert result.ok
    assert set(messages(result)) == {"proposal", "prevote", "precommit"}
    periods = np.diff(measured(result).proposed_ns)
    poll_ns = 47 * MS // 2 // 16
    assert (periods >= 3 * DELTA_NS + 47 * MS // 2).all()
    assert (periods <= 3 * DELTA_NS + 47 * MS // 2 + poll_ns).all()


@pytest.mark.parametrize(("propose_ms", "precommit_ms", "period_ms"), [(3000, 1000, 4400), (1000, 500, 1900)])
def test_a_failed_round_takes_what_it_takes_in_production(propose_ms: int, precommit_ms: int, period_ms: int) -> None:
    """left-curve pull request 1983: timeouts of 3 s and 1 s make 4.4 s, 1 s and 0.5 s make 1.9 s, with δ = 200 ms."""
    parameters = {"timeout_propose_ms": propose_ms, "timeout_precommit_ms": precommit_ms}
    crash = {"kind": "crash", "target": "replica/1", "window_s": [0.0]}
    result = run_matrix("tendermint", constant(4, 200), 6.0, consensus={"parameters": parameters}, fault=[crash])
    assert first_decided_ns(result) == [(period_ms + 3 * 200) * MS] * 3


@pytest.mark.parametrize("protocol", CHAIN)
@pytest.mark.parametrize("n", COMMITTEES)
def test_chains_grow_every_two_delays_and_are_final_after_five_or_seven(protocol: str, n: int) -> None:
    """Block b is proposed at 2δ(b-1) and committed δ after block b+3 is, or b+2; by the proposer of that at once."""
    chain = CHAIN[protocol]
    seen = measured(chained(protocol, n))
    heights = seen.height.tolist()
    assert heights == list(range(1, BLOCKS - chain + 1))
    assert seen.proposed_ns.tolist() == [2 * DELTA_NS * (b - 1) for b in heights]
    for b, committed in zip(heights, seen.committed_ns, strict=True):
        expected = np.full(n, (2 * (b + chain - 1) + 1) * DELTA_NS)
        expected[(b + chain) % n] -= DELTA_NS
        assert committed.tolist() == expected.tolist()


@pytest.mark.parametrize(("protocol", "delays"), [("hotstuff", 7), ("jolteon", 5), ("hotstuff2", 5)])
@pytest.mark.parametrize("n", COMMITTEES)
def test_finality_of_chains_is_whole_delays_as_a_median_and_less_by_a_share_as_a_mean(
    protocol: str, delays: int, n: int
) -> None:
    """The median over replicas is 7δ or 5δ, their mean less by δ/n: the collector's own last hop is free."""
    result = chained(protocol, n)
    finality = result.to_dict()["consensus"]["finality_ms"]
    count = BLOCKS - CHAIN[protocol]
    assert finality == {"count": count} | dict.fromkeys(("mean", "p50", "p90", "p99", "max"), delays * DELTA_MS)
    assert (measured(result).finality_ns.sum(axis=1) == (delays * n - 1) * DELTA_NS).all()


@pytest.mark.parametrize("protocol", CHAIN)
@pytest.mark.parametrize("n", COMMITTEES)
def test_chains_take_2n_2_messages_per_block(protocol: str, n: int) -> None:
    """One proposal to all others, and a vote of all but the next leader, whose own stays at home."""
    assert messages(chained(protocol, n)) == {"proposal": BLOCKS * (n - 1), "vote": BLOCKS * (n - 1)}


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


@pytest.mark.parametrize("n", LARGER_COMMITTEES)
def test_minimmit_proposes_every_two_delays_when_the_block_before_is_final(n: int) -> None:
    """arXiv 2508.10862, section 1: two rounds to finality, the proposal and the votes, at every replica."""
    seen = measured(minimmit(n))
    heights = seen.height.tolist()
    assert heights == list(range(1, BLOCKS))
    assert seen.proposed_ns.tolist() == [2 * DELTA_NS * (height - 1) for height in heights]
    assert (seen.finality_ns == 2 * DELTA_NS).all()


@pytest.mark.parametrize("n", LARGER_COMMITTEES)
def test_minimmit_sends_2n2_n_1_messages_per_block(n: int) -> None:
    """n-1 proposals; n(n-1) votes and notarizations sent on."""
    sent = messages(minimmit(n))
    each = n * (n - 1)
    assert sent == {"proposal": BLOCKS * (n - 1), "notarize": BLOCKS * each, "notarized": (BLOCKS - 1) * each}
    assert sum(sent.values()) + each == BLOCKS * (2 * n * n - n - 1)


@pytest.mark.parametrize("n", COMMITTEES)
def test_a_longest_chain_sends_each_block_to_all_and_is_final_with_the_last_confirmation(n: int) -> None:
    """n-1 messages a block; six confirmations count the block itself: it is final when the fifth above it arrives."""
    consensus = {"parameters": {"block_interval_s": 1.0, "confirmations": 6}}
    result = run_matrix("longest_chain", constant(n, DELTA_MS), 30.0, consensus=consensus)
    proposed = result.to_dict()["consensus"]["proposed_blocks"]
    assert messages(result) == {"mined": proposed * (n - 1)}
    seen = measured(result)
    assert len(seen.height) > 10
    found_ns = dict(zip(seen.height.tolist(), seen.proposed_ns.tolist(), strict=True))
    for height, proposed_ns, finality_ns in zip(seen.height.tolist(), seen.proposed_ns, seen.finality_ns, strict=True):
        if height + 5 in found_ns:
            arrived_ns = proposed_ns + np.sort(finality_ns)
            assert arrived_ns.tolist() == [found_ns[height + 5], *[found_ns[height + 5] + DELTA_NS] * (n - 1)]


@pytest.mark.parametrize("n", [4, 5])
def test_minimmit_proposes_every_delay_where_one_vote_notarizes(n: int) -> None:
    """f = 0: the next leader's own vote is enough; finality is 2δ as ever."""
    seen = measured(minimmit(n))
    assert seen.proposed_ns.tolist() == [DELTA_NS * (height - 1) for height in seen.height.tolist()]
    assert len(seen.height) == 2 * (BLOCKS - 1)
    assert (seen.finality_ns == 2 * DELTA_NS).all()


RUNS: dict[str, tuple[Callable[[int], Result], int]] = {
    "pbft": (pbft, 3),
    "tendermint": (tendermint, 3),
    "hotstuff": (partial(chained, "hotstuff"), 7),
    "jolteon": (partial(chained, "jolteon"), 5),
    "hotstuff2": (partial(chained, "hotstuff2"), 5),
    "simplex": (simplex, 3),
    "streamlet": (streamlet, 6),
    "minimmit": (minimmit, 2),
}


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
