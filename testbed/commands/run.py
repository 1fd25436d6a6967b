"""`quorbit run`: a scenario file in, a result out."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from testbed.commands.progress import ProgressLine
from testbed.commands.terminal import (
    check_writable,
    print_json,
    print_table,
    sentences_for_mistakes,
    uninterrupted,
    warn,
)
from testbed.scenario import Scenario, load_scenario

if TYPE_CHECKING:
    from testbed.result import Result

DONE, FAILED, INTERRUPTED = 0, 1, 130


@sentences_for_mistakes
def run_scenario(path: Path, overrides: Sequence[str], out: Path | None, as_json: bool) -> int:
    """Run, print, write. Whatever can be found wrong is found before the run."""
    scenario = load_scenario(path, overrides)
    folder = out or Path("runs") / f"{path.stem}-seed{scenario.seed}"
    check_writable(folder, "--out")
    # Imported when the scenario is known to be right: mistakes should not wait for the engine.
    from testbed.report.table import render

    result = _watched_run(scenario)
    _write(result, folder)
    if as_json:
        print_json(result.to_dict())
    else:
        print_table(render(result))
        print(f"artefacts in {folder}", file=sys.stderr)
    if not result.ok:
        version = result.to_dict()["quorbit"]
        print(f"repeat with: quorbit run {folder / 'scenario.toml'}   (quorbit {version})", file=sys.stderr)
    return exit_code(result)


def _watched_run(scenario: Scenario) -> "Result":
    """The run, with warnings about its network before it, progress while it lasts, other warnings after it."""
    from testbed.simulation import simulate
    from testbed.sky import build_sky

    sky = build_sky(scenario)
    warn(sky.warnings)
    line = ProgressLine() if sys.stderr.isatty() else None
    try:
        result = simulate(scenario, progress=line, sky=sky)
    finally:
        if line is not None:
            line.clear()
    warn(warning for warning in result.to_dict()["warnings"] if warning not in sky.warnings)
    return result


def _write(result: "Result", folder: Path) -> None:
    """All artefacts, whatever is pressed meanwhile: Ctrl-C keeps what was measured."""
    try:
        with uninterrupted():
            result.write(folder)
    except OSError as error:
        raise typer.BadParameter(f"{folder}: cannot be written: {error.strerror}", param_hint="--out") from None


def exit_code(result: "Result") -> int:
    """130 for a run that was stopped, 1 for one that failed a check, else 0."""
    if result.partial:
        return INTERRUPTED
    return DONE if result.ok else FAILED
