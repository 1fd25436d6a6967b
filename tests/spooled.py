"""Runs in virtual time whose traces are written down replica by replica, as nodes write theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import pytest

from consensus.effects import Broadcast, Effect, Send
from consensus.protocols import load_protocol
from consensus.replica import Replica
from node.spool import Spool
from node.trace import EVENTS, Observer
from testbed.result import Result
from testbed.watch import Watch
from tests.laboratory import constant, run_matrix

PROTOCOLS = ("pbft", "hotstuff", "longest_chain")
DURATION_S = 1.5


def call(event: str, now_ns: int, *details: Any) -> tuple[Any, ...]:
    """One event as a value that can be compared."""
    if event != "sent":
        return event, now_ns, *details
    envelope, due_ns, taken_ns = details
    return event, now_ns, envelope.sender, envelope.to, envelope.message, envelope.size_bytes, due_ns.tolist(), taken_ns


class Recorder(Observer):
    """Everything it is told, as values."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []


class Spools(Observer):
    """A spool for each replica of a run, and all that was told, in order."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        n = watch.committee.n
        self.calls: list[tuple[Any, ...]] = []
        self.order: list[int] = []
        """Whose each call was."""
        self.records: list[list[bytes]] = [[] for _ in range(n)]
        self.stops_ns: list[list[int]] = [[] for _ in range(n)]
        """What no node can write down itself."""
        self._spools = [Spool(records.append) for records in self.records]

    def of(self, replica: int) -> list[tuple[Any, ...]]:
        """What one replica's node would write down."""
        own = zip(self.order, self.calls, strict=True)
        return [told for whose, told in own if whose == replica and told[0] != "stopped"]


def _recording(event: str) -> Callable[..., None]:
    def record(self: Recorder, now_ns: int, *details: Any) -> None:
        self.calls.append(call(event, now_ns, *details))

    return record


def _spooling(event: str) -> Callable[..., None]:
    def spool(self: Spools, now_ns: int, *details: Any) -> None:
        replica = details[0].sender if event == "sent" else details[0]
        self.calls.append(call(event, now_ns, *details))
        self.order.append(replica)
        if event == "stopped":
            self.stops_ns[replica].append(now_ns)
        else:
            getattr(self._spools[replica], event)(now_ns, *details)

    return spool


for _event in EVENTS:
    setattr(Recorder, _event, _recording(_event))
    setattr(Spools, _event, _spooling(_event))


def careless(protocol: str) -> type[Replica]:
    """The protocol, but replica 1 spoils every seventh signature of its own."""
    base = load_protocol(protocol)

    class Careless(base):  # type: ignore[misc, valid-type]
        said = 0

        def emit(self, *effects: Effect) -> None:
            super().emit(*map(self._spoil, effects))

        def _spoil(self, effect: Effect) -> Effect:
            if self.me != 1 or not isinstance(effect, (Broadcast, Send)):
                return effect
            self.said += 1
            if self.said % 7:
                return effect
            spoilt = msgspec.structs.replace(effect.message, signature=b"?" * 64)
            return msgspec.structs.replace(effect, message=spoilt)

    return Careless


def crashes(*windows: tuple[int, float, float | None]) -> list[dict[str, Any]]:
    """Fault tables: replica, from when, until when."""
    return [
        {"kind": "crash", "target": f"replica/{replica}", "window_s": [begin_s, *([] if end_s is None else [end_s])]}
        for replica, begin_s, end_s in windows
    ]


def consensus_of(protocol: str) -> dict[str, Any]:
    """Parameters by which each protocol has something to say within a second."""
    if protocol == "longest_chain":
        return {"parameters": {"block_interval_s": 0.04, "confirmations": 3}}
    return {"delta_ms": 20.0, "parameters": {"block_interval_ms": 15}}


def spooled(protocol: str, faults: Iterable[dict[str, Any]] = (), **options: Any) -> tuple[Result, Spools]:
    """A run of four replicas, and what was written down of it."""
    kept: list[Spools] = []
    observers = Watch.observers

    def and_spools(watch: Watch) -> list[Observer]:
        kept.append(Spools(watch))
        return [*observers(watch), kept[-1]]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Watch, "observers", and_spools)
        options.setdefault("workload", {"transactions_per_s": 200})
        result = run_matrix(
            protocol, constant(4, 10), DURATION_S, consensus=consensus_of(protocol), fault=list(faults), **options
        )
    return result, kept[0]
