"""The walk through the starter protocol: its code is the starter's, its commands run, and it fails as it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from consensus.effects import Broadcast
from consensus.messages import Message, QuorumCertificate, genesis_certificate
from node.grammar import Grammar
from testbed.commands.init import FILES

ROOT = Path(__file__).parent.parent
WALK = (ROOT / "docs/writing-a-protocol.md").read_text(encoding="utf-8")
STARTER = ROOT / "testbed/starter"


def blocks(language: str) -> list[str]:
    """The code blocks of the walk in one language; without one it is what a command prints."""
    return [
        text for kind, text in re.findall(r"^```(\w*)\n(.*?)^```$", WALK, re.DOTALL | re.MULTILINE) if kind == language
    ]


def without_blank_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A command of the walk, with this interpreter and this checkout."""
    program, _, arguments = command.partition(" ")
    module = {"quorbit": "testbed.cli", "pytest": "pytest"}[program]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", module, *arguments.split()],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_all_of_the_starter_is_shown_and_nothing_else() -> None:
    head, rest = blocks("python")[:2], blocks("python")[2:]
    methods = [textwrap.indent(method, "    ") for method in rest]
    shown = "\n".join((*head, *methods))
    assert without_blank_lines(shown) == without_blank_lines((STARTER / "my_protocol.py").read_text(encoding="utf-8"))


def test_the_starter_is_under_a_hundred_lines() -> None:
    assert (STARTER / "my_protocol.py").read_text(encoding="utf-8").count("\n") < 100


def test_the_entry_point_is_the_starters() -> None:
    (shown,) = blocks("toml")
    starters = tomllib.loads((STARTER / "pyproject.toml").read_text(encoding="utf-8"))
    assert tomllib.loads(shown)["project"]["entry-points"] == starters["project"]["entry-points"]


def test_the_commands_run_and_a_mistake_is_the_sentence_that_is_shown(tmp_path: Path) -> None:
    for command in "".join(blocks("sh")).splitlines():
        done = run(command, tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
    protocol = tmp_path / "my/my_protocol.py"
    text = protocol.read_text(encoding="utf-8")
    (change,) = blocks("diff")
    before, after = (line[1:] for line in change.splitlines())
    assert text.count(before) == 1
    protocol.write_text(text.replace(before, after), encoding="utf-8")
    done = run("quorbit run my/scenario.toml", tmp_path)
    (sentence,) = blocks("")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", sentence)


def test_a_message_of_ones_own_is_as_short_as_shown() -> None:
    (shown,) = blocks("py")
    names: dict[str, Any] = {"Message": Message, "QuorumCertificate": QuorumCertificate, "Iterator": Iterator}
    exec(compile(shown, "shown", "exec", dont_inherit=True), names)
    echo = names["Echo"](genesis_certificate("certify"))
    assert list(echo.certificates()) == [genesis_certificate("certify")]
    assert Grammar((names["Echo"],), 4).fault_in(Broadcast(echo)) is None


def test_the_scenario_opens_with_its_question() -> None:
    first, second, *_ = (STARTER / "scenario.toml").read_text(encoding="utf-8").splitlines()
    assert first.startswith("# Question: ")
    assert second.startswith("# Expect: ")


def test_init_copies_all_that_the_starter_has() -> None:
    assert {path.name for path in STARTER.iterdir() if path.is_file()} == FILES.keys() | {"__init__.py"}
