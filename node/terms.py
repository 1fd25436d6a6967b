"""The terms of a run: all that a node must be told to carry its replica, and what it makes of them.

The virtual engine makes the same things of the same terms, so nothing is wired twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Literal

import msgspec
import numpy as np

from consensus.byzantine import Rounds, Scheme, corrupted, listening
from consensus.leader import Leaders, round_robin
from consensus.protocols import load_protocol, look_in
from consensus.replica import Payloads, Replica, Seat, StateMachine
from consensus.types import Committee, ReplicaId
from network.stack import Conditions
from node.chance import numpy_random, python_random
from node.cpu import Cpu
from node.mempool import Mempool


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What every node of a run agrees on; times are integer nanoseconds."""

    protocol: str
    """A name of the menu, or "package.module:Class"."""
    protocol_folder: str | None = None
    """Where its module may be, if it is nowhere else."""
    parameters: dict[str, Any]
    committee: Committee
    delta_ns: int
    timeout_ns: int | None
    seed: int
    duration_ns: int
    transactions_per_s: float
    transaction_bytes: int
    block_max_bytes: int
    signatures: Literal["ed25519", "modelled"]
    cpu: Cpu
    """What it takes to sign, verify, hash and execute."""
    conditions: Conditions
    schemes: tuple[Scheme, ...] = ()
    """What Byzantine replicas do."""

    @property
    def faulty(self) -> frozenset[int]:
        """The replicas that are Byzantine at some time; whatever they say of themselves counts for nothing."""
        return frozenset(replica for scheme in self.schemes for replica in scheme.replicas)

    @property
    def scheduled(self) -> Scheme | None:
        """The scheme that says round by round who leads and who hears whom, if there is one."""
        return next((scheme for scheme in self.schemes if scheme.schedule is not None), None)

    def rounds(self, protocol: type[Replica]) -> Rounds | None:
        """What that scheme says, by the rules of a protocol."""
        scheme = self.scheduled
        if scheme is None or scheme.schedule is None:
            return None
        return Rounds(scheme.schedule, protocol, self.committee)

    def leaders(self, protocol: type[Replica]) -> Leaders:
        """Who leads which view."""
        rounds = self.rounds(protocol)
        return round_robin if rounds is None else rounds.leader

    def chance(self, consumer: str) -> np.random.Generator:
        """The generator of one consumer."""
        return numpy_random(self.seed, consumer)

    def mempool(self) -> Mempool:
        """The arrival process: the same for everybody, because it comes from the seed."""
        rate = self.transactions_per_s
        if not rate:
            return Mempool(None, self.transaction_bytes)
        rng = self.chance("workload")

        def gaps(count: int) -> list[int]:
            drawn: list[int] = np.rint(rng.exponential(1e9 / rate, count)).astype(np.int64).tolist()
            return drawn

        return Mempool(gaps, self.transaction_bytes)

    def protocol_class(self) -> type[Replica]:
        """What its replicas are. Raises `LookupError` with one sentence."""
        if self.protocol_folder is not None:
            look_in(self.protocol_folder)
        return load_protocol(self.protocol)

    def spawner(
        self, protocol: type[Replica], me: ReplicaId, payloads: Payloads, deeds: Counter[int]
    ) -> Callable[[], StateMachine]:
        """What makes replica `me` anew each time its node starts; `deeds` counts, by scheme, what adversaries do."""
        parameters = msgspec.convert(self.parameters, protocol.Parameters)
        make = corrupted(protocol, protocol, [each for each in self.schemes if me in each.replicas], deeds)
        scheme, rounds, leaders = self.scheduled, self.rounds(protocol), self.leaders(protocol)
        if scheme is not None and rounds is not None and me not in scheme.replicas:
            make = listening(make, rounds, ReplicaId(scheme.replicas[0]))

        def spawn() -> StateMachine:
            seat = Seat(
                me=me,
                committee=self.committee,
                delta_ns=self.delta_ns,
                timeout_ns=self.timeout_ns,
                random=python_random(self.seed, f"replica/{me}"),
                payloads=payloads,
                block_max_bytes=self.block_max_bytes,
                parameters=parameters,
                leaders=leaders,
            )
            return make(seat)

        return spawn
