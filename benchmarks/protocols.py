"""Every protocol of the menu on three networks, with and without faults: `python -m benchmarks.protocols` prints the
README's table, and with `--write` puts it there. It takes some 350 CPU-seconds, three minutes on two cores."""

from __future__ import annotations

import multiprocessing
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from textwrap import fill
from typing import Final

from benchmarks.cells import NETWORKS, Cell, Measured, cells, is_lottery, measure, tolerated
from consensus.protocols import PROTOCOLS, load_protocol
from testbed.commands.protocols import describe

README: Final = Path(__file__).parent.parent / "README.md"
BLOCK: Final = re.compile(r"(<!-- protocols:[^\n]*-->\n).*?(<!-- /protocols -->)", re.DOTALL)
HEADER: Final = (
    "ms",
    "final, p50",
    "p99",
    "mean bound",
    "ratio",
    "a block every",
    "messages a block",
    "kB a block",
    "leader dies: pause",
    "f silent: final, p50",
    "a block every",
)
USUAL_RESILIENCE: Final = 3
WIDTH: Final = 120
MARKS: Final = "¹²³⁴⁵⁶⁷⁸⁹"

Found = Mapping[Cell, Measured]


def main() -> int:
    """Measure everything, then print the table or write it."""
    text = markdown(measure_all())
    if "--write" not in sys.argv[1:]:
        print(text)
        return 0
    readme, found = BLOCK.subn(lambda match: f"{match[1]}{text}\n{match[2]}", README.read_text(encoding="utf-8"))
    if found != 1:
        raise ValueError(f"{README} has {found} places for the table, not one")
    README.write_text(readme, encoding="utf-8")
    return 0


def measure_all() -> dict[Cell, Measured]:
    """All runs, on all cores; tells on stderr how far it is."""
    began, todo = time.perf_counter(), cells()
    found: dict[Cell, Measured] = {}
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        running = {pool.submit(measure, cell): cell for cell in todo}
        for done in as_completed(running):
            cell = running[done]
            found[cell] = done.result()
            passed_s = time.perf_counter() - began
            print(f"{len(found)}/{len(todo)}, {passed_s:.0f} s: {' '.join(cell)}", file=sys.stderr, flush=True)
    return found


def markdown(found: Found) -> str:
    """A table for each network, then what its figures do not say by themselves."""
    notes = _notes(found)
    lines: list[str] = []
    for name, network in NETWORKS.items():
        lines += [f"**{network.heading}** (Δ = {network.delta_ms} ms)", ""]
        lines += [_line(HEADER), _line(["---", *["--:"] * (len(HEADER) - 1)])]
        for protocol in PROTOCOLS:
            marks = "".join(mark for mark, (_, about) in zip(MARKS, notes.items(), strict=False) if protocol in about)
            lines.append(row(found, name, protocol, marks))
        lines.append("")
    lines += [fill(_answer(found), WIDTH), ""]
    lines += [fill(f"- {mark} {text}", WIDTH, subsequent_indent="  ") for mark, text in zip(MARKS, notes, strict=False)]
    return "\n".join(lines)


def row(found: Found, network: str, protocol: str, marks: str = "") -> str:
    """One protocol on one network, in the order of `HEADER`."""
    sound = found[Cell(network, protocol, "sound")]
    death = found.get(Cell(network, protocol, "death"))
    silence = found[Cell(network, protocol, "silence")]
    return _line(
        (
            protocol + marks,
            *map(_ms, (sound.p50, sound.p99, sound.bound)),
            "–" if sound.ratio is None else f"{sound.ratio:.3f}",
            _ms(sound.period),
            _three_digits(sound.messages),
            _three_digits(None if sound.size_bytes is None else sound.size_bytes / 1e3),
            _ms(None if death is None else death.pause),
            *map(_ms, (silence.p50, silence.period)),
        )
    )


def _line(texts: Sequence[str]) -> str:
    return f"| {' | '.join(texts)} |"


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _three_digits(value: float | None) -> str:
    return "–" if value is None else f"{float(f'{value:.3g}'):,.10g}"


def _answer(found: Found) -> str:
    """How much sooner satellites make the same cities agree."""
    times = []
    for protocol in PROTOCOLS:
        relayed, fibre = (found[Cell(network, protocol, "sound")].p50 for network in ("relayed", "fibre"))
        if relayed and fibre and not is_lottery(protocol):
            times.append(fibre / relayed)
    return (
        f"Over fibre the same cities take {min(times):.2f} to {max(times):.2f} times as long as over satellites until "
        "a block is final (p50, protocol by protocol; what draws lots waits for its clock, not for the network)."
    )


def _notes(found: Found) -> dict[str, list[str]]:
    """What needs saying, with the protocols about which it is."""
    notes: dict[str, list[str]] = {}
    for protocol in PROTOCOLS:
        for text in _notes_about(protocol, found):
            notes.setdefault(text, []).append(protocol)
    return notes


def _notes_about(protocol: str, found: Found) -> Iterator[str]:
    facts = load_protocol(protocol).facts
    sound = [found[Cell(network, protocol, "sound")] for network in NETWORKS]
    for check in sorted({each.check for each in sound if not each.check.startswith("ok")}):
        yield f"No bound to compare with, {check}."
    if is_lottery(protocol):
        parameters = ", ".join(f"{key} = {value}" for key, value in describe(protocol)["parameters"].items())
        yield f"Final by convention, after {facts.commit_delays} ({parameters}); there is no leader to lose."
    elif all(each.leaders == 1 for each in sound):
        yield "Keeps its first leader while it works, so these are the delays of one place; elsewhere all take turns."
    if facts.resilience != USUAL_RESILIENCE:
        yield f"Needs {facts.fault_bound}: f = {tolerated(protocol)}."
    if any(not found[Cell(network, protocol, "silence")].blocks for network in NETWORKS):
        yield "A dash under f silent: nothing became final."


if __name__ == "__main__":
    sys.exit(main())
