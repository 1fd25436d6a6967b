"""From what nodes handed in to a result: the same observers, checks and metrics as in virtual time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from consensus.replica import Replica
from consensus.types import ReplicaId
from node.account import Account as NodeAccount
from node.account import total
from node.carrier import domain
from node.chance import seed_bytes
from node.keys import Ed25519, Modelled, Notary, Scheme
from node.spool import Told
from node.terms import Terms
from node.trace import Trace
from node.wire import decoder
from testbed.faults import fault_effects
from testbed.fold import Account, fold
from testbed.launch.collect import Collection, receiver_down, retell, with_stops
from testbed.watch import watch_run

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
    planned_ns: Sequence[Sequence[int]]
    """When the scenario has each node crash, in ns after the start."""
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
        stops += [0 for begin_ns in gathered.planned_ns[i] if begin_ns == 0]
        traces[ReplicaId(i)] = with_stops(gathered.collections[i].events(ReplicaId(i), decode), ReplicaId(i), stops)
    retell(traces, Trace(watch.observers()))
    account = total(each for collection in gathered.collections for each in collection.accounts())
    reached_ns = terms.duration_ns
    if gathered.partial:
        reached_ns = min(reached_ns, max((events[-1].now_ns for events in traces.values() if events), default=0))
    down = receiver_down(traces, reached_ns)
    executed = [[at_ns for at_ns in planned if at_ns <= reached_ns] for planned in gathered.planned_ns]
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
            deliveries=account.deliveries + down,
            verifications=account.verifications,
            receiver_down=down,
            effects=fault_effects(sky.scenario, sky, account.affected, executed),
            more=_engine(sky, gathered, account, outages),
        ),
    )


def _engine(
    sky: Sky, gathered: Gathered, account: NodeAccount, outages: Sequence[tuple[float, float]]
) -> dict[str, Any]:
    """What only this engine has to say."""
    mqtt = sky.scenario.mqtt
    lateness_ms = {name: account.lateness_at(share) / 1e3 for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1))}
    return {
        "broker": gathered.broker,
        "time_scale": mqtt.time_scale,
        "lateness_ms": lateness_ms,
        "invalid": too_late(lateness_ms["p99"], mqtt.lateness_budget_ms, gathered.broker),
        "frames_refused": dict(sorted(account.refused.items())),
        "frames_resent": account.resent,
        "frames_gone": account.gone,
        "broker_outages_s": [[round(begin_s, 3), round(end_s, 3)] for begin_s, end_s in united(outages)],
        "node_deaths": sum(len(deaths) for deaths in gathered.deaths_ns),
    }


def too_late(p99_ms: float, budget_ms: float, broker: str) -> str | None:
    """Why a run says nothing about its network, and what to change; None if it does."""
    if p99_ms <= budget_ms:
        return None
    other = " a native broker (mosquitto or nats)," if broker == "amqtt" else ""
    return (
        f"99 % of deliveries should be at most {budget_ms:g} ms late (mqtt.lateness_budget_ms), but the last of them "
        f"was {p99_ms:g} ms: use fewer replicas,{other} a machine with more cores, or a larger mqtt.time_scale"
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
