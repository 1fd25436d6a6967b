"""The brief: what a node is told about its run and its own place in it, as it travels."""

from __future__ import annotations

import zlib

import msgspec
import numpy as np

from consensus.types import ReplicaId
from network.timetable import Timetable
from node.terms import Terms

_LEVEL = 6


class Brief(msgspec.Struct, frozen=True, kw_only=True):
    """One node's orders. Arrays travel as the bytes of little-endian int64 or float64."""

    terms: Terms
    replica: ReplicaId
    endpoint: str
    members: tuple[bytes, ...]
    """Everybody's public keys, in replica order."""
    windows_down: tuple[tuple[int, int | None], ...]
    """When this node is to be down, in ns: whoever starts it meanwhile waits until that is over."""
    time_scale: float
    endpoints: tuple[str, ...]
    times_ns: bytes
    delay_ns: bytes
    hops: bytes
    ns_per_byte: bytes

    def timetable(self) -> Timetable:
        """The node's own delays to all others, for the whole run."""
        count = len(self.endpoints)
        return Timetable(
            self.endpoints,
            np.frombuffer(self.times_ns, dtype="<i8"),
            np.frombuffer(self.delay_ns, dtype="<i8").reshape(-1, count),
            np.frombuffer(self.hops, dtype="<i8").reshape(-1, count),
            np.frombuffer(self.ns_per_byte, dtype="<f8").reshape(-1, count),
        )

    def boot_ns(self, passed_ns: int) -> int | None:
        """When a node that is there at `passed_ns` starts its replica; None if it is to stay down."""
        begin_ns = max(0, passed_ns)
        for down_ns, up_ns in self.windows_down:
            if down_ns <= begin_ns and (up_ns is None or begin_ns < up_ns):
                return up_ns
        return begin_ns


def brief_for(
    replica: ReplicaId,
    terms: Terms,
    timetable: Timetable,
    members: tuple[bytes, ...],
    windows_down: tuple[tuple[int, int | None], ...],
    time_scale: float,
) -> Brief:
    """The brief of one replica's node."""
    return Brief(
        terms=terms,
        replica=replica,
        endpoint=timetable.endpoints[replica],
        members=members,
        windows_down=windows_down,
        time_scale=time_scale,
        endpoints=timetable.endpoints,
        times_ns=timetable.times_ns.astype("<i8").tobytes(),
        delay_ns=timetable.delay_ns.astype("<i8").tobytes(),
        hops=timetable.hops.astype("<i8").tobytes(),
        ns_per_byte=timetable.ns_per_byte.astype("<f8").tobytes(),
    )


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Brief).decode


def pack(brief: Brief) -> bytes:
    """The bytes of a brief."""
    return zlib.compress(_encode(brief), _LEVEL)


def unpack(data: bytes) -> Brief:
    """The brief in these bytes, which the launcher has signed."""
    return _decode(zlib.decompress(data))
