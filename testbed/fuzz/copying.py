"""Copies of the menu's state machines in the middle of a run, so that runs that begin alike need to begin only once.

`copy.deepcopy` would do too, but takes longer than playing on from the start. This knows what our protocols keep, and
no more: objects that are their attributes, plain containers, and values that never change. Whoever writes a protocol
elsewhere may keep anything: theirs are not copied.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import is_dataclass
from functools import cache
from random import Random
from types import MethodType
from typing import Any

import msgspec

Memo = dict[int, Any]
"""What has been copied, by its identity. Only objects are looked up: no two of ours keep the same container."""

_SHARED: set[type] = {int, float, bool, str, bytes, frozenset, type(None), Random}
"""Types whose values never change. No protocol with views draws by chance: their generators stay as they are."""
_all_shared = _SHARED.issuperset


def copied(value: Any, memo: Memo) -> Any:
    """A copy that shares only what never changes, and objects that `memo` has already."""
    kind = type(value)
    if kind in _SHARED:
        return value
    copier = _COPIERS.get(kind)
    if copier is None:
        if _never_changes(kind):
            _SHARED.add(kind)
            return value
        copier = _COPIERS[kind] = _object
    return copier(value, memo)


def _never_changes(kind: type) -> bool:
    if issubclass(kind, msgspec.Struct):
        return bool(kind.__struct_config__.frozen)
    parameters = getattr(kind, "__dataclass_params__", None)
    return issubclass(kind, type) or (is_dataclass(kind) and parameters is not None and parameters.frozen)


def _dict(value: dict[Any, Any], memo: Memo) -> dict[Any, Any]:
    if _all_shared(map(type, value.values())):
        return value.copy()
    return {key: each if type(each) in _SHARED else copied(each, memo) for key, each in value.items()}


def _list(value: list[Any], memo: Memo) -> list[Any]:
    return value.copy() if _all_shared(map(type, value)) else [copied(each, memo) for each in value]


def _deque(value: deque[Any], memo: Memo) -> deque[Any]:
    return value.copy() if _all_shared(map(type, value)) else deque([copied(each, memo) for each in value])


def _tuple(value: tuple[Any, ...], memo: Memo) -> tuple[Any, ...]:
    return value if _all_shared(map(type, value)) else tuple([copied(each, memo) for each in value])


def _set(value: set[Any], memo: Memo) -> set[Any]:
    """Of what never changes: nothing else that our protocols keep can be in a set."""
    return value.copy()


def _method(value: MethodType, memo: Memo) -> MethodType:
    return MethodType(value.__func__, copied(value.__self__, memo))


def _object(value: Any, memo: Memo) -> Any:
    if (known := memo.get(id(value))) is not None:
        return known
    kind: Any = type(value)
    new = memo[id(value)] = object.__new__(kind)
    slots, has_dict = _attributes(kind)
    for name in slots:
        if hasattr(value, name):
            setattr(new, name, copied(getattr(value, name), memo))
    if has_dict:
        # One by one: an object whose dictionary has been asked for is slower to read ever after.
        for name, each in value.__dict__.items():
            setattr(new, name, each if type(each) in _SHARED else copied(each, memo))
    return new


@cache
def _attributes(kind: Any) -> tuple[tuple[str, ...], bool]:
    """The names of a class's slots, and whether its objects have a dictionary too."""
    return tuple(name for base in kind.__mro__ for name in base.__dict__.get("__slots__", ())), kind.__dictoffset__ != 0


_COPIERS: dict[type, Callable[[Any, Memo], Any]] = {
    dict: _dict,
    list: _list,
    deque: _deque,
    tuple: _tuple,
    set: _set,
    MethodType: _method,
}
