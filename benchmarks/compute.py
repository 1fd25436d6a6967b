"""What the presets of `[compute]` come from: `python -m benchmarks.compute` prints each cost on this machine.

Signatures are those that replicas make here, Ed25519 by libsodium, and hashes are its BLAKE2b, by OpenSSL's or
Python's. Aggregates are BLS12-381, if `chia_rs` is installed, which Quorbit does without. A transaction is a
transfer of 250 bytes: decode it, take from one balance, give to another.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from importlib import import_module
from importlib.util import find_spec
from operator import add
from typing import Any, NamedTuple

import msgspec

from node.signing import SigningKey, is_signed

_STATEMENT = b"s" * 100
"""About as long as a vote."""
_MB = 1_000_000
_SIGNERS = (1, 513)
"""Two points of a straight line, which give its base and its slope."""
_ROUNDS = 25


class Cost(NamedTuple):
    """One key of `[compute]`, measured."""

    key: str
    us: float


class Transfer(msgspec.Struct, array_like=True):
    """A transaction of 250 bytes."""

    source: int
    target: int
    amount: int
    memo: bytes


def measure() -> Iterator[Cost]:
    """Each key that can be measured here."""
    key = SigningKey(bytes(32))
    signature = key.sign(_STATEMENT)
    assert is_signed(_STATEMENT, signature, key.public)
    yield Cost("sign_us", _us(lambda: key.sign(_STATEMENT)))
    yield Cost("verify_us", _us(lambda: is_signed(_STATEMENT, signature, key.public)))
    data = bytes(_MB)
    yield Cost("hash_us_per_mb", _us(lambda: hashlib.blake2b(data, digest_size=32).digest(), calls=20))
    yield Cost("execute_us", _us(_transfers()))
    if find_spec("chia_rs") is not None:
        yield from _aggregates()


def _transfers() -> Callable[[], None]:
    encoded = msgspec.msgpack.encode(Transfer(1, 2, 3, bytes(240)))
    decode = msgspec.msgpack.Decoder(Transfer).decode
    balances = dict.fromkeys(range(1000), 1 << 60)

    def execute() -> None:
        transfer = decode(encoded)
        if balances[transfer.source] >= transfer.amount:
            balances[transfer.source] -= transfer.amount
            balances[transfer.target] += transfer.amount

    return execute


def _aggregates() -> Iterator[Cost]:
    """BLS12-381, signatures in G2: one alone, and certificates of two sizes on one statement."""
    bls: Any = import_module("chia_rs").AugSchemeMPL
    keys = [bls.key_gen(i.to_bytes(32, "big")) for i in range(max(_SIGNERS))]
    public = keys[0].get_g1()
    yield Cost("sign_us, BLS", _us(lambda: bls.sign(keys[0], _STATEMENT, public), calls=50))
    few_us, many_us = (_us(_certificate(bls, keys[:signers]), calls=50) for signers in _SIGNERS)
    slope_us = (many_us - few_us) / (_SIGNERS[1] - _SIGNERS[0])
    yield Cost("verify_us, BLS", few_us)
    yield Cost("aggregate_base_us", few_us - slope_us)
    yield Cost("aggregate_us", slope_us)


def _certificate(bls: Any, keys: Sequence[Any]) -> Callable[[], None]:
    """What verifies a certificate that these have signed: add their public keys, and check one signature."""
    publics = [key.get_g1() for key in keys]

    def signers() -> Any:
        return reduce(add, publics)

    # The library signs a key along with the statement: theirs together, so that all sign the same.
    certificate = bls.aggregate([bls.sign(key, _STATEMENT, signers()) for key in keys])

    def verify() -> None:
        assert bls.verify(signers(), _STATEMENT, certificate)

    return verify


def _us(work: Callable[[], object], calls: int = 1000) -> float:
    """The least mean time of several rounds of calls: what disturbs a machine only makes it slower."""
    least_s = float("inf")
    for _ in range(_ROUNDS):
        began_s = time.perf_counter()
        for _ in range(calls):
            work()
        least_s = min(least_s, time.perf_counter() - began_s)
    return least_s / calls * 1e6


if __name__ == "__main__":
    for cost in measure():
        print(f"{cost.key:20}{cost.us:10.2f}")
