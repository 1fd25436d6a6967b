"""Mistakes that lie between keys: each is fine alone, together they are impossible.

Every check is a generator over one block of a draft. It stops, without a word, at the first key that could not be
read: `UnreadableError` says that its mistake is known already.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from math import isinf
from pathlib import Path
from typing import Any

from network.elements import read_elements
from testbed.launch.brokers import check_broker
from testbed.scenario.base import UnreadableError
from testbed.scenario.check_clients import check_client, check_workload
from testbed.scenario.check_committee import check_block, check_matrix_size
from testbed.scenario.check_faults import check_fault
from testbed.scenario.check_protocol import check_protocol, check_quorum
from testbed.scenario.compute import VERIFICATION_KEYS
from testbed.scenario.dissemination import WHOLE
from testbed.scenario.lines import KeyPath
from testbed.scenario.mistakes import ABSENT, Mistake, readable
from testbed.scenario.models import Scenario
from testbed.scenario.places import PLACES, Places
from testbed.scenario.quantities import nothing_called
from testbed.scenario.space import LABORATORY_MODELS, Elements, Shell, Walker
from testbed.tables import TableError, read_delays, read_peers, read_regions, read_rtts

_LABORATORY_KEYS = {
    "fixed": ("delay_ms",),
    "normal": ("delay_mean_ms", "delay_std_ms"),
    "uniform": ("delay_low_ms", "delay_high_ms"),
    "matrix": ("file",),
    "internet": ("regions_file",),
}


def cross_check(draft: Scenario) -> Iterator[Mistake]:
    """Every mistake between the readable keys of a draft."""
    places = Places(draft)
    whole: tuple[Callable[[Places], Iterator[Mistake]], ...] = (
        check_names,
        check_laboratory_keys,
        check_uniform,
        check_grid,
        check_delay_matrix,
        check_regions,
        check_terrestrial,
        check_dissemination,
        check_references,
        check_protocol,
        check_quorum,
        check_matrix_size,
        check_verification,
        check_mqtt,
        check_workload,
    )
    for check in whole:
        yield from readable(check(places))
    each: tuple[tuple[str, Callable[..., Iterator[Mistake]]], ...] = (
        ("shell", check_walker),
        ("shell", check_links_to),
        ("shell", check_elements),
        ("committee", check_block),
        ("client", check_client),
        ("fault", check_fault),
    )
    for key, block_check in each:
        for index, block in enumerate(_blocks(draft, key)):
            yield from readable(block_check(places, block, (key, index)))


def _blocks(draft: Scenario, key: str) -> Sequence[Any]:
    try:
        blocks: Sequence[Any] = getattr(draft, key)
    except UnreadableError:
        return ()
    return blocks


def check_names(places: Places) -> Iterator[Mistake]:
    """Shells and stations each have a name of their own."""
    for key in ("shell", "ground_station"):
        blocks = _blocks(places.draft, key)
        names = [getattr(block, "name", None) for block in blocks]
        counts = Counter(names)
        for index, name in enumerate(names):
            if name is not None and counts[name] > 1 and name in names[:index]:
                yield Mistake((key, index, "name"), "is taken; each needs its own", name)
            if key == "shell" and name in PLACES:
                yield Mistake((key, index, "name"), "means a place in [[committee]]; use another", name)


def check_walker(_: Places, shell: Shell, path: KeyPath) -> Iterator[Mistake]:
    """Phasing and cross-plane shift within the shell."""
    if not isinstance(shell, Walker):
        return
    if shell.phasing >= shell.planes:
        allowed = f"must be between 0 and {shell.planes - 1}, one less than planes"
        yield Mistake((*path, "phasing"), allowed, shell.phasing)
    if abs(shell.cross_plane_shift) >= shell.satellites_per_plane:
        allowed = f"must be less than the {shell.satellites_per_plane} satellites of a plane, either way"
        yield Mistake((*path, "cross_plane_shift"), allowed, shell.cross_plane_shift)


def check_links_to(places: Places, shell: Shell, path: KeyPath) -> Iterator[Mistake]:
    """Links lead to other shells."""
    names = tuple(getattr(other, "name", "") for other in places.draft.shell)
    for name in shell.links_to:
        if name == shell.name:
            yield Mistake((*path, "links_to"), "must name other shells, not itself", shell.links_to)
        elif name not in names:
            yield Mistake((*path, "links_to"), nothing_called(name, "shell", names), shell.links_to)


def check_elements(_: Places, shell: Shell, path: KeyPath) -> Iterator[Mistake]:
    """The element sets can be read, line by line, and are not asked for planes."""
    if not isinstance(shell, Elements):
        return
    if shell.polar_cutoff_deg is not None:
        text = "needs planes, which a shell from element sets does not have"
        yield Mistake((*path, "polar_cutoff_deg"), text, shell.polar_cutoff_deg)
    try:
        read_elements(shell.file)
    except (ValueError, OSError) as error:
        for line in str(error).splitlines():
            yield Mistake((*path, "file"), line, shell.file.name)


def check_laboratory_keys(places: Places) -> Iterator[Mistake]:
    """Each laboratory model has its own keys, needs all of them, and no other model has them."""
    network = places.draft.network
    needed = _LABORATORY_KEYS.get(network.model, ())
    for model in LABORATORY_MODELS:
        for key in _LABORATORY_KEYS[model]:
            value = getattr(network, key, ABSENT)
            if value is None and key in needed:
                text = f'missing; model = "{network.model}" needs it'
                yield Mistake(("network", key), text)
            elif value not in (None, ABSENT) and key not in needed:
                text = f'belongs to model = "{model}", not to model = "{network.model}"'
                yield Mistake(("network", key), text, value)


def check_uniform(places: Places) -> Iterator[Mistake]:
    """The least delay is not more than the greatest."""
    low, high = places.draft.network.delay_low_ms, places.draft.network.delay_high_ms
    if low is not None and high is not None and low > high:
        yield Mistake(("network", "delay_low_ms"), f"must not be more than delay_high_ms = {high:g}", low)


def check_grid(places: Places) -> Iterator[Mistake]:
    """The first reconfiguration comes within the first interval."""
    offset_s, interval_s = (
        places.draft.network.reconfiguration_offset_s,
        places.draft.network.reconfiguration_interval_s,
    )
    path = ("network", "reconfiguration_offset_s")
    if offset_s and isinf(interval_s):
        yield Mistake(path, "needs a grid, and reconfiguration_interval_s = inf has none", offset_s)
    elif offset_s >= interval_s:
        yield Mistake(path, f"must be less than reconfiguration_interval_s = {interval_s:g}", offset_s)


def check_delay_matrix(places: Places) -> Iterator[Mistake]:
    """The delay matrix can be read."""
    if places.draft.network.file is not None:
        yield from _table(read_delays, places.draft.network.file, ("network", "file"))


def check_regions(places: Places) -> Iterator[Mistake]:
    """The table of regions can be read."""
    if places.draft.network.regions_file is not None:
        yield from _table(read_regions, places.draft.network.regions_file, ("network", "regions_file"))


def check_terrestrial(places: Places) -> Iterator[Mistake]:
    """Fibre has ends, and a CSV of round-trip times knows every station."""
    network = places.draft.network
    terrestrial = network.terrestrial
    if network.hybrid and terrestrial == "none":
        yield Mistake(("network", "hybrid"), 'needs terrestrial = "fibre" or a CSV of round-trip times', True)
    if network.hybrid and not places.station_names:
        yield Mistake(("network", "hybrid"), "needs ground stations", True)
    if isinstance(terrestrial, Path):
        yield from _table(read_rtts, terrestrial, ("network", "terrestrial"))


def check_dissemination(places: Places) -> Iterator[Mistake]:
    """How broadcasts spread suits the network, and the table of peers can be read."""
    network = places.draft.network
    how = network.dissemination
    if how in ("multicast", "flood") and network.model != "links":
        yield Mistake(("network", "dissemination"), 'goes over single links: it needs model = "links"', how)
    if network.compact.enabled and how not in ("unicast", "gossip"):
        yield Mistake(("network", "compact", "enabled"), f'does not go with dissemination = "{how}"', True)
    kinds = [WHOLE, *(kind.name for kind in network.compact.receiver)]
    for index, name in enumerate(kinds[1:]):
        if name in kinds[: index + 1]:
            yield Mistake(("network", "compact", "receiver", index, "name"), "is taken; each needs its own", name)
    gossip = network.gossip
    if how == "gossip" and not gossip.push and not gossip.lazy:
        yield Mistake(("network", "gossip", "push"), "must be at least 1 where lazy is 0: nobody would tell anybody", 0)
    if gossip.rounds > 1 and not gossip.round_ms:
        text = "needs round_ms, the time between rounds"
        yield Mistake(("network", "gossip", "rounds"), text, gossip.rounds)
    if network.gossip.peers_file is not None:
        yield from _table(read_peers, network.gossip.peers_file, ("network", "gossip", "peers_file"))


def check_references(places: Places) -> Iterator[Mistake]:
    """References are shorter than transactions, or no block is ever compact; a trace may have sizes of its own."""
    compact, draft = places.draft.network.compact, places.draft
    size_bytes = draft.workload.transaction_bytes
    traced = any(getattr(client, "trace", None) is not None for client in draft.client)
    if compact.enabled and not traced and compact.reference_bytes >= size_bytes:
        text = f"must be less than workload.transaction_bytes = {size_bytes}, or no block is ever compact"
        yield Mistake(("network", "compact", "reference_bytes"), text, compact.reference_bytes)


def check_verification(places: Places) -> Iterator[Mistake]:
    """Each way of verifying has its own keys, needs all of them, and no other has them."""
    compute = places.draft.compute
    for verification, keys in VERIFICATION_KEYS.items():
        for key in keys:
            value = getattr(compute, key, ABSENT)
            if value is None and verification == compute.verification:
                yield Mistake(("compute", key), f'missing; verification = "{verification}" needs it, or a preset')
            elif value not in (None, ABSENT) and verification != compute.verification:
                text = f'belongs to verification = "{verification}", not to verification = "{compute.verification}"'
                yield Mistake(("compute", key), text, value)


def check_mqtt(places: Places) -> Iterator[Mistake]:
    """A broker has a URL, or is one of those that can be started."""
    broker = places.draft.mqtt.broker
    if broker is None:
        return
    try:
        check_broker(broker)
    except ValueError as error:
        # What may hold a password is not shown.
        yield Mistake(("mqtt", "broker"), str(error), ABSENT if "@" in broker else broker)


def _table(read: Callable[[Path], Any], file: Path, path: KeyPath) -> Iterator[Mistake]:
    try:
        read(file)
    except TableError as error:
        yield Mistake(path, f"line {error.line} {error.text}", file.name)
