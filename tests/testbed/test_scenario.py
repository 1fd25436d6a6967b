"""A right scenario: its defaults, its resolved form, where its keys stand, the tables beside it."""

import tomllib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from testbed.reference import scenario_markdown
from testbed.scenario import (
    Consensus,
    Elements,
    GroundStation,
    Network,
    Scenario,
    ScenarioError,
    WalkerDelta,
    WalkerStar,
    load_scenario,
    make_scenario,
)
from testbed.scenario.lines import index_lines, line_of
from testbed.scenario.overrides import FILE_KEYS
from testbed.scenario.places import Places
from testbed.schema import scenario_schema
from testbed.tables import TableError, read_delays, read_rtts

ROOT = Path(__file__).parents[2]
SCENARIOS = sorted(ROOT.glob("scenarios/**/*.toml"))

TINY = {"committee": [{"on": "laboratory", "count": 4}], "network": {"model": "fixed", "delay_ms": 100}}
SHELL = {"planes": 4, "satellites_per_plane": 5, "altitude_km": 600, "inclination_deg": 53}

# The template of the interface, key for key.
TEMPLATE = """
title = "HotStuff on Starlink shell 1"
seed = 7
start = 2026-11-22T00:00:00Z
duration_s = 60

[consensus]
protocol = "hotstuff"
delta_ms = 250
parameters = { }

[[committee]]
on = "s1"
select = "spread"
count = 50

[[shell]]
name = "s1"
pattern = "walker_delta"
planes = 72
satellites_per_plane = 22
phasing = 1
altitude_km = 550
inclination_deg = 53.0
isl = "plus_grid"

[[ground_station]]
name = "svalbard"
latitude_deg = 78.23
longitude_deg = 15.39
altitude_m = 450
elevation_mask_deg = 25

[network]
model = "latency"
dissemination = "unicast"
update_interval_s = 1
reconfiguration_interval_s = 15
isl_rate_gbps = 100
isl_max_range_km = 5016
isl_grazing_altitude_km = 80
gsl_rate_mbps = { up = 160, down = 1000 }
processing_us_per_hop = 0
loss = 0.0
terrestrial = "fibre"

[workload]
transactions_per_s = 1000
transaction_bytes = 250
block_max_bytes = 1_000_000

[compute]
signatures = "ed25519"
sign_us = 50
verify_us = 130

[[fault]]
kind = "crash"
target = "replica/3"
window_s = [20, 40]
"""

# Catalogue number 25544 in September 2008, a widely printed example.
ONE_TLE = """\
1 25544U 98067A   08264.51782528 -.00002182  00000-0 -11606-4 0  2927
2 25544  51.6416 247.4627 0006703 130.5360 325.0288 15.72125391563537
"""


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


# -- defaults ---------------------------------------------------------------------------------------------------------


def test_a_tiny_scenario_is_complete():
    scenario = make_scenario(TINY)
    assert scenario.consensus == Consensus(protocol="hotstuff", delta_ms=500, parameters={})
    assert scenario.network == Network(model="fixed", delay_ms=100)
    assert (scenario.seed, scenario.duration_s) == (1, 60)
    assert scenario.start == datetime(2026, 1, 1, tzinfo=UTC)
    assert scenario.network.laboratory


def test_the_interface_template_loads_and_equals_the_defaults_it_shows(tmp_path):
    scenario = load_scenario(write(tmp_path, "template.toml", TEMPLATE))
    assert scenario.network == Network()
    assert scenario.workload == Scenario.model_fields["workload"].get_default(call_default_factory=True)
    assert scenario.compute == Scenario.model_fields["compute"].get_default(call_default_factory=True)
    assert scenario.fault[0].begin_s, scenario.fault[0].end_s == (20, 40)


def test_shells_are_named_in_order_and_links_default_by_pattern(tmp_path):
    write(tmp_path, "iss.tle", ONE_TLE)
    scenario = make_scenario(
        {
            "committee": [{"on": "s1", "count": 3}],
            "shell": [SHELL, {**SHELL, "pattern": "walker_star"}, {"pattern": "elements", "file": "iss.tle"}],
        },
        folder=tmp_path,
    )
    delta, star, flying = scenario.shell
    assert isinstance(delta, WalkerDelta)
    assert isinstance(star, WalkerStar)
    assert isinstance(flying, Elements)
    assert [shell.name for shell in scenario.shell] == ["s1", "s2", "s3"]
    assert [delta.seam, star.seam] == ["closed", "open"]
    assert [delta.isl, star.isl, flying.isl, flying.isl_per_satellite] == ["plus_grid", "plus_grid", "nearest", 4]
    assert flying.file == tmp_path / "iss.tle"
    assert scenario.start is None, "the element sets' median epoch is not known here"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2026-11-22T01:00:00+01:00", datetime(2026, 11, 22, tzinfo=UTC)),
        ("2026-11-22T00:00:00", datetime(2026, 11, 22, tzinfo=UTC)),
        ("2026-11-22", datetime(2026, 11, 22, tzinfo=UTC)),
    ],
)
def test_every_kind_of_toml_date_becomes_utc(written, meant):
    scenario = make_scenario(TINY, [f"start={written}"])
    assert scenario.start == meant
    assert scenario.start.tzinfo is UTC


def test_a_committee_of_several_blocks_counts_every_replica():
    blocks = [
        {"on": "s1"},
        {"on": "s1", "select": "plane:3"},
        {"on": "s1", "select": ["sat/s1/00/04", "sat/s1/03/00"]},
        {"on": "s1", "select": "random", "count": 7, "weight": 2},
    ]
    scenario = make_scenario({"committee": blocks, "shell": [SHELL]})
    places = Places(scenario)
    assert [places.members(block) for block in scenario.committee] == [20, 5, 2, 7]
    assert places.replicas == 34


# -- the resolved form ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_every_shipped_scenario_loads_and_its_resolved_form_is_the_same_scenario(path, tmp_path):
    elements = write(tmp_path, "one.tle", ONE_TLE)
    own = [f"shell.0.file={elements}", "committee.0.count=1"] if path.stem == "starlink_elements" else []
    scenario = load_scenario(path, own)
    assert load_scenario(write(tmp_path, "resolved.toml", scenario.toml())) == scenario
    assert path.read_text().startswith("# Question: ")
    assert "# Expect: " in path.read_text()


def test_the_resolved_form_has_every_default_and_keeps_infinity():
    scenario = make_scenario(TINY, ["network.isl_rate_gbps=inf", "network.gsl_rate_mbps={up=inf, down=1}"])
    resolved = scenario.resolved()
    assert resolved["network"]["gsl_rate_mbps"] == {"up": "inf", "down": 1.0}
    assert resolved["start"] == "2026-01-01T00:00:00Z"
    assert resolved["consensus"] == {"protocol": "hotstuff", "delta_ms": 500.0, "parameters": {}}
    assert make_scenario(tomllib.loads(scenario.toml())) == scenario


def test_files_and_station_tables_do_not_tie_the_resolved_form_to_a_folder(tmp_path):
    (tmp_path / "data").mkdir()
    write(tmp_path, "data/stations.csv", "name,latitude_deg,longitude_deg,altitude_m\nkiruna,67.86,20.22,400\n")
    write(tmp_path, "data/rtt.csv", ",kiruna,oslo\nkiruna,,20\noslo,22,\n")
    text = """
        ground_stations = "data/stations.csv"
        [[ground_station]]
        name = "oslo"
        latitude_deg = 59.91
        longitude_deg = 10.75
        [[committee]]
        on = "terrestrial"
        [network]
        terrestrial = "data/rtt.csv"
    """
    scenario = load_scenario(write(tmp_path, "s.toml", text))
    assert scenario.ground_station == (
        GroundStation(name="oslo", latitude_deg=59.91, longitude_deg=10.75),
        GroundStation(name="kiruna", latitude_deg=67.86, longitude_deg=20.22, altitude_m=400),
    )
    assert scenario.ground_stations is None
    assert scenario.network.terrestrial == tmp_path / "data/rtt.csv"
    (tmp_path / "runs").mkdir()
    assert load_scenario(write(tmp_path, "runs/scenario.toml", scenario.toml())) == scenario


# -- the reference ----------------------------------------------------------------------------------------------------


def test_every_key_of_every_table_has_a_meaning():
    schema = scenario_schema()
    tables = {"": schema} | {name: table for name, table in schema["$defs"].items() if "properties" in table}
    keys = {f"{name}.{key}": entry for name, table in tables.items() for key, entry in table["properties"].items()}
    assert {"Committee.weight", "Compute.sign_us", "GslRate.up", "Network.gsl_best", ".mqtt"} <= keys.keys()
    assert [key for key, entry in keys.items() if not entry.get("description", "").strip()] == []


def test_the_schema_asks_for_no_quotes_around_the_start():
    start = scenario_schema()["properties"]["start"]
    assert "type" not in start, "JSON would say string"
    assert start["format"] == "date-time"
    assert "TOML date-time without quotes" in start["description"]


def test_the_reference_says_what_the_geometry_does():
    text = scenario_markdown()
    (grazing,) = [line for line in text.splitlines() if line.startswith("| `isl_grazing_altitude_km`")]
    assert "above a sphere of the equatorial radius, 6,378.137 km" in grazing
    (shift,) = [line for line in text.splitlines() if line.startswith("| `cross_plane_shift`")]
    assert "From the last plane back to the first of a closed delta the link goes F (phasing) places further" in shift
    walker = text.split("## `[[shell]]` with")[1]
    assert "- `walker_delta`: Planes spread over 360 degrees" in walker
    assert "- `walker_star`: Planes spread over 180 degrees" in walker


# -- overrides --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("seed=9", lambda s: s.seed == 9),
        ("consensus.protocol=pbft", lambda s: s.consensus.protocol == "pbft"),
        ('title="two words"', lambda s: s.title == "two words"),
        ("shell.0.altitude_km=700", lambda s: s.shell[0].altitude_km == 700),
        ("shell.s1.altitude_km=700", lambda s: s.shell[0].altitude_km == 700),
        ("shell[0].altitude_km = 700", lambda s: s.shell[0].altitude_km == 700),
        ("consensus.parameters.block_interval_ms=5", lambda s: s.consensus.parameters == {"block_interval_ms": 5}),
        ("network.gsl_rate_mbps.up=inf", lambda s: s.network.gsl_rate_mbps.up == float("inf")),
        ("committee.1.on=s1", lambda s: len(s.committee) == 2),
        ("expect.progress=false", lambda s: s.expect.progress is False),
    ],
)
def test_an_override_reaches_its_key(override, read):
    assert read(make_scenario({"committee": [{"on": "s1"}], "shell": [SHELL]}, [override]))


def test_the_last_override_wins_and_the_tables_given_are_left_alone():
    tables = {**TINY, "consensus": {"delta_ms": 1}}
    assert make_scenario(tables, ["consensus.delta_ms=2", "consensus.delta_ms=3"]).consensus.delta_ms == 3
    assert tables == {**TINY, "consensus": {"delta_ms": 1}}


def test_a_file_in_an_override_is_taken_from_where_the_command_runs(tmp_path, monkeypatch):
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    here.mkdir()
    elsewhere.mkdir()
    write(here, "one.tle", ONE_TLE)
    text = '[[committee]]\non="s1"\n[[shell]]\npattern="elements"\nfile="two.tle"\n'
    scenario_file = write(elsewhere, "s.toml", text)
    monkeypatch.chdir(here)
    (shell,) = load_scenario(scenario_file, ["shell.0.file=one.tle"]).shell
    assert isinstance(shell, Elements)
    assert shell.file == here / "one.tle"


def test_every_key_that_can_name_a_file_does_so_from_where_the_command_runs():
    """All keys of format "path" in the schema."""

    def named(schema, key=None):
        if isinstance(schema, dict):
            if schema.get("format") == "path":
                yield key
            for name, inner in schema.items():
                yield from named(inner, key if name in ("anyOf", "items") else name)
        elif isinstance(schema, list):
            for inner in schema:
                yield from named(inner, key)

    assert set(named(scenario_schema())) == FILE_KEYS


# -- lines ------------------------------------------------------------------------------------------------------------

ODD_BUT_VALID = '''\
# comment = 1
title = "x # y"  # [[no]]
a.b."c d" = 3
[consensus]
parameters = { x = 1, y = [1,
  2] }
text = """
k = "" 1
[no]
"""
[[shell]]
name = 's1'
list = [ # comment ]
  "a", [1, 2],
  { u = 1 },
]
[shell.sub]
when = 1979-05-27 07:32:00
[[shell]]
name = "q\\"]"
  [[shell.deep]]
  z = inf
'''


def test_the_line_index_follows_everything_that_toml_allows():
    lines = index_lines(ODD_BUT_VALID)
    wanted = {
        ("title",): 2,
        ("a", "b", "c d"): 3,
        ("consensus",): 4,
        ("consensus", "parameters", "x"): 5,
        ("consensus", "parameters", "y", 1): 6,
        ("consensus", "text"): 7,
        ("shell", 0): 11,
        ("shell", 0, "list", 1, 0): 14,
        ("shell", 0, "list", 2, "u"): 15,
        ("shell", 0, "sub", "when"): 18,
        ("shell", 1): 19,
        ("shell", 1, "name"): 20,
        ("shell", 1, "deep", 0, "z"): 22,
    }
    assert {path: lines[path] for path in wanted} == wanted
    assert ("no",) not in lines
    assert line_of(("shell", 1, "absent", 7), lines) == 19
    assert line_of(("absent",), lines) is None


words = st.text("abc-_", min_size=1, max_size=6)
nasty_text = st.text("ab \"'\\\n#=,[]{}", max_size=12)
leaves = st.integers() | st.floats() | st.booleans() | nasty_text | st.datetimes()
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4))


@given(st.dictionaries(words, values, max_size=6), st.booleans())
def test_every_key_of_any_document_has_the_line_it_stands_on(tables, multiline):
    text = tomli_w.dumps(tables, multiline_strings=multiline)
    rows = text.split("\n")
    for path, line in index_lines(text).items():
        if isinstance(path[-1], str):
            assert path[-1] in rows[line - 1]
    assert set(index_lines(text)) >= {(key,) for key in tables}


# -- tables beside the scenario ---------------------------------------------------------------------------------------


def test_a_long_matrix_takes_the_first_instant_and_keeps_asymmetry_and_gaps(tmp_path):
    text = """\
source,target,at_s,one_way_ms,hops,path
a,b,0,1.000001,2,a x b
b,a,0,2,1,b a
a,c,0,,0,
a,b,60,9,2,a x b
"""
    matrix = read_delays(write(tmp_path, "m.csv", text))
    assert matrix.labels == ("a", "b", "c")
    assert matrix.delay_ns.tolist() == [[0, 1_000_001, -1], [2_000_000, 0, -1], [-1, -1, 0]]
    assert matrix.delay_ns.dtype == np.int64
    assert matrix.among(("c", "a")).tolist() == [[0, -1], [-1, 0]]


def test_a_wide_matrix_has_a_label_row_and_a_label_column_in_any_order(tmp_path):
    matrix = read_delays(write(tmp_path, "m.csv", "# ms\nfrom,a,b,c\nc,3,,\na,,0.5,1\nb,2.25,0,\n"))
    assert matrix.labels == ("a", "b", "c")
    assert matrix.delay_ns.tolist() == [[0, 500_000, 1_000_000], [2_250_000, 0, -1], [3_000_000, -1, 0]]


def test_round_trip_times_are_halved_and_hold_both_ways(tmp_path):
    long = read_rtts(write(tmp_path, "l.csv", "source,target,rtt_ms\na,b,5\nb,c,7\nc,b,9\n"))
    assert long.delay_ns.tolist() == [[0, 2_500_000, -1], [2_500_000, 0, 3_500_000], [-1, 4_500_000, 0]]
    wide = read_rtts(write(tmp_path, "w.csv", "rtt,a,b\na,1,5\nb,,\n"))
    assert wide.delay_ns.tolist() == [[500_000, 2_500_000], [2_500_000, 0]]
    matrix = read_delays(write(tmp_path, "d.csv", "source,target,rtt_ms\na,b,5\n"))
    assert matrix.delay_ns.tolist() == [[0, 2_500_000], [-1, 0]]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "1: has no rows under its header"),
        ("source,target,delay\na,b,1\n", "1: needs a column one_way_ms or rtt_ms beside source and target"),
        ("source,target,rtt_ms\na,b\n", "2: has 2 cells under 3 column names"),
        ("source,target,rtt_ms\na,b,1\na,b,2\n", "3: gives a to b a second time"),
        ("source,target,rtt_ms\na,b,-1\n", '2: delay "-1" must be a number of ms, 0 or more'),
        (",a,b\na,0,x\nb,0,0\n", '2: delay "x" must be a number of ms, 0 or more'),
        (",a,a\na,0,1\n", "1: needs a different label over each column"),
        (",a,b\na,0,1\n", '2: needs a row for the column "b"'),
        (",a,b\na,0,1\nc,0,1\n", '3: label "c" must be one of the columns, and once'),
        (",a,b\na,0\nb,0,1\n", "2: has 1 delays under 2 labels"),
    ],
)
def test_a_broken_matrix_says_where(tmp_path, text, why):
    path = write(tmp_path, "m.csv", text)
    with pytest.raises(TableError) as raised:
        read_delays(path)
    assert str(raised.value) == f"{path}:{why}"


def test_a_laboratory_matrix_has_room_for_its_replicas(tmp_path):
    write(tmp_path, "m.csv", ",a,b\na,,1\nb,2,\n")
    tables = {"committee": [{"on": "laboratory", "count": 2}], "network": {"model": "matrix", "file": "m.csv"}}
    assert make_scenario(tables, folder=tmp_path).network.file == tmp_path / "m.csv"
    with pytest.raises(ScenarioError, match=r"makes 3 replicas, but m\.csv has 2 places"):
        make_scenario(tables, ["committee.0.count=3"], folder=tmp_path)
