"""The account a node gives of itself: what it counted beside its trace."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec

_DIGITS = 3


class Account(msgspec.Struct, kw_only=True):
    """One incarnation's counts, or the sum of several."""

    deliveries: int = 0
    """Messages handed to the replica."""
    verifications: int = 0
    lateness_us: dict[int, int] = msgspec.field(default_factory=dict)
    """How many deliveries were how late, in microseconds of emulated time, to three digits."""
    refused: dict[str, int] = msgspec.field(default_factory=dict)
    """Frames dropped, by reason."""
    affected: dict[int, int] = msgspec.field(default_factory=dict)
    """Messages that each network fault touched, by the fault's number."""
    resent: int = 0
    gone: int = 0
    outages: list[tuple[int, int]] = msgspec.field(default_factory=list)
    """Unix times in ns between which the node had no broker."""
    cpu_s: float = 0.0
    peak_rss_mb: float = 0.0

    def late(self, lateness_ns: int) -> None:
        """Count one delivery and how late it was."""
        self.deliveries += 1
        bucket = _rounded(max(0, lateness_ns) // 1000)
        self.lateness_us[bucket] = self.lateness_us.get(bucket, 0) + 1

    def refuse(self, reason: str) -> None:
        """Count one frame that was dropped."""
        self.refused[reason] = self.refused.get(reason, 0) + 1

    def lateness_at(self, share: float) -> int:
        """The ⌈share·m⌉-th smallest lateness of m deliveries, in µs; 0 if there were none."""
        wanted = max(1, -(-int(share * 1_000_000) * sum(self.lateness_us.values()) // 1_000_000))
        seen = 0
        for lateness_us in sorted(self.lateness_us):
            seen += self.lateness_us[lateness_us]
            if seen >= wanted:
                return lateness_us
        return 0


def total(accounts: Iterable[Account]) -> Account:
    """The sum of several accounts; of memory, the most."""
    everything = Account()
    lateness_us, refused, affected = Counter[int](), Counter[str](), Counter[int]()
    for account in accounts:
        for name in ("deliveries", "verifications", "resent", "gone", "cpu_s"):
            setattr(everything, name, getattr(everything, name) + getattr(account, name))
        lateness_us.update(account.lateness_us)
        refused.update(account.refused)
        affected.update(account.affected)
        everything.outages += account.outages
        everything.peak_rss_mb = max(everything.peak_rss_mb, account.peak_rss_mb)
    everything.lateness_us, everything.refused, everything.affected = dict(lateness_us), dict(refused), dict(affected)
    return everything


def _rounded(value: int) -> int:
    """To three digits, so that there are never many different ones."""
    scale: int = 10 ** max(0, len(str(value)) - _DIGITS)
    return value // scale * scale


encode_account = msgspec.msgpack.Encoder().encode
decode_account = msgspec.msgpack.Decoder(Account).decode
