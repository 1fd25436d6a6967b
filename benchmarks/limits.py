"""What is measured, in which unit, and the limit: `most` for costs, `least` for rates."""

from __future__ import annotations

from typing import Final, NamedTuple


class Limit(NamedTuple):
    """One row of the table."""

    work: str
    unit: str
    most: float | None = None
    least: float | None = None

    def met_by(self, measured: float) -> bool:
        """Whether a measurement keeps the limit."""
        return (self.most is None or measured <= self.most) and (self.least is None or measured >= self.least)

    def row(self, measured: float) -> str:
        """The measurement as the table shows it."""
        bound = f"at most {self.most:,g}" if self.most is not None else f"at least {self.least:,.0f}"
        digits = 3 if measured < 100 else 0
        return f"{self.work:<70}{measured:>10,.{digits}f} {self.unit:<4} {bound:<17}".rstrip()


LIMITS: Final = {
    "snapshot": Limit("1,584 satellites, 100 stations: one snapshot, 4,950 delays: CPU", "s", most=0.05),
    "series": Limit("the same, 100 s at 1 s steps: CPU", "s", most=5),
    "pbft-128": Limit("PBFT, n = 128, checks and metrics on: deliveries per CPU-second", "1/s", least=250_000),
    "pbft-1000": Limit("PBFT, n = 1,000, one decision: CPU", "s", most=20),
    "pbft-1000-memory": Limit("PBFT, n = 1,000, one decision: peak memory", "MiB", most=1024),
    "demo": Limit("the demo, 60 virtual seconds, real signatures: CPU", "s", most=15),
    "flood": Limit("one empty flood to 1,584 satellites: CPU", "s", most=0.05),
    "crossings": Limit("links with queues: crossings per CPU-second", "1/s", least=150_000),
    "mining": Limit("1,584 mining satellites, 1 MB blocks, 600 virtual seconds: CPU", "s", most=60),
    "mining-memory": Limit("the same: peak memory", "MiB", most=1024),
    "gossip-300": Limit("300 peers on the Internet, 1,000 blocks by gossip: CPU", "s", most=15),
    "gossip-300-memory": Limit("300 peers on the Internet, 1,000 blocks by gossip: peak memory", "MiB", most=300),
    "twins": Limit("Twins schedules of 8 views, n = 4, seven protocols: per CPU-second", "1/s", least=1_000),
    "nodes-mosquitto": Limit("20 HotStuff processes over Mosquitto: p99 lateness", "ms", most=5),
    "nodes-nats": Limit("20 HotStuff processes over nats-server: p99 lateness", "ms", most=5),
    "first-line": Limit("quorbit protocols: wall time to the first line", "s", most=0.4),
}
