"""Stores: what was put comes back, the latest of each key, oldest key first."""

from consensus.messages import GENESIS
from node.store import MemoryStore, NoStore


def test_memory_keeps_the_latest_of_each_key_in_the_order_of_the_keys() -> None:
    store = MemoryStore()
    for key, value in (("a", 1), (b"b", 2), ("c", 3), ("a", 4)):
        store.put(key, value)
    assert list(store.recover().items()) == [("a", 4), (b"b", 2), ("c", 3)]


def test_what_was_recovered_does_not_change_later() -> None:
    store = MemoryStore()
    store.put("a", GENESIS)
    recovered = store.recover()
    store.put("b", GENESIS)
    assert dict(recovered) == {"a": GENESIS}


def test_no_store_keeps_nothing() -> None:
    store = NoStore()
    store.put("a", 1)
    assert store.recover() == {}
