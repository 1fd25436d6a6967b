"""From what nodes handed in to a result: the same numbers as the run in virtual time whose traces they are."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.account import Account, encode_account
from node.carrier import domain
from node.cpu import Work
from node.process import HandIn
from node.signing import SigningKey
from node.spool import Spool
from testbed import assemble
from testbed.launch import LaunchError
from testbed.launch.collect import Collection
from testbed.launch.fold import Gathered, fold_nodes, too_late, united
from testbed.result import Result
from testbed.terms import terms_of
from tests.spooled import DURATION_S, PROTOCOLS, Spools, careless, crashes, spooled

START_NS = 1_700_000_000_000_000_000
RUN = "00112233445566778899aabb"
CRASHES = crashes((2, 0.7071, 0.9093), (3, 0.0, 0.1049), (3, 1.2037, None))
"""At instants at which nothing else happens."""
SCALE = 2.5
SLOW = {"kind": "slow", "target": "replica/1", "window_s": [0.2, 0.4], "delay_ms": 3.0}


def in_virtual_time(protocol: str, **options: Any) -> tuple[Result, Spools]:
    """A run whose signatures are for the run that its traces will be folded as."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assemble, "DOMAIN", domain(RUN))
        return spooled(protocol, [*CRASHES, SLOW], mqtt={"time_scale": SCALE}, **options)


MS = 1_000_000
WINDOWS_DOWN: list[list[tuple[int, int | None]]] = [
    [],
    [],
    [(707_100_000, 909_300_000)],
    [(0, 104_900_000), (1_203_700_000, None)],
]


def share(amount: int, replica: int) -> int:
    """One of four nodes' share of what they counted together."""
    return amount // 4 + (replica < amount % 4)


def account(replica: int, result: Result) -> Account:
    """What a node would have counted of this run."""
    (slowed,) = (fault["effect"]["count"] for fault in result.report["faults"] if fault["kind"] == "slow")
    return Account(verifications=replica, affected={len(CRASHES): share(slowed, replica)}, cpu_s=0.25)


def handed_over(replica: int, spools: Spools) -> int:
    """How many of the messages due at a node found it running."""
    count = 0
    for _, _, sender, to, _, _, dues_ns, _ in (told for told in spools.calls if told[0] == "sent"):
        targets = [to] if to is not None else [other for other in range(4) if other != sender]
        due_ns = dict(zip(targets, dues_ns, strict=True)).get(replica, -1)
        down = any(
            begin_ns <= due_ns < (math.inf if end_ns is None else end_ns) for begin_ns, end_ns in WINDOWS_DOWN[replica]
        )
        count += 0 <= due_ns <= round(DURATION_S * 1e9) and not down
    return count


def records(replica: int, spools: Spools, lateness_us: int = 7) -> list[bytes]:
    """What a node would have written down: its trace, and last of all how late each of its deliveries was."""
    written = list(spools.records[replica])
    last_ns = max(told[1] for told in spools.of(replica))
    Spool(written.append).handed(last_ns, [lateness_us] * handed_over(replica, spools))
    return written


def unix_ns(emulated_ns: int) -> int:
    return START_NS + round(emulated_ns * SCALE)


def gathered(result: Result, spools: Spools, **changes: Any) -> Gathered:
    collections = []
    for replica in range(4):
        collection = Collection()
        collection.hand_in = HandIn(records(replica, spools), [encode_account(account(replica, result))])
        collections.append(collection)
    whole = Gathered(
        broker="mosquitto",
        run=RUN,
        members=(),
        start_unix_ns=START_NS,
        partial=False,
        wall_s=9.0,
        collections=collections,
        # From its start on a node is down without anybody having to kill it.
        deaths_ns=[[unix_ns(stop_ns) for stop_ns in stops if stop_ns] for stops in spools.stops_ns],
        executed_ns=spools.stops_ns,
        windows_down=WINDOWS_DOWN,
        refused={},
        outages=[],
    )
    return replace(whole, **changes)


def folded(spools: Spools, everything: Gathered) -> Result:
    watch = spools.watch
    terms = terms_of(watch.scenario, watch.sky, watch.protocol)
    return fold_nodes(watch.sky, watch.protocol, terms, everything)


Run = tuple[Result, Spools]


@pytest.fixture(scope="module", params=PROTOCOLS)
def run(request: pytest.FixtureRequest) -> Run:
    """With signatures that do not verify, too."""
    return in_virtual_time(request.param, protocol_class=careless(request.param))


@pytest.fixture(scope="module")
def honest() -> Run:
    return in_virtual_time("hotstuff")


def test_told_as_one_the_traces_of_nodes_make_the_same_report(run: Run) -> None:
    virtual, spools = run
    real = folded(spools, gathered(virtual, spools))
    ours, theirs = real.report, virtual.report
    assert ours.keys() == theirs.keys()
    # The order of events at one instant is none of a network's, so the digest is another; so is the engine.
    # Real nodes do not count copies apart from what is due: that has a check and numbers of its own.
    checks = [check for check in theirs["safety"]["checks"] if check["name"] != "conservation"]
    assert ours["safety"] == {**theirs["safety"], "checks": checks}
    assert ours["network"].items() <= theirs["network"].items()
    for part in sorted(ours.keys() - {"digest", "engine", "safety", "network"}):
        assert ours[part] == theirs[part], part
    assert spools.watch.ledger.commits > 10
    assert sum(theirs["network"]["rejected"].values()) > 0
    assert all(fault["effect"]["count"] > 0 for fault in theirs["faults"])
    for table in ("blocks", "links"):
        assert getattr(real, table) == getattr(virtual, table)
    assert real.arrivals == virtual.arrivals


def test_its_checks_look_at_the_nodes_signatures(honest: Run) -> None:
    virtual, spools = honest
    modelled = folded(spools, gathered(virtual, spools))
    assert check(modelled, "certificate soundness")
    # What was signed for one run is worth nothing in another.
    assert not check(folded(spools, gathered(virtual, spools, run="another")), "certificate soundness")


def check(result: Result, name: str) -> bool:
    (ok,) = (one["ok"] for one in result.report["safety"]["checks"] if one["name"] == name)
    return bool(ok)


def test_real_signatures_are_verified_with_the_keys_of_the_run() -> None:
    keys = [SigningKey(bytes([i]) * 32) for i in range(4)]

    class TheseKeys:
        @staticmethod
        def derived(n: int, seed: bytes) -> Any:
            from node.keys import Ed25519

            return Ed25519(dict(enumerate(keys)), [key.public for key in keys])  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assemble, "Ed25519", TheseKeys)
        virtual, spools = in_virtual_time("hotstuff", compute={"signatures": "ed25519", "sign_us": 0, "verify_us": 0})
    members = tuple(key.public for key in keys)
    assert check(folded(spools, gathered(virtual, spools, members=members)), "certificate soundness")
    others = members[1:] + members[:1]
    assert not check(folded(spools, gathered(virtual, spools, members=others)), "certificate soundness")


def test_what_nodes_computed_is_told_replica_by_replica(honest: Run) -> None:
    """Replica 1 was started twice: its work is that of both incarnations."""
    virtual, spools = honest
    everything = gathered(virtual, spools)
    first = Work(sign_ns=5 * MS, verify_ns=90 * MS, undone_ns=25 * MS, messages=3, queued_ns=60 * MS, queued_max_ns=MS)
    again = Work(execute_ns=50 * MS, messages=1, queued_max_ns=2 * MS)
    for replica, works in enumerate(([again], [first, again], [Work()], [])):
        collection = everything.collections[replica]
        assert collection.hand_in is not None
        accounts = [encode_account(Account(work=work)) for work in works]
        collection.hand_in = HandIn(collection.hand_in.records, accounts)
    report = folded(spools, everything).report
    duration_ms = DURATION_S * 1e3
    assert report["compute"]["busiest"] == {"replica": 1, "utilisation": round(120 / duration_ms, 6)}
    assert report["compute"]["utilisation"]["mean"] == pytest.approx(170 / duration_ms / 4, abs=1e-6)
    assert report["compute"]["queueing_ms"] == {"count": 5, "mean": 12.0, "max": 2.0}
    assert report["compute"]["work_ms"] == {"sign": 5, "verify": 90, "hash": 0, "execute": 100, "undone": 25}


def test_the_engine_says_what_the_nodes_counted(honest: Run) -> None:
    virtual, spools = honest
    everything = gathered(virtual, spools, outages=[(unix_ns(10**8), unix_ns(2 * 10**8))], refused={"malformed": 2})
    accounts = [account(i, virtual) for i in range(4)]
    accounts[1].outages = [(unix_ns(15 * 10**7), unix_ns(3 * 10**8)), (unix_ns(10**9), unix_ns(11 * 10**8))]
    accounts[2].refused = {"replayed": 3}
    accounts[3].refused, accounts[3].resent = {"malformed": 1, "replayed": 1}, 7
    for collection, one in zip(everything.collections, accounts, strict=True):
        assert collection.hand_in is not None
        collection.hand_in = HandIn(collection.hand_in.records, [encode_account(one)])
    engine = folded(spools, everything).report["engine"]
    deliveries = virtual.report["engine"]["deliveries"]
    assert engine.pop("peak_rss_mb") == 0.0
    assert engine.pop("deliveries_per_s") == deliveries
    assert engine == {
        "bus": "mqtt",
        "virtual_s": DURATION_S,
        "wall_s": 9.0,
        "cpu_s": 1.0,
        "deliveries": deliveries,
        "signatures_verified": 6,
        "broker": "mosquitto",
        "time_scale": SCALE,
        "lateness_ms": {"p50": 0.007, "p99": 0.007, "max": 0.007},
        "invalid": None,
        "undelivered": 0,
        "frames_refused": {"malformed": 3, "replayed": 4},
        "frames_resent": 7,
        "broker_outages_s": [[0.1, 0.3], [1.0, 1.1]],
        "node_deaths": 2,
    }


def test_a_run_that_was_too_late_says_so(honest: Run) -> None:
    virtual, spools = honest
    everything = gathered(virtual, spools)
    everything.collections[0].hand_in = HandIn(records(0, spools, lateness_us=5_012), [])
    engine = folded(spools, everything).report["engine"]
    # A quarter of all deliveries was late, to three digits.
    assert engine["lateness_ms"] == {"p50": 0.007, "p99": 5.01, "max": 5.01}
    assert engine["invalid"] == too_late(5.01, 5.0, "mosquitto")


def test_what_was_due_and_never_came_is_later_than_anything(honest: Run) -> None:
    virtual, spools = honest
    everything = gathered(virtual, spools)
    everything.collections[1].hand_in = HandIn(spools.records[1], [])
    engine = folded(spools, everything).report["engine"]
    assert engine["undelivered"] > 10
    # JSON knows no infinity.
    assert engine["lateness_ms"] == {"p50": 0.007, "p99": "inf", "max": "inf"}
    assert engine["invalid"] == too_late(math.inf, 5.0, "mosquitto")


def test_a_node_that_was_back_later_than_planned_is_named(honest: Run) -> None:
    virtual, spools = honest
    planned = [[], [], [(707_100_000, 900_000_000)], [(0, 104_000_000), (1_203_700_000, None)]]
    warnings = folded(spools, gathered(virtual, spools, windows_down=planned)).report["warnings"]
    end = "a process takes time to start; a larger mqtt.time_scale gives it more"
    assert warnings == [
        *virtual.report["warnings"],
        f"node 2 was to be back at 0.9 s and was at 0.909 s: {end}",
        f"node 3 was to be back at 0.104 s and was at 0.105 s: {end}",
    ]


@pytest.mark.parametrize("record", [b"junk", b"", msgspec.msgpack.encode([0, 5, 5, -1, [7], b"no message"])])
def test_what_cannot_be_read_is_one_sentence_that_names_the_node(record: bytes, honest: Run) -> None:
    virtual, spools = honest
    everything = gathered(virtual, spools)
    everything.collections[2].hand_in = HandIn([*spools.records[2], record], [])
    with pytest.raises(LaunchError, match=r"^what node 2 handed in cannot be read: .+$"):
        folded(spools, everything)


def test_a_run_that_was_interrupted_came_as_far_as_its_last_event(honest: Run) -> None:
    virtual, spools = honest
    result = folded(spools, gathered(virtual, spools, partial=True)).report
    last_ns = max(told[1] for told in spools.calls)
    assert last_ns < DURATION_S * 1e9
    assert (result["partial"], result["engine"]["virtual_s"]) == (True, last_ns / 1e9)
    # Nobody has handed anything in, and nothing has happened.
    nothing = gathered(virtual, spools, partial=True, collections=[Collection() for _ in range(4)])
    none: list[Any] = [[], [], [], []]
    result = folded(spools, replace(nothing, deaths_ns=none, executed_ns=none, windows_down=none)).report
    assert result["engine"]["virtual_s"] == 0.0
    assert [fault["effect"]["count"] for fault in result["faults"]] == [0, 0, 0, 0]


def test_deaths_outside_the_run_are_none_of_its_deaths(honest: Run) -> None:
    """A node may be killed before the start, and is when all is over."""
    virtual, spools = honest
    whole = gathered(virtual, spools)
    more = [[*deaths, unix_ns(-5), unix_ns(0), unix_ns(round(DURATION_S * 1e9))] for deaths in whole.deaths_ns]
    ours = folded(spools, replace(whole, deaths_ns=more)).report
    theirs = folded(spools, whole).report
    assert ours["digest"] == theirs["digest"]
    assert ours["engine"]["node_deaths"] == theirs["engine"]["node_deaths"] + 12


def test_the_same_hand_ins_make_the_same_digest_and_others_another(honest: Run) -> None:
    virtual, spools = honest
    once, again = (folded(spools, gathered(virtual, spools)).digest for _ in range(2))
    assert once == again
    assert folded(spools, gathered(virtual, spools, deaths_ns=[[], [], [], []])).digest != once


@pytest.mark.parametrize(
    ("p99_ms", "budget_ms", "broker", "sentence"),
    [
        (5.0, 5.0, "nats", None),
        (0.0, 0.0, "amqtt", None),
        (
            5.01,
            5.0,
            "nats",
            "99 % of deliveries should be at most 5 ms late (mqtt.lateness_budget_ms), but the last of them was "
            "5.01 ms: use fewer replicas, a machine with more cores, or a larger mqtt.time_scale",
        ),
        (
            math.inf,
            5.0,
            "nats",
            "99 % of deliveries should be at most 5 ms late (mqtt.lateness_budget_ms), but the last of them never "
            "came: use fewer replicas, a machine with more cores, or a larger mqtt.time_scale",
        ),
        (
            12.0,
            0.5,
            "amqtt",
            "99 % of deliveries should be at most 0.5 ms late (mqtt.lateness_budget_ms), but the last of them was "
            "12 ms: use fewer replicas, a native broker (mosquitto or nats), a machine with more cores, or a larger "
            "mqtt.time_scale",
        ),
    ],
)
def test_why_a_run_says_nothing_is_one_sentence(
    p99_ms: float, budget_ms: float, broker: str, sentence: str | None
) -> None:
    assert too_late(p99_ms, budget_ms, broker) == sentence


@pytest.mark.parametrize(
    ("windows", "expected"),
    [
        ([], []),
        ([(1, 2)], [(1, 2)]),
        ([(3, 4), (1, 2)], [(1, 2), (3, 4)]),
        ([(1, 2), (2, 3)], [(1, 3)]),
        ([(1, 9), (2, 3), (4, 12), (13, 14)], [(1, 12), (13, 14)]),
        ([(1, 2), (1, 2)], [(1, 2)]),
    ],
)
def test_windows_are_united_where_they_touch(windows: list[tuple[int, int]], expected: list[tuple[int, int]]) -> None:
    assert united(windows) == expected


@given(
    windows=st.lists(
        st.tuples(st.integers(0, 30), st.integers(0, 6)).map(lambda pair: (pair[0], sum(pair))), max_size=9
    )
)
def test_windows_united_hold_the_same_time_and_keep_apart(windows: list[tuple[int, int]]) -> None:
    found = united(windows)
    assert all(one[1] < other[0] for one, other in pairwise(found))
    for half in range(80):
        assert any(begin <= half / 2 <= end for begin, end in found) == any(
            begin <= half / 2 <= end for begin, end in windows
        )
