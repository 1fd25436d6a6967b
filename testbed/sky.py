"""The sky of a scenario: its satellites and stations, where its replicas sit, and the plan between them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy.sparse.csgraph import connected_components

from network.constants import SECOND_NS, propagation_ns
from network.constellation import Constellation
from network.isl import standing_pairs
from network.links import Topology
from network.plan import Among, IntArray, Plan, Snapshot
from testbed.handovers import handover_rows
from testbed.members import choose_members
from testbed.peers import peer_mistakes
from testbed.plans import isl_policy_of, outages_of, plan_of, rules_of, shell_of, stations_of
from testbed.scenario import Committee, Fault, Scenario, ScenarioError
from testbed.scenario.mistakes import Mistake
from testbed.targets import Directory, Target

PAIRS_NAMED: Final = 3
"""Missing routes that a warning names; the rest are counted."""


@dataclass(frozen=True, eq=False)
class Sky:
    """What a scenario's network is made of.

    `topology` has all ground stations of the scenario; it is None, as is `constellation`, without satellites.
    `blocks` are the scenario's committee blocks that the replicas come from, in replica order, like `plan.endpoints`.
    `whole_plan` has the clients' places after the replicas'; without clients it is `plan`.
    """

    scenario: Scenario
    constellation: Constellation | None
    topology: Topology | None
    plan: Plan
    whole_plan: Plan
    blocks: tuple[Committee, ...]
    warnings: tuple[str, ...]
    directory: Directory

    @property
    def weights(self) -> tuple[float, ...]:
        """Voting weights, in replica order."""
        return tuple(block.weight for block in self.blocks)

    def target(self, targets: Iterable[str]) -> Target:
        """What a fault's targets strike."""
        return self.directory.resolve(targets)

    def plan_between(self, endpoints: Sequence[str]) -> Plan:
        """The plan between any endpoints of the network. Raises ValueError for one that is not there."""
        if self.scenario.network.laboratory:
            raise ValueError("a laboratory network has no places but its members'")
        return plan_of(self.scenario, endpoints, self.constellation, outages_of(self.scenario, self.directory))

    def outage_effect(self, fault: Fault) -> int:
        """How many pairs, ordered, an outage cuts or sends another way when it begins; the second is a replica."""
        others = tuple(other for other in self.scenario.fault if other is not fault)
        without = outages_of(self.scenario.model_copy(update={"fault": others}), self.directory)
        plan = plan_of(self.scenario, self.whole_plan.endpoints, self.constellation, without)
        at_ns = round(fault.begin_s * SECOND_NS)
        before, now = plan.at(at_ns), self.whole_plan.at(at_ns)
        changed = (before.delay_ns != now.delay_ns) | (before.hops != now.hops)
        return int(changed[:, : len(self.plan.endpoints)].sum())


def build_sky(scenario: Scenario) -> Sky:
    """Raises ScenarioError with all mistakes that only the geometry shows."""
    constellation = _constellation(scenario)
    mistakes = list(_isl_mistakes(scenario, constellation))
    members, blocks, wrong = choose_members(scenario, constellation)
    directory = _directory(scenario, members, constellation)
    mistakes += [*wrong, *_grounded_clients(scenario, constellation), *_fault_mistakes(scenario, directory)]
    mistakes += peer_mistakes(scenario, len(members))
    if mistakes:
        raise scenario.error(mistakes)
    places = [client.at for client in scenario.client]
    whole_plan = plan_of(scenario, [*members, *places], constellation, outages_of(scenario, directory))
    plan = Among(whole_plan, len(members)) if places else whole_plan
    warnings = [
        *(constellation.warnings if constellation else ()),
        *_missing_routes(plan),
        *_cut_off_clients(scenario, whole_plan, len(members)),
    ]
    topology = Topology(constellation, stations_of(scenario), rules_of(scenario)) if constellation else None
    if constellation is not None:
        # Element sets decide the start where the scenario leaves it open; whoever repeats the run needs to know it.
        scenario = scenario.model_copy(update={"start": constellation.start})
    return Sky(scenario, constellation, topology, plan, whole_plan, tuple(blocks), tuple(warnings), directory)


def _constellation(scenario: Scenario) -> Constellation | None:
    if not scenario.shell or scenario.network.laboratory:
        return None
    try:
        return Constellation([shell_of(table) for table in scenario.shell], scenario.start)
    except (ValueError, OSError) as error:
        raise ScenarioError(str(error).splitlines()) from None


def _isl_mistakes(scenario: Scenario, constellation: Constellation | None) -> Iterator[Mistake]:
    """Policies that a shell cannot have, and files of pairs that are broken."""
    if constellation is None:
        return
    for number, table in enumerate(scenario.shell):
        try:
            standing_pairs(constellation, number, isl_policy_of(table))
        except (ValueError, OSError) as error:
            yield from (Mistake(("shell", number, "isl"), line) for line in str(error).splitlines())


def _directory(scenario: Scenario, members: Sequence[str], constellation: Constellation | None) -> Directory:
    network = scenario.network
    relays = [table.name for table in scenario.ground_station if network.ground_relay or network.hybrid]
    operators: dict[str, list[str]] = {}
    for shell in scenario.shell:
        operators.setdefault(shell.operator or "", []).append(f"shell/{shell.name}")
    for table in scenario.ground_station:
        operators.setdefault(table.operator or "", []).extend((f"gs/{table.name}", f"net/{table.name}"))
    clients = [client.at for client in scenario.client]
    return Directory(members, constellation, relays, clients=clients, hybrid=network.hybrid, operators=operators)


def _grounded_clients(scenario: Scenario, constellation: Constellation | None) -> Iterator[Mistake]:
    """Clients on satellites that were left out."""
    for number, client in enumerate(scenario.client):
        if client.at.startswith("sat/") and constellation is not None and client.at not in constellation.endpoints:
            text = "was left out: its element set cannot be flown at the start"
            yield Mistake(("client", number, "at"), text, client.at)


def _cut_off_clients(scenario: Scenario, whole_plan: Plan, n: int) -> Iterator[str]:
    """A warning for each client that cannot reach whom it submits to at the start."""
    reachable = whole_plan.at(0).reachable
    for number, client in enumerate(scenario.client):
        replica = client.replica
        if not reachable[n + number, slice(n) if replica is None else slice(replica, replica + 1)].any():
            deed = "reaches no replica" if replica is None else f"does not reach replica {replica}"
            yield f"client[{number}] at {client.at} {deed} at the start"


def _fault_mistakes(scenario: Scenario, directory: Directory) -> Iterator[Mistake]:
    """Targets that exist, but at which nothing is that this kind of fault could strike."""
    for number, fault in enumerate(scenario.fault):
        for victim in fault.victim_names or ():
            if not directory.resolve([victim]).replicas:
                yield Mistake(("fault", number, "victims"), "names no replica", victim)
        for target in fault.targets:
            struck = directory.resolve([target])
            if fault.kind == "outage" and not (struck.endpoints or struck.links):
                text = "strikes nothing: no replica sits there and nothing is relayed there"
            elif fault.kind != "outage" and not (struck.replicas or struck.pairs or _slows_clients(fault, struck)):
                text = f"strikes no replica, and {fault.kind} needs one"
            else:
                continue
            yield Mistake(("fault", number, "target"), text, target)


def _slows_clients(fault: Fault, struck: Target) -> bool:
    return bool(struck.clients) and fault.kind in ("partition", "loss", "slow")


def _missing_routes(plan: Plan) -> Iterator[str]:
    """One warning if members cannot reach each other at the start."""
    reachable = plan.at(0).reachable
    missing = np.argwhere(~reachable)
    if not len(missing):
        return
    count = len(plan.endpoints)
    _, part = connected_components((reachable & reachable.T).astype(np.int8), directed=False)
    named = ", ".join(f"{plan.endpoints[one]} to {plan.endpoints[other]}" for one, other in missing[:PAIRS_NAMED])
    more = f" and {len(missing) - PAIRS_NAMED:,} more" if len(missing) > PAIRS_NAMED else ""
    yield (
        f"at the start {len(missing):,} of {count * (count - 1):,} routes between members do not exist: {named}{more};"
        f" at most {np.bincount(part).max():,} of {count:,} members can all talk to each other"
    )


def survey(scenario: Scenario, at_s: Sequence[float], sky: Sky | None = None) -> dict[str, Any]:
    """What `quorbit sky` shows: counts, and for each time the links and the routes between members; fit for JSON.

    `links` has a row for each time and kind with lengths in km, `routes` one for each time with one-way delays in
    ms; percentiles are nearest ranks. `handovers` has one row, or none where links are never chosen anew. None
    stands where there is nothing to measure.
    """
    sky = build_sky(scenario) if sky is None else sky
    start = scenario.start if sky.constellation is None else sky.constellation.start
    return {
        "start": None if start is None else start.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "satellites": 0 if sky.constellation is None else len(sky.constellation),
        "ground_stations": len(scenario.ground_station),
        "members": len(sky.plan.endpoints),
        "shells": list(_shell_rows(sky)),
        "handovers": handover_rows(sky.topology, sky.plan, round(scenario.duration_s * SECOND_NS)),
        "links": [row for instant_s in at_s for row in _link_rows(sky, instant_s)],
        "routes": [_route_row(sky.plan.at(round(instant_s * SECOND_NS)), instant_s) for instant_s in at_s],
    }


def _shell_rows(sky: Sky) -> Iterator[dict[str, Any]]:
    if sky.constellation is not None:
        for table in sky.scenario.shell:
            satellites = len(sky.constellation.satellites_of(table.name))
            yield {"name": table.name, "pattern": table.pattern, "satellites": satellites, "isl": str(table.isl)}


def _link_rows(sky: Sky, at_s: float) -> Iterator[dict[str, Any]]:
    if sky.topology is None:
        return
    links = sky.topology.links_at(at_s)
    for kind, lengths_km in (("ISL", links.isl_km), ("GSL", links.gsl_km)):
        some = len(lengths_km) > 0
        yield {
            "at_s": at_s,
            "kind": kind,
            "links": len(lengths_km),
            "min_km": float(lengths_km.min()) if some else None,
            "mean_km": float(lengths_km.mean()) if some else None,
            "max_km": float(lengths_km.max()) if some else None,
            "max_ms": int(propagation_ns(lengths_km).max()) / 1e6 if some else None,
        }


def _route_row(snapshot: Snapshot, at_s: float) -> dict[str, Any]:
    apart = ~np.eye(len(snapshot.delay_ns), dtype=np.bool_)
    found = apart & snapshot.reachable
    delay_ns, hops = np.sort(snapshot.delay_ns[found]), snapshot.hops[found]
    return {
        "at_s": at_s,
        "routes": int(found.sum()),
        "missing": int(apart.sum() - found.sum()),
        "min_ms": _rank_ms(delay_ns, 0.0),
        "mean_ms": float(delay_ns.mean()) / 1e6 if len(delay_ns) else None,
        "p50_ms": _rank_ms(delay_ns, 0.5),
        "p90_ms": _rank_ms(delay_ns, 0.9),
        "max_ms": _rank_ms(delay_ns, 1.0),
        "mean_hops": float(hops.mean()) if len(hops) else None,
        "max_hops": int(hops.max()) if len(hops) else None,
    }


def _rank_ms(ascending_ns: IntArray, share: float) -> float | None:
    """The nearest rank: the ceil(share * m)-th smallest of m."""
    if not len(ascending_ns):
        return None
    return int(ascending_ns[max(0, int(np.ceil(share * len(ascending_ns))) - 1)]) / 1e6
