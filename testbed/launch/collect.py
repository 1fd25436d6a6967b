"""What the nodes hand in, put together again: one trace in one order, told to the same observers as in virtual time."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from typing import NamedTuple

import msgspec
import numpy as np

from consensus.types import ReplicaId
from network.bus import Directions
from node.account import Account, decode_account
from node.frames import UNDECODABLE, Piece
from node.process import HandIn
from node.spool import HANDED, Decode, Told, read
from node.trace import Trace

MOST_BYTES = 1 << 30
"""More than any node has to say."""
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
        # Others make fewer pieces once they have been started again.
        self._pieces = {index: data for index, data in self._pieces.items() if index < piece.count}
        self._pieces[piece.index] = piece.data
        if len(self._pieces) < piece.count:
            return False
        data = b"".join(self._pieces[index] for index in range(piece.count))
        self._pieces.clear()
        try:
            self.hand_in = _decode(zlib.decompressobj().decompress(data, MOST_BYTES))
        except (zlib.error, *UNDECODABLE):
            # Whoever made it may try again.
            return False
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
            if event.event != HANDED:
                # Dated by the wall, which may be ahead of what a late node is doing.
                latest_ns = max(latest_ns, event.now_ns)
            events.append(event._replace(now_ns=latest_ns))
        return events


def with_stops(events: Sequence[Told], replica: ReplicaId, stops_ns: Iterable[int]) -> list[Told]:
    """A node's trace with the times at which it was found dead, which it could not write down itself.

    Each stands after the last thing the node did before it was started again. A node that nobody watched was dead
    from the last thing it did, or was not there from the start.
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
            if not dead:
                stop(told[-1].now_ns if told else 0)
        told.append(event)
    while unplaced:
        stop(unplaced.pop())
    return told


class Arrivals(NamedTuple):
    """Messages that were due by the end and that nobody counted."""

    missing: int
    """Due at nodes that were up from then to the end, and never handed over."""
    down: int
    """Due at nodes that were down."""


def arrivals(traces: Mapping[ReplicaId, Sequence[Told]], end_ns: int) -> Arrivals:
    """What became of all that was sent, as far as its receivers could not tell.

    A node that dies takes with it what came late, for the sender may have been dead itself, and what it had no time to
    write down: only its last life can be held to all that was due in it.
    """
    directions = Directions(len(traces))
    due_ns: dict[int, list[int]] = {replica: [] for replica in traces}
    for replica, events in traces.items():
        for event in events:
            if event.event == "sent":
                envelope, dues_ns, _ = event.details
                targets = directions.targets(replica, envelope.to)
                for target, due in zip(targets.tolist(), dues_ns.tolist(), strict=True):
                    due_ns[target].append(due)
    missing = down = 0
    for replica, events in traces.items():
        dues = np.array([due for due in due_ns[replica] if 0 <= due <= end_ns], dtype=np.int64)
        began_ns = 0
        for stopped_ns, began_ns in _windows_down(events, end_ns):
            down += int(((stopped_ns <= dues) & (dues < began_ns)).sum())
        handed = sum(len(event.details) for event in _last_life(events) if event.event == HANDED)
        missing += max(0, int((dues >= began_ns).sum()) - handed)
    return Arrivals(missing, down)


def _windows_down(events: Sequence[Told], end_ns: int) -> Iterator[tuple[int, int]]:
    """(stopped, restarted) of each time that a node was down; at the end it is as good as restarted."""
    stopped_ns: int | None = None
    for event in events:
        if event.event == "stopped":
            stopped_ns = event.now_ns if stopped_ns is None else stopped_ns
        elif event.event == "restarted" and stopped_ns is not None:
            yield stopped_ns, event.now_ns
            stopped_ns = None
    if stopped_ns is not None:
        yield stopped_ns, end_ns + 1


def _last_life(events: Sequence[Told]) -> Iterator[Told]:
    """What a node did since it was started for the last time, latest first."""
    return takewhile(lambda event: event.event not in ("stopped", "restarted"), reversed(events))


def retell(traces: Mapping[ReplicaId, Sequence[Told]], trace: Trace) -> None:
    """Tell all nodes' events in order of time."""
    ordered = sorted(
        (event.now_ns, _precedence(event), replica, number)
        for replica, events in traces.items()
        for number, event in enumerate(events)
        if event.event != HANDED
    )
    for _, _, replica, number in ordered:
        traces[ReplicaId(replica)][number].to(trace)


def _precedence(event: Told) -> tuple[int, int]:
    """At one instant: who is there, then proposals, because others are about them, and parents before children."""
    if event.event == "restarted":
        return 0, 0
    return (1, event.details[1].height) if event.event == "proposed" else (2, 0)
