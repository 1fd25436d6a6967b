"""From what watched a run to a result: the last station of the pipeline, where everything is put into words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from consensus.replica import Lottery
from node.cpu import Work
from testbed.checks import Verdict, bound_verdict, non_vacuity_verdict, progress_verdict, recovery_verdict
from testbed.compare import compare
from testbed.computing import compute_part
from testbed.faults import FaultEffect
from testbed.handovers import handover_counts
from testbed.ledger import NEVER
from testbed.load import Carried, LinkUse, network_report
from testbed.metrics import BlockMetrics
from testbed.places import place_of
from testbed.result import SCHEMA, Result
from testbed.shares import plane_share
from testbed.throughput import workload_report, workload_warnings
from testbed.units import seconds
from testbed.watch import Watch

if TYPE_CHECKING:
    import pyarrow


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
    work: Sequence[Work]
    """What each replica's modelled CPU has done."""
    receiver_down: int
    """Messages that found their receiver down."""
    effects: Sequence[FaultEffect]
    carried: Carried
    warnings: Sequence[str] = ()
    more: Mapping[str, Any] = field(default_factory=dict)
    """What only this engine reports, by key of the result's `engine` part."""


def fold(watch: Watch, account: Account) -> Result:
    """Everything a run reports."""
    scenario, ledger = watch.scenario, watch.ledger
    honest = np.isin(np.arange(ledger.n), sorted(watch.honest))
    weights = np.array(watch.committee.weights)
    metrics = BlockMetrics(ledger, honest, weights, account.reached_ns)
    links = account.carried.links
    watch.digest.add(account.carried.digest)
    timed_out = sum(ledger.views.values())
    led = not isinstance(watch.facts.shape, Lottery)
    consensus = metrics.consensus(
        watch.committee.quorum if led else ledger.n, timed_out, len(ledger.views), watch.mempool
    )
    consensus |= plane_share(metrics.proposers, weights, watch.plan.endpoints)
    bound, predictions = compare(watch, metrics, account.reached_ns)
    for name, prediction in predictions.items():
        consensus[name] |= {"predicted": prediction["predicted"]}
    network = _network(watch, account)
    sent_bytes = account.carried.total_sent_bytes
    bytes_sent = network["bytes"] if sent_bytes is None else sent_bytes
    workload = workload_report(metrics, watch.mempool, account.reached_ns, bytes_sent)
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
        "compute": compute_part(account.work, account.reached_ns),
        "propagation": metrics.propagation([place_of(endpoint) for endpoint in watch.plan.endpoints]),
        "network": network,
        "workload": workload,
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
        "warnings": [*watch.warnings, *account.warnings, *workload_warnings(workload)],
    }
    return Result(
        report=finite(report),
        blocks=_blocks(metrics, ledger),
        arrivals=_arrivals(ledger),
        links=_links(links),
        replicas=_replicas(watch, metrics, account.carried),
        scenario_toml=scenario.toml(),
    )


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
    if account.carried.copies is not None:
        vital.append(account.carried.copies.verdict())
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


def _network(watch: Watch, account: Account) -> dict[str, Any]:
    ledger = watch.ledger
    report = network_report(account.carried, ledger.messages, ledger.bytes, account.reached_ns / 1e9)
    if account.receiver_down:
        report["drops"] |= {"receiver_down": account.receiver_down}
    report |= handover_counts(watch.sky.whole_plan, account.reached_ns)
    return report | {"rejected": dict(sorted(ledger.rejections.items()))}


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


def _links(links: Mapping[tuple[str, str], LinkUse]) -> pyarrow.Table:
    import pyarrow as pa

    uses = list(links.values())
    return pa.table(
        {
            "from": pa.array([link[0] for link in links], pa.string()),
            "to": pa.array([link[1] for link in links], pa.string()),
            "class": pa.array([use.kind for use in uses], pa.string()),
            "messages": pa.array([use.messages for use in uses], pa.int64()),
            "bytes": pa.array([use.bytes for use in uses], pa.int64()),
            "utilisation": pa.array([use.utilisation for use in uses], pa.float64()),
            "queued_ns": pa.array([use.waited_ns for use in uses], pa.int64()),
            "longest_queued_ns": pa.array([use.longest_wait_ns for use in uses], pa.int64()),
            "dropped": pa.array([use.dropped for use in uses], pa.int64()),
        }
    )


def _replicas(watch: Watch, metrics: BlockMetrics, carried: Carried) -> pyarrow.Table:
    import pyarrow as pa

    n = watch.committee.n
    # Real nodes do not count what they send.
    unknown = [None] * n
    return pa.table(
        {
            "replica": pa.array(range(n), pa.int32()),
            "endpoint": pa.array(watch.plan.endpoints, pa.string()),
            "weight": pa.array(watch.committee.weights, pa.float64()),
            "honest": [replica in watch.honest for replica in range(n)],
            "final_blocks": pa.array(np.bincount(metrics.proposers, minlength=n), pa.int64()),
            "sent_bytes": pa.array(carried.sent_bytes or unknown, pa.int64()),
            "peak_bytes_per_s": pa.array(carried.peak_bytes or unknown, pa.int64()),
            "received_bytes": pa.array(carried.received_bytes or unknown, pa.int64()),
        }
    )
