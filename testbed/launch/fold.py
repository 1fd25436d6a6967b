"""From what nodes handed in to a result: the same observers, checks and metrics as in virtual time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from consensus.replica import Replica
from consensus.types import ReplicaId
from node.account import Account as NodeAccount
from node.account import Lateness, total
from node.carrier import domain
from node.chance import seed_bytes
from node.frames import UNDECODABLE
from node.keys import Ed25519, Modelled, Notary, Scheme
from node.spool import HANDED, Told
from node.terms import Terms
from node.trace import Trace
from node.wire import decoder
from testbed.faults import fault_effects
from testbed.fold import Account, fold
from testbed.launch import LaunchError
from testbed.launch.collect import Collection, arrivals, retell, with_stops
from testbed.load import carried_by_routes
from testbed.watch import TrafficWatch, watch_run

if TYPE_CHECKING:
    from testbed.result import Result
    from testbed.sky import Sky


@dataclass(frozen=True)
class Gathered:
    """All that is left of a run over processes when they have gone."""

    broker: str
    run: str
    members: Sequence[bytes]
    start_unix_ns: int
    partial: bool
    wall_s: float
    collections: Sequence[Collection]
    deaths_ns: Sequence[Sequence[int]]
    """Unix times at which each node was found dead."""
    executed_ns: Sequence[Sequence[int]]
    """Which of the scenario's crashes struck each node, in ns after the start."""
    windows_down: Sequence[Sequence[tuple[int, int | None]]]
    """When each node was to be down."""
    refused: Mapping[str, int]
    """Frames that the launcher dropped, by reason."""
    outages: Sequence[tuple[int, int]]
    """Unix times between which the launcher had no broker."""


def fold_nodes(sky: Sky, protocol: type[Replica], terms: Terms, gathered: Gathered) -> Result:
    """Tell the nodes' traces as one, and report."""
    n = terms.committee.n
    scheme: Scheme = Modelled(n, seed_bytes(terms.seed, "keys"))
    if terms.signatures == "ed25519":
        scheme = Ed25519({}, gathered.members)
    watch = watch_run(sky, protocol, terms, terms.mempool(), Notary(scheme, domain(gathered.run)))
    scale = sky.scenario.mqtt.time_scale

    def emulated_ns(unix_ns: int) -> int:
        return round((unix_ns - gathered.start_unix_ns) / scale)

    decode = decoder(protocol.messages).decode
    traces: dict[ReplicaId, list[Told]] = {}
    for i in range(n):
        stops = [at_ns for death in gathered.deaths_ns[i] if 0 < (at_ns := emulated_ns(death)) < terms.duration_ns]
        stops += [0 for begin_ns, _ in gathered.windows_down[i] if begin_ns == 0]
        try:
            events = gathered.collections[i].events(ReplicaId(i), decode)
        except UNDECODABLE as error:
            raise LaunchError(f"what node {i} handed in cannot be read: {error}") from None
        traces[ReplicaId(i)] = with_stops(events, ReplicaId(i), stops)
    retell(traces, Trace([*watch.observers(), TrafficWatch(watch.traffic, n)]))
    accounts = [total(collection.accounts()) for collection in gathered.collections]
    account = total(accounts)
    reached_ns = terms.duration_ns
    if gathered.partial:
        reached_ns = min(reached_ns, max((events[-1].now_ns for events in traces.values() if events), default=0))
    due = arrivals(traces, reached_ns)
    lateness = Lateness()
    for events in traces.values():
        for event in events:
            if event.event == HANDED:
                for lateness_us in event.details:
                    lateness.add(lateness_us)
    outages = [(emulated_ns(a) / 1e9, emulated_ns(b) / 1e9) for a, b in [*gathered.outages, *account.outages]]
    return fold(
        watch,
        Account(
            bus="mqtt",
            reached_ns=reached_ns,
            partial=gathered.partial,
            wall_s=gathered.wall_s,
            cpu_s=account.cpu_s,
            peak_rss_mb=account.peak_rss_mb,
            deliveries=lateness.count + due.down,
            verifications=account.verifications,
            work=[each.work for each in accounts],
            receiver_down=due.down,
            carried=carried_by_routes(watch.traffic),
            effects=fault_effects(sky.scenario, sky, account.affected, gathered.executed_ns),
            more=_engine(sky, gathered, account, outages, lateness, due.missing),
            warnings=list(_late_starts(traces, gathered.windows_down)),
        ),
    )


def _late_starts(
    traces: Mapping[ReplicaId, Sequence[Told]], windows_down: Sequence[Sequence[tuple[int, int | None]]]
) -> Iterator[str]:
    """A sentence for each node that came back later than the scenario says."""
    for replica, events in traces.items():
        restarts_ns = [event.now_ns for event in events if event.event == "restarted"]
        for begin_ns, end_ns in windows_down[replica]:
            after_ns = [at_ns for at_ns in restarts_ns if at_ns > begin_ns]
            if end_ns is not None and after_ns and min(after_ns) > end_ns:
                yield (
                    f"node {replica} was to be back at {end_ns / 1e9:g} s and was at {min(after_ns) / 1e9:.3f} s: "
                    "a process takes time to start; a larger mqtt.time_scale gives it more"
                )


def _engine(
    sky: Sky,
    gathered: Gathered,
    account: NodeAccount,
    outages: Sequence[tuple[float, float]],
    lateness: Lateness,
    missing: int,
) -> dict[str, Any]:
    """What only this engine has to say; messages that are `missing` were due and never came."""
    mqtt = sky.scenario.mqtt
    shares = (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
    lateness_ms = {name: lateness.at(share, missing) / 1e3 for name, share in shares}
    refused = Counter(account.refused) + Counter(gathered.refused)
    return {
        "broker": gathered.broker,
        "time_scale": mqtt.time_scale,
        "lateness_ms": lateness_ms,
        "invalid": too_late(lateness_ms["p99"], mqtt.lateness_budget_ms, gathered.broker),
        "undelivered": missing,
        "frames_refused": dict(sorted(refused.items())),
        "frames_resent": account.resent,
        "broker_outages_s": [[round(begin_s, 3), round(end_s, 3)] for begin_s, end_s in united(outages)],
        "node_deaths": sum(len(deaths) for deaths in gathered.deaths_ns),
    }


def too_late(p99_ms: float, budget_ms: float, broker: str) -> str | None:
    """Why a run says nothing about its network, and what to change; None if it does."""
    if p99_ms <= budget_ms:
        return None
    other = " a native broker (mosquitto or nats)," if broker == "amqtt" else ""
    found = f"was {p99_ms:g} ms" if math.isfinite(p99_ms) else "never came"
    return (
        f"99 % of deliveries should be at most {budget_ms:g} ms late (mqtt.lateness_budget_ms), but the last of them "
        f"{found}: use fewer replicas,{other} a machine with more cores, or a larger mqtt.time_scale"
    )


def united(windows: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The same time in windows that do not overlap, earliest first."""
    found: list[tuple[float, float]] = []
    for begin, end in sorted(windows):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((begin, end))
    return found
