"""The command line: what it prints where, and with which exit code."""

import json
import os
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from testbed.cli import main, spread_options
from testbed.commands.progress import ProgressLine, nodes_table, progress_text
from testbed.commands.run import exit_code
from testbed.launch.desk import NodeView
from testbed.launch.options import NodesProgress
from testbed.tables import read_delays

ROOT = Path(__file__).parents[2]
SMOKE = str(ROOT / "scenarios/smoke.toml")

TINY = """
duration_s = 2
[[committee]]
on = "laboratory"
count = 4
[network]
model = "fixed"
delay_ms = 100
"""


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return str(path)


# -- the user's mistakes: one sentence each on stderr, nothing on stdout, exit code 2 -------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run"], "quorbit run: Missing argument 'SCENARIO' (see quorbit run --help)"),
        (["runn"], "quorbit: No such command 'runn'"),
        (["run", "x.toml", "--sed", "3"], "quorbit run: No such option: --sed"),
        (["run", "x.toml", "--seed", "three"], "quorbit run: Invalid value for '--seed'"),
        (["run", "x.toml", "--seed", "-3"], "quorbit run: Invalid value for '--seed'"),
        (["run", "x.toml", "--bus", "can"], "can: must be virtual or mqtt"),
        (["sky", "x.toml", "--at", "-1"], "quorbit sky: Invalid value for '--at'"),
        (["schema", "results"], "results: must be scenario or result"),
        (["run", "no-such.toml"], "no-such.toml: no such file"),
        (["sky", "no-such.toml"], "no-such.toml: no such file"),
        (["bound", "no-such.toml"], "no-such.toml: no such file"),
        (["run", SMOKE, "--set", "nonsense"], "--set nonsense: must be key=value"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(capsys, arguments, sentence):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert sentence in err
    assert err.count("\n") == 1


def test_all_mistakes_of_a_scenario_are_shown_at_once(capsys, tiny):
    assert main(["run", tiny, "--set", "committee.0.count=0", "network.loss=2"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "--set committee.0.count=0: must be at least 1",
        "--set network.loss=2: must be between 0 and 1",
    ]


def test_real_nodes_have_no_clients(capsys, tiny):
    client = ["client.0.at=lab/0", "client.0.transactions_per_s=1"]
    assert main(["run", tiny, "--bus", "mqtt", "--set", *client]) == 2
    assert "client" in (err := capsys.readouterr().err)
    assert err.count("\n") == 1
    assert "exists in virtual time only" in err


def test_an_unwritable_folder_is_found_before_the_run(capsys, tiny, tmp_path):
    (tmp_path / "file").write_text("")
    assert main(["run", tiny, "--out", str(tmp_path / "file" / "runs")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "file/runs: cannot be written: Not a directory" in err


# -- several values after one option ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "spread"),
    [
        ("run s.toml --set a=1 b=2", "run s.toml --set a=1 --set b=2"),
        ("run --set a=1 b=2 s.toml --json", "run --set a=1 --set b=2 s.toml --json"),
        ("run --set a=1 s.toml b=2", "run --set a=1 s.toml b=2"),
        ("sky s.toml --at 0 60 1e3 --json", "sky s.toml --at 0 --at 60 --at 1e3 --json"),
        ("sky --at 0 s.toml", "sky --at 0 s.toml"),
        ("sky --at 0 --set a=1 b=2 --at 5", "sky --at 0 --set a=1 --set b=2 --at 5"),
        ("run --set", "run --set"),
        ("run --set --at 4", "run --set --at 4"),
        ("", ""),
    ],
)
def test_options_that_take_several_values(words, spread):
    assert spread_options(words.split()) == spread.split()


# -- what needs no scenario -------------------------------------------------------------------------------------------


def test_help_and_version(capsys):
    assert main([]) == 0
    help_text = capsys.readouterr().out
    assert all(f"  {command} " in help_text for command in ("run", "sky", "bound", "protocols", "schema"))
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("quorbit ")


def test_protocols_prints_facts_and_parameters_of_each(capsys):
    assert main(["protocols"]) == 0
    text = capsys.readouterr().out
    assert [line for line in text.splitlines() if line and not line.startswith(" ")] == [
        "pbft",
        "hotstuff",
        "jolteon",
        "hotstuff2",
        "tendermint",
        "simplex",
        "streamlet",
        "minimmit",
        "longest_chain",
    ]
    assert "Castro and Liskov" in text
    assert "checkpoint_interval = 128" in text


def test_protocols_as_json(capsys):
    assert main(["protocols", "--json"]) == 0
    facts = {each["name"]: each for each in json.loads(capsys.readouterr().out)}
    assert facts["pbft"]["parameters"]["window"] == 1
    assert facts["hotstuff"]["timeout_deltas"] > 1
    assert [facts[each]["commit_delays"] for each in ("jolteon", "hotstuff2")] == ["5δ", "5δ"]
    assert facts["tendermint"]["timeout_deltas"] == 4
    assert (facts["simplex"]["timeout_deltas"], facts["simplex"]["commit_delays"]) == (3, "3δ")
    assert (facts["streamlet"]["responsive"], facts["streamlet"]["messages_per_block"]) == ("no", "n²-1")
    assert (facts["minimmit"]["fault_bound"], facts["minimmit"]["commit_delays"]) == ("n > 5f", "2δ")
    assert facts["longest_chain"]["parameters"] == {
        "block_interval_s": 2.0,
        "confirmations": 6,
        "tie_break": "first_seen",
    }


def test_protocols_starts_quickly_because_it_imports_little():
    script = """
import sys
from testbed.cli import main
assert main(["protocols"]) == 0
heavy = {"numpy", "scipy", "skyfield", "sgp4", "pyarrow", "rich.table", "testbed.scenario"} & sys.modules.keys()
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_scenario_schema_explains_every_key_of_every_table(capsys):
    assert main(["schema", "scenario"]) == 0
    schema = json.loads(capsys.readouterr().out)
    tables = {name: table for name, table in schema["$defs"].items() if "properties" in table}
    assert {"Walker", "Elements"} & tables.keys() == {"Elements"}
    assert {"WalkerDelta", "WalkerStar", "Network", "Committee", "Fault", "GroundStation"} <= tables.keys()
    assert schema["additionalProperties"] is False
    assert all(table["description"] for table in tables.values())
    assert "null" not in json.dumps(schema), "TOML has no such value"
    inclination = tables["WalkerDelta"]["properties"]["inclination_deg"]
    assert (inclination["minimum"], inclination["maximum"]) == (0, 180)


def test_a_closed_pipe_is_no_error():
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "testbed.cli", "schema", "scenario"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, cwd=ROOT, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


# -- runs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("partial", "ok", "invalid", "code"),
    [
        (False, True, None, 0),
        (False, False, None, 1),
        (True, True, None, 130),
        (True, False, None, 130),
        (False, True, "late", 3),
        (False, False, "late", 1),
        (True, True, "late", 130),
    ],
)
def test_the_exit_code_of_a_run(partial, ok, invalid, code):
    assert exit_code(SimpleNamespace(partial=partial, ok=ok, invalid=invalid)) == code


def test_progress_is_one_line_rewritten_at_most_ten_times_a_second(tmp_path):
    path = tmp_path / "terminal"
    with path.open("w") as stream:
        line = ProgressLine(stream)
        for wall_s in (0.0, 0.05, 0.5):
            line(SimpleNamespace(virtual_s=15.0, duration_s=60.0, blocks=1200, deliveries=90_000, wall_s=wall_s))
        line.clear()
    assert path.read_bytes().decode().split("\r\x1b[K") == [
        "",
        "15.0 / 60 s   1,200 blocks   ETA 0:00",
        "15.0 / 60 s   1,200 blocks   180,000 deliveries/s   ETA 0:02",
        "",
    ]


def node_view(replica, **known):
    return NodeView(replica, f"sat/s1/00/0{replica}", **known)


def test_nodes_are_a_table_with_a_row_for_each():
    now = time.monotonic()
    nodes = [
        node_view(0),
        node_view(1, ready=True, up=True, view=12, height=9, deliveries=1234, lateness_ms=0.5, heard_s=now),
        node_view(2, ready=True, up=False, heard_s=now, restarts=2),
        node_view(3, ready=True, up=True, heard_s=now - 60),
    ]
    out = StringIO()
    Console(file=out, width=100).print(nodes_table(NodesProgress(3.25, 60, nodes)))
    title, header, *rows = out.getvalue().splitlines()
    assert title.strip() == "3.2 / 60 s"
    assert header.split("  ")[0].strip() == "node"
    assert "late p99, ms" in header
    assert [row.split() for row in rows] == [
        ["0", "sat/s1/00/00", "starting", "0", "0", "0", "0.00", "0"],
        ["1", "sat/s1/00/01", "up", "12", "9", "1,234", "0.50", "0"],
        ["2", "sat/s1/00/02", "down", "0", "0", "0", "0.00", "2"],
        ["3", "sat/s1/00/03", "silent", "0", "0", "0", "0.00", "0"],
    ]
    out.truncate(0)
    Console(file=out, width=100).print(nodes_table(NodesProgress(-1, 60, nodes)))
    assert "3 of 4 nodes ready" in out.getvalue()


def test_there_is_no_eta_before_the_run_has_moved():
    progress = SimpleNamespace(virtual_s=0.0, duration_s=2.5, blocks=0, deliveries=0, wall_s=0.2)
    assert progress_text(progress) == "0.0 / 2.5 s   0 blocks   0 deliveries/s"


def test_a_run_prints_a_table_and_leaves_its_artefacts(capsys, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["run", tiny, "--seed", "5"]) == 0
    out, err = capsys.readouterr()
    assert "hotstuff" in out
    assert err == "artefacts in runs/tiny-seed5\n"
    written = sorted(path.name for path in (tmp_path / "runs/tiny-seed5").iterdir())
    assert written == [
        "arrivals.parquet",
        "blocks.parquet",
        "links.parquet",
        "replicas.parquet",
        "result.json",
        "scenario.toml",
    ]


def test_json_is_the_result_and_nothing_else_and_overrides_count(capsys, tiny, tmp_path):
    zero_load = ["compute.sign_us=0", "compute.verify_us=0", "workload.transactions_per_s=0"]
    out = ["--json", "--out", str(tmp_path / "out")]
    assert main(["run", tiny, *out, "--set", "network.delay_ms=50", *zero_load]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result == json.loads((tmp_path / "out/result.json").read_text())
    assert result["scenario"]["network"]["delay_ms"] == 50
    assert result["consensus"]["finality_ms"]["p50"] == 350


def test_a_failed_check_is_exit_code_1(capsys, tiny, tmp_path):
    arguments = ["run", tiny, "--out", str(tmp_path / "out"), "--set", "expect.progress=false"]
    assert main(arguments) == 1
    assert json.loads((tmp_path / "out/result.json").read_text())["safety"]["ok"] is False


def test_ctrl_c_leaves_a_partial_result_and_exit_code_130(tiny, tmp_path):
    script = f"""
import os, signal
from testbed import simulate
from testbed.cli import main
from testbed.commands import progress

def interrupt(self, state):
    if state.virtual_s > 100:
        os.kill(os.getpid(), signal.SIGINT)

progress.ProgressLine.__call__ = interrupt
import sys
sys.stderr.isatty = lambda: True
sys.exit(main(["run", {tiny!r}, "--set", "duration_s=100000", "--out", {str(tmp_path / "out")!r}, "--json"]))
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, env=environment, timeout=60
    )
    assert done.returncode == 130, done.stderr
    result = json.loads((tmp_path / "out/result.json").read_text())
    assert result["partial"] is True
    assert 100 < result["engine"]["virtual_s"] < 100_000


def test_the_delays_of_a_sky_can_be_replayed_as_a_matrix(capsys, tmp_path):
    delays = tmp_path / "delays.csv"
    assert main(["sky", SMOKE, "--at", "0", "60", "--delays", str(delays), "--json"]) == 0
    survey = json.loads(capsys.readouterr().out)
    assert survey["satellites"] == 66
    assert len(survey["delays"]) == 2 * 4 * 3
    first = survey["delays"][0]
    assert first["path"].split()[0] == first["source"] == "sat/star/00/00"
    assert len(first["path"].split()) == first["hops"] + 1
    matrix = read_delays(delays)
    assert list(matrix.labels) == list(dict.fromkeys(row["source"] for row in survey["delays"]))
    assert matrix.delay_ns[0, 1] == round(first["one_way_ms"] * 1e6)


def test_a_sky_is_tables_for_people(capsys, tmp_path):
    assert main(["sky", SMOKE]) == 0
    out = capsys.readouterr().out
    assert "satellites       66" in out
    assert "walker_star" in out
    assert "…" not in out
    assert main(["sky", SMOKE, "--delays", str(tmp_path / "none" / "delays.csv")]) == 2
    assert "delays.csv: cannot be written: No such file or directory" in capsys.readouterr().err


def test_bound_prints_a_table_or_json(capsys, tiny):
    assert main(["bound", tiny]) == 0
    assert "700" in capsys.readouterr().out
    assert main(["bound", tiny, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)


def test_delays_between_places_that_are_no_members(capsys, tmp_path):
    delays = tmp_path / "delays.csv"
    names = ["sat/star/00/00", "sat/star/01/01"]
    assert main(["sky", SMOKE, "--between", *names, "--delays", str(delays)]) == 0
    assert sorted(read_delays(delays).labels) == names
    capsys.readouterr()
    assert main(["sky", SMOKE, "--between", "gs/nowhere", names[0]]) == 2
    assert "'gs/nowhere' is no endpoint of this network" in capsys.readouterr().err
