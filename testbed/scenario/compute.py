"""What a replica's computing takes: the `[compute]` table, and its presets."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

from testbed.scenario.base import Table
from testbed.scenario.quantities import Choice, MicrosecondsOrZero


class Compute(Table):
    """Processor time, charged in virtual time: each replica's CPU takes one message at a time."""

    signatures: Annotated[Literal["ed25519", "modelled"], Choice()] = "ed25519"
    """Real signatures, or only their size and time."""
    preset: Annotated[Literal["server", "radiation_hardened"], Choice()] | None = None
    """Times of one kind of machine for all keys below that are left out: Ed25519's, or BLS12-381's where verification
    is aggregate. A server's are measured, radiation-hardened ones are scaled from published figures."""
    sign_us: MicrosecondsOrZero = 50.0
    """Time to make one signature."""
    verify_us: MicrosecondsOrZero = 130.0
    """Time to check one signature alone."""
    verification: Annotated[Literal["single", "batch", "aggregate"], Choice()] = "single"
    """Several signatures in one message: one by one, all in one batch, or each certificate as one aggregate. Those
    seen lately are free. Sizes stay those of single signatures."""
    batch_base_us: MicrosecondsOrZero | None = None
    """verification = "batch": time for a batch of two or more,"""
    batch_us: MicrosecondsOrZero | None = None
    """verification = "batch": and for each signature in it."""
    aggregate_base_us: MicrosecondsOrZero | None = None
    """verification = "aggregate": time for a certificate,"""
    aggregate_us: MicrosecondsOrZero | None = None
    """verification = "aggregate": and for each of its signers."""
    hash_us_per_mb: MicrosecondsOrZero = 0.0
    """Time to hash 10⁶ bytes of a message and its transactions, once by who signs it and once by each who checks it; of
    what clients send and replicas pass on, by each who receives it, before it is in the mempool."""
    execute_us: MicrosecondsOrZero = 0.0
    """Time to execute one transaction, once its block is committed; the commit itself does not wait for it."""


VERIFICATION_KEYS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "single": (),
        "batch": ("batch_base_us", "batch_us"),
        "aggregate": ("aggregate_base_us", "aggregate_us"),
    }
)
"""The keys that belong to one way of verifying, which needs them all."""

_SERVER: Final = {"hash_us_per_mb": 1_300.0, "execute_us": 0.4}
_ED25519: Final = {"sign_us": 24.0, "verify_us": 64.0}
_BLS: Final = {"sign_us": 450.0, "verify_us": 1_400.0}
_SERVERS: Final = {
    "single": _SERVER | _ED25519,
    "batch": _SERVER | _ED25519 | {"batch_base_us": 0.0, "batch_us": 31.0},
    "aggregate": _SERVER | _BLS | {"aggregate_base_us": 1_400.0, "aggregate_us": 1.4},
}
"""One core of a cloud server (AMD EPYC), the best of several runs of `python -m benchmarks.compute`, rounded: Ed25519
by libsodium, BLS12-381 by chia-rs, BLAKE2b, and a transfer of 250 bytes. libsodium has no batches: in one of 64 a
signature takes 0.49 of the time of one alone (134,000 and 273,364 cycles: ed25519.cr.yp.to)."""

_SCALE: Final = 180
"""How many times as long a radiation-hardened core takes as that server's: a scaling, not a measurement.

The core is a GR740's, a LEON4FT of 250 MHz and 32 bits with 2.1 CoreMark/MHz (its vendor's figure). Compiled for 32
bits by gcc, ed25519-donna verifies a signature in 1,693,000 cycles of a Core 2 (its README, E5200), which has 3.6
CoreMark/MHz a core (github.com/fm4dd/sbc-benchmarks, T7200, over its two cores). Scaled by CoreMark these are 2.9
million cycles, or 11.6 ms: 181 times the server's 64 µs. The same sum says 171 for signing and 159 for a batch. One
factor serves for everything, because for the rest there is nothing to scale from."""


def _scaled(times: Mapping[str, float]) -> dict[str, float]:
    return {key: time_us * _SCALE for key, time_us in times.items()}


_PRESETS: Final[Mapping[str, Mapping[str, Mapping[str, float]]]] = {
    "server": _SERVERS,
    "radiation_hardened": {verification: _scaled(times) for verification, times in _SERVERS.items()},
}


def fill_in(tables: dict[str, Any]) -> None:
    """Give each key of `[compute]` that the file leaves out its preset's value, if a preset is named rightly."""
    compute = tables.get("compute")
    if not isinstance(compute, dict):
        return
    preset, verification = compute.get("preset"), compute.get("verification", "single")
    if isinstance(preset, str) and isinstance(verification, str):
        for key, time_us in _PRESETS.get(preset, {}).get(verification, {}).items():
            compute.setdefault(key, time_us)
