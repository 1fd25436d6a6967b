"""`quorbit run`: a scenario file in, a result out."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from testbed.commands.progress import NodesTable, ProgressLine
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
    from testbed.sky import Sky

DONE, FAILED, INVALID, INTERRUPTED = 0, 1, 3, 130


@dataclass(frozen=True)
class Nodes:
    """Every replica is a process of its own; somebody else starts those `by_hand`."""

    by_hand: frozenset[int]
    password_file: Path | None


@sentences_for_mistakes
def run_scenario(path: Path, overrides: Sequence[str], out: Path | None, as_json: bool, nodes: Nodes | None) -> int:
    """Run, print, write. Whatever can be found wrong is found before the run."""
    scenario = load_scenario(path, overrides)
    folder = out or Path("runs") / f"{path.stem}-seed{scenario.seed}"
    check_writable(folder, "--out")
    # Imported when the scenario is known to be right: mistakes should not wait for the engine.
    from testbed.report.table import render

    result = _watched_run(scenario) if nodes is None else _run_nodes(scenario, nodes)
    _write(result, folder)
    if as_json:
        print_json(result.to_dict())
    else:
        print_table(render(result))
        print(f"artefacts in {folder}", file=sys.stderr)
    if result.invalid is not None:
        print(f"invalid: {result.invalid}", file=sys.stderr)
    if not result.ok:
        version = result.to_dict()["quorbit"]
        print(f"repeat with: quorbit run {folder / 'scenario.toml'}   (quorbit {version})", file=sys.stderr)
    return exit_code(result)


def _watched_run(scenario: Scenario) -> "Result":
    """The run, with warnings about its network before it, progress while it lasts, other warnings after it."""
    from node.guard import end_process, patience_s
    from testbed.simulation import simulate
    from testbed.sky import build_sky

    try:
        patience = patience_s(os.environ)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    sky = build_sky(scenario)
    warn(sky.warnings)
    line = ProgressLine() if sys.stderr.isatty() else None
    try:
        result = simulate(scenario, progress=line, sky=sky, patience_s=patience, last_resort=end_process)
    finally:
        if line is not None:
            line.clear()
    warn(warning for warning in result.to_dict()["warnings"] if warning not in sky.warnings)
    return result


def _run_nodes(scenario: Scenario, nodes: Nodes) -> "Result":
    """The run over real processes, with a table of them while it lasts."""
    from testbed.launch import LaunchError
    from testbed.launch.access import broker_named
    from testbed.launch.fitness import check_for_nodes
    from testbed.launch.options import Options
    from testbed.launch.run import simulate_on_nodes
    from testbed.sky import build_sky

    check_for_nodes(scenario)
    sky = build_sky(scenario)
    warn(sky.warnings)
    _check_by_hand(sky, nodes.by_hand)
    try:
        broker = broker_named(scenario.mqtt.broker, os.environ, nodes.password_file)
    except (ValueError, OSError) as error:
        raise typer.BadParameter(str(error), param_hint="--broker") from None
    table = NodesTable() if sys.stderr.isatty() else None
    try:
        result = simulate_on_nodes(scenario, sky, Options(by_hand=nodes.by_hand, progress=table, broker=broker))
    except LaunchError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(FAILED) from None
    finally:
        if table is not None:
            table.clear()
    warn(warning for warning in result.to_dict()["warnings"] if warning not in sky.warnings)
    return result


def _check_by_hand(sky: "Sky", by_hand: frozenset[int]) -> None:
    """Who is started by hand is in the committee, and is not to be killed by a launcher that did not start it."""
    from testbed.faults import crashes_of

    n = len(sky.plan.endpoints)
    if strangers := sorted(replica for replica in by_hand if replica >= n):
        raise typer.BadParameter(f"{strangers[0]}: replicas are 0 to {n - 1}", param_hint="--by-hand")
    crashes = crashes_of(sky.scenario, sky)
    if crashing := sorted(replica for replica in by_hand if crashes[replica]):
        raise typer.BadParameter(
            f"{crashing[0]}: the scenario crashes this replica, which only the launcher that started it can do",
            param_hint="--by-hand",
        )


def _write(result: "Result", folder: Path) -> None:
    """All artefacts, whatever is pressed meanwhile: Ctrl-C keeps what was measured."""
    try:
        with uninterrupted():
            result.write(folder)
    except OSError as error:
        raise typer.BadParameter(f"{folder}: cannot be written: {error.strerror}", param_hint="--out") from None


def exit_code(result: "Result") -> int:
    """130 for a run that was stopped, 1 for one that failed a check, 3 for one that was late, else 0."""
    if result.partial:
        return INTERRUPTED
    if not result.ok:
        return FAILED
    return DONE if result.invalid is None else INVALID
