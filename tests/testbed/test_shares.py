"""Who made the final chain, on chains written down by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from testbed.places import group_of, place_of, plane_of
from testbed.shares import MOST_GROUPS, chain_quality, fairness, plane_share


def made_by(*proposers: int) -> Any:
    return np.array(proposers, dtype=np.int64)


@pytest.mark.parametrize(
    ("chain", "expected"),
    [
        # Three of twelve are not honest: one in the first window, two in the second, three in the third.
        ("++-+++++++--", {"min": 0.7, "mean": 0.8, "whole": 0.75}),
        ("+" * 9 + "-", {"min": 0.9, "mean": 0.9, "whole": 0.9}),
        ("+" * 8 + "-", {"min": None, "mean": None, "whole": pytest.approx(8 / 9)}),
        ("", {"min": None, "mean": None, "whole": None}),
        ("-" * 10 + "+" * 10, {"min": 0.0, "mean": 0.5, "whole": 0.5}),
    ],
)
def test_chain_quality_is_of_any_ten_blocks_in_a_row(chain: str, expected: dict[str, Any]) -> None:
    """Windows slide: `k` blocks have k - 9 of them."""
    assert chain_quality(np.array([mark == "+" for mark in chain], dtype=bool)) == {"k": 10, **expected}


@pytest.mark.parametrize(
    ("proposers", "weights", "least", "most", "inequality"),
    [
        ([0, 1, 2, 3], [1.0, 1.0, 1.0, 1.0], 1.0, 1.0, 0.0),
        ([0, 0, 0, 1], [3.0, 1.0], 1.0, 1.0, 0.0),
        # Half of the blocks for three quarters of the power, and for one.
        ([0, 0, 1, 1], [3.0, 1.0], 2 / 3, 2.0, 0.25),
        # Who has no power is asked for nothing.
        ([0, 0, 1, 1], [1.0, 1.0, 0.0], 1.0, 1.0, 0.0),
    ],
)
def test_fair_is_a_share_of_blocks_like_ones_share_of_power(
    proposers: list[int], weights: list[float], least: float, most: float, inequality: float
) -> None:
    found = fairness(made_by(*proposers), np.array(weights))
    assert found["leader_share_ratio"] == {"min": pytest.approx(least), "max": pytest.approx(most)}
    assert found["leader_share_gini"] == pytest.approx(inequality)


def test_names_say_where_a_member_is() -> None:
    endpoints = ["sat/s1/03/11", "sat/gps/24876", "gs/svalbard", "net/svalbard", "lab/3"]
    assert [place_of(name) for name in endpoints] == ["orbit", "orbit", "ground", "terrestrial", "laboratory"]
    assert [plane_of(name) for name in endpoints] == ["s1/03", None, None, None, None]
    assert [group_of(name) for name in endpoints] == ["s1/03", "gps", "ground", "terrestrial", "laboratory"]


def test_planes_have_shares_and_others_have_one_each() -> None:
    """Two planes of one and two members, a station of twice the power, and a satellite of an element set.

    Of eight blocks three are by plane 00, with 1/6 of the power, and one by plane 01, with 2/6.
    """
    endpoints = ["sat/s1/00/00", "sat/s1/01/00", "sat/s1/01/01", "gs/kiruna", "sat/gps/7"]
    weights = np.array([1.0, 1.0, 1.0, 2.0, 1.0])
    assert plane_share(made_by(0, 0, 0, 2, 3, 3, 3, 4), weights, endpoints)["plane_share"] == {
        "planes": 2,
        "ratio": {"min": pytest.approx(1 / 8 / (2 / 6)), "max": pytest.approx(3 / 8 / (1 / 6))},
        # Of 9/4 and 3/8: their difference over twice their sum.
        "gini": pytest.approx((9 / 4 - 3 / 8) / (2 * (9 / 4 + 3 / 8))),
        "share": {"gps": 0.125, "ground": 0.375, "s1/00": 0.375, "s1/01": 0.125},
    }


def test_without_planes_nothing_is_said_of_them() -> None:
    assert plane_share(made_by(0, 1), np.ones(2), ["gs/kiruna", "sat/gps/7"]) == {}


def test_without_blocks_there_are_planes_and_no_shares() -> None:
    found = plane_share(made_by(), np.ones(2), ["gs/kiruna", "sat/s1/00/00"])["plane_share"]
    assert found == {
        "planes": 1,
        "ratio": {"min": None, "max": None},
        "gini": None,
        "share": {"ground": None, "s1/00": None},
    }


@pytest.mark.parametrize(("planes", "listed"), [(MOST_GROUPS, True), (MOST_GROUPS + 1, False)])
def test_many_planes_are_only_summed_up(planes: int, listed: bool) -> None:
    endpoints = [f"sat/s1/{plane:02d}/00" for plane in range(planes)]
    found = plane_share(made_by(0), np.ones(planes), endpoints)["plane_share"]
    assert found["planes"] == planes
    assert ("share" in found) == listed
