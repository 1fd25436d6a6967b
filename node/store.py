"""Stores: what a replica has promised survives it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class Store(Protocol):
    """Durable key-value storage of one replica."""

    def put(self, key: str | bytes, value: Any) -> None:
        """Durable before it returns."""

    def recover(self) -> Mapping[str | bytes, Any]:
        """Everything put so far, oldest key first."""


class MemoryStore:
    """Outlives the replica, not the process: for virtual time, where a crash is a scenario's."""

    def __init__(self) -> None:
        self._values: dict[str | bytes, Any] = {}

    def put(self, key: str | bytes, value: Any) -> None:
        self._values[key] = value

    def recover(self) -> Mapping[str | bytes, Any]:
        return dict(self._values)


class NoStore:
    """Keeps nothing: for runs in which nobody restarts, so that a long chain does not fill memory."""

    def put(self, key: str | bytes, value: Any) -> None:
        pass

    def recover(self) -> Mapping[str | bytes, Any]:
        return {}
