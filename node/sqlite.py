"""A store on disk: what a replica has promised, and what it has done, survive its process together.

Everything since the last `commit` is one transaction, and nothing leaves the node before it is committed: whenever
the process is killed, its promises, its trace and what others have heard of it agree.

What is committed has been handed to the operating system, so it outlives the process, which is what a crash is here;
it is not forced to the disk, which would stop the node for tens of milliseconds now and then, so a power cut may
take it.
"""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

_SCHEMA = """
CREATE TABLE IF NOT EXISTS promises (place INTEGER PRIMARY KEY, key BLOB UNIQUE, type TEXT, value BLOB);
CREATE TABLE IF NOT EXISTS trace (place INTEGER PRIMARY KEY, records BLOB);
CREATE TABLE IF NOT EXISTS owner (name TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS incarnations (number INTEGER PRIMARY KEY, account BLOB);
"""
_PUT = (
    "INSERT INTO promises (key, type, value) VALUES (?, ?, ?)"
    " ON CONFLICT (key) DO UPDATE SET type = excluded.type, value = excluded.value"
)
_encode = msgspec.msgpack.Encoder().encode
_decode_records = msgspec.msgpack.Decoder(list[bytes]).decode


class SqliteStore:
    """See `node.store.Store`; also keeps a trace's records, and an account for each incarnation of the node."""

    def __init__(self, file: Path, owner: str = "") -> None:
        """Opening it begins a new incarnation, numbered higher than all before.

        Raises ValueError for a store that belongs to another `owner`, sqlite3.Error for what is none.
        """
        self._database = sqlite3.connect(file, isolation_level=None)
        # Nobody else reads while the node lives, and not having to ask saves a third of a commit.
        self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.executescript(_SCHEMA)
        self._database.execute("INSERT INTO owner SELECT ? WHERE NOT EXISTS (SELECT 1 FROM owner)", (owner,))
        (first,) = self._database.execute("SELECT name FROM owner").fetchone()
        if first != owner:
            self._database.close()
            raise ValueError(f"belongs to {first}, not to {owner}")
        self._promises: dict[str | bytes, msgspec.Struct] = {}
        self._records: list[bytes] = []
        (last,) = self._database.execute("SELECT coalesce(max(number), 0) FROM incarnations").fetchone()
        # A node that lost its disk must not number its words as it did before.
        self.incarnation = max(last + 1, time.time_ns())
        self._database.execute("INSERT INTO incarnations (number) VALUES (?)", (self.incarnation,))

    def put(self, key: str | bytes, value: msgspec.Struct) -> None:
        """See `Store.put`: durable once `commit` has been called, which the node does before anything is sent."""
        self._promises[key] = value

    def recover(self) -> Mapping[str | bytes, Any]:
        """See `Store.recover`."""
        self.commit()
        rows = self._database.execute("SELECT key, type, value FROM promises ORDER BY place")
        return {key: msgspec.msgpack.decode(value, type=_known_type(name)) for key, name, value in rows}

    def append(self, record: bytes) -> None:
        """Add a record to the trace."""
        self._records.append(record)

    def records(self) -> Iterator[bytes]:
        """The trace as far as it is committed, oldest record first."""
        for (records,) in self._database.execute("SELECT records FROM trace ORDER BY place"):
            yield from _decode_records(records)

    def keep_account(self, account: bytes) -> None:
        """Replace this incarnation's account."""
        self._database.execute("UPDATE incarnations SET account = ? WHERE number = ?", (account, self.incarnation))

    def accounts(self) -> list[bytes]:
        """The accounts of all incarnations that gave one."""
        rows = self._database.execute("SELECT account FROM incarnations WHERE account IS NOT NULL ORDER BY number")
        return [account for (account,) in rows]

    def commit(self) -> None:
        """Make everything so far outlive this process."""
        if not self._promises and not self._records:
            return
        execute = self._database.execute
        execute("BEGIN")
        for key, value in self._promises.items():
            execute(_PUT, (key, f"{type(value).__module__}:{type(value).__qualname__}", _encode(value)))
        if self._records:
            execute("INSERT INTO trace (records) VALUES (?)", (_encode(self._records),))
        execute("COMMIT")
        self._promises.clear()
        self._records.clear()

    def close(self) -> None:
        """Commit and close."""
        self.commit()
        self._database.close()


def _known_type(name: str) -> type[msgspec.Struct]:
    """A type by its name, among those that the program has already loaded: a file cannot make it load more."""
    module, _, path = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    if not (isinstance(found, type) and issubclass(found, msgspec.Struct)):
        raise TypeError(f"the store holds a value of {name}, which is not a type of this protocol")
    return found
