"""What a node is made of once it knows its run: host, bus, exchange, notary, and the clock that drives them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import numpy as np

from consensus.messages import Block, Message
from consensus.types import ReplicaId, View
from network.realtime import RealTimeClock
from network.stack import channels
from node.account import Account, Lateness
from node.brief import Brief
from node.bus import NodeBus
from node.chance import seed_bytes
from node.contract import Contract
from node.exchange import Exchange
from node.frames import ALL, UNDECODABLE, Frame, Refusal, Refused, Word
from node.host import Host
from node.inbox import Arrival, Inbox
from node.keys import Ed25519, Modelled, Notary, Scheme
from node.post import Sealer, check_from
from node.signing import SigningKey
from node.spool import Spool
from node.sqlite import SqliteStore
from node.trace import Observer, Trace
from node.wire import Envelope, decoder


def domain(run: str) -> bytes:
    """What replicas' signatures of this run are for."""
    return b"quorbit/" + run.encode()


class Seen(Observer):
    """How far the replica has come, for whoever looks on."""

    def __init__(self) -> None:
        self.view = 0
        self.height = 0

    def entered(self, now_ns: int, replica: ReplicaId, view: View, timed_out: bool) -> None:
        self.view = view

    def committed(self, now_ns: int, replica: ReplicaId, block: Block) -> None:
        self.height = block.height


class Carrier:
    """Carries one replica: words in, words out, in real time."""

    def __init__(
        self,
        brief: Brief,
        run: str,
        key: SigningKey,
        store: SqliteStore,
        account: Account,
        sealer: Sealer,
        post: Callable[[int, bytes], None],
    ) -> None:
        terms, me = brief.terms, brief.replica
        n = terms.committee.n
        self.members = dict(enumerate(brief.members))
        self.seen = Seen()
        self.lateness = Lateness()
        self.exchange = Exchange(
            me, n, incarnation=store.incarnation, seal=sealer.seal, post=post, now_ns=time.monotonic_ns
        )
        self._protocol = terms.protocol_class()
        self._decode = decoder(self._protocol.messages).decode
        self._terms = terms
        self._me = me
        self._store = store
        self._account = account
        scheme: Scheme = Modelled(n, seed_bytes(terms.seed, "keys"))
        if terms.signatures == "ed25519":
            scheme = Ed25519({me: key}, brief.members)
        self._notary = Notary(scheme, domain(run))
        channel, self._struck = channels(terms.conditions, brief.timetable(), self._chance)
        self._bus = NodeBus(n, channel, self.exchange, self.commit)
        self._spool = Spool(store.append)
        self._deeds = Counter[int]()
        self._handed_us: list[int] = []
        self._run = run
        self._clock: RealTimeClock | None = None
        self._inbox: Inbox | None = None
        self._host: Host | None = None

    @property
    def up(self) -> bool:
        """Whether the replica is running."""
        return self._host is not None and self._host.up

    def begin(self, clock: RealTimeClock, boot_ns: int | None) -> None:
        """From now on time passes; the replica starts at `boot_ns`, or not at all."""
        mempool = self._terms.mempool()
        self._clock = clock
        self._inbox = Inbox(clock, self.exchange.due_ns, self._accept)
        self._host = Host(
            self._me,
            self._terms.spawner(self._protocol, self._me, mempool.payloads(self._me), self._deeds),
            clock=clock,
            notary=self._notary,
            store=self._store,
            trace=Trace([self._spool, self.seen]),
            cpu=self._terms.cpu,
            contract=Contract(self._terms.protocol, self._protocol, self._terms.committee.n),
        )
        self._host.attach(self._bus)
        self.exchange.boot_ns = clock.end_ns + 1 if boot_ns is None else boot_ns
        if boot_ns is not None:
            self._host.power_on(boot_ns)

    def settle(self) -> None:
        """Let go what was sent, once what it depends on is durable."""
        self._bus.settle()

    def commit(self) -> None:
        """Make promises, trace and lateness outlive this process, together."""
        if self._handed_us:
            assert self._clock is not None, "nothing is handed over before time is known"
            self._spool.handed(self._clock.now_ns, self._handed_us)
            self._handed_us.clear()
        self._store.commit()

    def stop(self) -> None:
        """End time now."""
        if self._clock is not None:
            self._clock.stop()

    def finish(self) -> None:
        """Time is over: look at what still waits, so that it is counted."""
        if self._inbox is not None:
            self._inbox.hand_on()

    def take(self, topic: str, payload: bytes) -> None:
        """Take what came on a topic from another node; before there is time it is lost, and asked for later."""
        if self._inbox is not None:
            with self._refusing():
                self._inbox.put(topic, payload)

    def _accept(self, arrival: Arrival) -> None:
        """Believe a frame if it deserves it, and put a word's message where it is due."""
        topic, payload, frame = arrival
        with self._refusing():
            check_from(topic, payload, frame, self._run, self._me, self.members)
            word = self.exchange.hear(frame)
            if word is not None:
                self._await(self._envelope(frame, word), self.exchange.due_ns(frame, word))

    def _await(self, envelope: Envelope, due_ns: int) -> None:
        assert self._clock is not None, "begin() comes first"
        if not self.exchange.boot_ns <= due_ns <= self._clock.end_ns:
            return
        # Verified now, while it waits, it need not be when it is due.
        self._notary.check(envelope)
        self._clock.at(due_ns, self._deliver, envelope)

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
        except Refused as refused:
            self._account.refuse(refused.reason.name.lower())

    def count(self, account: Account) -> None:
        """Bring an account up to date."""
        account.verifications = self._notary.verifications
        if self._host is not None and self._clock is not None:
            account.work = self._host.processor.work(min(self._clock.passed_ns, self._clock.end_ns))
        account.resent = self.exchange.resent
        account.affected = self._deeds | {number: channel.affected for number, channel in self._struck.items()}

    def _envelope(self, frame: Frame, word: Word) -> Envelope:
        message: Message | None = None
        with suppress(*UNDECODABLE):
            message = self._decode(word.message)
        if message is None:
            raise Refused(Refusal.UNREADABLE)
        return Envelope(ReplicaId(frame.sender), message, None if frame.to == ALL else self._me)

    def _deliver(self, envelope: Envelope, due_ns: int) -> None:
        assert self._clock is not None, "begin() comes first"
        assert self._host is not None, "begin() comes first"
        # While its modelled CPU works, a replica is not expected to answer.
        late_ns = self._clock.passed_ns - max(due_ns, self._host.processor.busy_until_ns)
        self._handed_us.append(max(0, late_ns // 1000))
        self.lateness.add(self._handed_us[-1])
        self._host.deliver(envelope, due_ns)

    def _chance(self, consumer: str) -> np.random.Generator:
        """Each node draws alone what the virtual engine draws for all."""
        return self._terms.chance(f"{consumer}/{self._me}")
