"""What the nodes hand in, put together again: one trace in one order, told to the same observers as in virtual time."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from consensus.types import ReplicaId
from network.bus import Directions
from node.account import Account, decode_account
from node.frames import Piece
from node.process import HandIn
from node.spool import Decode, Told, read
from node.trace import Trace

_decode = msgspec.msgpack.Decoder(HandIn).decode


class Collection:
    """Pieces from one node until they are complete."""

    def __init__(self) -> None:
        self._pieces: dict[int, bytes] = {}
        self.hand_in: HandIn | None = None

    def add(self, piece: Piece) -> bool:
        """Take a piece, which may come more than once; whether this one completes them."""
        if self.hand_in is not None or not 0 <= piece.index < piece.count:
            return False
        self._pieces[piece.index] = piece.data
        if len(self._pieces) < piece.count:
            return False
        self.hand_in = _decode(zlib.decompress(b"".join(self._pieces[index] for index in range(piece.count))))
        self._pieces.clear()
        return True

    def accounts(self) -> list[Account]:
        """The accounts of the node's incarnations."""
        return [decode_account(account) for account in self.hand_in.accounts] if self.hand_in is not None else []

    def events(self, replica: ReplicaId, decode: Decode) -> list[Told]:
        """The node's trace; times never run backwards in it."""
        if self.hand_in is None:
            return []
        events, latest_ns = [], 0
        for event in read(self.hand_in.records, replica, decode):
            latest_ns = max(latest_ns, event.now_ns)
            events.append(event._replace(now_ns=latest_ns))
        return events


def with_stops(events: Sequence[Told], replica: ReplicaId, stops_ns: Iterable[int]) -> list[Told]:
    """A node's trace with the times at which it was found dead, which it could not write down itself.

    Each stands after the last thing the node did before it was started again. A node that nobody watched was dead
    from the last thing it did.
    """
    unplaced = sorted(stops_ns, reverse=True)
    told: list[Told] = []

    def stop(at_ns: int) -> None:
        told.append(Told(max(at_ns, told[-1].now_ns if told else 0), "stopped", (replica,)))

    for event in events:
        if event.event == "restarted":
            dead = bool(told) and told[-1].event == "stopped"
            while unplaced and unplaced[-1] <= event.now_ns:
                stop(unplaced.pop())
                dead = True
            if told and not dead:
                stop(told[-1].now_ns)
        told.append(event)
    while unplaced:
        stop(unplaced.pop())
    return told


def receiver_down(traces: Mapping[ReplicaId, Sequence[Told]], end_ns: int) -> int:
    """How many messages were due while their receiver was down; the receivers could not count them."""
    directions = Directions(len(traces))
    due_ns: dict[int, list[int]] = {replica: [] for replica in traces}
    for replica, events in traces.items():
        for event in events:
            if event.event == "sent":
                envelope, dues_ns, _ = event.details
                targets = directions.targets(replica, envelope.to)
                for target, due in zip(targets.tolist(), dues_ns.tolist(), strict=True):
                    due_ns[target].append(due)
    down = 0
    for replica, events in traces.items():
        for begin_ns, until_ns in _windows_down(events, end_ns):
            down += sum(begin_ns <= due < until_ns for due in due_ns[replica])
    return down


def _windows_down(events: Sequence[Told], end_ns: int) -> Iterator[tuple[int, int]]:
    stopped_ns: int | None = None
    for event in events:
        if event.event == "stopped":
            stopped_ns = event.now_ns if stopped_ns is None else stopped_ns
        elif event.event == "restarted" and stopped_ns is not None:
            yield stopped_ns, event.now_ns
            stopped_ns = None
    if stopped_ns is not None:
        yield stopped_ns, end_ns + 1


def retell(traces: Mapping[ReplicaId, Sequence[Told]], trace: Trace) -> None:
    """Tell all nodes' events in order of time; at one instant proposals first, because others are about them."""
    ordered = sorted(
        (event.now_ns, event.event != "proposed", replica, number)
        for replica, events in traces.items()
        for number, event in enumerate(events)
    )
    for _, _, replica, number in ordered:
        traces[ReplicaId(replica)][number].to(trace)
