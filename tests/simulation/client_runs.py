"""Runs with clients, and what tests ask of them: who sent what to whom, and what became final."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from consensus.messages import Block
from node.trace import Observer
from testbed.result import Result
from testbed.scenario import make_scenario
from testbed.simulation import simulate

FREE = {"signatures": "modelled", "sign_us": 0, "verify_us": 0}
MINING = {"protocol": "longest_chain", "parameters": {"block_interval_s": 0.5, "confirmations": 6}}


class Diary(Observer):
    """Who sent what, and which blocks were proposed and committed."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, int, int | None, str, int]] = []
        self.blocks: dict[bytes, Block] = {}
        self.final: dict[int, Block] = {}
        self.proposals: list[tuple[int, Block]] = []

    def carried(self, now_ns: int, source: int, target: int | None, kind: str, size_bytes: int, due_ns: Any) -> None:
        self.sent.append((now_ns, source, target, kind, size_bytes))

    def proposed(self, now_ns: int, replica: int, block: Block, message: Any) -> None:
        self.blocks[block.id] = block
        self.proposals.append((now_ns, block))

    def committed(self, now_ns: int, replica: int, block: Block) -> None:
        self.final[block.height] = block

    def of_kind(self, kind: str) -> list[tuple[int, int, int | None, int]]:
        """(when, source, target, bytes)."""
        return [(now_ns, *who, size) for now_ns, *who, said, size in self.sent if said == kind]  # type: ignore[misc]


def run(
    clients: Sequence[dict[str, Any]],
    *,
    n: int = 4,
    protocol: str = "pbft",
    duration_s: float = 4.0,
    protocol_class: Any = None,
    **tables: Any,
) -> tuple[Result, Diary]:
    """A laboratory of `n` with 10 ms between all, and costs of nothing, unless `tables` say otherwise."""
    consensus = {"protocol": protocol, "delta_ms": 50.0, **tables.pop("consensus", {})}
    scenario = make_scenario(
        {
            "duration_s": duration_s,
            "committee": [{"on": "laboratory", "count": n}],
            "network": {"model": "fixed", "delay_ms": 10.0},
            "compute": FREE,
            "consensus": consensus,
            "client": list(clients),
            **tables,
        }
    )
    diary = Diary()
    return simulate(scenario, protocol=protocol_class, observers=[diary]), diary


def trace(folder: Path, *at_s: float, sizes: Sequence[int] = ()) -> str:
    """A file of transactions at these times."""
    header = "at_s,bytes" if sizes else "at_s"
    rows = [f"{at},{size}" for at, size in zip(at_s, sizes, strict=True)] if sizes else [f"{at}" for at in at_s]
    file = folder / f"{len(list(folder.iterdir()))}.csv"
    file.write_text("\n".join([header, *rows]) + "\n")
    return str(file)
