"""Accounts and lateness: to three digits, by nearest rank; and sums of several accounts that lose nothing."""

from __future__ import annotations

import math
from fractions import Fraction

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from node.account import Account, Lateness, decode_account, encode_account, total
from node.cpu import Work

latenesses_us = st.lists(st.integers(-5, 10**8) | st.integers(-5, 2_000), max_size=300)
shares = st.integers(1, 100)


def three_digits(value: int) -> int:
    """Rounded down to three digits."""
    text = str(value)
    return int(text[:3] + "0" * (len(text) - 3))


def late(latenesses: list[int]) -> Lateness:
    lateness = Lateness()
    for lateness_us in latenesses:
        lateness.add(lateness_us)
    return lateness


@given(latenesses=latenesses_us, percent=shares, missing=st.integers(0, 30))
@settings(deadline=None, max_examples=200)
def test_a_share_of_the_deliveries_was_at_most_so_late(latenesses: list[int], percent: int, missing: int) -> None:
    """Nearest rank: the ⌈share·m⌉-th smallest of m, where what never came is later than all that did."""
    ascending_us = sorted(three_digits(max(0, lateness_us)) for lateness_us in latenesses) + [math.inf] * missing
    rank = math.ceil(Fraction(percent, 100) * len(ascending_us))
    assert late(latenesses).at(percent / 100, missing) == (ascending_us[rank - 1] if ascending_us else 0)


def test_the_ends_of_nearest_rank() -> None:
    lateness = late(list(range(1, 101)))
    assert [lateness.at(share) for share in (0.0, 0.01, 0.011, 0.5, 0.501, 0.99, 0.991, 1.0, 1)] == [
        1, 1, 2, 50, 51, 99, 100, 100, 100,
    ]  # fmt: skip
    assert Lateness().at(0.99) == 0
    assert Lateness().at(0.01, missing=1) == math.inf


def test_all_deliveries_are_counted_the_early_ones_as_in_time() -> None:
    lateness = late([-7, 0, 5])
    assert (lateness.count, lateness.at(0.5), lateness.at(1.0)) == (3, 0, 5)


@given(lateness_us=st.integers(0, 10**13))
def test_no_lateness_is_rounded_by_more_than_a_hundredth(lateness_us: int) -> None:
    assert 0 <= lateness_us - late([lateness_us]).at(1.0) < max(1, lateness_us / 100)


def test_lateness_takes_no_more_room_than_three_digits_need() -> None:
    assert len(late(list(range(100_000)))._buckets) == 1_000 + 900 + 900


def test_frames_are_counted_by_why_they_were_refused() -> None:
    account = Account()
    for reason in ("replayed", "malformed", "replayed"):
        account.refuse(reason)
    assert account.refused == {"replayed": 2, "malformed": 1}


FIRST = Account(
    verifications=10,
    refused={"replayed": 1},
    affected={0: 5, 2: 1},
    work=Work(sign_ns=1, verify_ns=2, hash_ns=3, execute_ns=4, undone_ns=5, messages=6, queued_ns=70, queued_max_ns=30),
    resent=4,
    outages=[(5, 6)],
    cpu_s=1.5,
    peak_rss_mb=50.0,
)
SECOND = Account(
    verifications=1,
    refused={"replayed": 2, "malformed": 1},
    affected={2: 3},
    work=Work(sign_ns=10, messages=20, queued_ns=40, queued_max_ns=40),
    resent=1,
    outages=[(1, 2), (7, 8)],
    cpu_s=0.25,
    peak_rss_mb=70.0,
)


def test_a_total_adds_everything_up_and_takes_the_most_memory() -> None:
    assert total([FIRST, SECOND]) == Account(
        verifications=11,
        refused={"replayed": 3, "malformed": 1},
        affected={0: 5, 2: 4},
        work=Work(
            sign_ns=11, verify_ns=2, hash_ns=3, execute_ns=4, undone_ns=5, messages=26, queued_ns=110, queued_max_ns=40
        ),
        resent=5,
        outages=[(5, 6), (1, 2), (7, 8)],
        cpu_s=1.75,
        peak_rss_mb=70.0,
    )
    assert total([SECOND, FIRST]).peak_rss_mb == 70.0


def test_a_total_leaves_out_no_field() -> None:
    """Of one account it is that account, with every field of it set."""
    assert all(getattr(FIRST, field) != getattr(Account(), field) for field in Account.__struct_fields__)
    assert total([FIRST]) == FIRST
    assert total([]) == Account()


def test_a_total_is_a_new_account() -> None:
    before = msgspec.structs.asdict(FIRST)
    both = total([FIRST, SECOND])
    both.refuse("replayed")
    both.affected[0] = 0
    both.outages.append((0, 0))
    assert msgspec.structs.asdict(FIRST) == before


def test_an_account_travels() -> None:
    assert decode_account(encode_account(FIRST)) == FIRST
    assert decode_account(encode_account(Account())) == Account()
