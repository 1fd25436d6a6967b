"""Copies of state machines in the middle of a run, so that runs that begin alike need to begin only once.

`copy.deepcopy` would do, and does for whatever has its own idea of a copy, but by itself takes longer than playing on
from the start.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from copy import deepcopy
from dataclasses import is_dataclass
from enum import Enum
from functools import cache
from random import Random
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import msgspec

Memo = dict[int, Any]
"""What has been copied, by its identity: two names for one thing stay two names for one thing."""

_SHARED: set[type] = {int, float, bool, str, bytes, frozenset, type(None), FunctionType, ModuleType}
"""Types whose values never change."""


def copied(value: Any, memo: Memo) -> Any:
    """A copy that shares only what never changes, and what `memo` has already. Raises `TypeError` where none can be."""
    kind = type(value)
    if kind in _SHARED:
        return value
    if (known := memo.get(id(value))) is not None:
        return known
    copier = _COPIERS.get(kind)
    if copier is None:
        if _never_changes(kind):
            _SHARED.add(kind)
            return value
        copier = _COPIERS[kind] = _object if _is_plain(kind) else deepcopy
    return copier(value, memo)


def _never_changes(kind: type) -> bool:
    if issubclass(kind, msgspec.Struct):
        return bool(kind.__struct_config__.frozen)
    parameters = getattr(kind, "__dataclass_params__", None)
    return issubclass(kind, Enum | type) or (is_dataclass(kind) and parameters is not None and parameters.frozen)


def _is_plain(kind: Any) -> bool:
    """Whether objects of this type are their attributes and nothing else."""
    own_idea = any(
        getattr(kind, name, None) is not getattr(object, name, None)
        for name in ("__reduce_ex__", "__reduce__", "__getstate__", "__deepcopy__")
    )
    slots, has_dict = _attributes(kind)
    return not own_idea and (has_dict or bool(slots))


def _dict(value: dict[Any, Any], memo: Memo) -> dict[Any, Any]:
    new = memo[id(value)] = value.copy()
    for key, each in value.items():
        if type(each) not in _SHARED:
            new[key] = copied(each, memo)
    return new


def _list(value: list[Any], memo: Memo) -> list[Any]:
    new = memo[id(value)] = value.copy()
    for place, each in enumerate(value):
        if type(each) not in _SHARED:
            new[place] = copied(each, memo)
    return new


def _deque(value: deque[Any], memo: Memo) -> deque[Any]:
    new = memo[id(value)] = deque(maxlen=value.maxlen)
    new.extend(each if type(each) in _SHARED else copied(each, memo) for each in value)
    return new


def _tuple(value: tuple[Any, ...], memo: Memo) -> tuple[Any, ...]:
    for each in value:
        if type(each) not in _SHARED:
            return tuple(copied(one, memo) for one in value)
    return value


def _set(value: set[Any], memo: Memo) -> set[Any]:
    new = memo[id(value)] = {copied(each, memo) for each in value}
    return new


def _method(value: MethodType, memo: Memo) -> MethodType:
    return MethodType(value.__func__, copied(value.__self__, memo))


def _builtin(value: Any, memo: Memo) -> Any:
    return getattr(copied(value.__self__, memo), value.__name__)


def _random(value: Random, memo: Memo) -> Random:
    new = memo[id(value)] = Random()
    new.setstate(value.getstate())
    return new


def _object(value: Any, memo: Memo) -> Any:
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
    named = (name for base in kind.__mro__ for name in base.__dict__.get("__slots__", ()))
    return tuple(name for name in named if name not in ("__dict__", "__weakref__")), kind.__dictoffset__ != 0


_COPIERS: dict[type, Callable[[Any, Memo], Any]] = {
    dict: _dict,
    list: _list,
    deque: _deque,
    tuple: _tuple,
    set: _set,
    MethodType: _method,
    Random: _random,
    BuiltinFunctionType: _builtin,
}
