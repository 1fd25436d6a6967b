"""From what watched a run to a result: the last station of the pipeline, where everything is put into words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from consensus.replica import Lottery
from testbed.checks import Verdict, bound_verdict, non_vacuity_verdict, progress_verdict, recovery_verdict
from testbed.compare import compare
from testbed.faults import FaultEffect
from testbed.handovers import handover_counts
from testbed.ledger import NEVER
from testbed.metrics import BlockMetrics
from testbed.result import SCHEMA, Result
from testbed.units import seconds
from testbed.watch import Watch

if TYPE_CHECKING:
    import pyarrow

_BUSIEST = 10


@dataclass(frozen=True, kw_only=True)
class Account:
    """What an engine says of itself when a run is over."""

    bus: str
    reached_ns: int
    """How far the run came,"""
    partial: bool
    """and whether that is short of its end."""
    wall_s: float
    cpu_s: float
    peak_rss_mb: float
    deliveries: int
    verifications: int
    receiver_down: int
    """Messages that found their receiver down."""
    effects: Sequence[FaultEffect]
    warnings: Sequence[str] = ()
    more: Mapping[str, Any] = field(default_factory=dict)
    """What only this engine reports, by key of the result's `engine` part."""


def fold(watch: Watch, account: Account) -> Result:
    """Everything a run reports."""
    scenario, ledger = watch.scenario, watch.ledger
    honest = np.isin(np.arange(ledger.n), sorted(watch.honest))
    weights = np.array(watch.committee.weights)
    metrics = BlockMetrics(ledger, honest, weights, account.reached_ns)
    links = watch.traffic.per_link()
    timed_out = sum(ledger.views.values())
    led = not isinstance(watch.facts.shape, Lottery)
    consensus = metrics.consensus(
        watch.committee.quorum if led else ledger.n, timed_out, len(ledger.views), watch.mempool
    )
    bound, predictions = compare(watch, metrics, account.reached_ns)
    for name, prediction in predictions.items():
        consensus[name] |= {"predicted": prediction["predicted"]}
    report = {
        "schema": SCHEMA,
        "quorbit": version("quorbit"),
        "scenario": finite(scenario.resolved()),
        "seed": scenario.seed,
        "digest": watch.digest.hexdigest(),
        "partial": account.partial,
        "engine": _engine(account),
        "safety": _safety(watch, account, bound["check"]),
        "consensus": consensus,
        "propagation": metrics.propagation(),
        "network": _network(watch, account, links),
        "bound": {**bound, **predictions},
        "faults": [
            {
                "kind": fault.kind,
                "target": list(fault.target),
                "window_s": list(fault.window_s),
                "effect": {"count": fault.count, "unit": fault.unit},
                **({} if fault.behaviour is None else {"behaviour": fault.behaviour}),
            }
            for fault in account.effects
        ],
        "warnings": [*watch.warnings, *account.warnings],
    }
    return Result(finite(report), _blocks(metrics, ledger), _arrivals(ledger), _links(links), scenario.toml())


def finite(value: Any) -> Any:
    """The same value with infinities as the text "inf", which JSON has no number for."""
    if isinstance(value, float) and not math.isfinite(value):
        return "inf" if value > 0 else "-inf" if value < 0 else None
    if isinstance(value, Mapping):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(entry) for entry in value]
    return value


def _engine(account: Account) -> dict[str, Any]:
    return {
        "bus": account.bus,
        "virtual_s": account.reached_ns / 1e9,
        "wall_s": round(account.wall_s, 3),
        "cpu_s": round(account.cpu_s, 3),
        "deliveries": account.deliveries,
        "deliveries_per_s": round(account.deliveries / account.cpu_s) if account.cpu_s else None,
        "signatures_verified": account.verifications,
        "peak_rss_mb": round(account.peak_rss_mb, 1),
        **account.more,
    }


def _safety(watch: Watch, account: Account, bound_check: str) -> dict[str, Any]:
    expect = watch.scenario.expect
    safety = [check.verdict() for check in watch.checks]
    vital = [
        progress_verdict(watch.ledger.commits, expect.progress),
        non_vacuity_verdict(
            watch.ledger.n, account.deliveries, [(fault.name, fault.count) for fault in account.effects]
        ),
        bound_verdict(bound_check),
    ]
    if expect.progress_after_s is not None:
        vital.append(_recovery(watch, account, seconds(expect.progress_after_s)))
    safe = all(verdict.ok for verdict in safety)
    found = [verdict for verdict in [*safety, *vital] if not verdict.ok]
    violations = [f"{verdict.name}: {sentence}" for verdict in found for sentence in verdict.violations]
    if not expect.safety and safe:
        violations.append("the scenario expects a safety violation, but there was none")
    return {
        "ok": safe == expect.safety and all(verdict.ok for verdict in vital),
        "checks": [_check(verdict) for verdict in [*safety, *vital]],
        "violations": violations,
    }


def _recovery(watch: Watch, account: Account, after_ns: int) -> Verdict:
    """About everybody honest who is up when the run ends."""
    ledger = watch.ledger
    up = ledger.up_within(account.reached_ns, account.reached_ns)
    last_ns = ledger.committed_ns.max(axis=0, initial=NEVER)
    return recovery_verdict({i: int(last_ns[i]) for i in sorted(watch.honest) if up[i]}, after_ns)


def _check(verdict: Verdict) -> dict[str, Any]:
    return {"name": verdict.name, "ok": verdict.ok, "detail": verdict.detail}


def _network(watch: Watch, account: Account, links: dict[tuple[str, str], tuple[int, int]]) -> dict[str, Any]:
    ledger = watch.ledger
    drops = watch.traffic.drops.copy()
    if account.receiver_down:
        drops["receiver_down"] = account.receiver_down
    busiest = sorted(links.items(), key=lambda entry: (-entry[1][1], entry[0]))[:_BUSIEST]
    return {
        "messages": sum(ledger.messages.values()),
        "bytes": sum(ledger.bytes.values()),
        "by_kind": {
            kind: {"messages": count, "bytes": ledger.bytes[kind]} for kind, count in sorted(ledger.messages.items())
        },
        "link_transmissions": sum(messages for messages, _ in links.values()),
        "link_bytes": sum(size_bytes for _, size_bytes in links.values()),
        "busiest_links": [
            {"from": link[0], "to": link[1], "messages": messages, "bytes": size_bytes}
            for link, (messages, size_bytes) in busiest
        ],
        **handover_counts(watch.plan, account.reached_ns),
        "drops": dict(sorted(drops.items())),
        "rejected": dict(sorted(ledger.rejections.items())),
    }


def _blocks(metrics: BlockMetrics, ledger: Any) -> pyarrow.Table:
    import pyarrow as pa

    final = set(metrics.chain.rows.tolist())
    rows, _ = metrics.finality_ns
    finality = dict(zip(rows.tolist(), metrics.nth_ns(0.5).tolist(), strict=True))
    blocks = ledger.blocks
    return pa.table(
        {
            "block": [block.id.hex() for block in blocks],
            "parent": [block.parent.hex() for block in blocks],
            "height": pa.array([block.height for block in blocks], pa.int64()),
            "view": pa.array([block.view for block in blocks], pa.int64()),
            "proposer": pa.array([block.proposer for block in blocks], pa.int32()),
            "transactions": pa.array([block.payload.count for block in blocks], pa.int64()),
            "payload_bytes": pa.array([block.payload.size_bytes for block in blocks], pa.int64()),
            "proposed_ns": pa.array(ledger.proposed_ns.copy()),
            "final": [row in final for row in range(len(blocks))],
            "finality_ns": pa.array([finality.get(row) for row in range(len(blocks))], pa.int64()),
        }
    )


def _arrivals(ledger: Any) -> pyarrow.Table:
    import pyarrow as pa

    shape = ledger.held_ns.shape
    held, committed = ledger.held_ns.reshape(-1), ledger.committed_ns.reshape(-1)
    return pa.table(
        {
            "row": np.repeat(np.arange(shape[0], dtype=np.int64), shape[1]),
            "replica": np.tile(np.arange(shape[1], dtype=np.int32), shape[0]),
            "held_ns": pa.array(held, mask=held < 0),
            "committed_ns": pa.array(committed, mask=committed < 0),
        }
    )


def _links(links: dict[tuple[str, str], tuple[int, int]]) -> pyarrow.Table:
    import pyarrow as pa

    return pa.table(
        {
            "from": pa.array([link[0] for link in links], pa.string()),
            "to": pa.array([link[1] for link in links], pa.string()),
            "messages": pa.array([messages for messages, _ in links.values()], pa.int64()),
            "bytes": pa.array([size_bytes for _, size_bytes in links.values()], pa.int64()),
        }
    )
