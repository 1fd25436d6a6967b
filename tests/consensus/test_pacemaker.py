"""When to give up a view, and when to propose."""

from __future__ import annotations

import pytest

from consensus.pacemaker import BftParameters, ProposalPace, timeout_ns
from tests.consensus.stage import DELTA_NS, seat


def pace(**parameters: object) -> ProposalPace:
    return ProposalPace.of(seat(0, BftParameters(**parameters)), 800)  # type: ignore[arg-type]


def test_a_timeout_is_what_the_scenario_says_or_a_multiple_of_delta() -> None:
    assert timeout_ns(seat(0, BftParameters()), 8.0) == 8 * DELTA_NS
    assert timeout_ns(seat(0, BftParameters()), 2.5) == 250
    assert timeout_ns(seat(0, BftParameters(), timeout_ns=7), 8.0) == 7


def test_by_default_a_leader_proposes_at_once() -> None:
    assert pace().wait_ns(1000, 1000, 999, anything_to_say=False) == 0


def test_a_block_interval_is_kept_from_block_to_block() -> None:
    slow = pace(block_interval_ms=1e-3)
    assert slow.wait_ns(1400, 1400, 1000, anything_to_say=True) == 600
    assert slow.wait_ns(2000, 1400, 1000, anything_to_say=True) == 0


def test_an_idle_leader_waits_but_shows_itself_alive_at_half_time() -> None:
    idle = pace(propose_empty=False)
    assert idle.wait_ns(1000, 1000, 0, anything_to_say=True) == 0
    waits = idle.wait_ns(1000, 1000, 0, anything_to_say=False)
    assert 0 < waits <= DELTA_NS
    assert idle.wait_ns(1399, 1000, 0, anything_to_say=False) > 0
    assert idle.wait_ns(1400, 1000, 0, anything_to_say=False) == 0


def test_parameters_are_checked() -> None:
    with pytest.raises(ValueError, match="block_interval_ms"):
        BftParameters(block_interval_ms=-1)
