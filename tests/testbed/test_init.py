"""`quorbit init`: four files, all or none, and never over what is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.cli import main
from testbed.commands.init import FILES

STARTER = Path(__file__).parents[2] / "testbed/starter"


def test_it_writes_all_files_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "new/folder"
    assert main(["init", str(folder)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for name in FILES:
        assert str(folder / name) in out
        assert (folder / name).read_bytes() == (STARTER / name).read_bytes()
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)


def test_it_leaves_other_files_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert main(["init", str(tmp_path)]) == 0
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_what_is_there_is_named_and_nothing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "scenario.toml").write_text("mine")
    (tmp_path / "my_protocol.py").symlink_to(tmp_path / "nowhere")
    assert main(["init", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert f"{tmp_path}/my_protocol.py, {tmp_path}/scenario.toml exist already; nothing was written" in err
    assert err.count("\n") == 1
    assert (tmp_path / "scenario.toml").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my_protocol.py", "scenario.toml"]


@pytest.mark.parametrize(("where", "why"), [("file", "File exists"), ("file/folder", "Not a directory")])
def test_where_nothing_can_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str], where: str, why: str) -> None:
    (tmp_path / "file").write_text("")
    assert main(["init", str(tmp_path / where)]) == 2
    assert f"{where}: cannot be written: {why}" in capsys.readouterr().err
