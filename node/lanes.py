"""Mempools where clients have places: each replica has a lane of the transactions that entered at it.

A payload says how far along each lane its chain has come (`Payload.lanes`), so a child continues where its parent
ended and transactions in stale blocks return by themselves. A replica proposes from its own lane and from what others
have passed on to it, oldest first. A mempool is durable: who comes back from a crash still has it.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial

from consensus.messages import GENESIS, AnyPayload, Block, LanePayload, Span
from consensus.replica import Payloads
from consensus.types import ReplicaId
from node.trace import Observer

Ready = Mapping[int, tuple[int, int]]
"""By lane, the first transaction that may be taken, and the first that may not."""


class Lane:
    """The transactions that entered at one replica, in that order: when submitted, when entered, how long."""

    __slots__ = ("_end_bytes", "entered_ns", "submitted_ns")

    def __init__(self) -> None:
        self.submitted_ns = array("q")
        self.entered_ns = array("q")
        self._end_bytes = array("q", [0])

    def __len__(self) -> int:
        return len(self.entered_ns)

    def append(self, submitted_ns: int, entered_ns: int, size_bytes: int) -> None:
        """Take one more."""
        self.submitted_ns.append(submitted_ns)
        self.entered_ns.append(entered_ns)
        self._end_bytes.append(self._end_bytes[-1] + size_bytes)

    def entered_by(self, now_ns: int) -> int:
        """How many have entered by then. A host's own clock runs ahead, so more may be here."""
        return bisect_right(self.entered_ns, now_ns)

    def bytes_of(self, first: int, end: int) -> int:
        """The length of transactions `first` to `end - 1` together."""
        return self._end_bytes[end] - self._end_bytes[first]


class Heard:
    """Which transactions of another's lane a replica has: a few stretches, one unless messages were lost."""

    __slots__ = ("_stretches", "asked_ns")

    def __init__(self) -> None:
        self._stretches: list[list[int]] = [[0, 0]]
        self.asked_ns: int | None = None
        """When it last asked for what it lacks."""

    def add(self, first: int, end: int) -> None:
        """It has transactions `first` to `end - 1`."""
        last = self._stretches[-1]
        if last[0] <= first <= last[1]:
            last[1] = max(last[1], end)
            return
        apart = [each for each in self._stretches if each[1] < first or each[0] > end]
        joined = [each for each in self._stretches if each[1] >= first and each[0] <= end]
        starts, ends = [each[0] for each in joined], [each[1] for each in joined]
        self._stretches = sorted([*apart, [min([first, *starts]), max([end, *ends])]])

    def end_from(self, first: int) -> int:
        """How far it has everything from transaction `first` on."""
        return max((end for start, end in self._stretches if start <= first <= end), default=first)

    def gap(self) -> tuple[int, int] | None:
        """The first stretch that it lacks although it has what comes after."""
        return (self._stretches[0][1], self._stretches[1][0]) if len(self._stretches) > 1 else None


class Lanes(Observer):
    """See `node.mempool.Pool`. All replicas' mempools; what each knows of the others' is kept apart."""

    def __init__(self, n: int, max_bytes: int | None) -> None:
        """`max_bytes` is how much of its own lane a replica keeps before it is committed; None has no limit."""
        self.lanes = [Lane() for _ in range(n)]
        self.drops = Counter[str]()
        self._max_bytes = max_bytes
        self._heard: list[dict[int, Heard]] = [{} for _ in range(n)]
        self._final: list[AnyPayload] = [GENESIS.payload] * n
        self._submitted_ns = array("q")
        self._lost_ns = array("q")

    # Transactions come in

    def submit(self, now_ns: int) -> None:
        """A client has sent one."""
        self._submitted_ns.append(now_ns)

    def lose(self, reason: str, now_ns: int) -> None:
        """One will never come to a replica."""
        self.drops[reason] += 1
        self._lost_ns.append(now_ns)

    def enter(self, replica: int, submitted_ns: int, now_ns: int, size_bytes: int) -> bool:
        """One arrives at a replica; whether there is room for it."""
        lane = self.lanes[replica]
        if self._max_bytes is not None:
            waiting = lane.bytes_of(min(end_of(self._final[replica], replica), len(lane)), len(lane))
            if waiting + size_bytes > self._max_bytes:
                self.drops["mempool_full"] += 1
                return False
        lane.append(submitted_ns, now_ns, size_bytes)
        return True

    def committed(self, now_ns: int, replica: ReplicaId, block: Block) -> None:
        """What is final for a replica leaves its mempool."""
        if block.payload.lanes:
            self._final[replica] = block.payload

    def heard(self, replica: int, lane: int) -> Heard:
        """What a replica knows of another's lane: what it was told, and what is in its final blocks."""
        heard = self._heard[replica].get(lane)
        if heard is None:
            heard = self._heard[replica][lane] = Heard()
        heard.add(0, end_of(self._final[replica], lane))
        return heard

    # Payloads go out

    def payloads(self, me: ReplicaId) -> Payloads:
        """See `Pool.payloads`."""
        return partial(self._payload, me)

    def _payload(self, me: ReplicaId, now_ns: int, max_bytes: int, parent: Block) -> LanePayload:
        """What `me` may put into a child of `parent`, oldest first by when it entered, then by lane."""
        begins = {lane: first + count for lane, first, count in parent.payload.lanes}
        ready: dict[int, tuple[int, int]] = {me: (begins.get(me, 0), len(self.lanes[me]))}
        for lane, heard in self._heard[me].items():
            first = begins.get(lane, 0)
            heard.add(0, first)
            ready[lane] = (first, heard.end_from(first))
        ends = self._oldest({lane: (first, end) for lane, (first, end) in ready.items() if first < end}, max_bytes)
        spans: list[Span] = []
        for lane in sorted(begins.keys() | ends.keys()):
            first = begins.get(lane, 0)
            spans.append((lane, first, ends.get(lane, first) - first))
        count = sum(count for _, _, count in spans)
        return LanePayload(parent.payload.end, count, self._size(spans), tuple(spans))

    def _oldest(self, ready: Ready, max_bytes: int) -> dict[int, int]:
        """How far along each lane the oldest transactions reach that fit together."""
        ends = {lane: end for lane, (_, end) in ready.items()}
        if self._bytes(ready, ends) <= max_bytes:
            return ends
        lower_ns = min(self.lanes[lane].entered_ns[first] for lane, (first, _) in ready.items()) - 1
        upper_ns = max(self.lanes[lane].entered_ns[end - 1] for lane, (_, end) in ready.items())
        while upper_ns - lower_ns > 1:
            middle_ns = (lower_ns + upper_ns) // 2
            if self._bytes(ready, self._by(ready, middle_ns)) <= max_bytes:
                lower_ns = middle_ns
            else:
                upper_ns = middle_ns
        ends = self._by(ready, lower_ns)
        room = max_bytes - self._bytes(ready, ends)
        # Not all that entered at the next instant fit: one by one, lane by lane, until the first that does not.
        for lane, number in self._entered_at(ready, upper_ns):
            room -= self.lanes[lane].bytes_of(number, number + 1)
            if room < 0:
                break
            ends[lane] = number + 1
        return ends

    def _by(self, ready: Ready, now_ns: int) -> dict[int, int]:
        return {
            lane: bisect_right(self.lanes[lane].entered_ns, now_ns, first, end) for lane, (first, end) in ready.items()
        }

    def _bytes(self, ready: Ready, ends: Mapping[int, int]) -> int:
        return sum(self.lanes[lane].bytes_of(first, ends[lane]) for lane, (first, _) in ready.items())

    def _entered_at(self, ready: Ready, now_ns: int) -> Iterator[tuple[int, int]]:
        for lane in sorted(ready):
            first, end = ready[lane]
            entered_ns = self.lanes[lane].entered_ns
            for number in range(bisect_left(entered_ns, now_ns, first, end), end):
                if entered_ns[number] > now_ns:
                    break
                yield lane, number

    # Whoever watches asks

    def valid(self, payload: AnyPayload, parent: Block, now_ns: int) -> bool:
        """See `Pool.valid`. Every lane goes on where the parent's ended, with what had entered at its replica."""
        before = {lane: first + count for lane, first, count in parent.payload.lanes}
        named = [lane for lane, _, _ in payload.lanes]
        if named != sorted(set(named)) or not before.keys() <= set(named) <= set(range(len(self.lanes))):
            return False
        return (
            all(
                first == before.get(lane, 0)
                and (count == 0 or 0 < count <= bisect_right(self.lanes[lane].entered_ns, now_ns) - first)
                for lane, first, count in payload.lanes
            )
            and payload.first == parent.payload.end
            and payload.count == sum(count for _, _, count in payload.lanes)
            and payload.size_bytes == self._size(payload.lanes)
        )

    def arrived(self, now_ns: int) -> int:
        """See `Pool.arrived`."""
        return bisect_right(self._submitted_ns, now_ns)

    def lost(self, now_ns: int) -> int:
        """See `Pool.lost`."""
        return bisect_right(self._lost_ns, now_ns)

    def arrivals_ns(self, payload: AnyPayload) -> array[int]:
        """See `Pool.arrivals_ns`; lane by lane."""
        times_ns = array("q")
        for lane, first, count in payload.lanes:
            times_ns += self.lanes[lane].submitted_ns[first : first + count]
        return times_ns

    def entries_ns(self, payload: AnyPayload) -> array[int]:
        """See `Pool.entries_ns`."""
        times_ns = array("q")
        for lane, first, count in payload.lanes:
            times_ns += self.lanes[lane].entered_ns[first : first + count]
        return times_ns

    def _size(self, spans: tuple[Span, ...] | list[Span]) -> int:
        return sum(self.lanes[lane].bytes_of(first, first + count) for lane, first, count in spans if count)


def end_of(payload: AnyPayload, lane: int) -> int:
    """How many of a lane's transactions a chain has taken once it ends with this payload."""
    place = bisect_left(payload.lanes, (lane,))
    if place == len(payload.lanes) or payload.lanes[place][0] != lane:
        return 0
    _, first, count = payload.lanes[place]
    return first + count
