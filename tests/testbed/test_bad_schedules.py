# ruff: noqa: E501 - a sentence is easiest to judge as it will be read, on one line
"""A wrong Twins schedule in a scenario: one sentence for each mistake."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.scenario import ScenarioError, make_scenario

LEADERS, PARTITIONS = [0, 1], [[[0, 1, 4], [2, 3]], [[0, 1, 2, 3, 4]]]
TWINS: dict[str, Any] = {
    "kind": "byzantine",
    "behaviour": "twins",
    "target": "replica/3",
    "leaders": LEADERS,
    "partitions": PARTITIONS,
}


def scenario(*faults: dict[str, Any], protocol: str = "hotstuff") -> Any:
    return make_scenario(
        {
            "consensus": {"protocol": protocol},
            "committee": [{"on": "laboratory", "count": 4}],
            "network": {"model": "fixed", "delay_ms": 10},
            "fault": list(faults),
        }
    )


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in TWINS.items() if name != key}


def test_the_schedule_that_these_tests_break_is_right() -> None:
    (fault,) = scenario(TWINS).fault
    assert fault.leaders == (0, 1)
    assert fault.partitions == (((0, 1, 4), (2, 3)), ((0, 1, 2, 3, 4),))


@pytest.mark.parametrize(
    ("faults", "sentence"),
    [
        ([without("leaders")], "fault[0].leaders: missing; a schedule has partitions and leaders"),
        ([without("partitions")], "fault[0].partitions: missing; a schedule has leaders and partitions"),
        ([{**TWINS, "leaders": [], "partitions": []}], "fault[0].leaders = []: needs at least one round"),
        ([{**TWINS, "leaders": [0, 4]}], "fault[0].leaders[1] = 4: must be between 0 and 3"),
        ([{**TWINS, "leaders": [0, "1"]}], 'fault[0].leaders = [0, "1"]: must be a list of replica numbers, one for each round'),
        ([{**TWINS, "leaders": [0, 1, 2]}], "fault[0].partitions: must be 3, one for each leader, not 2"),
        ([{**TWINS, "partitions": [[[0, 1], [2, 3]], PARTITIONS[1]]}], "fault[0].partitions[0] = [[0, 1], [2, 3]]: must have each of the nodes 0 to 4 in one group"),
        ([{**TWINS, "partitions": [[[0, 1, 2, 3, 4, 4]], PARTITIONS[1]]}], "fault[0].partitions[0] = [[0, 1, 2, 3, 4, 4]]: must have each of the nodes 0 to 4 in one group"),
        ([{**TWINS, "target": ["replica/2", "replica/3"]}], 'fault[0].target = ["replica/2", "replica/3"]: must be one replica, such as replica/3: a schedule has one twin'),
        ([{**TWINS, "target": "all"}], 'fault[0].target = "all": must be one replica, such as replica/3: a schedule has one twin'),
        ([{**TWINS, "victims": "replica/0"}], "fault[0].victims: means nothing beside a schedule, whose partitions say who hears whom"),
        ([{**TWINS, "window_s": [1, 2]}], "fault[0].window_s = [1, 2]: means nothing beside a schedule, which has rounds"),
        ([TWINS, {**TWINS, "target": "replica/2"}], "fault[1].leaders: is the second schedule: another fault has one"),
        ([{**TWINS, "behaviour": "silent"}], 'fault[0].leaders = [0, 1]: means nothing to behaviour = "silent"'),
        ([{**without("behaviour"), "kind": "crash"}], 'fault[0].leaders = [0, 1]: belongs to kind = "byzantine", not to kind = "crash"'),
    ],
)  # fmt: skip
def test_one_mistake_is_one_sentence(faults: list[dict[str, Any]], sentence: str) -> None:
    with pytest.raises(ScenarioError) as raised:
        scenario(*faults)
    assert sentence in [problem.removeprefix("scenario: ") for problem in raised.value.problems]


def test_a_protocol_without_views_has_no_rounds() -> None:
    with pytest.raises(ScenarioError, match="means nothing in longest_chain, which has no views"):
        scenario(TWINS, protocol="longest_chain")


def test_an_unknown_protocol_is_the_only_mistake() -> None:
    with pytest.raises(ScenarioError) as raised:
        scenario(TWINS, protocol="pbtf")
    assert len(raised.value.problems) == 1
