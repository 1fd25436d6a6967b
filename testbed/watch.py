"""Everything that watches a run, whichever engine runs it: the folds over its trace, and what they judge by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from consensus.replica import Lottery, ProtocolFacts, Replica
from consensus.types import Committee
from network.bus import Directions
from network.plan import Plan
from network.traffic import Traffic
from node.keys import Notary
from node.mempool import Pool
from node.trace import Observer
from node.wire import Envelope
from testbed.checks import Agreement, CertificateSoundness, Check, CommitOrder, NoDoubleVote, Validity
from testbed.digest import Digest
from testbed.ledger import Ledger

if TYPE_CHECKING:
    from node.terms import Terms
    from testbed.scenario import Scenario
    from testbed.sky import Sky


@dataclass(frozen=True, eq=False)
class Watch:
    """The observers of one run, with the scenario, the plan and the protocol that their findings are about."""

    scenario: Scenario
    sky: Sky
    protocol: type[Replica]
    committee: Committee
    honest: frozenset[int]
    """The replicas that are never Byzantine."""
    mempool: Pool
    traffic: Traffic
    ledger: Ledger
    digest: Digest
    checks: list[Check]
    warnings: tuple[str, ...]

    @property
    def facts(self) -> ProtocolFacts:
        """What is known of the protocol before the run."""
        return self.protocol.facts

    @property
    def plan(self) -> Plan:
        """The delays between the members."""
        return self.sky.plan

    def observers(self) -> list[Observer]:
        """Who wants to be told of the trace."""
        return [self.digest, self.ledger, *self.checks]


class TrafficWatch(Observer):
    """Counts what each message does to the links, as it leaves."""

    def __init__(self, traffic: Traffic, n: int) -> None:
        self._traffic = traffic
        self._directions = Directions(n)

    def sent(self, now_ns: int, envelope: Envelope, due_ns: Any, taken_ns: int) -> None:
        targets = self._directions.targets(envelope.sender, envelope.to)
        self._traffic.count(envelope.sender, targets, due_ns, envelope.size_bytes, now_ns)

    def carried(self, now_ns: int, source: int, target: int | None, kind: str, size_bytes: int, due_ns: Any) -> None:
        self._traffic.count(source, self._directions.targets(source, target), due_ns, size_bytes, now_ns)


def watch_run(sky: Sky, protocol: type[Replica], terms: Terms, mempool: Pool, notary: Notary) -> Watch:
    """Everyone who watches a run of `sky.scenario`; `notary` is the checks' own, or one they may share."""
    scenario, committee = sky.scenario, terms.committee
    n = committee.n
    honest = frozenset(range(n)) - terms.faulty
    checks: list[Check] = [
        Agreement(),
        CommitOrder(n),
        Validity(protocol.facts, committee, notary, mempool, terms.leaders(protocol)),
        NoDoubleVote(protocol.facts, honest),
        CertificateSoundness(protocol.facts, committee, notary, honest),
    ]
    return Watch(
        scenario=scenario,
        sky=sky,
        protocol=protocol,
        committee=committee,
        honest=honest,
        mempool=mempool,
        traffic=Traffic(sky.whole_plan),
        ledger=Ledger(n),
        digest=Digest(f"{protocol.facts.name}/{n}".encode()),
        checks=checks,
        warnings=(*sky.warnings, *_warnings(scenario, protocol, terms)),
    )


def _warnings(scenario: Scenario, protocol: type[Replica], terms: Terms) -> Iterator[str]:
    yield from _quorum_warning(scenario, protocol, terms.committee.n)
    yield from _weights_warning(protocol, terms.committee)
    yield from _too_many_warning(terms)


def _quorum_warning(scenario: Scenario, protocol: type[Replica], n: int) -> tuple[str, ...]:
    quorum = scenario.consensus.quorum
    safe = Committee.of(n, resilience=protocol.facts.resilience).quorum
    if quorum is None or quorum == safe or protocol.facts.timeout_deltas is None:
        return ()
    kind = "unsafe" if quorum < safe else "larger than needed"
    pair = "a quorum and any certificate" if protocol.facts.small_certificates else "any two quorums"
    return (f"consensus.quorum = {quorum} is {kind} for n = {n}: {pair} share an honest replica from {safe}",)


def _too_many_warning(terms: Terms) -> tuple[str, ...]:
    faulty, n, f = len(terms.faulty), terms.committee.n, terms.committee.f
    if faulty <= f:
        return ()
    return (f"{faulty} of n = {n} replicas are Byzantine, more than f = {f}: the protocol promises nothing",)


def _weights_warning(protocol: type[Replica], committee: Committee) -> tuple[str, ...]:
    if isinstance(protocol.facts.shape, Lottery) or len(set(committee.weights)) == 1:
        return ()
    return (f"committee.weight is a share of hash power: {protocol.facts.name} gives every replica one vote",)
