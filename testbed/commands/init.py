"""`quorbit init`: a protocol of one's own to begin with, in a folder of its own."""

import os
from importlib.resources import files
from pathlib import Path

import typer

FILES = {
    "my_protocol.py": "the protocol: complete, and short enough to read",
    "scenario.toml": "a run of it in orbit",
    "test_my_protocol.py": "what it promises",
    "pyproject.toml": "for pip install -e, which gives it a name",
}
"""What `testbed.starter` has for it, and why."""


def write_starter(folder: Path) -> int:
    """Copy the starter into a folder, all of it or nothing."""
    there = [str(folder / name) for name in FILES if os.path.lexists(folder / name)]
    if there:
        exist = "exists" if len(there) == 1 else "exist"
        raise typer.BadParameter(f"{', '.join(there)} {exist} already; nothing was written", param_hint="DIR")
    starter = files("testbed.starter")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            (folder / name).write_bytes(starter.joinpath(name).read_bytes())
    except OSError as error:
        raise typer.BadParameter(f"{folder}: cannot be written: {error.strerror}", param_hint="DIR") from None
    for name, what in FILES.items():
        print(f"{folder / name!s:<32} {what}")
    print(f"\nnext: quorbit run {folder / 'scenario.toml'}, pytest {folder}, docs/writing-a-protocol.md")
    return 0
