"""From a scenario that fails to a smaller one that fails in the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

from testbed.fuzz.draw import Tables, size

_NAMES = ("target", "victims")
PATIENCE = 300
"""How many smaller scenarios are tried."""


def shrink(tables: Tables, fails: Callable[[Tables], bool], patience: int = PATIENCE) -> Tables:
    """The smallest that was found. `fails` says whether a scenario still shows the same failure.

    Greedy: whatever can be left out is, until nothing can; then a scenario is as small as it gets one step at a time.
    """
    tried = 0
    smaller = True
    while smaller and tried < patience:
        smaller = False
        for candidate in _smaller(tables):
            tried += 1
            if tried > patience:
                break
            if fails(candidate):
                tables, smaller = candidate, True
                break
    return tables


def _smaller(tables: Tables) -> Iterator[Tables]:
    """Scenarios with one thing less, the largest things first."""
    for index in range(len(tables["fault"])):
        copy = deepcopy(tables)
        del copy["fault"][index]
        yield copy
    if "shell" in tables or tables["network"].get("model") != "fixed":
        yield _plain(tables)
    if len(tables["committee"]) == 1 and size(tables) > 1:
        yield from _without_one(tables)
    if tables["workload"]["transactions_per_s"]:
        yield {**tables, "workload": {"transactions_per_s": 0}}
    for index, fault in enumerate(tables["fault"]):
        for lesser in _lesser(fault):
            faults = tables["fault"]
            yield {**tables, "fault": [*faults[:index], lesser, *faults[index + 1 :]]}
    if "progress_after_s" not in tables["expect"] and tables["duration_s"] > 1:
        yield {**tables, "duration_s": round(tables["duration_s"] / 2, 3)}


def _without_one(tables: Tables) -> Iterator[Tables]:
    """One replica less: the last one that no fault names, and those after it take a lower number."""
    named = {name for fault in tables["fault"] for key in _NAMES for name in fault.get(key, ())}
    spare = [i for i in range(size(tables)) if f"replica/{i}" not in named]
    if not spare:
        return
    copy = deepcopy(tables)
    copy["committee"][0]["count"] -= 1
    lower = {f"replica/{i}": f"replica/{i - (i > spare[-1])}" for i in range(size(tables))}
    for fault in copy["fault"]:
        for key in _NAMES:
            if key in fault:
                fault[key] = [lower[name] for name in fault[key]]
    yield copy


def _lesser(fault: Tables) -> Iterator[Tables]:
    """The same fault for one replica less, for one round less or one undivided, or for half as long."""
    for names in _NAMES:
        listed = fault.get(names, ())
        if len(listed) > 1:
            for left_out in range(len(listed)):
                yield {**fault, names: _without(listed, left_out)}
    for number, groups in enumerate(fault.get("partitions", ())):
        if len(fault["partitions"]) > 1:
            yield fault | {key: _without(fault[key], number) for key in ("leaders", "partitions")}
        if len(groups) > 1:
            everybody = sorted(node for group in groups for node in group)
            yield {**fault, "partitions": _without(fault["partitions"], number, [everybody])}
    window = fault["window_s"]
    if len(window) == 2 and window[1] - window[0] > 0.05:
        middle_s = round((window[0] + window[1]) / 2, 3)
        yield {**fault, "window_s": [window[0], middle_s]}
        yield {**fault, "window_s": [middle_s, window[1]]}


def _without(listed: list[Any], number: int, *instead: Any) -> list[Any]:
    return [*listed[:number], *instead, *listed[number + 1 :]]


def _plain(tables: Tables) -> Tables:
    """The same committee on a laboratory network with one delay."""
    copy = deepcopy(tables)
    for key in ("shell", "ground_station"):
        copy.pop(key, None)
    copy["committee"] = [{"on": "laboratory", "count": size(tables)}]
    copy["network"] = {"model": "fixed", "delay_ms": round(copy["consensus"]["delta_ms"] / 2, 3)}
    return copy
