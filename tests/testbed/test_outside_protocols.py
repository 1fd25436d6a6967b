"""Protocols from outside: beside their scenario, or installed under a name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from consensus.protocols import PROTOCOLS, hidden_entries, load_protocol, protocol_names
from testbed import ScenarioError, load_scenario, make_scenario, simulate
from testbed.cli import main

ROOT = Path(__file__).parents[2]
SCENARIO = """
duration_s = 1
[consensus]
protocol = "{}"
[[committee]]
on = "laboratory"
count = 4
[network]
model = "fixed"
delay_ms = 100
"""
MODULE = """
from consensus.protocols.pbft import Pbft
class Mine(Pbft):
    pass
"""


@pytest.fixture(autouse=True)
def path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A search path and modules of its own for each test."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in set(sys.modules) - before:
        if name.startswith("outside_"):
            del sys.modules[name]


def write(folder: Path, protocol: str, **modules: str) -> Path:
    """A scenario in a folder with modules."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    file = folder / "scenario.toml"
    file.write_text(SCENARIO.format(protocol), encoding="utf-8")
    return file


# -- beside its scenario ----------------------------------------------------------------------------------------------


def test_a_module_beside_the_scenario_is_found_from_anywhere_and_its_own_modules_too(tmp_path: Path) -> None:
    helped = MODULE.replace("from consensus", "import outside_helper\nfrom consensus", 1)
    scenario = load_scenario(write(tmp_path, "outside_main:Mine", outside_main=helped, outside_helper=""))
    assert scenario.consensus.protocol_folder == tmp_path
    assert simulate(scenario).ok


def test_a_package_beside_the_scenario_is_found(tmp_path: Path) -> None:
    (tmp_path / "outside_package").mkdir()
    (tmp_path / "outside_package/__init__.py").write_text("")
    (tmp_path / "outside_package/inner.py").write_text(MODULE)
    scenario = load_scenario(write(tmp_path, "outside_package.inner:Mine"))
    assert scenario.consensus.protocol_folder == tmp_path
    assert load_protocol("outside_package.inner:Mine").__name__ == "Mine"


def test_the_resolved_scenario_finds_it_again(tmp_path: Path) -> None:
    scenario = load_scenario(write(tmp_path / "there", "outside_again:Mine", outside_again=MODULE))
    resolved = tmp_path / "resolved.toml"
    resolved.write_text(scenario.toml(), encoding="utf-8")
    assert load_scenario(resolved) == scenario


def test_a_scenario_of_ours_remembers_no_folder() -> None:
    assert load_scenario(ROOT / "scenarios/smoke.toml").consensus.protocol_folder is None


def test_a_folder_may_be_said(tmp_path: Path) -> None:
    write(tmp_path / "there", "pbft", outside_said=MODULE)
    tables = tomllib.loads(SCENARIO.format("outside_said:Mine"))
    tables["consensus"]["protocol_folder"] = "there"
    assert make_scenario(tables, folder=tmp_path).consensus.protocol_folder == tmp_path / "there"
    for value, why in (("nowhere", "no such folder"), (3, "must be the name of a folder in quotes")):
        tables["consensus"]["protocol_folder"] = value
        with pytest.raises(ScenarioError, match=why):
            make_scenario(tables, folder=tmp_path)


def test_another_module_of_that_name_is_a_mistake_and_not_run(tmp_path: Path) -> None:
    load_scenario(write(tmp_path / "one", "outside_twice:Mine", outside_twice=MODULE))
    other = write(tmp_path / "other", "outside_twice:Mine", outside_twice=MODULE)
    with pytest.raises(ScenarioError) as caught:
        load_scenario(other)
    (sentence,) = caught.value.problems
    assert sentence.endswith(
        f"protocol 'outside_twice:Mine' is in {tmp_path}/other/outside_twice.py, but Python finds "
        f"{tmp_path}/one/outside_twice.py first; rename one of them"
    )


# -- installed --------------------------------------------------------------------------------------------------------


def install(site: Path, name: str, *entries: str) -> None:
    """A distribution as pip leaves it, with entry points for protocols."""
    info = site / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("\n".join(["[quorbit.protocols]", *entries]) + "\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a package with a protocol is installed."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "outside_installed.py").write_text(MODULE)
    install(site, "outside", "tide = outside_installed:Mine")
    monkeypatch.syspath_prepend(site)
    return site


def test_an_entry_point_is_a_name_like_ours(site: Path, tmp_path: Path) -> None:
    assert protocol_names() == [*PROTOCOLS, "tide"]
    assert simulate(load_scenario(write(tmp_path, "tide"))).ok


def test_an_entry_point_is_known_to_every_command(site: Path, tmp_path: Path) -> None:
    file = write(tmp_path, "tide")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)])}

    def quorbit(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "testbed.cli", *words],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert [each["name"] for each in json.loads(quorbit("protocols", "--json"))] == [*PROTOCOLS, "tide"]
    assert json.loads(quorbit("run", str(file), "--json"))["scenario"]["consensus"]["protocol"] == "tide"


def test_the_starters_entry_point_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    starter = ROOT / "testbed/starter"
    project = tomllib.loads((starter / "pyproject.toml").read_text(encoding="utf-8"))
    entries = project["project"]["entry-points"]["quorbit.protocols"]
    install(tmp_path, "my_protocol", *(f"{name} = {value}" for name, value in entries.items()))
    (tmp_path / "my_protocol.py").write_bytes((starter / "my_protocol.py").read_bytes())
    monkeypatch.syspath_prepend(tmp_path)
    assert load_protocol("my_protocol").facts.name == "my_protocol"
    del sys.modules["my_protocol"]


def test_names_of_ours_stay_ours(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(site, "usurper", "pbft = outside_installed:Mine")
    assert protocol_names().count("pbft") == 1
    assert load_protocol("pbft").__module__ == "consensus.protocols.pbft"
    sentence = (
        "the entry point pbft = 'outside_installed:Mine' of usurper 1.0 is hidden by Quorbit's own pbft; "
        "say 'outside_installed:Mine' instead"
    )
    assert hidden_entries() == [sentence]
    assert main(["protocols"]) == 0
    assert capsys.readouterr().err == f"{sentence}\n"


def test_two_packages_that_claim_one_name(site: Path) -> None:
    install(site, "rival", "tide = outside_rival:Mine")
    with pytest.raises(LookupError) as caught:
        load_protocol("tide")
    assert str(caught.value) == (
        "protocol 'tide' is ambiguous: there are the entry points "
        "tide = 'outside_installed:Mine' of outside 1.0, tide = 'outside_rival:Mine' of rival 1.0"
    )


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("ebb = outside_absent:Mine", "cannot be loaded: No module named 'outside_absent'"),
        ("ebb = outside_installed:Absent", "cannot be loaded: module 'outside_installed' has no attribute 'Absent'"),
        ("ebb = outside_installed:Pbft.facts", "cannot be loaded: module 'outside_installed' has no attribute 'Pbft."),
        ("ebb = json:JSONDecoder", "is not a subclass of consensus.replica.Replica"),
    ],
)
def test_a_broken_entry_point_is_one_sentence_and_hides_nothing(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], entry: str, why: str
) -> None:
    install(site, "broken", entry)
    assert main(["protocols", "--json"]) == 2
    out, err = capsys.readouterr()
    assert [each["name"] for each in json.loads(out)] == [*PROTOCOLS, "tide"]
    assert err.startswith(f"protocol 'ebb' {why}")
    assert err.count("\n") == 1
    assert main(["run", str(write(tmp_path, "ebb"))]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert f": protocol 'ebb' {why}" in err
    assert err.count("\n") == 1
