"""The account a node gives of itself: what it counted beside its trace."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

import msgspec

from node.cpu import Work

_DIGITS = 3


class Account(msgspec.Struct, kw_only=True):
    """One incarnation's counts, or the sum of several."""

    verifications: int = 0
    refused: dict[str, int] = msgspec.field(default_factory=dict)
    """Frames dropped, by reason."""
    affected: dict[int, int] = msgspec.field(default_factory=dict)
    """Messages that each network fault touched, and deeds of adversaries, by the fault's number."""
    work: Work = msgspec.field(default_factory=Work)
    """What the modelled CPU has done."""
    resent: int = 0
    outages: list[tuple[int, int]] = msgspec.field(default_factory=list)
    """Unix times in ns between which the node had no broker."""
    cpu_s: float = 0.0
    peak_rss_mb: float = 0.0

    def refuse(self, reason: str) -> None:
        """Count one frame that was dropped."""
        self.refused[reason] = self.refused.get(reason, 0) + 1


class Lateness:
    """How late deliveries were, in microseconds of emulated time, to three digits."""

    def __init__(self) -> None:
        self.count = 0
        self._buckets: Counter[int] = Counter()

    def add(self, lateness_us: int) -> None:
        """Count one delivery."""
        self.count += 1
        self._buckets[_rounded(max(0, lateness_us))] += 1

    def at(self, share: float, missing: int = 0) -> float:
        """The ⌈share·m⌉-th smallest lateness of m deliveries, in µs; 0 if there were none.

        What is `missing` was to come and never came: it is later than any other.
        """
        wanted = max(1, math.ceil(share * (self.count + missing) - 1e-9))
        seen = 0
        for lateness_us in sorted(self._buckets):
            seen += self._buckets[lateness_us]
            if seen >= wanted:
                return lateness_us
        return math.inf if missing else 0.0


def total(accounts: Iterable[Account]) -> Account:
    """The sum of several accounts; of memory, the most."""
    everything = Account()
    refused, affected = Counter[str](), Counter[int]()
    for account in accounts:
        for name in ("verifications", "work", "resent", "cpu_s"):
            setattr(everything, name, getattr(everything, name) + getattr(account, name))
        refused.update(account.refused)
        affected.update(account.affected)
        everything.outages += account.outages
        everything.peak_rss_mb = max(everything.peak_rss_mb, account.peak_rss_mb)
    everything.refused, everything.affected = dict(refused), dict(affected)
    return everything


def _rounded(value: int) -> int:
    """To three digits, so that there are never many different ones."""
    scale: int = 10 ** max(0, len(str(value)) - _DIGITS)
    return value // scale * scale


encode_account = msgspec.msgpack.Encoder().encode
decode_account = msgspec.msgpack.Decoder(Account).decode
