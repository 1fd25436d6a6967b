# ruff: noqa: E501 - a sentence is easiest to judge as it will be read, on one line
"""Clients in scenarios: what is right is read and written again; what is wrong is one sentence each."""

from pathlib import Path

import pytest

from testbed.scenario import ScenarioError, load_scenario
from testbed.sky import build_sky

ORBIT = """\
[[committee]]
on = "s1"
count = 4

[[shell]]
name = "s1"
planes = 4
satellites_per_plane = 5
altitude_km = 1200
inclination_deg = 53.0

[[ground_station]]
name = "quito"
latitude_deg = 0
longitude_deg = -78

[[client]]
at = "gs/quito"
transactions_per_s = 10

[workload]
block_max_bytes = 2_000

[consensus]
protocol = "pbft"
"""


def written(folder: Path, old: str = "", new: str = "") -> Path:
    assert not old or ORBIT.count(old) == 1
    (folder / "good.csv").write_text("at_s,bytes\n# comment\n2,10\n1,\n")
    (folder / "bad.csv").write_text("at_s,bytes\n2,10\n\n1,no\n")
    (folder / "late.csv").write_text("at_s\n2\n-1\n")
    (folder / "wide.csv").write_text("at_s\n2,3\n")
    (folder / "empty.csv").write_text("at_s\n# nothing\n")
    (folder / "none.csv").write_text("time,bytes\n2,3\n")
    (folder / "long.csv").write_text("at_s,bytes\n2,2001\n")
    path = folder / "s.toml"
    path.write_text(ORBIT.replace(old, new) if old else ORBIT)
    return path


def problems(path: Path) -> list[str]:
    with pytest.raises(ScenarioError) as raised:
        build_sky(load_scenario(path))
    return [problem.removeprefix(f"{path}:") for problem in raised.value.problems]


RATE, PLACE = "transactions_per_s = 10", 'at = "gs/quito"'


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (PLACE, 'at = "gs/quit"', '18: client[0].at = "gs/quit": no ground station is called "quit", did you mean "quito"?'),
        (PLACE, 'at = "quito"', '18: client[0].at = "quito": must be an endpoint: sat/SHELL/PLANE/INDEX, gs/NAME, net/NAME or lab/0'),
        (PLACE, 'at = "sat/s1/4/0"', '18: client[0].at = "sat/s1/4/0": "sat/s1/4/0" matches nothing; the last satellite is sat/s1/03/04'),
        (PLACE, 'at = "lab/0"', '18: client[0].at = "lab/0": needs a laboratory network'),
        (PLACE, "", "17: client[0].at: missing; the endpoint of the client, such as gs/tokyo"),
        (RATE, 'transactions_per_s = 10\nto = "replica/4"', '20: client[0].to = "replica/4": "replica/4" matches nothing; there are replica/0 to replica/3'),
        (RATE, 'transactions_per_s = 10\nto = "nearer"', '20: client[0].to = "nearer": must be "nearest" or a replica, such as replica/3, did you mean "nearest"?'),
        (RATE, "", "17: client[0].transactions_per_s: missing; a client needs it, or a trace"),
        (RATE, "transactions_per_s = 0", "19: client[0].transactions_per_s = 0: must be more than 0"),
        (RATE, 'transactions_per_s = 10\ntrace = "good.csv"', '20: client[0].trace = "good.csv": means nothing beside transactions_per_s'),
        (RATE, 'trace = "no.csv"', '19: client[0].trace = "no.csv": no such file in FOLDER'),
        (RATE, 'trace = "bad.csv"', '19: client[0].trace = "bad.csv": line 4 bytes "no" must be a whole number, 1 or more'),
        (RATE, 'trace = "late.csv"', '19: client[0].trace = "late.csv": line 3 at_s "-1" must be a number of seconds, 0 or more'),
        (RATE, 'trace = "wide.csv"', '19: client[0].trace = "wide.csv": line 2 has 2 cells under 1 column names'),
        (RATE, 'trace = "empty.csv"', '19: client[0].trace = "empty.csv": line 1 has no rows under its header'),
        (RATE, 'trace = "none.csv"', '19: client[0].trace = "none.csv": line 1 needs a column at_s; it has time, bytes'),
        (RATE, 'trace = "long.csv"', '19: client[0].trace = "long.csv": has a transaction of 2001 bytes, but block_max_bytes = 2000'),
        ("block_max_bytes = 2_000", "block_max_bytes = 200", "22: workload.block_max_bytes = 200: must be at least transaction_bytes = 250, or clients wait for ever"),
        ("block_max_bytes = 2_000", "transactions_per_s = 5", "22: workload.transactions_per_s = 5: must be left out beside [[client]], each of which has its own"),
        ("block_max_bytes = 2_000", 'share = "some"', '22: workload.share = "some": must be one of "none", "all"'),
        ('[[client]]\nat = "gs/quito"\ntransactions_per_s = 10\n\n[workload]\nblock_max_bytes = 2_000', '[workload]\nshare = "none"\nmempool_max_bytes = 9', '18: workload.share = "none": means nothing without a [[client]]'),
    ],
)  # fmt: skip
def test_one_mistake_is_one_sentence(tmp_path, old, new, sentence):
    found = problems(written(tmp_path, old, new))
    assert found[-1 if "mempool" not in new else 0] == sentence.replace("FOLDER", str(tmp_path))
    assert len(found) == (2 if "mempool" in new else 1)


def test_a_laboratory_has_only_its_members_places(tmp_path):
    path = tmp_path / "s.toml"
    path.write_text(
        '[network]\nmodel = "fixed"\ndelay_ms = 1\n[[committee]]\non = "laboratory"\ncount = 2\n'
        '[[client]]\nat = "lab/2"\ntransactions_per_s = 1\n[[client]]\nat = "gs/x"\ntransactions_per_s = 1\n'
    )
    assert problems(path) == [
        '8: client[0].at = "lab/2": "lab/2" matches nothing; there are lab/0 to lab/1',
        '11: client[1].at = "gs/x": must be lab/0 or another member\'s place in a network of model = "fixed"',
    ]


@pytest.mark.parametrize(("old", "new"), [("", ""), (RATE, 'trace = "good.csv"\nto = "replica/2"')])
def test_what_is_written_out_loads_back(tmp_path, old, new):
    """With clients there is no common rate to write."""
    scenario = load_scenario(written(tmp_path, old, new))
    assert "transactions_per_s" not in scenario.resolved()["workload"]
    again = tmp_path / "again.toml"
    again.write_text(scenario.toml())
    assert load_scenario(again) == scenario


def test_a_client_without_a_route_is_warned_of(tmp_path):
    """Without links between satellites nobody at Quito reaches the other side."""
    path = written(tmp_path, "inclination_deg = 53.0", 'inclination_deg = 0.0\nisl = "none"')
    sky = build_sky(load_scenario(path, ['client.0.to="replica/2"']))
    assert not sky.whole_plan.at(0).reachable[4, 2]
    assert "client[0] at gs/quito does not reach replica 2 at the start" in sky.warnings
    assert "client[0] at gs/quito reaches no replica at the start" in build_sky(load_scenario(path)).warnings
    path = written(tmp_path, "planes = 4\nsatellites_per_plane = 5", "planes = 9\nsatellites_per_plane = 11")
    assert not [warning for warning in build_sky(load_scenario(path)).warnings if "client" in warning]
