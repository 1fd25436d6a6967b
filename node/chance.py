"""Chance, from one root seed, split by name: each consumer draws alone, so one more of them changes no other."""

from __future__ import annotations

import random
from hashlib import blake2b

import numpy as np


def seed_bytes(seed: int, name: str) -> bytes:
    """32 bytes that depend on the root seed and on the consumer's name only."""
    return blake2b(name.encode(), key=str(seed).encode()[:64], digest_size=32).digest()


def python_random(seed: int, name: str) -> random.Random:
    """A standard-library generator, for replicas: their room does not know numpy."""
    return random.Random(int.from_bytes(seed_bytes(seed, name), "big"))


def numpy_random(seed: int, name: str) -> np.random.Generator:
    """A numpy generator (PCG64), for channels and workloads."""
    return np.random.Generator(np.random.PCG64(int.from_bytes(seed_bytes(seed, name), "big")))
