"""The host: it carries out what a replica wants in order, charges the CPU, and keeps crashes honest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import pytest

from consensus.effects import Broadcast, CancelTimer, Committed, Effect, Entered, Persist, Send, SetTimer
from consensus.messages import GENESIS, Block, Message, Payload, Proposal, QuorumCertificate, Vote
from consensus.protocols.hotstuff import HotStuff
from consensus.types import Height, ReplicaId, View
from network.bus import VirtualBus
from network.carriage import Direct
from network.channel import Propagation
from network.clock import VirtualClock
from network.plan import MatrixPlan
from node.contract import Contract
from node.cpu import Cpu, Work
from node.host import Host
from node.keys import Modelled, Notary
from node.store import MemoryStore
from node.trace import Observer, Trace
from node.wire import Envelope

DELAY_NS = 100
VOTE = Vote("vote", View(1), Height(1), GENESIS.id)
OTHER = Vote("vote", View(2), Height(2), GENESIS.id)
Event = tuple[Any, ...]


class Puppet:
    """A replica that does what the test says and remembers what it was told."""

    def __init__(self, on: Callable[[Event], Sequence[Effect]], log: list[Event]) -> None:
        self.on, self.log = on, log

    def _event(self, *event: Any) -> Sequence[Effect]:
        self.log.append(event)
        return self.on(event)

    def start(self, recovered: Any, now_ns: int) -> Sequence[Effect]:
        return self._event("start", now_ns, dict(recovered))

    def receive(self, sender: ReplicaId, message: Message, now_ns: int) -> Sequence[Effect]:
        return self._event("receive", now_ns, sender, msgspec.structs.replace(message, signature=b""))

    def fire(self, timer: str, now_ns: int) -> Sequence[Effect]:
        return self._event("fire", now_ns, timer)

    def submit(self, payload: Payload, now_ns: int) -> Sequence[Effect]:
        return ()


class Tape(Observer):
    """What the trace told, in order."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def sent(self, now_ns: int, envelope: Envelope, due_ns: Any, taken_ns: int) -> None:
        self.events.append(("sent", taken_ns, now_ns, envelope.sender, due_ns.tolist()))

    def proposed(self, now_ns: int, replica: ReplicaId, block: Block, message: Message) -> None:
        self.events.append(("proposed", now_ns, replica))

    def entered(self, now_ns: int, replica: ReplicaId, view: View, timed_out: bool) -> None:
        self.events.append(("entered", now_ns, replica, view))

    def committed(self, now_ns: int, replica: ReplicaId, block: Block) -> None:
        self.events.append(("committed", now_ns, replica))

    def rejected(self, now_ns: int, replica: ReplicaId, sender: ReplicaId, reason: str) -> None:
        self.events.append(("rejected", now_ns, replica, sender, reason))

    def stopped(self, now_ns: int, replica: ReplicaId) -> None:
        self.events.append(("stopped", now_ns, replica))

    def restarted(self, now_ns: int, replica: ReplicaId) -> None:
        self.events.append(("restarted", now_ns, replica))


class Theatre:
    """Three hosts with puppets on one bus, 100 ns apart."""

    def __init__(
        self,
        *scripts: Callable[[Event], Sequence[Effect]],
        cpu: Cpu | None = None,
        down: dict[int, list[tuple[int, int | None]]] | None = None,
    ) -> None:
        self.clock, self.tape = VirtualClock(), Tape()
        self.notary = Notary(Modelled(3, b"seed"), b"d")
        self.logs: list[list[Event]] = [[], [], []]
        self.stores = [MemoryStore() for _ in range(3)]
        said = [*scripts, *[lambda event: ()] * (3 - len(scripts))]
        self.hosts = [
            Host(
                ReplicaId(i),
                lambda i=i: Puppet(said[i], self.logs[i]),  # type: ignore[misc]
                clock=self.clock,
                notary=self.notary,
                store=self.stores[i],
                trace=Trace([self.tape]),
                cpu=cpu or Cpu(),
                contract=Contract("puppet", HotStuff, 3),
                windows_down=(down or {}).get(i, ()),
            )
            for i in range(3)
        ]
        delay_ns = DELAY_NS * (1 - np.eye(3, dtype=np.int64))
        plan = MatrixPlan(["a", "b", "c"], delay_ns)
        self.bus = VirtualBus(Direct(self.clock, Propagation(plan)), [host.deliver for host in self.hosts])
        for host in self.hosts:
            host.attach(self.bus)
        for host in self.hosts:
            host.power_on()

    def run(self, until_ns: int = 10_000) -> Theatre:
        self.clock.run(until_ns, 10_000)
        return self

    def told(self, i: int, kind: str) -> list[Event]:
        return [event[1:] for event in self.logs[i] if event[0] == kind]


def at_start(*effects: Effect) -> Callable[[Event], Sequence[Effect]]:
    return lambda event: effects if event[0] == "start" else ()


# Carrying


def test_effects_are_carried_out_in_order_and_ones_own_words_come_back_as_events() -> None:
    script = at_start(Persist("k", GENESIS), Entered(View(1)), Broadcast(VOTE), Committed(GENESIS))
    stage = Theatre(script).run()
    assert stage.tape.events == [
        ("entered", 0, 0, 1),
        ("sent", 0, 0, 0, [100, 100]),
        ("committed", 0, 0),
    ]
    # The own copy comes after the whole event and is not sent; others get theirs 100 ns later.
    assert stage.logs[0] == [("start", 0, {}), ("receive", 0, 0, VOTE)]
    assert stage.told(1, "receive") == stage.told(2, "receive") == [(100, 0, VOTE)]
    assert stage.stores[0].recover() == {"k": GENESIS}


def test_a_message_to_oneself_costs_nothing_on_the_network() -> None:
    stage = Theatre(at_start(Send(ReplicaId(0), VOTE)), cpu=Cpu(sign_ns=0, verify_ns=50)).run()
    assert stage.told(0, "receive") == [(0, 0, VOTE)]
    assert stage.tape.events == []
    assert stage.clock.delivered == 0


def test_own_words_are_handled_one_at_a_time_in_the_order_they_were_said() -> None:
    def script(event: Event) -> Sequence[Effect]:
        if event[0] == "start":
            return Send(ReplicaId(0), VOTE), Send(ReplicaId(0), VOTE)
        return (Send(ReplicaId(0), OTHER),) if event[3] == VOTE else ()

    stage = Theatre(script).run()
    assert [message for _, _, message in stage.told(0, "receive")] == [VOTE, VOTE, OTHER, OTHER]


# CPU


def test_signing_delays_what_leaves_after_it() -> None:
    stage = Theatre(at_start(Broadcast(VOTE), Send(ReplicaId(1), OTHER)), cpu=Cpu(sign_ns=30)).run()
    assert stage.tape.events == [("sent", 0, 30, 0, [130, 130]), ("sent", 30, 60, 0, [160])]
    assert stage.told(0, "receive") == [(60, 0, VOTE)]


def test_a_proposal_counts_from_before_it_is_signed() -> None:
    block = Block(GENESIS.id, Height(1), View(1), ReplicaId(0), Payload(0, 0, 0))
    certificate = QuorumCertificate(View(0), (), (), "vote", Height(0), GENESIS.id)
    stage = Theatre(at_start(Broadcast(Proposal(block, certificate))), cpu=Cpu(sign_ns=30)).run()
    assert stage.tape.events == [("proposed", 0, 0), ("sent", 0, 30, 0, [130, 130])]


def test_verifying_is_first_in_first_out() -> None:
    """Two messages arrive at 100; the second waits until the CPU is done with the first."""
    stage = Theatre(at_start(Send(ReplicaId(2), VOTE)), at_start(Send(ReplicaId(2), OTHER)), cpu=Cpu(verify_ns=40))
    stage.run()
    assert stage.told(2, "receive") == [(140, 0, VOTE), (180, 1, OTHER)]


def test_a_timer_waits_for_a_busy_cpu() -> None:
    stage = Theatre(at_start(Send(ReplicaId(1), VOTE)), at_start(SetTimer("t", 110)), cpu=Cpu(verify_ns=40)).run()
    assert stage.logs[1][1:] == [("receive", 140, 0, VOTE), ("fire", 140, "t")]


def certified(notary: Notary, view: int, *signers: int) -> Proposal:
    """A proposal with a certificate that these signed."""
    signatures = tuple(notary.sign(ReplicaId(i), VOTE) for i in signers)
    certificate = QuorumCertificate(View(1), tuple(map(ReplicaId, signers)), signatures, "vote", Height(1), GENESIS.id)
    return Proposal(Block(GENESIS.id, Height(2), View(view), ReplicaId(0), Payload(0, 0, 0)), certificate)


@pytest.mark.parametrize("signers", [(0, 1, 2), (0, 1), (1,)])
def test_a_signature_seen_lately_is_free_in_whichever_certificate(signers: tuple[int, ...]) -> None:
    notary = Notary(Modelled(3, b"seed"), b"d")
    first, second = certified(notary, 2, 0, 1, 2), certified(notary, 3, *signers)
    stage = Theatre(at_start(Send(ReplicaId(1), first), Send(ReplicaId(1), second)), cpu=Cpu(verify_ns=10)).run()
    # Four signatures for the first, one for the second: those in its certificate are known.
    assert [now_ns for now_ns, _, _ in stage.told(1, "receive")] == [140, 150]


def test_a_certificate_costs_only_the_votes_that_did_not_come_alone() -> None:
    notary = Notary(Modelled(3, b"seed"), b"d")
    script = at_start(Send(ReplicaId(1), VOTE), Send(ReplicaId(1), certified(notary, 2, 0, 1, 2)))
    stage = Theatre(script, cpu=Cpu(verify_ns=10)).run()
    assert [now_ns for now_ns, _, _ in stage.told(1, "receive")] == [110, 140]


def test_signatures_of_long_ago_cost_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.cpu._SIGNATURES_REMEMBERED", 1)
    script = at_start(*(Send(ReplicaId(1), message) for message in (VOTE, VOTE, OTHER, VOTE, VOTE)))
    stage = Theatre(script, cpu=Cpu(verify_ns=10)).run()
    assert [now_ns for now_ns, _, _ in stage.told(1, "receive")] == [110, 110, 120, 120, 120]


def test_a_bad_signature_costs_its_verification_and_is_rejected() -> None:
    forged = msgspec.structs.replace(VOTE, signature=b"x" * 64)
    stage = Theatre(at_start(Send(ReplicaId(1), forged)), cpu=Cpu(verify_ns=40)).run()
    assert stage.told(1, "receive") == []
    assert stage.tape.events[-1] == ("rejected", 140, 1, 0, "bad_signature")


# Timers


def test_timers_are_replaced_cancelled_and_set_again() -> None:
    def script(event: Event) -> Sequence[Effect]:
        if event[0] == "start":
            return SetTimer("a", 10), SetTimer("a", 50), SetTimer("b", 20), CancelTimer("b"), CancelTimer("never")
        return (SetTimer("a", 5),) if event[1] == 50 else ()

    stage = Theatre(script).run()
    assert stage.told(0, "fire") == [(50, "a"), (55, "a")]


def test_a_timer_counts_from_when_the_cpu_set_it() -> None:
    stage = Theatre(at_start(Broadcast(VOTE), SetTimer("a", 10)), cpu=Cpu(sign_ns=30)).run()
    assert stage.told(0, "fire") == [(40, "a")]


# Crashes


def test_a_crash_forgets_timers_and_a_restart_gets_the_store() -> None:
    script = at_start(Persist("k", GENESIS), SetTimer("t", 700))
    stage = Theatre(script, down={0: [(300, 500)]}).run()
    assert stage.logs[0] == [("start", 0, {}), ("start", 500, {"k": GENESIS}), ("fire", 1200, "t")]
    assert [event for event in stage.tape.events if event[0] in ("stopped", "restarted")] == [
        ("stopped", 300, 0),
        ("restarted", 500, 0),
    ]
    assert (len(stage.hosts[0].crashes_ns), stage.hosts[0].up) == (1, True)


def test_what_arrives_meanwhile_is_lost_and_counted() -> None:
    stage = Theatre(at_start(Send(ReplicaId(1), VOTE)), down={1: [(100, 200)]}).run()
    assert stage.told(1, "receive") == []
    assert stage.hosts[1].receiver_down == 1


def test_down_from_the_start_means_never_started() -> None:
    stage = Theatre(at_start(Broadcast(VOTE)), down={0: [(0, None)]}).run()
    assert stage.logs[0] == []
    assert (stage.hosts[0].up, len(stage.hosts[0].crashes_ns)) == (False, 1)
    late = Theatre(at_start(Broadcast(VOTE)), down={0: [(0, 70)]}).run()
    assert late.told(1, "receive") == [(170, 0, VOTE)]


def test_a_crash_while_the_cpu_is_busy_loses_what_it_was_busy_with() -> None:
    stage = Theatre(at_start(Send(ReplicaId(1), VOTE)), cpu=Cpu(verify_ns=40), down={1: [(120, 200)]}).run()
    assert stage.told(1, "receive") == []
    assert stage.hosts[1].receiver_down == 1


def test_a_crash_between_persisting_and_sending_leaves_the_promise_and_no_message() -> None:
    """Signing takes until 60: the first message has left by 30, the second has not by the crash at 50."""
    script = at_start(Persist("a", GENESIS), Broadcast(VOTE), Persist("b", GENESIS), Broadcast(OTHER), Entered(View(9)))
    stage = Theatre(script, cpu=Cpu(sign_ns=30), down={0: [(50, None)]}).run()
    assert set(stage.stores[0].recover()) == {"a", "b"}
    assert stage.told(1, "receive") == [(100 + 30, 0, VOTE)]
    assert stage.told(0, "receive") == []
    assert ("entered", 60, 0, 9) not in stage.tape.events


def test_a_crash_frees_the_cpu() -> None:
    stage = Theatre(at_start(Broadcast(VOTE)), cpu=Cpu(sign_ns=900), down={0: [(50, 60)]}).run()
    assert stage.told(0, "start") == [(0, {}), (60, {})]
    assert stage.told(1, "receive") == [(60 + 900 + 100, 0, VOTE)]


# What else a CPU does


def payload_block(height: int, transactions: int) -> Block:
    return Block(GENESIS.id, Height(height), View(height), ReplicaId(0), Payload(0, transactions, 0))


def test_a_burst_takes_the_sum_and_each_waits_for_all_before_it() -> None:
    """Six messages arrive at 100: the last has waited for five."""
    votes = [Vote("vote", View(i), Height(1), GENESIS.id) for i in range(6)]
    stage = Theatre(at_start(*(Send(ReplicaId(1), vote) for vote in votes)), cpu=Cpu(verify_ns=40)).run()
    assert [now_ns for now_ns, _, _ in stage.told(1, "receive")] == [140, 180, 220, 260, 300, 340]
    work = stage.hosts[1].processor.work(10_000)
    assert work == Work(verify_ns=240, messages=6, queued_ns=40 * (1 + 2 + 3 + 4 + 5), queued_max_ns=200)
    assert work.busy_ns == 240
    # What is not done by then is not counted.
    assert stage.hosts[1].processor.work(150).busy_ns == 50


def test_sender_and_receiver_each_hash_what_is_sent_by_its_size() -> None:
    block = Block(GENESIS.id, Height(1), View(1), ReplicaId(0), Payload(0, 4, 1_000_000))
    certificate = QuorumCertificate(View(0), (), (), "vote", Height(0), GENESIS.id)
    stage = Theatre(at_start(Broadcast(Proposal(block, certificate))), cpu=Cpu(hash_ps_per_byte=1_500)).run(10**7)
    (sent,) = [event for event in stage.tape.events if event[0] == "sent"]
    cost_ns = sent[2] - sent[1]
    assert 1_500_000 < cost_ns < 1_500_600
    assert [now_ns for now_ns, _, _ in stage.told(1, "receive")] == [cost_ns + DELAY_NS + cost_ns]
    assert stage.hosts[0].processor.work(10**7) == Work(hash_ns=cost_ns)
    assert stage.hosts[1].processor.work(10**7) == Work(hash_ns=cost_ns, messages=1)


def executes(*effects: Effect) -> Callable[[Event], Sequence[Effect]]:
    """Commits four transactions and three at once, in the middle of other things, when it hears of `VOTE`."""
    commits = Committed(payload_block(1, 4)), Committed(payload_block(2, 3))
    return lambda event: (*commits, *effects) if event[0] == "receive" and event[3] == VOTE else ()


def test_a_commit_has_the_time_at_which_it_was_decided_and_what_it_causes_leaves_before_it_is_executed() -> None:
    stage = Theatre(
        at_start(Send(ReplicaId(1), VOTE)), executes(Send(ReplicaId(2), OTHER)), cpu=Cpu(execute_ns=10)
    ).run()
    assert [event for event in stage.tape.events if event[0] == "committed"] == [("committed", 100, 1)] * 2
    assert stage.tape.events[-1] == ("sent", 100, 100, 1, [200])
    assert stage.hosts[1].processor.work(10_000) == Work(execute_ns=70, messages=1)


def test_executing_delays_the_next_message_the_next_timer_and_ones_own_words() -> None:
    script = executes(Send(ReplicaId(1), OTHER), SetTimer("t", 30))
    stage = Theatre(at_start(Send(ReplicaId(1), VOTE), Send(ReplicaId(1), OTHER)), script, cpu=Cpu(execute_ns=10)).run()
    assert stage.logs[1][1:] == [
        ("receive", 100, 0, VOTE),
        ("receive", 170, 1, OTHER),
        ("receive", 170, 0, OTHER),
        ("fire", 170, "t"),
    ]
    assert stage.hosts[1].processor.work(10_000).queued_max_ns == 70


def test_a_crash_while_executing_frees_the_cpu_and_loses_ones_own_words() -> None:
    script = executes(Send(ReplicaId(1), OTHER))
    stage = Theatre(at_start(Send(ReplicaId(1), VOTE)), script, cpu=Cpu(execute_ns=10), down={1: [(120, 130)]}).run()
    assert stage.logs[1] == [("start", 0, {}), ("receive", 100, 0, VOTE), ("start", 130, {})]
    work = stage.hosts[1].processor.work(10_000)
    assert (work.execute_ns, work.undone_ns, work.busy_ns) == (70, 50, 20)
    # Not yet done, the commits stay what they were.
    assert [event for event in stage.tape.events if event[0] == "committed"] == [("committed", 100, 1)] * 2


def test_a_crash_before_executing_leaves_nothing_to_execute_after_the_restart() -> None:
    """Signing takes beyond the crash: the event is cut off before its blocks are executed."""
    script = executes(Broadcast(OTHER))
    stage = Theatre(
        at_start(Send(ReplicaId(1), VOTE)), script, cpu=Cpu(sign_ns=30, execute_ns=10), down={1: [(140, 150)]}
    ).run()
    work = stage.hosts[1].processor.work(10_000)
    assert (work.sign_ns, work.execute_ns, work.undone_ns) == (30, 0, 20)
    assert stage.logs[1][-1] == ("start", 150, {})


def test_a_committee_of_one_goes_on_when_executing_is_all_that_takes_time() -> None:
    def script(event: Event) -> Sequence[Effect]:
        return Committed(payload_block(1, 1)), Send(ReplicaId(0), VOTE)

    stage = Theatre(script, cpu=Cpu(execute_ns=1_000))
    stage.hosts[0].contract.n = 1
    heard = stage.run(20_000).told(0, "receive")
    assert heard[:3] == [(1_000, 0, VOTE), (2_000, 0, VOTE), (3_000, 0, VOTE)]
