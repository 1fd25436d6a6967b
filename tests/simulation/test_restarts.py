"""A replica that restarts from its store never contradicts what it said before, and catches up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consensus.effects import Effect, Persist
from consensus.protocols.hotstuff import HotStuff
from consensus.protocols.hotstuff2 import HotStuff2
from consensus.protocols.jolteon import Jolteon
from consensus.protocols.minimmit import Minimmit
from consensus.protocols.pbft import Pbft
from consensus.protocols.tendermint import Tendermint
from tests.laboratory import constant, run_matrix
from tests.simulation.runs import SAFETY, crash, failed, heights, kinds, least, matrices, partition

quick = settings(deadline=None, max_examples=15, derandomize=True, suppress_health_check=[HealthCheck.too_slow])

DELTA_MS = 20.0
CRASHING_S, DURATION_S = 2.0, 6.0


@st.composite
def one_down_at_a_time(draw: st.DrawFn, n: int) -> list[dict[str, Any]]:
    """Crash windows with instants to the nanosecond, up to f = (n-1)/3 replicas down at once."""
    lanes = []
    for lane in range((n - 1) // 3):
        edges = sorted(draw(st.lists(st.integers(1, int(CRASHING_S * 1e9)), min_size=2, max_size=6, unique=True)))
        for begin_ns, end_ns in zip(edges[::2], edges[1::2], strict=False):
            # Lanes take turns among the replicas of their own, so that no two lanes crash the same one.
            replica = lane + (n - 1) // 3 * draw(st.integers(0, 2))
            lanes.append(crash(replica, begin_ns / 1e9, end_ns / 1e9))
    return lanes


def restart(
    protocol: str, n: int, delay_ns: Any, faults: list[dict[str, Any]], sign_us: float, seed: int, **options: Any
) -> Any:
    parameters = {"block_interval_s": 0.05, "confirmations": 8} if protocol == "longest_chain" else {}
    consensus: dict[str, Any] = {"parameters": parameters}
    if protocol != "longest_chain":
        # Streamlet's epochs and Minimmit's timers are no longer than they must be: signing must fit into Δ, too.
        consensus["delta_ms"] = 2 * DELTA_MS if protocol in ("streamlet", "minimmit") else DELTA_MS
        parameters["block_interval_ms"] = 20
    return run_matrix(
        protocol,
        delay_ns,
        DURATION_S,
        seed=seed,
        consensus=consensus,
        fault=faults,
        compute={"signatures": "modelled", "sign_us": sign_us, "verify_us": sign_us / 2},
        **options,
    )


@st.composite
def cases(draw: st.DrawFn) -> tuple[int, Any, list[dict[str, Any]], float, int]:
    n = draw(st.sampled_from([4, 5, 7]))
    # An expensive signature lets a crash fall between what one event persists and what it sends.
    sign_us = draw(st.sampled_from([0.0, 50.0, 1000.0]))
    return n, draw(matrices(n)), draw(one_down_at_a_time(n)), sign_us, draw(st.integers(0, 1000))


def check_leader_based(protocol: str, case: tuple[int, Any, list[dict[str, Any]], float, int], **options: Any) -> None:
    result = restart(protocol, *case, **options)
    assert not failed(result), result.report["safety"]["violations"]
    reached = heights(result)
    # Recovery: everyone follows to the end; at most a few blocks are still on their way.
    assert min(reached) > 0
    assert max(reached) - min(reached) <= 8, reached


@pytest.mark.parametrize("protocol", ["pbft", "hotstuff", "jolteon", "hotstuff2", "tendermint", "streamlet"])
@given(case=cases())
@quick
def test_restarts_are_safe_and_everyone_catches_up(protocol: str, case: Any) -> None:
    check_leader_based(protocol, case)


@given(case=cases())
@quick
def test_restarted_miners_stay_valid_and_catch_up(case: Any) -> None:
    n, delay_ns, faults, _, seed = case
    result = restart("longest_chain", n, delay_ns // 10, faults, 0.0, seed)
    # Agreement is a matter of luck and depth for a longest chain; these checks are not.
    assert not failed(result) & (SAFETY - {"agreement", "commit order"}), result.report["safety"]["violations"]
    reached = heights(result)
    assert max(reached) - min(reached) <= 3, reached


def test_a_miner_never_makes_the_same_block_twice() -> None:
    result = restart("longest_chain", 4, constant(4, 1), [crash(1, 0.5, 1.0), crash(1, 1.5, 1.6)], 0.0, 1)
    mined = list(zip(result.blocks["proposer"].to_pylist(), result.blocks["view"].to_pylist(), strict=True))
    assert len(set(mined)) == len(mined)


class Forgetful:
    """A replica whose store forgets all but the blocks."""

    def emit(self, *effects: Effect) -> None:
        super().emit(*(e for e in effects if not (type(e) is Persist and isinstance(e.key, str))))  # type: ignore[misc]


class ForgetfulHotStuff(Forgetful, HotStuff):
    pass


class ForgetfulJolteon(Forgetful, Jolteon):
    pass


class ForgetfulHotStuff2(Forgetful, HotStuff2):
    pass


class ForgetfulPbft(Forgetful, Pbft):
    pass


class ForgetfulTendermint(Forgetful, Tendermint):
    pass


class ForgetfulMinimmit(Forgetful, Minimmit):
    pass


def test_replicas_that_forget_what_they_prepared_lose_a_committed_block() -> None:
    """All who knew of the first blocks crash; a replica that was cut off till then must learn of them."""
    faults = [partition([3], 0.0, 0.7), *(crash(i, 0.5, 0.55 + i / 100) for i in range(3))]
    honest = restart("pbft", 4, constant(4, 10), faults, 0.0, 1)
    assert not failed(honest) & SAFETY
    forgetful = restart("pbft", 4, constant(4, 10), faults, 0.0, 1, protocol_class=ForgetfulPbft)
    assert {"no double vote", "agreement"} & failed(forgetful)


@pytest.mark.parametrize(
    ("protocol", "mutant"),
    [
        ("hotstuff", ForgetfulHotStuff),
        ("jolteon", ForgetfulJolteon),
        ("hotstuff2", ForgetfulHotStuff2),
        ("tendermint", ForgetfulTendermint),
        ("minimmit", ForgetfulMinimmit),
    ],
)
def test_replicas_that_forget_their_votes_vote_twice(protocol: str, mutant: Any) -> None:
    faults = [crash(i, 0.3 + i / 1000, 0.35) for i in range(4)]
    # Without transactions the second block of a view would be the same as the first.
    workload = {"transactions_per_s": 1000}
    honest = restart(protocol, 4, constant(4, 10), faults, 0.0, 1, workload=workload)
    assert not failed(honest)
    forgetful = restart(protocol, 4, constant(4, 10), faults, 0.0, 1, workload=workload, protocol_class=mutant)
    assert "no double vote" in failed(forgetful)


def test_a_replica_that_slept_through_a_thousand_blocks_fetches_them() -> None:
    # One of each family: those left out fetch with the same code.
    down = {"pbft": 4.0, "jolteon": 8.0, "tendermint": 4.0, "minimmit": 3.0}
    for protocol, down_s in down.items():
        n = least(protocol) + 1
        result = run_matrix(
            protocol,
            constant(n, 1),
            down_s + 1,
            consensus={"delta_ms": 2.0},
            fault=[crash(n - 1, 0.01, down_s)],
        )
        assert not failed(result), (protocol, result.report["safety"]["violations"])
        reached = heights(result)
        assert max(reached) > 1000, (protocol, reached)
        assert max(reached) - min(reached) <= 8, (protocol, reached)
        assert 0 < kinds(result)["fetch"] < 300, (protocol, kinds(result))


def test_heights_reads_the_result() -> None:
    result = run_matrix("pbft", constant(4, 10), 1.0, fault=[crash(2, 0.5)], consensus={"delta_ms": DELTA_MS})
    reached = heights(result)
    assert reached[2] < reached[0]
    assert np.ptp([reached[i] for i in (0, 1, 3)]) == 0
