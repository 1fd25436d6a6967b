"""What nodes hand in, put together: pieces in any order, deaths where they belong, one trace as it happened."""

from __future__ import annotations

import random
import zlib
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.messages import GENESIS, Block, Payload, Vote
from consensus.protocols import load_protocol
from consensus.types import BlockId, Height, ReplicaId, View
from node.account import Account, encode_account
from node.frames import Piece
from node.process import HandIn
from node.spool import HANDED, Spool, Told
from node.trace import Trace
from node.wire import Envelope, decoder
from testbed.launch import collect
from testbed.launch.collect import Arrivals, Collection, arrivals, retell, with_stops
from testbed.ledger import NEVER, Ledger
from testbed.result import Result
from tests.spooled import DURATION_S, PROTOCOLS, Recorder, Spools, call, careless, crashes, spooled

ME = ReplicaId(2)
HAND_IN = HandIn([b"one", b"two", b""], [encode_account(Account(resent=3)), encode_account(Account(verifications=1))])


def pieces(hand_in: HandIn, size: int) -> list[Piece]:
    data = zlib.compress(msgspec.msgpack.encode(hand_in))
    count = -(-len(data) // size)
    return [Piece(index, count, data[index * size : (index + 1) * size]) for index in range(count)]


def collected(hand_in: HandIn) -> Collection:
    collection = Collection()
    (whole,) = pieces(hand_in, 1 << 30)
    assert collection.add(whole)
    return collection


# -- pieces ------------------------------------------------------------------------------------------------------


@given(size=st.integers(1, 60), seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=50)
def test_pieces_may_come_in_any_order_and_more_than_once(size: int, seed: int) -> None:
    rng, all_pieces = random.Random(seed), pieces(HAND_IN, size)
    coming = all_pieces + rng.choices(all_pieces, k=5)
    rng.shuffle(coming)
    collection, had = Collection(), set()
    for piece in coming:
        news = piece.index not in had and had | {piece.index} == set(range(len(all_pieces)))
        had.add(piece.index)
        assert collection.add(piece) == news
        assert collection.hand_in == (HAND_IN if len(had) == len(all_pieces) else None)


@pytest.mark.parametrize(("index", "count"), [(-1, 2), (2, 2), (3, 2), (0, 0), (0, -1), (10**9, 2)])
def test_a_piece_that_is_none_is_passed_over(index: int, count: int) -> None:
    collection = Collection()
    one, *others = pieces(HAND_IN, 30)
    assert not collection.add(one)
    assert not collection.add(Piece(index, count, b"junk"))
    assert [collection.add(piece) for piece in others] == [False] * (len(others) - 1) + [True]
    assert collection.hand_in == HAND_IN


def test_what_comes_after_the_last_piece_changes_nothing() -> None:
    collection = collected(HAND_IN)
    (another,) = pieces(HandIn([b"another"], []), 1 << 30)
    assert not collection.add(another)
    assert collection.hand_in == HAND_IN


@pytest.mark.parametrize(
    "junk",
    [
        [Piece(0, 1, b"junk")],
        [Piece(0, 1, zlib.compress(b"junk"))],
        [Piece(0, 1, zlib.compress(msgspec.msgpack.encode([["text"], []])))],
        [Piece(0, 1, zlib.compress(msgspec.msgpack.encode(HAND_IN))[:-8])],
        [Piece(0, 1, b"")],
        [Piece(0, 3, b"a"), Piece(5, 9, b"b"), Piece(1, 3, b"c"), Piece(2, 3, b"d")],
    ],
)
def test_what_cannot_be_read_is_dropped_and_may_be_handed_in_again(junk: list[Piece]) -> None:
    collection = Collection()
    assert [collection.add(piece) for piece in junk] == [False] * len(junk)
    assert collection.hand_in is None
    good = pieces(HAND_IN, 30)
    assert [collection.add(piece) for piece in good] == [False] * (len(good) - 1) + [True]
    assert collection.hand_in == HAND_IN


def test_more_than_any_node_has_to_say_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "MOST_BYTES", len(msgspec.msgpack.encode(HAND_IN)) - 1)
    collection = Collection()
    for piece in pieces(HAND_IN, 30):
        assert not collection.add(piece)
    assert collection.hand_in is None


@given(old=st.sets(st.integers(0, 20)), more=st.booleans(), size=st.integers(5, 40))
@settings(deadline=None, max_examples=50)
def test_pieces_of_two_incarnations_do_not_stay_mixed_up(old: set[int], more: bool, size: int) -> None:
    """Killed while it handed in, and started again: what it hands in then is longer, or, packed, shorter."""
    one, other = HandIn([b"1" * 40, b"two"], []), HandIn([b"1" * 40, b"two", b"three", bytes(range(60))], [])
    before, after = (one, other) if more else (other, one)
    collection, early = Collection(), pieces(before, size)
    for index in sorted(old)[: len(early) - 1]:
        if index < len(early):
            collection.add(early[index])
    # It hands in until it is told that all has come.
    for _ in range(2):
        if any(collection.add(piece) for piece in pieces(after, size)):
            break
    assert collection.hand_in == after


def test_a_node_that_has_not_handed_in_has_no_trace_and_no_accounts() -> None:
    collection = Collection()
    assert (collection.accounts(), collection.events(ME, None)) == ([], [])  # type: ignore[arg-type]


def test_the_accounts_are_those_of_all_its_incarnations() -> None:
    assert collected(HAND_IN).accounts() == [Account(resent=3), Account(verifications=1)]


def test_times_never_run_backwards_in_a_nodes_trace() -> None:
    """A node that was killed while its modelled CPU ran ahead may start again a little before."""
    records: list[bytes] = []
    spool = Spool(records.append)
    spool.entered(10, ME, View(1), False)
    spool.entered(30, ME, View(2), False)
    spool.restarted(20, ME)
    spool.entered(25, ME, View(3), False)
    spool.entered(40, ME, View(4), False)
    decode = decoder(load_protocol("pbft").messages).decode
    events = collected(HandIn(records, [])).events(ME, decode)
    assert [(told.event, told.now_ns) for told in events] == [
        ("entered", 10), ("entered", 30), ("restarted", 30), ("entered", 30), ("entered", 40),
    ]  # fmt: skip


# -- deaths ------------------------------------------------------------------------------------------------------


def life(*events: int | str) -> list[Told]:
    """Events by their times; a time as text is a restart."""
    return [
        Told(int(event), "restarted", (ME,)) if isinstance(event, str) else Told(event, "entered", (ME, View(1), False))
        for event in events
    ]


def written(told: list[Told]) -> str:
    """Times, with + for a start and - for a death."""
    signs = {"restarted": "+", "stopped": "-", "entered": ""}
    return " ".join(f"{signs[event.event]}{event.now_ns}" for event in told)


@pytest.mark.parametrize(
    ("events", "stops_ns", "expected"),
    [
        (life(), [], ""),
        (life(10, 20), [], "10 20"),
        # Watched: it was dead when it was found dead.
        (life(10, 20, "50", 60), [30], "10 20 -30 +50 60"),
        (life(10, 20, "50", 60, "90"), [30, 70], "10 20 -30 +50 60 -70 +90"),
        (life(10, 20, "50", 60, "90"), [70, 30], "10 20 -30 +50 60 -70 +90"),
        # It was found dead before the time of what it did last, for its clock ran ahead.
        (life(10, 40, "50", 60), [30], "10 40 -40 +50 60"),
        (life(10, 20, "50"), [50], "10 20 -50 +50"),
        # For good, or before it had done anything.
        (life(10, 20), [30], "10 20 -30"),
        (life(10, 20), [15], "10 20 -20"),
        (life(), [30], "-30"),
        (life("50", 60), [0], "-0 +50 60"),
        (life("50", 60), [0, 55], "-0 +50 60 -60"),
        # Dead again before it had begun again.
        (life(10, "50", 60), [20, 30], "10 -20 -30 +50 60"),
        # Unwatched: dead since the last thing it did.
        (life(10, 20, "50", 60), [], "10 20 -20 +50 60"),
        (life(10, 20, "50", 60, "90", 95), [], "10 20 -20 +50 60 -60 +90 95"),
        (life(10, "50", "80"), [], "10 -10 +50 -50 +80"),
        (life("50", 60), [], "-0 +50 60"),
        (life("0", 60), [], "-0 +0 60"),
        # Watched the second time only, and the first time only.
        (life(10, "50", 60, "90"), [70], "10 -10 +50 60 -70 +90"),
        (life(10, "50", 60, "90"), [30], "10 -30 +50 60 -60 +90"),
    ],
)
def test_a_death_stands_where_it_belongs(events: list[Told], stops_ns: list[int], expected: str) -> None:
    told = with_stops(events, ME, stops_ns)
    assert written(told) == expected
    assert [event for event in told if event.event != "stopped"] == events
    assert all(event.details == (ME,) for event in told if event.event == "stopped")


@given(
    gaps=st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=30),
    stops_ns=st.lists(st.integers(0, 80), max_size=8),
)
@settings(deadline=None, max_examples=200)
def test_however_it_died_time_goes_on_and_every_new_start_follows_a_death(
    gaps: list[tuple[int, bool]], stops_ns: list[int]
) -> None:
    now_ns, events = 0, []
    for gap, restarts in gaps:
        now_ns += gap
        events += life(str(now_ns) if restarts else now_ns)
    told = with_stops(events, ME, stops_ns)
    assert [event for event in told if event.event != "stopped"] == events
    times_ns = [event.now_ns for event in told]
    assert times_ns == sorted(times_ns)
    for before, event in pairwise([Told(0, "nothing", ()), *told]):
        assert event.event != "restarted" or before.event == "stopped"
    assert sum(event.event == "stopped" for event in told) >= len(stops_ns)


# -- one trace ---------------------------------------------------------------------------------------------------

CRASHES = crashes((2, 0.7071, 0.9093), (3, 0.0, 0.1049), (3, 1.2037, None))
"""At instants at which nothing else happens."""
END_NS = round(DURATION_S * 1e9)
Run = tuple[Result, Spools, dict[ReplicaId, list[Told]]]


@pytest.fixture(scope="module", params=PROTOCOLS)
def run(request: pytest.FixtureRequest) -> Run:
    """A run in virtual time, and the traces of its nodes with their deaths."""
    protocol = request.param
    result, spools = spooled(protocol, CRASHES, protocol_class=careless(protocol))
    decode = decoder(load_protocol(protocol).messages).decode
    traces = {
        replica: with_stops(
            collected(HandIn(spools.records[replica], [])).events(replica, decode), replica, spools.stops_ns[replica]
        )
        for replica in map(ReplicaId, range(4))
    }
    return result, spools, traces


def summary(ledger: Ledger) -> dict[str, Any]:
    """All that a ledger knows, block by block."""
    columns = (ledger.proposed_ns, ledger.held_ns, ledger.committed_ns, ledger.base)
    return {
        "blocks": {
            block.id: (block, *(column[row].tolist() for column in columns)) for row, block in enumerate(ledger.blocks)
        },
        "order": [ledger.proposed_ns[row] for row in range(len(ledger.blocks))],
        "messages": ledger.messages,
        "bytes": ledger.bytes,
        "views": ledger.views,
        "reorganised": ledger.max_reorg_depth,
        "commits": ledger.commits,
        "rejections": ledger.rejections,
        "up": [ledger.up_within(at_ns, at_ns + 10**7).tolist() for at_ns in range(0, 15 * 10**8, 10**7)],
    }


def test_told_again_a_run_makes_the_same_ledger(run: Run) -> None:
    _, spools, traces = run
    ledger = Ledger(4)
    retell(traces, Trace([ledger]))
    assert summary(ledger) == summary(spools.watch.ledger)
    assert ledger.commits > 10
    assert (ledger.held_ns == NEVER).any()
    assert ledger.rejections


def test_told_again_each_replicas_events_and_their_times_are_the_same(run: Run) -> None:
    _, spools, traces = run
    recorder = Recorder()
    retell(traces, Trace([recorder]))
    assert [told[1] for told in recorder.calls] == sorted(told[1] for told in spools.calls)
    # At one instant the order may be another; nothing else is.
    assert sorted(map(repr, recorder.calls)) == sorted(map(repr, spools.calls))


def due_at(traces: dict[ReplicaId, list[Told]], receiver: ReplicaId) -> list[int]:
    """When messages were due at one node."""
    due_ns = []
    for sender, trace in traces.items():
        for told in trace:
            if told.event == "sent" and sender != receiver:
                envelope, dues_ns, _ = told.details
                others = [member for member in range(4) if member != sender]
                if envelope.to in (None, receiver):
                    due_ns.append(int(dues_ns[others.index(receiver) if envelope.to is None else 0]))
    return due_ns


def handing_over(trace: list[Told], due_ns: list[int]) -> list[Told]:
    """A node's trace with what was handed over in each of its lives, written down as it died or ended."""
    told: list[Told] = []
    began_ns: int | None = 0
    for event in [*trace, Told(END_NS + 1, "stopped", ())]:
        if event.event == "stopped" and began_ns is not None:
            handed = [0 for at_ns in due_ns if began_ns <= at_ns < event.now_ns]
            told.append(Told(told[-1].now_ns if told else 0, HANDED, tuple(handed)))
            began_ns = None
        elif event.event == "restarted":
            began_ns = event.now_ns
        told.append(event)
    return told[:-1]


def but_one(trace: list[Told], handed: int) -> list[Told]:
    """The trace as if one message of those handed over in some life had not been."""
    at = [place for place, told in enumerate(trace) if told.event == HANDED][handed]
    return [*trace[:at], trace[at]._replace(details=trace[at].details[1:]), *trace[at + 1 :]]


def test_what_was_due_and_not_handed_over_is_counted(run: Run) -> None:
    """At nodes that were down, as the hosts of the virtual run counted it themselves; at others there is none."""
    result, _, traces = run
    handed = {replica: handing_over(trace, due_at(traces, replica)) for replica, trace in traces.items()}
    down = result.report["network"]["drops"]["receiver_down"]
    assert down > 5
    assert arrivals(handed, END_NS) == Arrivals(missing=0, down=down)
    for replica in map(ReplicaId, range(3)):
        assert arrivals({**handed, replica: but_one(handed[replica], -1)}, END_NS) == Arrivals(missing=1, down=down)
    # What was on its way to a node that died is not held against anybody; node 3 has no last life.
    for dying, life_of_it in ((ReplicaId(2), 0), (ReplicaId(3), -1)):
        assert arrivals({**handed, dying: but_one(handed[dying], life_of_it)}, END_NS) == Arrivals(0, down)


def block(height: int) -> Block:
    return Block(GENESIS.id, Height(height), View(height), ReplicaId(0), Payload(0, 0, 0))


def test_at_one_instant_blocks_are_proposed_parents_first_before_anybody_holds_them() -> None:
    zero, one, two = map(ReplicaId, range(3))
    traces = {
        zero: [Told(5, "held", (zero, block(1))), Told(5, "proposed", (zero, block(3), None))],
        one: [
            Told(4, "entered", (one, View(1), False)),
            Told(5, "entered", (one, View(2), False)),
            Told(5, "proposed", (one, block(2), None)),
        ],
        two: [Told(5, "proposed", (two, block(1), None)), Told(6, "committed", (two, block(1)))],
    }
    recorder = Recorder()
    retell(traces, Trace([recorder]))
    assert recorder.calls == [
        call("entered", 4, 1, 1, False),
        call("proposed", 5, 2, block(1), None),
        call("proposed", 5, 1, block(2), None),
        call("proposed", 5, 0, block(3), None),
        call("held", 5, 0, block(1)),
        call("entered", 5, 1, 2, False),
        call("committed", 6, 2, block(1)),
    ]


def test_how_late_things_were_is_nobodys_business_but_the_launchers() -> None:
    recorder = Recorder()
    told = [Told(3, HANDED, (1, 2)), Told(4, "entered", (ME, View(1), False)), Told(5, HANDED, ())]
    retell({ME: told}, Trace([recorder]))
    assert recorder.calls == [call("entered", 4, ME, 1, False)]


@pytest.mark.parametrize(
    ("trace", "expected"),
    [
        # Up all the time: what is due by the end, and what is due never is not.
        ([], Arrivals(7, 0)),
        ([(39, HANDED, 3)], Arrivals(4, 0)),
        ([(20, HANDED, 3), (39, HANDED, 4)], Arrivals(0, 0)),
        # Late for one life and early for another.
        ([(39, HANDED, 9)], Arrivals(0, 0)),
        # A window holds its beginning and not its end; who is dead twice in a row is down once.
        ([(9, "did"), (10, "stopped"), (12, "stopped"), (20, "restarted")], Arrivals(4, 2)),
        ([(9, "did"), (10, "stopped"), (20, "restarted"), (39, HANDED, 3)], Arrivals(1, 2)),
        # What was due before its death is not asked for, handed over or not.
        ([(9, HANDED, 1), (19, "stopped"), (20, "restarted"), (39, HANDED, 3)], Arrivals(1, 1)),
        ([(8, "did"), (19, "stopped"), (20, "restarted"), (39, HANDED, 4)], Arrivals(0, 1)),
        # Down for good, and twice.
        ([(9, "did"), (10, "stopped"), (20, "restarted"), (25, "did"), (30, "stopped")], Arrivals(0, 4)),
        # Never there.
        ([(0, "stopped")], Arrivals(0, 7)),
        ([(0, "stopped"), (20, "restarted")], Arrivals(4, 3)),
    ],
)
def test_a_message_was_due_at_a_node_that_was_up_or_down_or_dying(
    trace: list[tuple[int, str] | tuple[int, str, int]], expected: Arrivals
) -> None:
    vote = Envelope(ReplicaId(0), Vote("vote", View(1), Height(1), BlockId(b"")), ReplicaId(1))
    dues_ns = [9, 10, 19, 20, 25, 30, 39, 40, -1]
    sent = [Told(1, "sent", (vote, np.array([due_ns]), 1)) for due_ns in dues_ns]
    one, other = ReplicaId(0), ReplicaId(1)
    # Of what was handed over, how late it was: not at all.
    told = [Told(now_ns, event, (0,) * sum(handed)) for now_ns, event, *handed in trace]
    assert arrivals({one: sent, other: told}, 39) == expected


def test_who_proposes_at_once_when_it_is_back_was_up_when_it_proposed() -> None:
    me = ReplicaId(0)
    block = Block(GENESIS.id, Height(1), View(0), me, Payload(0, 0, 0))
    trace = [Told(0, "stopped", (me,)), Told(5, "restarted", (me,)), Told(5, "proposed", (me, block, None))]
    ledger = Ledger(2)
    retell({me: trace, ReplicaId(1): []}, Trace([ledger]))
    assert ledger.base.tolist() == [[True, True]]


def test_what_was_due_at_the_very_instant_of_a_death_is_counted_once() -> None:
    """As after an unwatched death, which stands at the last thing that the node did."""
    vote = Envelope(ReplicaId(0), Vote("vote", View(1), Height(1), BlockId(b"")), ReplicaId(1))
    one, other = ReplicaId(0), ReplicaId(1)
    sent = [Told(1, "sent", (vote, np.array([10]), 1))]
    trace = [Told(10, "held", (other, GENESIS)), Told(10, "stopped", (other,)), Told(20, "restarted", (other,))]
    assert arrivals({one: sent, other: trace}, 39) == Arrivals(missing=0, down=1)


def test_when_lateness_was_written_down_dates_nothing_else() -> None:
    """A late node proposes at 5 what others hold at 7, and has written down by then that the wall stands at 90."""
    records: list[bytes] = []
    spool = Spool(records.append)
    spool.handed(90, [85])
    spool.entered(5, ReplicaId(1), View(1), False)
    collection = collected(HandIn(records, []))
    events = collection.events(ReplicaId(1), lambda data: Vote("vote", View(1), Height(1), BlockId(data)))
    assert [(event.event, event.now_ns) for event in events] == [("handed", 0), ("entered", 5)]
