"""The rooms: who may import whom, found by walking the syntax trees, so that no import hides in a function."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("consensus", "network", "node", "testbed")
MAY_KNOW = {
    "consensus": {"consensus"},
    "network": {"network"},
    "node": {"consensus", "network", "node"},
    "testbed": set(ROOMS),
}
NO_IO = {
    "aiomqtt", "asyncio", "concurrent", "cryptography", "datetime", "logging", "multiprocessing", "networkx", "numpy",
    "os", "pathlib", "scipy", "secrets", "selectors", "skyfield", "socket", "ssl", "subprocess", "tempfile",
    "threading", "time", "typer", "uuid",
}  # fmt: skip
"""What a state machine has no use for: clocks, sockets, files, chance of its own, arrays."""
FORBIDDEN = {"consensus": NO_IO, "network": {"msgspec", "cryptography"}, "node": {"scipy", "skyfield", "sgp4"}}


def imported(source: str) -> Iterator[str]:
    """The top-level names that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name their package"
            yield (node.module or "").partition(".")[0]


def trespasses(root: Path) -> list[str]:
    """Every import that crosses a wall, in words."""
    found = []
    for room in ROOMS:
        for path in sorted((root / room).rglob("*.py")):
            for name in imported(path.read_text(encoding="utf-8")):
                walled = name in ROOMS and name not in MAY_KNOW[room]
                if walled or name == "tests" or name in FORBIDDEN.get(room, ()):
                    found.append(f"{path.relative_to(root).as_posix()} imports {name}")
    return found


def test_nobody_crosses_a_wall() -> None:
    assert trespasses(ROOT) == []


def test_every_room_is_looked_at() -> None:
    for room in ROOMS:
        assert list((ROOT / room).rglob("*.py")), room


def test_a_tree_that_crosses_walls_is_caught(tmp_path: Path) -> None:
    wrong = {
        "consensus/protocols/eager.py": "def vote():\n    from node.host import Host\n    return Host\n",
        "consensus/clocked.py": "import time\n",
        "network/nosy.py": "from consensus.messages import Vote\n",
        "node/reporter.py": "import testbed.metrics\n",
        "testbed/fine.py": "import consensus, network, node, numpy\n",
    }
    for name, source in wrong.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    assert trespasses(tmp_path) == [
        "consensus/clocked.py imports time",
        "consensus/protocols/eager.py imports node",
        "network/nosy.py imports consensus",
        "node/reporter.py imports testbed",
    ]


def test_modules_and_functions_stay_small() -> None:
    """The walls inside rooms: 300 lines a module, 65 a function."""
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            source = path.read_text(encoding="utf-8")
            assert source.count("\n") < 300, path
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    assert (node.end_lineno or 0) - node.lineno < 65, f"{path}: {node.name}"
