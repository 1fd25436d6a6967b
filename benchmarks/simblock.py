"""SimBlock's experiments on its own nodes and edges, measured beside what SimBlock and a replay of its rules measured.

`python -m benchmarks.simblock [E1 …]` prints a table and exits with 1 if anything is out of its gate. The reference
data (nodes, edges, tables, summaries) lie beside a checkout, in `shared/truth/simblock`.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

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
    "E1 released": Experiment("E1_N300_cbr_600s_s10", 600, 400, "until_sent"),
    "E4 released": Experiment("E4_N300_nocbr_600s_s10", 600, 400, "until_sent"),
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
    """Statistics in ms over final blocks that everybody has: pooled, and medians over blocks."""
    final = result.blocks["final"].to_numpy(zero_copy_only=False)
    proposed_ns = result.blocks["proposed_ns"].to_numpy()
    held_ns = result.arrivals["held_ns"].fill_null(-1).to_numpy().reshape(len(final), -1)
    chosen = final & (held_ns >= 0).all(axis=1)
    delays_ms = np.sort((held_ns[chosen] - proposed_ns[chosen][:, None]) / 1e6, axis=1)
    n = delays_ms.shape[1]
    return {
        "p50": float(np.percentile(delays_ms, 50)),
        "p90": float(np.percentile(delays_ms, 90)),
        "mean": float(delays_ms.mean()),
        **{f"T{share}": float(np.median(delays_ms[:, math.ceil(n * share / 100) - 1])) for share in (90, 99, 100)},
    }
