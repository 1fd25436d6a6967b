"""SimBlock's experiments on its own nodes and edges, measured beside what SimBlock and a replay of its rules measured.

`python -m benchmarks.simblock [E1 …]` prints a table and exits with 1 if anything is out of its gate. The reference
data (nodes, edges, tables, summaries) lie beside a checkout, in `shared/truth/simblock`.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow

from testbed import Result, Scenario, simulate
from testbed.scenario import make_scenario

TRUTH: Final = Path(__file__).resolve().parents[2] / "shared" / "truth" / "simblock"
REGIONS: Final = Path(__file__).parent.parent / "scenarios" / "data" / "internet_2019.csv"
BLOCK_BYTES: Final = 535_000
COMPACT_BYTES: Final = 18_000
SEEDS: Final = (1, 2, 3)
EACH: Final = 0.04
"""Every seed's statistics may be so far off,"""
AVERAGED: Final = 0.025
"""and their means over three seeds."""
RELEASED: Final = 0.05
"""Against the replay with uplinks released after transmission."""
STANDARD_ERRORS: Final = 3
"""How far stale rates may be off, combined."""
_REPLAYED: Final = {
    "E1 released": {"p50": 668.0, "p90": 1273.0, "mean": 721.0},
    "E4 released": {"p50": 2322.0, "p90": 3806.0, "mean": 2488.0},
}
_CONFIRMATIONS: Final = 6
_OVERHEAD_BYTES: Final = 208
"""What a block has beside its transactions."""


@dataclass(frozen=True)
class Experiment:
    """One of SimBlock's, or of the replay's."""

    graph: str
    interval_s: float
    blocks: int
    """For each seed."""
    uplink: str = "until_arrival"


EXPERIMENTS: Final = {
    "E1": Experiment("E1_N300_cbr_600s_s10", 600, 1_000),
    "E4": Experiment("E4_N300_nocbr_600s_s10", 600, 1_000),
    "E6": Experiment("E1_N300_cbr_600s_s10", 15, 3_334),
    "E7": Experiment("E4_N300_nocbr_600s_s10", 15, 3_334),
    # Where the miners are moves a thousand blocks' ninth decile by 2 %, and the replay is near the gate.
    "E1 released": Experiment("E1_N300_cbr_600s_s10", 600, 3_000, "until_sent"),
    "E4 released": Experiment("E4_N300_nocbr_600s_s10", 600, 1_000, "until_sent"),
}


def scenario_of(experiment: Experiment, seed: int, folder: Path, blocks: int | None = None) -> Scenario:
    """What runs: about as many blocks as that. Writes the table of peers into `folder`."""
    truth = TRUTH / experiment.graph
    peers = folder / "peers.csv"
    edges = json.loads((truth / "edges.json").read_text())
    peers.write_text("# replicas\n" + "".join(f"{one - 1},{other - 1}\n" for one, other in edges))
    tables = json.loads((TRUTH / "simblock_tables.json").read_text())
    defaults = tables["defaults"]
    committee = [
        {
            "on": "laboratory",
            "count": 1,
            "weight": float(power),
            "region": tables["regions"][region],
            "receiver": ("churn" if churn else "control") if compact else "whole",
        }
        for _, region, _, power, compact, churn in json.loads((truth / "nodes.json").read_text())["nodes"]
    ]
    receivers = [
        {
            "name": kind,
            "misses": defaults[f"cbr_failure_rate_{kind}"],
            "missing": tables[f"cbr_failure_block_fraction_{kind}"],
        }
        for kind in ("control", "churn")
    ]
    blocks = blocks or experiment.blocks
    return make_scenario(
        {
            "title": experiment.graph,
            "seed": seed,
            "duration_s": blocks * experiment.interval_s,
            "consensus": {
                "protocol": "longest_chain",
                "delta_ms": 120_000,
                "parameters": {"block_interval_s": experiment.interval_s, "confirmations": _CONFIRMATIONS},
            },
            "committee": committee,
            "network": {
                "model": "internet",
                "regions_file": str(REGIONS),
                "uplink": experiment.uplink,
                "small_message_ms": defaults["control_message_extra_ms"] - defaults["processing_time_ms"],
                "processing_us_per_hop": defaults["processing_time_ms"] * 1_000,
                "dissemination": "gossip",
                "gossip": {"peers_file": str(peers), "push": 0, "lazy": len(committee), "retry_ms": 0},
                "compact": {
                    "enabled": True,
                    "reference_bytes": COMPACT_BYTES - _OVERHEAD_BYTES,
                    "receiver": receivers,
                },
            },
            # One transaction fills a block, and there is always one waiting.
            "workload": {
                "transactions_per_s": 10 / experiment.interval_s,
                "transaction_bytes": BLOCK_BYTES - _OVERHEAD_BYTES,
                "block_max_bytes": BLOCK_BYTES,
            },
            "compute": {"signatures": "modelled", "sign_us": 0, "verify_us": 0},
        }
    )


def spread_of(result: Result) -> dict[str, float]:
    """Statistics in ms over final blocks that everybody asked for: pooled, and medians over blocks.

    Nobody in SimBlock asks for a block when its child has come (`simblock_tables.json`, relay), so that such a block is
    never everybody's and its runs measured the others. They are the faster ones: at 15 s between blocks, every ninth is
    overtaken somewhere, and with these the pooled median is 2 % higher.
    """
    final = result.blocks["final"].to_numpy(zero_copy_only=False)
    proposed_ns = result.blocks["proposed_ns"].to_numpy()
    held_ns = result.arrivals["held_ns"].fill_null(-1).to_numpy().reshape(len(final), -1)
    chosen = final & (held_ns >= 0).all(axis=1) & ~_overtaken(result.blocks, held_ns)
    delays_ms = np.sort((held_ns[chosen] - proposed_ns[chosen][:, None]) / 1e6, axis=1)
    n = delays_ms.shape[1]
    return {
        "p50": float(np.percentile(delays_ms, 50)),
        "p90": float(np.percentile(delays_ms, 90)),
        "mean": float(delays_ms.mean()),
        **{f"T{share}": float(np.median(delays_ms[:, math.ceil(n * share / 100) - 1])) for share in (90, 99, 100)},
    }


def _overtaken(blocks: pyarrow.Table, held_ns: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Whether somebody had a child of each block first: with us it waits for its parent, and both are held at once."""
    row_of = {block: row for row, block in enumerate(blocks["block"].to_pylist())}
    parent = np.array([row_of.get(block, -1) for block in blocks["parent"].to_pylist()])
    child = np.flatnonzero(parent >= 0)
    at_once = (held_ns[child] == held_ns[parent[child]]) & (held_ns[child] >= 0)
    overtaken = np.zeros(len(parent), dtype=bool)
    overtaken[parent[child[at_once.any(axis=1)]]] = True
    return overtaken


class Measured(NamedTuple):
    """What one seed's run showed."""

    spread: dict[str, float]
    stale: int
    blocks: int


class Row(NamedTuple):
    """One line of the table."""

    statistic: str
    target: float
    measured: float
    off: float
    """Of the mean over the seeds, as a share of the target; for stale rates in combined standard errors,"""
    worst: float
    """and of the seed that is furthest off."""
    ok: bool

    def __str__(self) -> str:
        return (
            f"{self.statistic:<6}{self.target:>10,.4g}{self.measured:>10,.4g}{self.off:>9.3f}{self.worst:>9.3f}   "
            f"{'pass' if self.ok else 'MISS'}"
        )


def measure(experiment: Experiment, seed: int, blocks: int | None = None) -> Measured:
    """Run one seed."""
    with TemporaryDirectory() as folder:
        result = simulate(scenario_of(experiment, seed, Path(folder), blocks))
    stale_rate = result.to_dict()["consensus"]["stale_rate"]
    return Measured(spread_of(result), stale_rate["count"], stale_rate["of"])


def targets_of(name: str) -> dict[str, float]:
    """What SimBlock measured: on the very graph where it has a run of its own there, else over its three graphs; with
    uplinks released, what the replay did (`forks-and-metrics.md`, 2.3)."""
    if name in _REPLAYED:
        return _REPLAYED[name]
    if name in ("E1", "E4"):
        found = json.loads((TRUTH / EXPERIMENTS[name].graph / "summary.json").read_text())
        pooled, per_block = found["pooled_ms"], {key: found[f"{key}_ms"]["median"] for key in ("t90", "t99", "t100")}
    else:
        found = _aggregate(name)
        pooled = {key: found["pooled_ms"][key]["mean"] for key in ("p50", "p90", "mean")}
        per_block = {key: value["mean_over_seeds_of_median"] for key, value in found["per_block_ms"].items()}
    return {
        **{key: pooled[key] for key in ("p50", "p90", "mean")},
        **{key.upper(): per_block[key] for key in ("t90", "t99", "t100")},
    }


def rows_of(name: str, runs: Sequence[Measured]) -> Iterator[Row]:
    """Measured against target, statistic by statistic."""
    for statistic, target in targets_of(name).items():
        values = [run.spread[statistic] for run in runs]
        measured = sum(values) / len(values)
        off, worst = measured / target - 1, max((value / target - 1 for value in values), key=abs)
        ok = abs(off) <= RELEASED if name in _REPLAYED else abs(off) <= AVERAGED and abs(worst) <= EACH
        yield Row(statistic, target, measured, off, worst, ok)
    if name in ("E6", "E7"):
        found = _aggregate(name)
        target, se = found["stale_fraction"], found["stale_se"]
        blocks = sum(run.blocks for run in runs)
        rate = sum(run.stale for run in runs) / blocks
        off = (rate - target) / math.hypot(se, math.sqrt(rate * (1 - rate) / blocks))
        yield Row("stale", target, rate, off, off, abs(off) <= STANDARD_ERRORS)


def _aggregate(name: str) -> dict[str, Any]:
    found = json.loads((TRUTH / "aggregate.json").read_text())
    return next(value for key, value in found.items() if key.startswith(f"{name}_"))


def main(names: Sequence[str]) -> int:
    """Run and print."""
    missed = 0
    for name in names or EXPERIMENTS:
        began_s = time.process_time()
        runs = [measure(EXPERIMENTS[name], seed) for seed in SEEDS]
        cpu_s = time.process_time() - began_s
        print(f"{name}: {sum(run.blocks for run in runs):,} blocks, {cpu_s:.0f} CPU-s")
        print("        target  measured      off    worst")
        for row in rows_of(name, runs):
            missed += not row.ok
            print(row, flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
