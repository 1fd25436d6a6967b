"""`quorbit fuzz`: a protocol against everything that can be drawn, and a small scenario of what broke it."""

import re
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tomli_w
import typer

from consensus.protocols import load_protocol
from testbed.commands.terminal import check_writable, print_json, print_table, sentences_for_mistakes, uninterrupted
from testbed.fuzz.campaign import Campaign, run_campaign, shrunk, shrunk_schedule
from testbed.fuzz.draw import Tables
from testbed.fuzz.enumeration import ROUNDS, has_views, space_of
from testbed.fuzz.trial import FEATURES, Trial
from testbed.fuzz.twins_watch import FEATURES as TWINS_FEATURES

DONE, FAILED, INTERRUPTED = 0, 1, 130


@sentences_for_mistakes
def fuzz_protocol(
    protocol: str, seed: int, runs: int | None, minutes: float | None, schedules: int, out: Path, as_json: bool
) -> int:
    """Enumerate, draw, run, report; shrink the first failure and write it down."""
    try:
        replica = load_protocol(protocol)
        replica.Parameters()
    except LookupError as error:
        raise typer.BadParameter(str(error), param_hint="PROTOCOL") from None
    except TypeError as error:
        why = f"{protocol}: every parameter needs a default to be fuzzed with ({error})"
        raise typer.BadParameter(why, param_hint="PROTOCOL") from None
    schedules = schedules if has_views(replica) else 0
    check_writable(out, "--out")
    line = _Line(runs, minutes) if sys.stderr.isatty() else None
    seconds = None if minutes is None else 60 * minutes
    campaign = run_campaign(protocol, seed=seed, runs=runs, seconds=seconds, schedules=schedules, progress=line)
    if line is not None:
        line.clear()
    with uninterrupted():
        found = _failure(campaign, out)
        if as_json:
            print_json({**_report(campaign), "failure": found})
        else:
            print_table(_table(campaign))
    if found is not None:
        print(f"{protocol} FAILED: {'; '.join(found['sentences'])}", file=sys.stderr)
        if found["checks"]:
            print(f"repeat with: quorbit run {found['scenario']}", file=sys.stderr)
        else:
            what = "scenario" if campaign.twins.first_failure is None else "schedule"
            print(f"a run of the same {what}, {found['scenario']}, does not fail: is it random?", file=sys.stderr)
        return FAILED
    return INTERRUPTED if campaign.interrupted else DONE


def _failure(campaign: Campaign, out: Path) -> dict[str, Any] | None:
    """The first failure, made small and written down; None if there was none."""
    number, kind, made_small = campaign.twins.first_failure, "twins", shrunk_schedule
    if number is None:
        number, kind, made_small = campaign.first_failure, str(campaign.seed), shrunk
    if number is None:
        return None
    what = "Twins schedule" if kind == "twins" else "scenario"
    print(f"{what} {number} fails; making it smaller …", file=sys.stderr)
    tables, trial = made_small(campaign, number)
    file = out / f"fuzz-{campaign.protocol.rpartition(':')[2]}-{kind}-{number}.toml"
    file.write_text(_scenario_text(campaign, tables, trial))
    first = (campaign.twins if kind == "twins" else campaign).failures[number]
    return {
        "number": number,
        "checks": list(trial.failed),
        "sentences": list((trial if trial.failed else first).sentences),
        "scenario": str(file),
    }


def _scenario_text(campaign: Campaign, tables: Tables, trial: Trial) -> str:
    comments: Iterable[str] = (
        f"Question: what breaks {campaign.protocol}? Found by quorbit fuzz, seed {campaign.seed}, and made small.",
        f"Expect:   {'; '.join(trial.sentences)}",
    )
    head = "".join(f"# {' '.join(comment.split())}\n" for comment in comments)
    text = tomli_w.dumps({key: value for key, value in tables.items() if value != {}})
    # Lists of names and times read best on one line.
    return head + re.sub(r"\[\n\s+([^\[\]{}]*?),?\n\]", lambda found: f"[{' '.join(found[1].split())}]", text)


def _report(campaign: Campaign) -> dict[str, Any]:
    return {
        "protocol": campaign.protocol,
        "seed": campaign.seed,
        "scenarios": campaign.runs,
        "deliveries": campaign.deliveries,
        "blocks": campaign.blocks,
        "scenarios_with": {name: campaign.features[name] for name in FEATURES},
        "adversaries": dict(sorted(campaign.behaviours.items())),
        "twins": {
            "schedules": campaign.twins.schedules,
            "rounds": ROUNDS,
            "schedules_with": {name: campaign.twins.features[name] for name in TWINS_FEATURES},
        },
    }


def _table(campaign: Campaign) -> Any:
    """How much was tried: a quiet campaign must not pass for a thorough one."""
    from rich.console import Group
    from rich.table import Table

    table = Table(box=None)
    table.add_column("scenarios")
    table.add_column(f"{campaign.runs:,}", justify="right")
    for name in FEATURES:
        table.add_row(f"with {name}", f"{campaign.features[name]:,}")
    for name, times in sorted(campaign.behaviours.items()):
        table.add_row(f"  {name}", f"{times:,}")
    table.add_row("that failed", f"{len(campaign.failures):,}")
    table.add_row("blocks committed", f"{campaign.blocks:,}")
    table.add_row("deliveries", f"{campaign.deliveries:,}")
    title = f"[bold]fuzz {campaign.protocol}[/], seed {campaign.seed}"
    if not campaign.twins.schedules:
        return Group(title, "", table)
    n = space_of(load_protocol(campaign.protocol)).committee.n
    twins = Table(box=None)
    twins.add_column(f"Twins schedules, {ROUNDS} rounds, n = {n}")
    twins.add_column(f"{campaign.twins.schedules:,}", justify="right")
    for name in TWINS_FEATURES:
        twins.add_row(f"with {name}", f"{campaign.twins.features[name]:,}")
    twins.add_row("that failed", f"{len(campaign.twins.failures):,}")
    return Group(title, "", twins, "", table)


class _Line:
    """How far the campaign has come, on one line of a terminal."""

    def __init__(self, runs: int | None, minutes: float | None) -> None:
        self._goal = f" / {runs:,}" if runs is not None else ""
        self._minutes = minutes
        self._began_s = self._shown_s = time.monotonic()

    def __call__(self, campaign: Campaign) -> None:
        now_s = time.monotonic()
        if now_s - self._shown_s >= 0.1:
            self._shown_s = now_s
            minutes = f" / {self._minutes:g} min" if self._minutes is not None else ""
            passed = f"{(now_s - self._began_s) / 60:.1f}{minutes or ' min'}"
            schedules = f"{campaign.twins.schedules:,} Twins schedules   " if campaign.twins.schedules else ""
            self._write(f"{schedules}{campaign.runs:,}{self._goal} scenarios   {campaign.blocks:,} blocks   {passed}")

    def clear(self) -> None:
        """Leave nothing behind."""
        self._write("")

    def _write(self, text: str) -> None:
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()
