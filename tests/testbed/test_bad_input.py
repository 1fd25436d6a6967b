# ruff: noqa: E501 - a sentence is easiest to judge as it will be read, on one line
"""A wrong scenario: one sentence for each mistake, with its file, line, key, value and what is allowed."""

from pathlib import Path

import pytest

from consensus.protocols import load_protocol
from testbed.scenario import ScenarioError, load_scenario, make_scenario

ORBIT = """\
title = "three shells of nothing special"
seed = 7
duration_s = 60

[consensus]
protocol = "pbft"
delta_ms = 250
quorum = 3
parameters = { window = 1 }

[[committee]]
on = "s1"
select = "spread"
count = 4

[[shell]]
name = "s1"
planes = 4
satellites_per_plane = 5
phasing = 1
altitude_km = 550
inclination_deg = 53.0
isl = "plus_grid"

[[ground_station]]
name = "kiruna"
latitude_deg = 67.86
longitude_deg = 20.22

[network]
isl_rate_gbps = 100
terrestrial = "fibre"

[[fault]]
kind = "slow"
target = "replica/3"
delay_ms = 5
window_s = [20, 40]
"""


MENU = 'one of "pbft", "hotstuff", "jolteon", "hotstuff2", "tendermint", "simplex", "streamlet", "minimmit", "longest_chain"'

# Catalogue number 25544 in September 2008, a widely printed example.
ISS = """\
1 25544U 98067A   08264.51782528 -.00002182  00000-0 -11606-4 0  2927
2 25544  51.6416 247.4627 0006703 130.5360 325.0288 15.72125391563537
"""


def problems(folder: Path, text: str, *overrides: str) -> tuple[str, ...]:
    """Mistakes without the name of the file."""
    path = folder / "s.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ScenarioError) as raised:
        load_scenario(path, overrides)
    return tuple(problem.removeprefix(f"{path}:") for problem in raised.value.problems)


def changed(old: str, new: str) -> str:
    assert ORBIT.count(old) == 1
    return ORBIT.replace(old, new)


def test_the_scenario_that_these_tests_break_is_right(tmp_path):
    path = tmp_path / "s.toml"
    path.write_text(ORBIT)
    assert load_scenario(path).committee[0].count == 4


# -- one value --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("inclination_deg = 53.0", "inclination_deg = 190", "22: shell[0].inclination_deg = 190: must be between 0 and 180 degrees"),
        ("altitude_km = 550", "altitude_km = -5", "21: shell[0].altitude_km = -5: must be between 120 and 50,000 km above the equator"),
        ("altitude_km = 550", "altitude_km = nan", "21: shell[0].altitude_km = nan: must be between 120 and 50,000 km above the equator"),
        ("planes = 4", "planes = 0", "18: shell[0].planes = 0: must be at least 1"),
        ("planes = 4", "planes = 4.5", "18: shell[0].planes = 4.5: must be a whole number, at least 1"),
        ("planes = 4", 'planes = "4"', '18: shell[0].planes = "4": must be a whole number, at least 1'),
        ("planes = 4", "planes = true", "18: shell[0].planes = true: must be a whole number, at least 1"),
        ("satellites_per_plane = 5", "satellites_per_plane = 0", "19: shell[0].satellites_per_plane = 0: must be at least 1"),
        ("phasing = 1", "phasing = 4", "20: shell[0].phasing = 4: must be between 0 and 3, one less than planes"),
        ("phasing = 1", "phasing = -1", "20: shell[0].phasing = -1: must be 0 or more"),
        ("phasing = 1", "cross_plane_shift = -5", "20: shell[0].cross_plane_shift = -5: must be less than the 5 satellites of a plane, either way"),
        ("phasing = 1", 'links_to = ["s1"]', '20: shell[0].links_to = ["s1"]: must name other shells, not itself'),
        ("phasing = 1", 'links_to = ["s2"]', '20: shell[0].links_to = ["s2"]: no shell is called "s2"; there is s1'),
        ("phasing = 1", 'seam = "shut"', '20: shell[0].seam = "shut": must be one of "closed", "open"'),
        ('isl = "plus_grid"', 'isl = "plusgrid"', '23: shell[0].isl = "plusgrid": must be one of "plus_grid", "ring", "nearest", "none", or a CSV of pairs (a file name ending in .csv), did you mean "plus_grid"?'),
        ('name = "s1"', 'name = "s 1"', '17: shell[0].name = "s 1": must be a name without spaces, slashes or tildes'),
        ('name = "s1"', 'pattern = "walker_dleta"', '17: shell[0].pattern = "walker_dleta": must be one of "walker_delta", "walker_star", "elements", did you mean "walker_delta"?'),
        ("latitude_deg = 67.86", "latitude_deg = 95", "27: ground_station[0].latitude_deg = 95: must be between -90 and 90 degrees"),
        ("longitude_deg = 20.22", "longitude_deg = 200", "28: ground_station[0].longitude_deg = 200: must be between -180 and 180 degrees"),
        ("longitude_deg = 20.22", "", "25: ground_station[0].longitude_deg: missing; it has no default"),
        ("duration_s = 60", "duration_s = inf", "3: duration_s = inf: must be more than 0 seconds"),
        ("seed = 7", "seed = -7", "2: seed = -7: must be 0 or more"),
        ("seed = 7", 'start = "2026-11-22"', '2: start = "2026-11-22": must be a date and time without quotes, such as 2026-11-22T00:00:00Z'),
        ("seed = 7", "sed = 7", '2: sed: unknown key, did you mean "seed"?'),
        ("seed = 7", "delta_ms = 7", "2: delta_ms: unknown key; it belongs in [consensus]"),
        ("seed = 7", "altitude_km = 7", "2: altitude_km: unknown key; it belongs in [[shell]]"),
        ("seed = 7", "mqtt = 7", "2: mqtt = 7: must be a table of keys"),
        ("seed = 7", "expect = { safty = true }", '2: expect.safty: unknown key, did you mean "safety"?'),
        ("seed = 7", "expect.safety = 1", "2: expect.safety = 1: must be true or false"),
        ("title = ", "title = 3 # ", "1: title = 3: must be text in quotes"),
        ("isl_rate_gbps = 100", "isl_rate_gbps = 0", "31: network.isl_rate_gbps = 0: must be more than 0 Gbit/s (inf: no limit)"),
        ("isl_rate_gbps = 100", "isl_grazing_altitude_km = -1", "31: network.isl_grazing_altitude_km = -1: must be 0 km or more above a sphere of 6,378.137 km"),
        ("isl_rate_gbps = 100", "isl_terminals = 0", "31: network.isl_terminals = 0: must be at least 1"),
        ("isl_rate_gbps = 100", "gsl_terminals = 1.5", "31: network.gsl_terminals = 1.5: must be a whole number, at least 1"),
        ("isl_rate_gbps = 100", "isl_acquisition_s = -1", "31: network.isl_acquisition_s = -1: must be between 0 and 3,600 seconds"),
        ("isl_rate_gbps = 100", "isl_acquisition_s = inf", "31: network.isl_acquisition_s = inf: must be between 0 and 3,600 seconds"),
        ("isl_rate_gbps = 100", "reconfiguration_offset_s = -3", "31: network.reconfiguration_offset_s = -3: must be 0 seconds or more"),
        ("isl_rate_gbps = 100", "reconfiguration_offset_s = 15", "31: network.reconfiguration_offset_s = 15: must be less than reconfiguration_interval_s = 15"),
        ("isl_rate_gbps = 100", "reconfiguration_interval_s = inf\nreconfiguration_offset_s = 3", "32: network.reconfiguration_offset_s = 3: needs a grid, and reconfiguration_interval_s = inf has none"),
        ("isl_rate_gbps = 100", 'gsl_policy = "elevaton"', '31: network.gsl_policy = "elevaton": must be one of "all", "best", "elevation", "visibility", did you mean "elevation"?'),
        ("isl_rate_gbps = 100", "loss = 1.5", "31: network.loss = 1.5: must be between 0 and 1"),
        ("isl_rate_gbps = 100", "hybird = true", '31: network.hybird: unknown key, did you mean "hybrid"?'),
        ("isl_rate_gbps = 100", "gsl_rate_mbps = { up = -1 }", "31: network.gsl_rate_mbps.up = -1: must be more than 0 Mbit/s (inf: no limit)"),
        ("isl_rate_gbps = 100", "delay_ms = 10", '31: network.delay_ms = 10: belongs to model = "fixed", not to model = "latency"'),
        ('terrestrial = "fibre"', 'terrestrial = "fiber"', '32: network.terrestrial = "fiber": must be one of "none", "fibre", or a CSV of round-trip times (a file name ending in .csv), did you mean "fibre"?'),
        ('on = "s1"', 'on = "s9"', '12: committee[0].on = "s9": must be one of "s1", "ground", "terrestrial", "laboratory"'),
        ('on = "s1"', "", '11: committee[0].on: missing; "laboratory", "ground", "terrestrial" or the name of a shell'),
        ('select = "spread"', 'select = "sprad"', '13: committee[0].select = "sprad": must be one of "all", "spread", "random", "first", "plane:N", or a list of endpoints, did you mean "spread"?'),
        ('select = "spread"', 'select = "all"', "14: committee[0].count = 4: must be 20, as many as select takes, or be left out"),
        ('select = "spread"', 'select = "plane:4"', '13: committee[0].select = "plane:4": must be plane:0 to plane:3'),
        ('select = "spread"\ncount = 4', 'select = ["sat/s1/00/01", "sat/s1/02/00", "sat/s1/00/01", "sat/s1/03/00"]', '13: committee[0].select[2] = "sat/s1/00/01": has its seat already, by committee[0].select[0]'),
        ("count = 4", "count = 0", "14: committee[0].count = 0: must be at least 1"),
        ("count = 4", "count = 21", '14: committee[0].count = 21: must be at most 20, the number of satellites of shell "s1"'),
        ("quorum = 3", "quorum = 0", "8: consensus.quorum = 0: must be at least 1"),
        ("quorum = 3", "quorum = 5", "8: consensus.quorum = 5: must be at most 4, the size of the committee"),
        ('protocol = "pbft"', 'protocol = "pbtf"', f'6: consensus.protocol = "pbtf": must be {MENU}, or "package.module:Class", did you mean "pbft"?'),
        ("window = 1", 'window = "1"', '9: consensus.parameters.window = "1": must be a whole number, not text'),
        ("window = 1", "window = 0", "9: consensus.parameters.window = 0: window and checkpoint_interval must be at least 1"),
        ("parameters = { window = 1 }", "parameters = 1", "9: consensus.parameters = 1: must be a table, such as { block_interval_ms = 100 }"),
        ('kind = "slow"', 'kind = "slwo"', '35: fault[0].kind = "slwo": must be one of "crash", "outage", "partition", "loss", "slow", "byzantine", did you mean "slow"?'),
        ('kind = "slow"', 'kind = "crash"', '37: fault[0].delay_ms = 5: belongs to kind = "slow", not to kind = "crash"'),
        ("delay_ms = 5", "", '34: fault[0].delay_ms: missing; kind = "slow" needs it'),
        ("[20, 40]", "[20, 61]", "38: fault[0].window_s = [20, 61]: must begin before it ends and lie inside the run, 0 to 60 s"),
        ("[20, 40]", "[60]", "38: fault[0].window_s = [60]: must begin before it ends and lie inside the run, 0 to 60 s"),
        ("[20, 40]", "[40, 20]", "38: fault[0].window_s = [40, 20]: must begin before it ends and lie inside the run, 0 to 60 s"),
        ("[20, 40]", "20", "38: fault[0].window_s = 20: must be [begin, end] or [begin] in seconds, 0 or more"),
        ("replica/3", "replica/4", '36: fault[0].target = "replica/4": "replica/4" matches nothing; there are replica/0 to replica/3'),
    ],
)  # fmt: skip
def test_one_wrong_value_is_one_sentence(tmp_path, old, new, sentence):
    assert problems(tmp_path, changed(old, new)) == (sentence,)


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("sat/s1/04/00", '"sat/s1/04/00" matches nothing; the last satellite is sat/s1/03/04'),
        ("sat/s1/1/2", '"sat/s1/1/2" must be written sat/s1/01/02'),
        ("sat/s1/x", '"sat/s1/x" must be sat/SHELL/PLANE/INDEX, such as sat/s1/00/07'),
        ("sat/s2/00/00", 'no shell is called "s2"; there is s1'),
        ("shell/s2", 'no shell is called "s2"; there is s1'),
        ("plane/s1/4", '"plane/s1/4" matches nothing; there are plane/s1/0 to plane/s1/3'),
        ("gs/kirna", 'no ground station is called "kirna", did you mean "kiruna"?'),
        ("lab/0", '"lab/0" matches nothing; there are none'),
        ("link/gs/kiruna", '"link/gs/kiruna" must name two endpoints, as in link/A~B'),
        ("link/gs/kiruna~sat/s1/09/00", '"sat/s1/09/00" matches nothing; the last satellite is sat/s1/03/04'),
        ("operator/x", 'no operator is called "x"; there is none'),
        (
            "sattelite",
            '"sattelite" matches nothing; a target is replica/3, sat/SHELL/PLANE/INDEX, gs/NAME, '
            "net/NAME, lab/0, plane/SHELL/4, shell/NAME, operator/NAME, link/A~B or all",
        ),
    ],
)
def test_a_target_that_matches_nothing(tmp_path, target, why):
    text = changed('"replica/3"', f'["all", "{target}"]')
    assert problems(tmp_path, text) == (f'36: fault[0].target[1] = "{target}": {why}',)


@pytest.mark.parametrize("target", ["gs/kiruna", "link/sat/s1/00/00~sat/s1/03/04", "plane/s1/3", "shell/s1", "all"])
def test_a_target_that_matches_something(target):
    fault = {"kind": "outage", "target": target}
    station = {"name": "kiruna", "latitude_deg": 67.86, "longitude_deg": 20.22}
    shell = {"planes": 4, "satellites_per_plane": 5, "altitude_km": 600, "inclination_deg": 53}
    tables = {"committee": [{"on": "s1"}], "shell": [shell], "ground_station": [station], "fault": [fault]}
    assert make_scenario(tables).fault[0].targets == (target,)


# -- what does not exist yet ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "allowed"),
    [
        ("fault.0.kind=eclipse", 'one of "crash", "outage", "partition", "loss", "slow", "byzantine"'),
    ],
)
def test_values_of_later_versions_are_known_and_refused(tmp_path, override, allowed):
    assert problems(tmp_path, ORBIT, override) == (
        f"--set {override}: does not exist yet; for now it must be {allowed}",
    )


# -- many at once -----------------------------------------------------------------------------------------------------


def test_all_mistakes_come_at_once_in_the_order_of_the_file_and_overrides_last(tmp_path):
    text = (
        changed("seed = 7", "sede = 7")
        .replace("count = 4", "count = 50")
        .replace("inclination_deg = 53.0", "inclination_deg = 190")
        .replace("latitude_deg = 67.86", 'latitude_deg = "north"')
        .replace("replica/3", "gs/oslo")
    )
    assert problems(tmp_path, text, "consensus.delta_ms=0", "network.hybird=true", "nonsense") == (
        '2: sede: unknown key, did you mean "seed"?',
        '14: committee[0].count = 50: must be at most 20, the number of satellites of shell "s1"',
        "22: shell[0].inclination_deg = 190: must be between 0 and 180 degrees",
        '27: ground_station[0].latitude_deg = "north": must be a number, between -90 and 90 degrees',
        '36: fault[0].target = "gs/oslo": no ground station is called "oslo"; there is kiruna',
        "--set consensus.delta_ms=0: must be more than 0 ms",
        '--set network.hybird=true: unknown key, did you mean "hybrid"?',
        "--set nonsense: must be key=value, such as consensus.delta_ms=250",
    )


def test_a_key_that_cannot_be_read_silences_only_what_needs_it(tmp_path):
    text = (
        changed("planes = 4", "planes = 0")
        .replace("count = 4", "count = 50")
        .replace("window_s = [20, 40]", "window_s = [70]")
    )
    assert problems(tmp_path, text) == (
        "18: shell[0].planes = 0: must be at least 1",
        "38: fault[0].window_s = [70]: must begin before it ends and lie inside the run, 0 to 60 s",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("override", "why"),
    [
        ("shell.7.planes=3", "shell has 1 entries and none called 7"),
        ("seed.x=3", "seed is a value and has no keys"),
        ("=3", "must be key=value, such as consensus.delta_ms=250"),
        ("title=two words", "'two words' is not a TOML value; text needs quotes if it has spaces or signs"),
        ("title=[1", "'[1' is not a TOML value; text needs quotes if it has spaces or signs"),
    ],
)
def test_an_override_that_is_none(tmp_path, override, why):
    assert problems(tmp_path, ORBIT, override) == (f"--set {override}: {why}",)


def test_a_mistake_inside_an_override_names_the_key(tmp_path):
    override = "network.gsl_rate_mbps={up=0}"
    assert problems(tmp_path, ORBIT, override) == (
        f"--set {override}: network.gsl_rate_mbps.up = 0: must be more than 0 Mbit/s (inf: no limit)",
    )


# -- members and networks that do not fit -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("", ("committee: missing; a scenario needs at least one [[committee]] block",)),
        ("committee = []", ("1: committee = []: needs at least one block",)),
        ("committee = 3", ("1: committee = 3: must be an array of tables, written as [[committee]]",)),
        (
            '[[committee]]\non = "laboratory"\ncount = 4',
            ('2: committee[0].on = "laboratory": needs a laboratory network: [network] model one of '
             '"fixed", "normal", "uniform", "matrix", "internet"',),
        ),
        (
            '[[committee]]\non = "laboratory"\n[network]\nmodel = "normal"\ndelay_std_ms = 1\ndelay_ms = 3',
            (
                "1: committee[0].count: missing; how many replicas the laboratory has",
                '3: network.delay_mean_ms: missing; model = "normal" needs it',
                '6: network.delay_ms = 3: belongs to model = "fixed", not to model = "normal"',
            ),
        ),
        (
            '[[committee]]\non = "laboratory"\ncount = 4\n[network]\nmodel = "uniform"\ndelay_low_ms = 9\ndelay_high_ms = 8',
            ("6: network.delay_low_ms = 9: must not be more than delay_high_ms = 8",),
        ),
        (
            '[[committee]]\non = "laboratory"\ncount = 4\n[network]\nmodel = "matrix"',
            ('4: network.file: missing; model = "matrix" needs it',),
        ),
        (
            '[[committee]]\non = "ground"\n[[committee]]\non = "terrestrial"',
            (
                '2: committee[0].on = "ground": needs at least one [[ground_station]], or ground_stations',
                '4: committee[1].on = "terrestrial": needs at least one [[ground_station]], or ground_stations',
            ),
        ),
        (
            'network.terrestrial = "none"\nnetwork.hybrid = true\n'
            '[[committee]]\non = "ground"\n[[committee]]\non = "terrestrial"\ncount = 2\n'
            '[[ground_station]]\nname = "a"\nlatitude_deg = 0\nlongitude_deg = 0',
            (
                '2: network.hybrid = true: needs terrestrial = "fibre" or a CSV of round-trip times',
                '4: committee[0].on = "ground": needs at least one [[shell]] to talk through',
                '6: committee[1].on = "terrestrial": needs [network] terrestrial = "fibre" or a CSV',
                "7: committee[1].count = 2: must be at most 1, the number of ground stations",
            ),
        ),
    ],
)  # fmt: skip
def test_members_need_a_place_and_a_network_that_fit(tmp_path, text, sentences):
    found = problems(tmp_path, text)
    assert tuple(problem.strip() for problem in found) == sentences


def test_laboratory_members_do_not_mix_with_others(tmp_path):
    text = changed("isl_rate_gbps = 100", 'model = "fixed"\ndelay_ms = 5')
    assert problems(tmp_path, text) == (
        '12: committee[0].on = "s1": must be "laboratory", the only place in a network of model = "fixed"',
    )


def test_names_are_not_given_twice_and_do_not_mean_something_else(tmp_path):
    shell = "planes = 1\nsatellites_per_plane = 1\naltitude_km = 500\ninclination_deg = 0\n"
    text = f'{ORBIT}[[shell]]\nname = "s1"\n{shell}[[shell]]\nname = "ground"\n{shell}'
    assert problems(tmp_path, text) == (
        '40: shell[1].name = "s1": is taken; each needs its own',
        '46: shell[2].name = "ground": means a place in [[committee]]; use another',
    )


@pytest.mark.parametrize(
    ("key", "why"),
    [
        (
            'isl = "plus_grid"',
            ' = "plus_grid": must be one of "nearest", "none", or a CSV of pairs (a file name ending in .csv)',
        ),
        (
            'isl = "pairs"',
            ' = "pairs": must be one of "nearest", "none", or a CSV of pairs (a file name ending in .csv)',
        ),
        ("polar_cutoff_deg = 60", " = 60: needs planes, which a shell from element sets does not have"),
        ("planes = 4", ': unknown key; it belongs to pattern = "walker_delta" or "walker_star"'),
    ],
)
def test_element_sets_have_no_planes(tmp_path, key, why):
    (tmp_path / "iss.tle").write_text(ISS)
    text = f'[[committee]]\non = "s1"\n[[shell]]\npattern = "elements"\nfile = "iss.tle"\n{key}\n'
    name = key.split(" ", 1)[0]
    assert problems(tmp_path, text) == (f"6: shell[0].{name}{why}",)


def test_members_and_targets_on_element_sets_go_by_catalogue_number(tmp_path):
    (tmp_path / "iss.tle").write_text(ISS)
    text = """\
[[committee]]
on = "s1"
select = "plane:0"
[[committee]]
on = "s1"
select = ["sat/s1/25544", "sat/s1/25545", "gs/x"]
[[shell]]
pattern = "elements"
file = "iss.tle"
[[fault]]
kind = "outage"
target = ["sat/s1/25544", "plane/s1/0"]
"""
    assert problems(tmp_path, text) == (
        '3: committee[0].select = "plane:0": shell "s1" comes from element sets and has no planes',
        '6: committee[1].select[1] = "sat/s1/25545": no satellite of shell "s1" has the catalogue number "25545"',
        '6: committee[1].select[2] = "gs/x": must be an endpoint of "s1", such as sat/s1/…',
        '12: fault[0].target[1] = "plane/s1/0": shell "s1" comes from element sets and has no planes',
    )


# -- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("seed = \n", ":1: not TOML: invalid value (column 8)"),
        ("seed = 1\nseed = 2\n", ":2: not TOML: cannot overwrite a value (column 9)"),
        ("title = 'open", ':1: not TOML: expected "\'" (at the end of the file)'),
        ("\xff".encode("latin-1"), ": not TOML: it is not UTF-8 text"),
    ],
)
def test_what_is_not_toml(tmp_path, text, why):
    path = tmp_path / "s.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ScenarioError) as raised:
        load_scenario(path)
    assert raised.value.problems == (f"{path}{why}",)


def test_a_missing_file_and_a_folder(tmp_path):
    for path, why in ((tmp_path / "none.toml", "no such file"), (tmp_path, "must be a TOML file, this is a folder")):
        with pytest.raises(ScenarioError) as raised:
            load_scenario(path)
        assert raised.value.problems == (f"{path}: {why}",)


def test_files_that_a_scenario_names_must_be_there(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    text = (
        changed('isl = "plus_grid"', 'isl = "pairs.csv"')
        .replace('terrestrial = "fibre"', 'terrestrial = "folder.csv"')
        .replace("seed = 7", 'ground_stations = "cities.csv"')
        + '[[shell]]\nname = "flying"\npattern = "elements"\nfile = "all.tle"\n'
    )
    assert problems(tmp_path, text) == (
        f'2: ground_stations = "cities.csv": no such file in {tmp_path}',
        f'23: shell[0].isl = "pairs.csv": no such file in {tmp_path}',
        '32: network.terrestrial = "folder.csv": must be a file, this is a folder',
        f'42: shell[1].file = "all.tle": no such file in {tmp_path}',
    )


def test_a_broken_element_set_is_named_by_its_line(tmp_path):
    (tmp_path / "iss.tle").write_text(ISS.replace("563537", "563530"))
    text = '[[committee]]\non = "s1"\n[[shell]]\npattern = "elements"\nfile = "iss.tle"\n'
    (sentence,) = problems(tmp_path, text)
    assert sentence.startswith(f'5: shell[0].file = "iss.tle": {tmp_path / "iss.tle"}:2: ')


def test_the_rows_of_a_station_table_are_checked_like_stations_of_the_scenario(tmp_path):
    table = tmp_path / "cities.csv"
    table.write_text("name,latitude_deg,longitude_deg,altitude_m\noslo,95,10.75,\nkiruna,67,x,\n")
    assert problems(tmp_path, 'ground_stations = "cities.csv"\n' + ORBIT) == (
        f"{table}:2: ground_station[1].latitude_deg = 95: must be between -90 and 90 degrees",
        f'{table}:3: ground_station[2].longitude_deg = "x": must be a number, between -180 and 180 degrees',
        f'{table}:3: ground_station[2].name = "kiruna": is taken; each needs its own',
    )


def test_a_station_table_needs_its_columns(tmp_path):
    (tmp_path / "cities.csv").write_text("name,latitude,longitude_deg\noslo,59.9,10.7\n")
    assert problems(tmp_path, 'ground_stations = "cities.csv"\n' + ORBIT) == (
        '1: ground_stations = "cities.csv": line 1 needs a column latitude_deg; it has name, latitude, longitude_deg',
    )


def test_a_table_of_round_trip_times_knows_every_station(tmp_path):
    (tmp_path / "rtt.csv").write_text(",a,b\na,,x\nb,1,\n")
    text = changed('terrestrial = "fibre"', 'terrestrial = "rtt.csv"').replace('on = "s1"', 'on = "terrestrial"')
    text = text.replace("count = 4", "count = 1").replace("quorum = 3", "").replace("replica/3", "replica/0")
    assert problems(tmp_path, text) == (
        '32: network.terrestrial = "rtt.csv": line 2 delay "x" must be a number of ms, 0 or more',
    )
    (tmp_path / "rtt.csv").write_text(",a,b\na,,3\nb,1,\n")
    assert problems(tmp_path, text) == (
        '12: committee[0].on = "terrestrial": rtt.csv has no round-trip times for kiruna',
    )


def test_an_unknown_parameter_shows_the_protocols_own(tmp_path):
    (sentence,) = problems(tmp_path, changed("window = 1", "windw = 1"))
    known = ", ".join(load_protocol("pbft").Parameters.__struct_fields__)
    assert sentence == (f'9: consensus.parameters.windw: unknown parameter, did you mean "window"? pbft has {known}')


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("no_such_module:Mine", "cannot be loaded: No module named 'no_such_module'"),
        ("consensus.chain:ChainReplica", "does not define on_start, facts, Parameters"),
        ("tests.fuzz.mutants:OddJolteon", "declares facts that are of resilience 4, which must be 3 or 5"),
    ],
)
def test_a_protocol_from_outside_must_be_there_and_whole(tmp_path, name, why):
    override = f"consensus.protocol={name}"
    (sentence,) = problems(tmp_path, ORBIT.replace("parameters = { window = 1 }", ""), override)
    assert sentence == f"--set {override}: protocol {name!r} {why}"


def test_a_lottery_has_no_quorum(tmp_path):
    text = changed('protocol = "pbft"', 'protocol = "longest_chain"').replace("window = 1", "confirmations = 6")
    assert problems(tmp_path, text) == ("8: consensus.quorum = 3: longest_chain has no quorum",)
    assert problems(tmp_path, text, "consensus.quorum=9") == (
        "--set consensus.quorum=9: longest_chain has no quorum",
    )  # fmt: skip


LABORATORY = {"committee": [{"on": "laboratory", "count": 4}], "network": {"model": "fixed", "delay_ms": 1}}


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("broker", "localhost", 'mqtt.broker = "localhost": must be mqtt://host:port, mqtts://host:port, or a broker'),
        ("broker", "http://localhost", 'mqtt.broker = "http://localhost": must be mqtt://host:port or mqtts://'),
        ("broker", "mqtt://me:secret@host", "mqtt.broker: must not have a password in it"),
        ("broker", "mqtt://host:99999", 'mqtt.broker = "mqtt://host:99999": has a port that is not between'),
        ("time_scale", 0, "mqtt.time_scale = 0: must be more than 0"),
        ("lateness_budget_ms", -1, "mqtt.lateness_budget_ms = -1: must be more than 0 ms"),
    ],
)
def test_what_real_nodes_cannot_have(key, value, sentence):
    with pytest.raises(ScenarioError) as error:
        make_scenario({**LABORATORY, "mqtt": {key: value}})
    assert len(error.value.problems) == 1
    assert sentence in error.value.problems[0]
    assert "secret" not in error.value.problems[0]


@pytest.mark.parametrize("broker", ["mqtt://localhost:1883", "mqtts://me@[::1]:8883", "mosquitto", "nats", "amqtt"])
def test_what_real_nodes_can_have(broker):
    made = make_scenario({**LABORATORY, "mqtt": {"broker": broker, "time_scale": 10, "lateness_budget_ms": 2.5}})
    assert (made.mqtt.broker, made.mqtt.time_scale) == (broker, 10)


# -- computing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        (
            'preset = "sever"',
            '40: compute.preset = "sever": must be one of "server", "radiation_hardened", did you mean "server"?',
        ),
        ("preset = 3", '40: compute.preset = 3: must be one of "server", "radiation_hardened"'),
        (
            'verification = "batched"',
            '40: compute.verification = "batched": must be one of "single", "batch", "aggregate", did you mean "batch"?',
        ),
        ("sign_us = -1", "40: compute.sign_us = -1: must be 0 µs or more"),
        ("hash_us_per_mb = inf", "40: compute.hash_us_per_mb = inf: must be 0 µs or more"),
        ('execute_us = "fast"', '40: compute.execute_us = "fast": must be a number, 0 µs or more'),
        ("batch_us = 3", '40: compute.batch_us = 3: belongs to verification = "batch", not to verification = "single"'),
        (
            'preset = "server"\nverification = "batch"\naggregate_us = 3',
            '42: compute.aggregate_us = 3: belongs to verification = "aggregate", not to verification = "batch"',
        ),
        (
            'verification = "batch"\nbatch_base_us = 3',
            '39: compute.batch_us: missing; verification = "batch" needs it, or a preset',
        ),
        (
            'verification = "aggregate"\naggregate_us = 3',
            '39: compute.aggregate_base_us: missing; verification = "aggregate" needs it, or a preset',
        ),
        ("hash_us_per_bm = 3", '40: compute.hash_us_per_bm: unknown key, did you mean "hash_us_per_mb"?'),
    ],
)
def test_computing_costs_what_it_can(tmp_path, keys, sentence):
    assert problems(tmp_path, ORBIT + "[compute]\n" + keys) == (sentence,)


def test_a_preset_of_no_table_is_a_mistake_and_no_crash(tmp_path):
    text = "compute = 7\n" + ORBIT
    assert problems(tmp_path, text) == ("1: compute = 7: must be a table of keys",)
    assert problems(tmp_path, ORBIT + "[compute]\npreset = [1]\nverification = {}") == (
        '40: compute.preset = [1]: must be one of "server", "radiation_hardened"',
        '41: compute.verification = {}: must be one of "single", "batch", "aggregate"',
    )
