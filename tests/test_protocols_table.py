"""The README's table of protocols: nobody is missing, a sample of it is what the code measures, and its terms hold."""

from __future__ import annotations

import re
import shlex

import pyarrow as pa
import pytest

from benchmarks.cells import CONDITIONS, NETWORKS, Cell, Measured, N, cells, is_lottery, measure, scenario_of
from benchmarks.protocols import BLOCK, HEADER, MARKS, README, markdown, row
from consensus.protocols import PROTOCOLS
from network.constants import SECOND_NS
from testbed import Result, load_scenario
from testbed.sky import build_sky

SOUND = Measured(
    blocks=100,
    p50=1234.5,
    p99=1300.0,
    period=99.6,
    pause=2000.4,
    messages=4948.7,
    size_bytes=98_349.0,
    bound=1200.0,
    ratio=1.02875,
    check="ok: all 100 blocks",
    leaders=N,
)


def table() -> str:
    """The block in the README."""
    (block,) = BLOCK.finditer(README.read_text(encoding="utf-8"))
    return block[0]


def rows(text: str) -> list[list[str]]:
    """For each network the table's rows, without marks of footnotes."""
    networks: list[list[str]] = []
    for line in text.splitlines():
        if line.startswith("| ---"):
            networks.append([])
        elif line.startswith("| ") and not line.startswith(f"| {HEADER[0]} |"):
            networks[-1].append(re.sub(f"[{MARKS}]+", "", line))
    return networks


def test_every_protocol_of_the_menu_is_on_every_network() -> None:
    expected = [list(PROTOCOLS)] * len(NETWORKS)
    assert [[line.split()[1] for line in lines] for lines in rows(table())] == expected


@pytest.mark.parametrize("protocol", ["hotstuff", "longest_chain"])
def test_a_row_is_what_the_code_measures(protocol: str) -> None:
    found = {cell: measure(cell) for cell in cells() if (cell.network, cell.protocol) == ("fibre", protocol)}
    shown = rows(table())[list(NETWORKS).index("fibre")][list(PROTOCOLS).index(protocol)]
    assert shown == row(found, "fibre", protocol)


@pytest.mark.parametrize("network", NETWORKS)
def test_no_route_takes_longer_than_four_fifths_of_delta(network: str) -> None:
    plan = build_sky(scenario_of(Cell(network, "pbft", "sound"))).plan
    assert len(plan.endpoints) == N
    slowest_ns = max(int(plan.at(at_s * SECOND_NS).delay_ns.max()) for at_s in range(0, 90, 15))
    assert slowest_ns <= 0.8 * NETWORKS[network].delta_ms * 1e6


def test_the_notes_say_what_the_figures_do_not() -> None:
    found = dict.fromkeys(cells(), SOUND)
    for network in NETWORKS:
        found[Cell(network, "pbft", "sound")] = SOUND._replace(leaders=1)
        found[Cell(network, "longest_chain", "sound")] = SOUND._replace(
            bound=None, ratio=None, check="not applicable: x"
        )
    found[Cell("fibre", "hotstuff", "silence")] = SOUND._replace(blocks=0, p50=None, period=None)
    found[Cell("fibre", "streamlet", "sound")] = SOUND._replace(p50=2469.0)
    text = markdown(found)
    prose = " ".join(text.split())
    assert rows(text)[2][1] == "| hotstuff | 1,234 | 1,300 | 1,200 | 1.029 | 100 | 4,950 | 98.3 | 2,000 | – | – |"
    assert rows(text)[0][-1] == "| longest_chain | 1,234 | 1,300 | – | – | 100 | 4,950 | 98.3 | – | 1,234 | 100 |"
    assert "1.00 to 2.00 times as long" in prose
    assert "| pbft¹ |" in text
    notes = re.split(f"- [{MARKS}] ", prose)[1:]
    assert len(notes) == 5
    assert "first leader" in notes[0]
    assert "nothing became final" in notes[1]
    assert "f = 9" in notes[2]
    assert "not applicable: x" in notes[3]
    assert "confirmations = 6" in notes[4]


def test_the_same_replicas_are_silent_under_all() -> None:
    silent = {
        protocol: {name for fault in scenario_of(Cell("fibre", protocol, "silence")).fault for name in fault.targets}
        for protocol in PROTOCOLS
    }
    assert len(silent["minimmit"]) == 9
    assert silent["minimmit"] < silent["pbft"]
    assert all(others == silent["pbft"] for name, others in silent.items() if name != "minimmit")
    assert len(silent["pbft"]) == 16
    assert {cell.condition for cell in cells() if is_lottery(cell.protocol)} == set(CONDITIONS) - {"death"}


def test_a_run_that_fails_a_check_says_how_to_repeat_it(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = [{"name": "progress", "ok": False}, {"name": "agreement", "ok": False}, {"name": "validity", "ok": True}]
    nothing = pa.table({})
    failed = Result({"safety": {"checks": checks}}, nothing, nothing, nothing, nothing, "")
    monkeypatch.setattr("benchmarks.cells.simulate", lambda scenario: failed)
    cell = Cell("relayed", "simplex", "silence")
    with pytest.raises(RuntimeError, match=r"^agreement failed: quorbit run ") as caught:
        measure(cell)
    _, _, file, *sets = shlex.split(str(caught.value).split(": ", 1)[1])
    assert sets[::2] == ["--set"] * (len(sets) // 2)
    assert load_scenario(file, sets[1::2]) == scenario_of(cell)
