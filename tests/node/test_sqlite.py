"""A store on disk: what was committed outlives any death of its process, what was not never was."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from consensus.messages import GENESIS, Block, Payload
from consensus.types import BlockId, Height, ReplicaId, View
from node.sqlite import SqliteStore
from node.store import MemoryStore
from testbed import assemble
from tests.spooled import PROTOCOLS, crashes, spooled

ROOT = Path(__file__).parents[2]


class Promise(msgspec.Struct, frozen=True, array_like=True):
    """What a test has promised."""

    number: int
    text: str = ""


def block(height: int) -> Block:
    return Block(BlockId(b"p" * 32), Height(height), View(1), ReplicaId(2), Payload(0, 1, 2))


def reopened(file: Path) -> tuple[list[tuple[str | bytes, Any]], list[bytes], list[bytes]]:
    """The promises, the trace and the accounts that whoever opens the file next finds."""
    store = SqliteStore(file)
    try:
        return list(store.recover().items()), list(store.records()), store.accounts()
    finally:
        store.close()


# -- within one process ------------------------------------------------------------------------------------------


def test_what_was_put_comes_back_the_latest_of_each_key_oldest_key_first(tmp_path: Path) -> None:
    file = tmp_path / "store"
    store, memory = SqliteStore(file), MemoryStore()
    for key, value in (
        ("a", Promise(1)),
        (b"a", block(2)),
        ("c", GENESIS),
        ("a", block(4)),
        (b"\xff\x00", Promise(5)),
        (b"a", Promise(6, "ä")),
    ):
        store.put(key, value)
        memory.put(key, value)
        if key == "c":
            store.commit()
    expected = [("a", block(4)), (b"a", Promise(6, "ä")), ("c", GENESIS), (b"\xff\x00", Promise(5))]
    assert list(memory.recover().items()) == expected
    assert list(store.recover().items()) == expected
    store.close()
    assert reopened(file)[0] == expected


def test_the_trace_comes_back_in_order_whatever_was_committed_when(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store")
    for number in range(10):
        store.append(b"%d" % number)
        if number in (2, 3, 8):
            store.commit()
            store.commit()
    # What is not committed yet is not there yet.
    assert list(store.records()) == [b"%d" % number for number in range(9)]
    store.append(b"")
    store.close()
    assert reopened(tmp_path / "store")[1] == [*(b"%d" % number for number in range(10)), b""]


def test_each_incarnation_keeps_its_latest_account(tmp_path: Path) -> None:
    file = tmp_path / "store"
    for accounts in ([b"first", b"first again"], [], [b"third"]):
        store = SqliteStore(file)
        for account in accounts:
            store.keep_account(account)
        store.close()
    assert reopened(file)[2] == [b"first again", b"third"]


def test_incarnations_grow(tmp_path: Path) -> None:
    incarnations = []
    for _ in range(4):
        store = SqliteStore(tmp_path / "store")
        incarnations.append(store.incarnation)
        store.close()
    assert incarnations == sorted(set(incarnations))


def test_incarnations_grow_even_if_the_file_is_lost(tmp_path: Path) -> None:
    file = tmp_path / "store"
    store = SqliteStore(file)
    store.close()
    for path in tmp_path.iterdir():
        path.unlink()
    again = SqliteStore(file)
    again.close()
    assert again.incarnation > store.incarnation


def test_incarnations_grow_even_if_the_wall_clock_is_set_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "store"
    store = SqliteStore(file)
    store.close()
    monkeypatch.setattr(time, "time_ns", lambda: 5)
    again = SqliteStore(file)
    again.close()
    assert again.incarnation == store.incarnation + 1


def test_a_type_that_is_not_loaded_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file cannot make the program load, or make, anything that is not a message struct it knows."""
    (tmp_path / "never_loaded_before.py").write_text("import msgspec\nclass Thing(msgspec.Struct): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in (
        "no.such.module:Thing",
        "never_loaded_before:Thing",
        "consensus.messages:NoSuch",
        "consensus.messages:",
        ":",
        "",
        "os:system",
        "pathlib:Path",
        "consensus.messages:Block.parent",
        "builtins:dict",
    ):
        file = tmp_path / "store"
        SqliteStore(file).close()
        database = sqlite3.connect(file)
        database.execute(
            "INSERT INTO promises (key, type, value) VALUES ('k', ?, ?)", (name, msgspec.msgpack.encode(1))
        )
        database.commit()
        database.close()
        store = SqliteStore(file)
        with pytest.raises(TypeError, match=r"^the store holds a value of .*, which is not a type of this protocol$"):
            store.recover()
        store.close()
        file.unlink()
    assert "never_loaded_before" not in sys.modules


def test_what_does_not_fit_its_type_is_refused(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store")
    store.put("k", Promise(1))
    store.close()
    database = sqlite3.connect(tmp_path / "store")
    database.execute("UPDATE promises SET type = 'consensus.messages:Block'")
    database.commit()
    database.close()
    store = SqliteStore(tmp_path / "store")
    with pytest.raises(msgspec.ValidationError):
        store.recover()
    store.close()


def test_a_store_belongs_to_whoever_used_it_first(tmp_path: Path) -> None:
    file = tmp_path / "store"
    for _ in range(2):
        store = SqliteStore(file, "run/1")
        store.append(b"x")
        store.close()
    for other in ("run/2", "another/1", ""):
        with pytest.raises(ValueError, match=f"^belongs to run/1, not to {other}$"):
            SqliteStore(file, other)
    # Whoever was refused has changed nothing, and holds nothing up.
    store = SqliteStore(file, "run/1")
    assert list(store.records()) == [b"x", b"x"]
    store.close()


# -- what each protocol persists ---------------------------------------------------------------------------------


class Remembering(MemoryStore):
    """A memory store that remembers every value that was ever put, and what each start found."""

    made: list[Remembering]

    def __init__(self) -> None:
        super().__init__()
        self.puts: list[tuple[str | bytes, Any]] = []
        type(self).made.append(self)

    def put(self, key: str | bytes, value: Any) -> None:
        self.puts.append((key, value))
        super().put(key, value)


def types_in(value: Any) -> Any:
    """The type of a value and of all within it."""
    if isinstance(value, msgspec.Struct):
        return type(value), [types_in(getattr(value, field)) for field in value.__struct_fields__]
    if isinstance(value, (list, tuple)):
        return type(value), [types_in(one) for one in value]
    if isinstance(value, dict):
        return dict, [(types_in(key), types_in(one)) for key, one in value.items()]
    return type(value)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_whatever_a_protocol_persists_comes_back_as_it_was(
    protocol: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a run with crashes and view changes: everything ever put, at every step, as a memory store has it."""
    Remembering.made = []
    monkeypatch.setattr(assemble, "MemoryStore", Remembering)
    # The leaders of the first views are away, one after the other.
    spooled(protocol, crashes((0, 0.1, 0.5), (1, 0.5, 0.9), (2, 0.9, 1.2)))
    assert len(Remembering.made) == 4
    kinds: dict[str, set[type]] = {}
    for number, memory in enumerate(Remembering.made):
        assert len(memory.puts) > 5
        file = tmp_path / str(number)
        store, replayed = SqliteStore(file), MemoryStore()
        for count, (key, value) in enumerate(memory.puts, 1):
            store.put(key, value)
            replayed.put(key, value)
            kinds.setdefault(key if isinstance(key, str) else "block", set()).add(type(value))
            if count % 10 == 0:
                assert list(store.recover().items()) == list(replayed.recover().items())
        assert types_in(list(store.recover().items())) == types_in(list(replayed.recover().items()))
        store.close()
        promises, _, _ = reopened(file)
        assert promises == list(memory.recover().items())
        assert types_in(promises) == types_in(list(memory.recover().items()))
        # Each of the values alone, not only the latest of each key.
        alone = SqliteStore(tmp_path / f"{number} alone")
        for count, (_, value) in enumerate(memory.puts):
            alone.put(str(count), value)
        back = list(alone.recover().values())
        assert back == [value for _, value in memory.puts]
        assert types_in(back) == types_in([value for _, value in memory.puts])
        alone.close()
    assert {key: {kind.__name__ for kind in found} for key, found in kinds.items()} == {
        "pbft": {"block": {"Block"}, "final": {"FinalMark"}, "promise": {"Promise"}, "proposed": {"Block"}},
        "hotstuff": {"block": {"Block"}, "final": {"FinalMark"}, "promise": {"HotStuffPromise"}},
        "longest_chain": {"block": {"Block"}, "final": {"FinalMark"}},
    }[protocol]


# -- deaths ------------------------------------------------------------------------------------------------------

CHILD = """
import os, signal, sys
from pathlib import Path
from consensus.messages import Block, GENESIS, Payload
from consensus.types import *
from node.sqlite import SqliteStore

store = SqliteStore(Path(sys.argv[1]))
mode = sys.argv[2]
done = int(dict(store.recover()).get("promise", GENESIS).height)
number = done
while True:
    number += 1
    block = Block(BlockId(b""), Height(number), View(0), ReplicaId(0), Payload(0, 0, 0))
    store.put("promise", block)
    store.append(b"%d" % number)
    if mode != "run" and number == done + 5:
        if mode == "exit":
            os._exit(0)
        os.kill(os.getpid(), signal.SIGKILL)
    store.commit()
    # Whoever reads this may count on it.
    os.write(1, b"%d\\n" % number)
"""


def child(file: Path, mode: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", CHILD, str(file), mode]
    return subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0, cwd=ROOT)


def heard_from(process: subprocess.Popen[bytes]) -> list[int]:
    """The whole lines it has printed until it was dead."""
    out, _ = process.communicate(timeout=60)
    return [int(line) for line in out.split(b"\n")[:-1]]


def check(file: Path) -> int:
    """Promise and trace agree; returns how far they go."""
    promises, records, _ = reopened(file)
    numbers = [int(record) for record in records]
    assert numbers == list(range(1, len(numbers) + 1))
    assert [(key, value.height) for key, value in promises] == ([("promise", numbers[-1])] if numbers else [])
    return len(numbers)


@pytest.mark.parametrize("mode", ["exit", "kill"])
def test_what_was_committed_outlives_its_process_and_what_was_not_does_not(mode: str, tmp_path: Path) -> None:
    for lives in (1, 2):
        said = heard_from(child(tmp_path / "store", mode))
        assert said == list(range(4 * lives - 3, 4 * lives + 1))
        # The fifth of each life was put and appended, and never committed.
        assert check(tmp_path / "store") == 4 * lives


def test_killed_at_any_instant_its_promises_its_trace_and_what_was_heard_of_it_agree(tmp_path: Path) -> None:
    file, reached = tmp_path / "store", 0
    for _ in range(5):
        process = child(file, "run")
        assert process.stdout is not None
        # It is at work; from here on anything may be interrupted.
        first = int(process.stdout.readline())
        time.sleep(random.random() * 0.05)
        os.kill(process.pid, signal.SIGKILL)
        said = [first, *heard_from(process)]
        kept = check(file)
        assert said == list(range(reached + 1, said[-1] + 1))
        # At most one more than was said: committed, and not said any more.
        assert said[-1] <= kept <= said[-1] + 1
        reached = kept
    assert reached > 5
