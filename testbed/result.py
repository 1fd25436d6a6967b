"""The result of a run: what happened, whether it was safe, what it cost, and how near the bound it came."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow

SCHEMA = "quorbit/result/1"


@dataclass(frozen=True, eq=False)
class Result:
    """One run. `report` is the content of `result.json`; the tables hold what it was folded from.

    `blocks`: one row a block. `arrivals`: one row a block and replica, with when it was held and committed.
    `links`: one row a directed link. `replicas`: one row a replica, with its part of the final chain and its
    bandwidth. Times are integer nanoseconds since the start; use `.to_pandas()` at will.
    """

    report: dict[str, Any]
    blocks: pyarrow.Table
    arrivals: pyarrow.Table
    links: pyarrow.Table
    replicas: pyarrow.Table
    scenario_toml: str

    @property
    def digest(self) -> str:
        """64 hex digits over everything that happened."""
        return str(self.report["digest"])

    @property
    def partial(self) -> bool:
        """Whether the run was stopped before its end."""
        return bool(self.report["partial"])

    @property
    def ok(self) -> bool:
        """Whether every check found what the scenario expects."""
        return bool(self.report["safety"]["ok"])

    @property
    def invalid(self) -> str | None:
        """Why a run over real processes says nothing about its network; None if it does."""
        sentence: str | None = self.report["engine"].get("invalid")
        return sentence

    def to_dict(self) -> dict[str, Any]:
        """The content of `result.json`: numbers, texts, lists and tables only."""
        return self.report

    def write(self, folder: Path) -> None:
        """Write the artefacts: result.json, scenario.toml and the Parquet tables."""
        from pyarrow import parquet

        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.report, indent=2, ensure_ascii=False, allow_nan=False)
        (folder / "result.json").write_text(text + "\n", encoding="utf-8")
        (folder / "scenario.toml").write_text(self.scenario_toml, encoding="utf-8")
        for name in ("blocks", "arrivals", "links", "replicas"):
            table = getattr(self, name)
            parquet.write_table(table, folder / f"{name}.parquet", compression="zstd")
