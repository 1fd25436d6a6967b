"""`quorbit sky`: the network alone, without a protocol."""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import typer

from network.plan import UNREACHABLE, Plan
from testbed.commands.terminal import print_json, print_table, sentences_for_mistakes, warn
from testbed.scenario import load_scenario

if TYPE_CHECKING:
    from testbed.sky import Sky

DelayRow: TypeAlias = tuple[str, str, float, float | None, int, str]
DELAY_COLUMNS = ("source", "target", "at_s", "one_way_ms", "hops", "path")


@sentences_for_mistakes
def show_sky(
    path: Path,
    overrides: Sequence[str],
    at_s: Sequence[float],
    between: Sequence[str],
    delays: Path | None,
    graph: Path | None,
    as_json: bool,
) -> int:
    """Print satellites, links and routes at some instants; write delays between members, or all links, if asked."""
    scenario = load_scenario(path, overrides)
    from testbed.sky import build_sky, survey  # after the scenario: mistakes should not wait for the geometry

    sky = build_sky(scenario)
    warn(sky.warnings)
    plan = _plan_between(sky, between) if between else sky.plan
    if delays is not None:
        write_delays(delays, delay_rows(plan, at_s))
    if graph is not None:
        write_links(graph, sky, at_s[0])
    found = survey(scenario, at_s, sky)
    if as_json:
        rows = [dict(zip(DELAY_COLUMNS, row, strict=True)) for row in delay_rows(plan, at_s)]
        print_json({**found, "delays": rows})
    else:
        print_table(sky_tables(found))
    return 0


def delay_rows(plan: Plan, at_s: Sequence[float]) -> Iterator[DelayRow]:
    """A row for each instant and two members' endpoints; no delay where there is no route. ms, exact to the ns."""
    replica_at = {endpoint: replica for replica, endpoint in enumerate(plan.endpoints)}
    for instant_s in at_s:
        snapshot = plan.at(round(instant_s * 1e9))
        for (source_name, source), (target_name, target) in permutations(replica_at.items(), 2):
            delay_ns = int(snapshot.delay_ns[source, target])
            delay_ms = None if delay_ns == UNREACHABLE else delay_ns / 1e6
            route = snapshot.routes.path(source, target) if snapshot.routes is not None else ()
            yield source_name, target_name, instant_s, delay_ms, int(snapshot.hops[source, target]), " ".join(route)


def _plan_between(sky: "Sky", endpoints: Sequence[str]) -> Plan:
    try:
        return sky.plan_between(endpoints)
    except KeyError as error:
        raise typer.BadParameter(f"{error} is no endpoint of this network", param_hint="--between") from None
    except ValueError as error:
        raise typer.BadParameter(f"{error}", param_hint="--between") from None


def write_delays(file: Path, rows: Iterable[DelayRow]) -> None:
    """A CSV that `model = "matrix"` can replay."""
    with _sentence_if_unwritable(file, "--delays"), file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(DELAY_COLUMNS)
        writer.writerows(rows)


def write_links(file: Path, sky: "Sky", at_s: float) -> None:
    """GraphML of every satellite, station and link at one instant."""
    from testbed.graph import link_graph, write_graph

    if sky.topology is None:
        raise typer.BadParameter(
            "this scenario has no satellites, so there are no links to write", param_hint="--graph"
        )
    with _sentence_if_unwritable(file, "--graph"):
        write_graph(file, link_graph(sky.topology, at_s))


@contextmanager
def _sentence_if_unwritable(file: Path, option: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise typer.BadParameter(f"{file}: cannot be written: {error.strerror}", param_hint=option) from None


def sky_tables(found: Mapping[str, Any]) -> Any:
    """What a survey found, as tables: one of single values, one for each list."""
    from rich.console import Group
    from rich.table import Table

    single = Table(show_header=False, box=None)
    tables = [single]
    for key, value in found.items():
        if isinstance(value, Sequence) and not isinstance(value, str):
            tables.append(_rows_table(key, value))
        else:
            single.add_row(_words(key), _cell(value))
    return Group(*tables)


def _rows_table(title: str, rows: Sequence[Mapping[str, Any]]) -> Any:
    from rich.table import Table

    table = Table(title=_words(title), title_justify="left", box=None)
    columns = list(rows[0]) if rows else []
    for column in columns:
        justify: Literal["left", "right"] = "left" if isinstance(rows[0][column], str) else "right"
        table.add_column(_words(column), justify=justify, no_wrap=True)
    for row in rows:
        table.add_row(*(_cell(row[column]) for column in columns))
    return table


def _words(key: str) -> str:
    return key.replace("_", " ")


def _cell(value: Any) -> str:
    match value:
        case None:
            return "-"
        case float():
            return f"{value:,g}" if value.is_integer() else f"{value:,.3f}"
        case bool() | str():
            return str(value)
        case int():
            return f"{value:,}"
        case Mapping():
            return "  ".join(f"{_words(key)} {_cell(item)}" for key, item in value.items())
        case _:
            return str(value)
