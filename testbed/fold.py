"""From a machine that has run to a result: the last station of the pipeline, where everything is put into words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from consensus.replica import Lottery
from testbed.assemble import Machine
from testbed.checks import Verdict, bound_verdict, non_vacuity_verdict, progress_verdict
from testbed.compare import compare
from testbed.metrics import BlockMetrics
from testbed.result import SCHEMA, Result
from testbed.units import seconds

if TYPE_CHECKING:
    import pyarrow

_BUSIEST = 10


@dataclass(frozen=True)
class Cost:
    """What the run cost the machine it ran on."""

    wall_s: float
    cpu_s: float
    peak_rss_mb: float
    partial: bool


def fold(machine: Machine, cost: Cost) -> Result:
    """Everything a run reports."""
    scenario, ledger = machine.scenario, machine.ledger
    reached_ns = machine.clock.now_ns if cost.partial else seconds(scenario.duration_s)
    honest = np.ones(ledger.n, dtype=bool)
    weights = np.array(machine.committee.weights)
    metrics = BlockMetrics(ledger, honest, weights, reached_ns)
    links = machine.traffic.per_link()
    timed_out = sum(ledger.views.values())
    led = not isinstance(machine.facts.shape, Lottery)
    consensus = metrics.consensus(
        machine.committee.quorum if led else ledger.n, timed_out, len(ledger.views), machine.mempool
    )
    bound, predictions = compare(machine, metrics)
    for name, prediction in predictions.items():
        consensus[name] |= {"predicted": prediction["predicted"]}
    report = {
        "schema": SCHEMA,
        "quorbit": version("quorbit"),
        "scenario": finite(scenario.resolved()),
        "seed": scenario.seed,
        "digest": machine.digest.hexdigest(),
        "partial": cost.partial,
        "engine": _engine(machine, cost, reached_ns),
        "safety": _safety(machine, bound["check"]),
        "consensus": consensus,
        "propagation": metrics.propagation(),
        "network": _network(machine, links),
        "bound": {**bound, **predictions},
        "faults": [
            {
                "kind": fault.kind,
                "target": list(fault.target),
                "window_s": list(fault.window_s),
                "effect": {"count": fault.effect(), "unit": fault.unit},
            }
            for fault in machine.faults
        ],
        "warnings": list(machine.warnings),
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


def _engine(machine: Machine, cost: Cost, reached_ns: int) -> dict[str, Any]:
    delivered = machine.clock.delivered
    return {
        "bus": "virtual",
        "virtual_s": reached_ns / 1e9,
        "wall_s": round(cost.wall_s, 3),
        "cpu_s": round(cost.cpu_s, 3),
        "deliveries": delivered,
        "deliveries_per_s": round(delivered / cost.cpu_s) if cost.cpu_s else None,
        "signatures_verified": machine.notary.verifications,
        "peak_rss_mb": round(cost.peak_rss_mb, 1),
    }


def _safety(machine: Machine, bound_check: str) -> dict[str, Any]:
    expect = machine.scenario.expect
    safety = [check.verdict() for check in machine.checks]
    vital = [
        progress_verdict(machine.ledger.commits, expect.progress),
        non_vacuity_verdict(
            machine.ledger.n, machine.clock.delivered, [(fault.name, fault.effect()) for fault in machine.faults]
        ),
        bound_verdict(bound_check),
    ]
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


def _check(verdict: Verdict) -> dict[str, Any]:
    return {"name": verdict.name, "ok": verdict.ok, "detail": verdict.detail}


def _network(machine: Machine, links: dict[tuple[str, str], tuple[int, int]]) -> dict[str, Any]:
    ledger = machine.ledger
    drops = machine.bus.drops.copy()
    for host in machine.hosts:
        drops.update(host.dropped)
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
