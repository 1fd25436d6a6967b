"""Mistakes in clients: places that do not exist, nobody to submit to, nothing to submit."""

from collections.abc import Iterator
from pathlib import Path

from testbed.scenario.base import UnreadableError
from testbed.scenario.lines import KeyPath
from testbed.scenario.mistakes import Mistake
from testbed.scenario.places import Places
from testbed.scenario.quantities import did_you_mean
from testbed.scenario.workload import Client, Workload
from testbed.tables import TableError, Transactions, read_rtts, read_transactions

_OF_CLIENTS = ("mempool_max_bytes", "share", "share_interval_ms")


def check_client(places: Places, client: Client, path: KeyPath) -> Iterator[Mistake]:
    """One client, against the network and the committee."""
    for check in (_place, _target, _stream):
        try:
            yield from check(places, client, path)
        except UnreadableError:
            continue


def check_workload(places: Places) -> Iterator[Mistake]:
    """With clients there is no other source of transactions; without them there is no mempool to speak of."""
    workload = places.draft.workload
    if not places.draft.client:
        for key in _OF_CLIENTS:
            value = getattr(workload, key)
            if value != Workload.model_fields[key].default:
                yield Mistake(("workload", key), "means nothing without a [[client]]", value)
        return
    rate = workload.transactions_per_s
    if rate is not None:
        text = "must be left out beside [[client]], each of which has its own"
        yield Mistake(("workload", "transactions_per_s"), text, rate)
    if workload.block_max_bytes < workload.transaction_bytes:
        text = f"must be at least transaction_bytes = {workload.transaction_bytes}, or clients wait for ever"
        yield Mistake(("workload", "block_max_bytes"), text, workload.block_max_bytes)


def _place(places: Places, client: Client, path: KeyPath) -> Iterator[Mistake]:
    network, kind = places.draft.network, client.at.partition("/")[0]
    where = (*path, "at")
    if kind not in ("sat", "gs", "net", "lab"):
        text = "must be an endpoint: sat/SHELL/PLANE/INDEX, gs/NAME, net/NAME or lab/0"
        yield Mistake(where, text, client.at)
    elif (kind == "lab") != network.laboratory:
        text = f'must be lab/0 or another member\'s place in a network of model = "{network.model}"'
        yield Mistake(where, "needs a laboratory network" if kind == "lab" else text, client.at)
    elif (why := places.endpoint_mistake(client.at)) is not None:
        yield Mistake(where, why, client.at)
    elif kind == "gs" and not places.draft.shell:
        yield Mistake(where, "needs at least one [[shell]] to talk through", client.at)
    elif kind == "net" and network.terrestrial == "none":
        yield Mistake(where, 'needs [network] terrestrial = "fibre" or a CSV', client.at)
    elif kind == "net" and isinstance(network.terrestrial, Path):
        try:
            known = read_rtts(network.terrestrial).labels
        except TableError:
            return  # the file has its own check
        if client.at.removeprefix("net/") not in known:
            yield Mistake(where, f"{network.terrestrial.name} has no round-trip times for it", client.at)


def _target(places: Places, client: Client, path: KeyPath) -> Iterator[Mistake]:
    if client.to == "nearest":
        return
    if not client.to.startswith("replica/"):
        text = f'must be "nearest" or a replica, such as replica/3{did_you_mean(client.to, ("nearest",))}'
        yield Mistake((*path, "to"), text, client.to)
    elif (why := places.target_mistake(client.to)) is not None:
        yield Mistake((*path, "to"), why, client.to)


def _stream(places: Places, client: Client, path: KeyPath) -> Iterator[Mistake]:
    if client.trace is None:
        if client.transactions_per_s is None:
            yield Mistake((*path, "transactions_per_s"), "missing; a client needs it, or a trace")
        return
    if client.transactions_per_s is not None:
        yield Mistake((*path, "trace"), "means nothing beside transactions_per_s", client.trace.name)
        return
    workload = places.draft.workload
    try:
        read = read_transactions(client.trace, workload.transaction_bytes)
    except TableError as error:
        yield Mistake((*path, "trace"), f"line {error.line} {error.text}", client.trace.name)
        return
    yield from _too_long(read, workload, (*path, "trace"), client.trace)


def _too_long(read: Transactions, workload: Workload, path: KeyPath, file: Path) -> Iterator[Mistake]:
    longest = int(read.size_bytes.max())
    if longest > workload.block_max_bytes:
        text = f"has a transaction of {longest} bytes, but block_max_bytes = {workload.block_max_bytes}"
        yield Mistake(path, text, file.name)
