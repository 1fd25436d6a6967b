"""The statistics of every table: nearest-rank percentiles, proportions with standard errors, Gini."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.statistics import gini, percentile, proportion, summary

SHARES = st.fractions(min_value=0, max_value=1, max_denominator=1000)


@pytest.mark.parametrize(
    ("count", "share", "expected"),
    [
        (1, 0.0, 1),
        (1, 0.5, 1),
        (1, 1.0, 1),
        (4, 0.5, 2),
        (5, 0.5, 3),
        (10, 0.9, 9),
        (11, 0.9, 10),
        (100, 0.99, 99),
        (101, 0.99, 100),
        (10, 1.0, 10),
        # 0.07 * 100 is 7.000000000000001 in floating point, and is 7 all the same.
        (100, 0.07, 7),
        (1000, 0.29, 290),
    ],
)
def test_a_percentile_is_the_ceiling_rank(count: int, share: float, expected: int) -> None:
    """definitions.md: a percentile of m values is the ⌈p·m⌉-th smallest."""
    assert percentile(np.arange(1, count + 1), share) == expected


@given(st.integers(1, 500), SHARES)
def test_percentiles_agree_with_exact_fractions(count: int, share: object) -> None:
    """Floating point never moves the rank."""
    assert percentile(np.arange(1, count + 1), float(share)) == max(1, math.ceil(share * count))


def test_a_summary_names_its_count() -> None:
    """{count, mean, p50, p90, p99, max}, of values in any order."""
    values = np.array([float(value) for value in range(200, 0, -1)])
    assert summary(values) == {"count": 200, "mean": 100.5, "p50": 100.0, "p90": 180.0, "p99": 198.0, "max": 200.0}


def test_a_summary_of_nothing_is_nothing() -> None:
    """No values, no numbers: not zeros."""
    assert summary(np.zeros(0)) is None


def test_a_proportion_has_its_count_and_standard_error() -> None:
    """√(p(1-p)/m)."""
    assert proportion(20, 100) == {"value": 0.2, "se": 0.04, "count": 20, "of": 100}
    assert proportion(0, 50) == {"value": 0.0, "se": 0.0, "count": 0, "of": 50}
    assert proportion(0, 0) == {"value": None, "se": None, "count": 0, "of": 0}


@pytest.mark.parametrize(
    ("shares", "expected"),
    [([1.0, 1.0, 1.0, 1.0], 0.0), ([0.0, 0.0, 0.0, 8.0], 0.75), ([1.0, 3.0], 0.25), ([5.0], 0.0)],
)
def test_gini_of_known_shares(shares: list[float], expected: float) -> None:
    """0 when all are equal, 1 - 1/n when one has everything."""
    assert gini(np.array(shares)) == expected


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=30).filter(any))
def test_gini_is_the_mean_difference(shares: list[int]) -> None:
    """G = Σᵢⱼ|xᵢ-xⱼ|/(2n²x̄), term by term."""
    differences = sum(abs(one - other) for one in shares for other in shares)
    mean = sum(shares) / len(shares)
    assert gini(np.array(shares, dtype=float)) == pytest.approx(differences / (2 * len(shares) ** 2 * mean), abs=1e-9)


def test_gini_of_nothing_is_nothing() -> None:
    """Where nobody has anything there is nothing to share fairly."""
    assert gini(np.zeros(3)) is None
