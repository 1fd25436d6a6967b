"""Clients, and how their transactions reach those who propose: sent by their own places, passed on by replicas.

None of this is consensus: it shares the bus and nothing else with what replicas say. Whatever is lost on the way to a
replica stays lost. Where replicas share what they get, they do so in batches, and ask once more for one that is lost.
A replica's CPU hashes what comes, in turn with messages; where that takes no time, nothing waits for it. Passing on
takes it none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from network.bus import Bus
from network.channel import Drop
from network.clock import Action, Clock
from node.host import Host
from node.lanes import Lanes
from node.trace import Trace
from node.wire import Envelope

Stream = Iterator[tuple[int, int]]
"""(when, size in bytes) of each transaction; times are ns since the start and ascend."""
Aim = Callable[[int], int]
"""`aim(now_ns)`: the replica to send to."""

KINDS = TRANSACTION, BATCH, REQUEST = "transaction", "batch", "batch_request"
"""What is counted beside consensus messages."""
_REASONS = {int(drop): drop.name.lower() for drop in Drop}
BATCH_BYTES = 16
"""What a batch says beside its transactions: whose they are, and the number of the first."""
REQUEST_BYTES = 24
"""The same, and how many."""


class Transaction(NamedTuple):
    """On its way from a client to a replica."""

    submitted_ns: int
    size_bytes: int


class Batch(NamedTuple):
    """Transactions `first` to `end - 1` of what entered at replica `lane`, on their way to others."""

    lane: int
    first: int
    end: int


class Request(NamedTuple):
    """Replica `asker` lacks that batch."""

    batch: Batch
    asker: int


class Intake:
    """Takes in transactions for all replicas of a run, and passes them on where replicas share.

    `receivers[i]` takes whatever arrives at replica i, its host's messages among them.
    """

    def __init__(
        self,
        lanes: Lanes,
        hosts: Sequence[Host],
        clock: Clock,
        trace: Trace,
        *,
        share_interval_ns: int | None,
        patience_ns: int,
    ) -> None:
        """`share_interval_ns` None shares nothing; who has asked for a batch waits `patience_ns` for it."""
        self.receivers: list[Action] = [partial(self._deliver, replica) for replica in range(len(hosts))]
        self._lanes = lanes
        self._hosts = hosts
        self._clock = clock
        self._trace = trace
        self._bus: Bus | None = None
        self._share_interval_ns = share_interval_ns
        self._patience_ns = patience_ns
        self._shared = [0] * len(hosts)
        self._due = [False] * len(hosts)

    def open(self, bus: Bus, clients: Sequence[tuple[Stream, Aim]]) -> None:
        """Connect to the bus; clients, numbered after the replicas, begin to submit."""
        self._bus = bus
        for number, (stream, aim) in enumerate(clients, start=len(self._hosts)):
            self._await(number, stream, aim)

    # Clients

    def _await(self, client: int, stream: Stream, aim: Aim) -> None:
        upcoming = next(stream, None)
        if upcoming is not None:
            self._clock.at(upcoming[0], self._submit, (client, stream, aim, upcoming[1]))

    def _submit(self, of: tuple[int, Stream, Aim, int], now_ns: int) -> None:
        client, stream, aim, size_bytes = of
        self._lanes.submit(now_ns)
        transaction = Transaction(now_ns, size_bytes)
        due_ns = self._carry(client, aim(now_ns), TRANSACTION, size_bytes, transaction, now_ns)
        reason = _REASONS.get(int(due_ns[0]))
        if reason is not None:
            self._lanes.lose(reason, now_ns)
        self._await(client, stream, aim)

    # Replicas

    def lost(self, parcel: Any, reason: str, now_ns: int) -> None:
        """Something was lost on its way, after it had left."""
        if type(parcel) is Transaction:
            self._lanes.lose(reason, now_ns)

    def _deliver(self, replica: int, parcel: Any, due_ns: int) -> int | None:
        """Returns when the parcel may be passed on to others, as `Host.deliver` does."""
        if type(parcel) is Envelope:
            return self._hosts[replica].deliver(parcel, due_ns)
        now_ns = self._hosts[replica].admit(self._size_bytes(parcel), due_ns)
        if now_ns is None:
            if type(parcel) is Transaction:
                self._lanes.lose("receiver_down", due_ns)
        elif type(parcel) is Transaction:
            if self._lanes.enter(replica, parcel.submitted_ns, now_ns, parcel.size_bytes):
                self._share_soon(replica, now_ns)
        elif type(parcel) is Batch:
            self._hear(replica, parcel, now_ns)
        else:
            self._send(parcel.batch, parcel.asker, now_ns)
        return now_ns

    def _share_soon(self, replica: int, now_ns: int) -> None:
        if self._share_interval_ns is not None and not self._due[replica]:
            self._due[replica] = True
            self._clock.at(now_ns + self._share_interval_ns, self._share, replica)

    def _share(self, replica: int, now_ns: int) -> None:
        self._due[replica] = False
        if not self._hosts[replica].up:
            self._share_soon(replica, now_ns)
        elif len(self._hosts) > 1:
            lane, first = self._lanes.lanes[replica], self._shared[replica]
            end = self._shared[replica] = lane.entered_by(now_ns)
            self._send(Batch(replica, first, end), None, now_ns)
            if end < len(lane):
                self._share_soon(replica, lane.entered_ns[end])

    def _hear(self, replica: int, batch: Batch, now_ns: int) -> None:
        heard = self._lanes.heard(replica, batch.lane)
        heard.add(batch.first, batch.end)
        gap = heard.gap()
        if gap is not None and (heard.asked_ns is None or now_ns >= heard.asked_ns + self._patience_ns):
            heard.asked_ns = now_ns
            request = Request(Batch(batch.lane, *gap), replica)
            self._carry(replica, batch.lane, REQUEST, REQUEST_BYTES, request, now_ns)

    def _send(self, batch: Batch, target: int | None, now_ns: int) -> None:
        self._carry(batch.lane, target, BATCH, self._size_bytes(batch), batch, now_ns)

    def _size_bytes(self, parcel: Transaction | Batch | Request) -> int:
        if type(parcel) is Batch:
            return BATCH_BYTES + self._lanes.lanes[parcel.lane].bytes_of(parcel.first, parcel.end)
        return parcel.size_bytes if type(parcel) is Transaction else REQUEST_BYTES

    def _carry(self, source: int, target: int | None, kind: str, size_bytes: int, parcel: Any, now_ns: int) -> Any:
        assert self._bus is not None, "open() comes first"
        if target is None:
            due_ns = self._bus.broadcast(source, size_bytes, parcel, now_ns)
        else:
            due_ns = self._bus.send(source, target, size_bytes, parcel, now_ns)
        self._trace.tell("carried", now_ns, source, target, kind, size_bytes, due_ns)
        return due_ns
