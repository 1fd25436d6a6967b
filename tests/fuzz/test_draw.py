"""What is drawn: scenarios that exist, that a protocol must bear, and that are never the same twice."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from consensus.byzantine import BEHAVIOURS
from consensus.protocols import PROTOCOLS, load_protocol
from consensus.protocols.hotstuff import HotStuff
from consensus.replica import Lottery
from testbed.fuzz.draw import draw, given_up, is_bearable, size
from testbed.scenario import make_scenario

MANY = 120


@pytest.fixture(scope="module", params=list(PROTOCOLS))
def drawn(request: pytest.FixtureRequest) -> tuple[str, list[dict[str, Any]]]:
    return request.param, [draw(request.param, 7, number) for number in range(MANY)]


def test_all_are_scenarios_that_the_protocol_must_bear(drawn: tuple[str, list[dict[str, Any]]]) -> None:
    protocol, scenarios = drawn
    facts = load_protocol(protocol).facts
    for tables in scenarios:
        assert make_scenario(tables).consensus.protocol == protocol
        assert is_bearable(tables, facts)
        heal_s = tables["expect"].get("progress_after_s", tables["duration_s"])
        lasting = {"byzantine", "crash"}
        assert all(fault["kind"] in lasting or fault["window_s"][1] <= heal_s for fault in tables["fault"])
        assert heal_s <= tables["duration_s"]


def test_together_they_try_everything(drawn: tuple[str, list[dict[str, Any]]]) -> None:
    """Every kind of fault, every behaviour that suits, orbits and laboratories, several sizes, f faulty and none."""
    protocol, scenarios = drawn
    facts = load_protocol(protocol).facts
    lottery = isinstance(facts.shape, Lottery)
    kinds = {fault["kind"] for tables in scenarios for fault in tables["fault"]}
    assert kinds == {"crash", "loss", "slow", "byzantine"} | (set() if lottery else {"partition"})
    menu = {name for name, each in BEHAVIOURS.items() if each.suits in (("all",) if lottery else ("all", "leaders"))}
    seen = Counter(fault.get("behaviour") for tables in scenarios for fault in tables["fault"])
    assert set(seen) - {None} == menu
    assert {"shell" in tables for tables in scenarios} == {True, False}
    models = {tables["network"].get("model", "latency") for tables in scenarios}
    assert models == {"latency", "links", "fixed", "uniform"}
    assert len({size(tables) for tables in scenarios}) >= 4
    assert {len(given_up(tables)) for tables in scenarios} >= {0, 1}
    assert sum("progress_after_s" in tables["expect"] for tables in scenarios) > MANY // 2


def test_a_draw_depends_on_protocol_seed_and_number_only() -> None:
    assert draw("pbft", 1, 2) == draw("pbft", 1, 2)
    others = [draw("pbft", 1, 3), draw("pbft", 2, 2), draw("tendermint", 1, 2)]
    assert all(other["seed"] != draw("pbft", 1, 2)["seed"] for other in others)


def test_hotstuff_is_not_asked_for_what_it_cannot_do() -> None:
    """Three certificates in a row and one to collect the last: with one of four dead, never; with one of five, yes."""

    def tables(n: int, *faulty: int) -> dict[str, Any]:
        fault = {"kind": "byzantine", "behaviour": "silent", "target": [f"replica/{i}" for i in faulty]}
        return {
            "committee": [{"on": "laboratory", "count": n}],
            "fault": [{**fault, "window_s": [0.0]}],
            "expect": {"progress_after_s": 1.0},
        }

    facts = HotStuff.facts
    assert not is_bearable(tables(4, 1), facts)
    assert is_bearable(tables(5, 1), facts)
    assert is_bearable(tables(7, 3, 4), facts)
    assert not is_bearable(tables(7, 0, 3), facts)
    assert not is_bearable(tables(7, 3, 4, 5), facts)
    assert is_bearable({**tables(4, 1), "expect": {}}, facts)
