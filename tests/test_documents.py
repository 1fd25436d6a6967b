"""Documents that the code prints are what the code would print today.

`QUORBIT_REWRITE=1 pytest tests/test_documents.py` writes them anew.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.limits import LIMITS
from testbed.metrics_definitions import markdown
from testbed.reference import scenario_markdown
from testbed.report.table import render
from testbed.result import Result
from testbed.scenario import load_scenario
from testbed.simulation import simulate

ROOT = Path(__file__).parent.parent
REWRITE = bool(os.environ.get("QUORBIT_REWRITE"))
COLUMNS = 100


def printed(result: Result) -> str:
    """What `quorbit run` prints, but for what hangs on the machine: its speed, and the last bits of a cosine."""
    text = StringIO()
    Console(file=text, width=COLUMNS).print(render(result))
    lines = [line.rstrip() for line in text.getvalue().splitlines()]
    return "\n".join(line for line in lines if not line.startswith((" engine ", " digest ")))


def demo() -> str:
    """The demo's table."""
    return printed(simulate(load_scenario(ROOT / "scenarios/starlink_shell1_hotstuff.toml")))


@pytest.mark.parametrize(("name", "text"), [("demo", demo)])
def test_the_readme_shows_what_the_code_prints(name: str, text: Callable[[], str]) -> None:
    readme = ROOT / "README.md"
    block = re.compile(rf"(<!-- {name}:[^\n]*-->\n```\n).*?(```\n<!-- /{name} -->)", re.DOTALL)
    now = readme.read_text(encoding="utf-8")
    expected, found = block.subn(lambda match: f"{match[1]}{text()}\n{match[2]}", now)
    assert found == 1
    if REWRITE:
        readme.write_text(expected, encoding="utf-8")
    assert readme.read_text(encoding="utf-8") == expected


def test_the_readme_has_a_figure_for_each_benchmark() -> None:
    """Whose figures change with the machine, so only their rows and limits are compared; a row that misses its limit
    says so."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = readme.split("<!-- benchmarks:")[1].split("<!-- /benchmarks -->")[0].splitlines()[2:-1]
    assert len(block) == len(LIMITS)
    for limit, line in zip(LIMITS.values(), block, strict=True):
        measured = float(line.removeprefix(limit.work).split()[0].replace(",", ""))
        assert line == limit.row(measured) + ("" if limit.met_by(measured) else "   MISSED")


@pytest.mark.parametrize(("file", "text"), [("metrics.md", markdown), ("scenario.md", scenario_markdown)])
def test_the_references_are_what_the_code_prints(file: str, text: Callable[[], str]) -> None:
    document = ROOT / "docs" / file
    if REWRITE:
        document.write_text(text(), encoding="utf-8")
    assert document.read_text(encoding="utf-8") == text()
