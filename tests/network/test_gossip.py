"""Gossip, rule by rule: who is told when, who asks whom, and what members that are down do."""

from __future__ import annotations

import numpy as np
import pytest

from network.carriage import Direct
from network.gossip import GossipRules, everybody, regular_peers
from tests.network.spreading import NEVER, Line, Party, line_graph, steady

MS = 1_000_000
ALL = 10**6
TELL, ASK, BODY = 64, 65, 1_000
"""Bytes of an announcement, a request and a message, by which to tell them apart."""
LAZY = GossipRules(push=0, lazy=ALL, announcement_bytes=TELL, request_bytes=ASK, retry_ns=0)


def lossy(line: set[tuple[int, int, int]], delay_ns: int = 10 * MS) -> Line:
    """Loses the first of each (source, target, bytes) named."""
    left = set(line)

    def delays(source: int, targets, size_bytes: int):
        found = []
        for target in targets.tolist():
            lost = (source, target, size_bytes) in left
            left.discard((source, target, size_bytes))
            found.append(-1 if lost else delay_ns)
        return np.array(found, dtype=np.int64)

    return Line(delays)


def kinds(party: Party) -> list[tuple[int, int, int]]:
    return [(source, target, size) for source, target, size, _ in party.line.sent]


def rules(**changes: int) -> GossipRules:
    return GossipRules(**{**{name: getattr(LAZY, name) for name in LAZY.__dataclass_fields__}, **changes})


def test_what_is_pushed_is_neither_announced_to_the_same_nor_sent_back() -> None:
    """Eager push to some, lazy pull for the others; an announcement goes also to whom it came from."""
    party = Party(12, steady(MS))
    party.spread(party.gossip(everybody(12), rules(push=3, lazy=ALL)))
    party.run()
    sent = party.line.sent
    first = [(target, size) for source, target, size, _ in sent if source == 0][:11]
    assert sorted(target for target, _ in first) == list(range(1, 12))
    assert [size for _, size in first].count(BODY) == 3
    parents = {target: source for source, target, size, _ in reversed(sent) if size == BODY}
    pushed_by = {(source, target) for source, target, size, now in sent if size == BODY and now == party.got_ns[source]}
    assert not [(child, parent) for child, parent in parents.items() if (child, parent) in pushed_by]
    assert (1, 0, TELL) in kinds(party)


def test_pulling_takes_three_passages() -> None:
    """Told, asked, got: on a line each hop takes three delays, with nobody asked twice."""
    party = Party(4, steady(10 * MS))
    party.spread(party.gossip(line_graph(4), LAZY), size_bytes=BODY)
    party.run()
    assert [at_ns // MS for at_ns in party.got_ns] == [0, 30, 60, 90]


def test_announcements_wait_for_the_heartbeat() -> None:
    """Of one second: at 0 at once, then from 30 ms to 1 s, and from 1,030 ms to 2 s."""
    party = Party(4, steady(10 * MS))
    party.spread(party.gossip(line_graph(4), rules(heartbeat_ns=1_000 * MS)))
    party.run()
    assert [at_ns // MS for at_ns in party.got_ns] == [0, 30, 1_030, 2_030]


def test_who_goes_down_before_the_heartbeat_announces_nothing() -> None:
    """It has the message at 30 ms, and is down from 500 ms to beyond the beat at 1 s."""
    party = Party(4, steady(10 * MS))
    up = lambda member: member != 1 or party.clock.now_ns < 500 * MS  # noqa: E731
    gossip = party.gossip(line_graph(4), rules(heartbeat_ns=1_000 * MS), up=up)
    party.spread(gossip)
    party.run()
    assert party.got_ns == [0, 30 * MS, NEVER, NEVER]
    assert not [passage for passage in kinds(party) if passage[0] == 1 and passage[2] == TELL]
    assert gossip.account.announcements == 1


def test_a_heartbeat_that_is_ignored_is_seen() -> None:
    party = Party(4, steady(10 * MS))
    party.spread(party.gossip(line_graph(4), LAZY))
    party.run()
    assert party.got_ns[3] // MS != 2_030


@pytest.mark.parametrize("lost", [ASK, BODY])
def test_who_does_not_get_it_in_time_asks_the_next_one_who_told(lost: int) -> None:
    """Member 3 is told by 1 and by 2; what is lost goes between 1 and 3."""
    peers = [[1, 2], [0, 3], [0, 3], [1, 2]]
    passage = (3, 1, ASK) if lost == ASK else (1, 3, BODY)
    party = Party(4, lossy({passage}))
    gossip = party.gossip(peers, rules(retry_ns=500 * MS))
    party.spread(gossip)
    party.run()
    assert [source for source, target, size in kinds(party) if target == 3 and size == BODY][-1] == 2
    assert party.got_ns[3] // MS == 40 + 500 + 20
    assert gossip.account.requests == 4


def test_without_a_second_try_a_loss_is_a_loss() -> None:
    peers = [[1, 2], [0, 3], [0, 3], [1, 2]]
    party = Party(4, lossy({(3, 1, ASK)}))
    party.spread(party.gossip(peers, LAZY))
    party.run()
    assert party.got_ns[3] == NEVER


def test_a_late_announcer_is_asked_at_once_when_the_first_has_failed() -> None:
    """0 tells 1 at once and 2 late; 3 has given up on 1 when 2 tells."""

    def delays(source: int, targets, size_bytes: int):
        if (source, size_bytes) == (1, BODY):
            return -1
        return np.where((source == 0) & (targets == 2), 800 * MS, 10 * MS)

    party = Party(4, Line(delays))
    party.spread(party.gossip([[1, 2], [0, 3], [0, 3], [1, 2]], rules(retry_ns=500 * MS)))
    party.run()
    had_it_ns = party.got_ns[2]
    assert had_it_ns > 800 * MS
    assert party.got_ns[3] == had_it_ns + 30 * MS


@pytest.mark.parametrize("push", [0, ALL])
def test_members_that_are_down_neither_take_nor_ask_nor_answer_nor_pass_on(push: int) -> None:
    """On a line nothing gets past one that is down."""
    party = Party(4, steady(10 * MS), takes=lambda member, now_ns: None if member == 2 else now_ns)
    party.spread(party.gossip(line_graph(4), rules(push=push), up=lambda member: member != 2))
    party.run()
    assert party.got_ns[1] != NEVER
    assert party.got_ns[2:] == [NEVER, NEVER]
    assert not [passage for passage in kinds(party) if passage[0] == 2]


def test_who_was_down_can_still_get_it_when_it_is_back() -> None:
    """Down when the first copy came, up when another one does."""
    down_until_ns = 25 * MS
    party = Party(3, Line(lambda source, targets, size_bytes: (20 if source == 0 else 10) * MS))
    up = lambda member: member != 2 or party.clock.now_ns >= down_until_ns  # noqa: E731
    party._takes = lambda member, now_ns: now_ns if up(member) else None
    party.spread(party.gossip(everybody(3), GossipRules(push=ALL, lazy=0), up=up))
    party.run()
    assert party.got_ns[2] == 30 * MS


def test_who_has_gone_down_does_not_answer() -> None:
    """Member 1 tells, and is down when it is asked."""
    party = Party(3, steady(10 * MS))
    party.spread(party.gossip(line_graph(3), LAZY, up=lambda member: member != 1 or party.clock.now_ns < 45 * MS))
    party.run()
    assert party.got_ns[1] == 30 * MS
    assert party.got_ns[2] == NEVER


def test_who_goes_down_while_it_validates_passes_nothing_on() -> None:
    """It has the message at 10 ms and is down from 12 ms; it would pass it on at 15 ms."""
    party = Party(3, steady(10 * MS), takes=lambda member, now_ns: now_ns + 5 * MS)
    up = lambda member: member != 1 or party.clock.now_ns < 12 * MS  # noqa: E731
    party.spread(party.gossip(line_graph(3), GossipRules(push=ALL, lazy=0), up=up))
    party.run()
    assert party.got_ns[1:] == [10 * MS, NEVER]


def test_what_is_invalid_is_not_passed_on() -> None:
    party = Party(4, steady(10 * MS), takes=lambda member, now_ns: None)
    party.spread(party.gossip(line_graph(4), rules(push=ALL)))
    party.run()
    assert party.times == 1
    assert not [passage for passage in kinds(party) if passage[0] == 1]


def test_validation_delays_every_hop() -> None:
    """Each takes 7 ms to look at it before its replica has it, and 5 ms until that has found it valid."""
    party = Party(4, steady(10 * MS), takes=lambda member, now_ns: now_ns + 5 * MS)
    gossip = party.gossip(line_graph(4), GossipRules(push=ALL, lazy=0), validation_ns=7 * MS)
    party.spread(gossip)
    party.run()
    assert [at_ns // MS for at_ns in party.got_ns] == [0, 17, 39, 61]


def test_bodies_can_go_another_way_than_control_messages() -> None:
    party = Party(3, steady(10 * MS))
    heavy = Line(lambda source, targets, size_bytes: 100 * MS)
    party.spread(party.gossip(line_graph(3), LAZY, bodies=Direct(party.clock, heavy)))
    party.run()
    assert {size for _, _, size in kinds(party)} == {TELL, ASK}
    assert {size for _, _, size, _ in heavy.sent} == {BODY}
    assert [at_ns // MS for at_ns in party.got_ns] == [0, 120, 240]


def test_rounds_push_again_to_others() -> None:
    """Three rounds of one call: at 0, 100 and 200 ms from the source."""
    party = Party(20, steady(MS))
    party.spread(party.gossip(everybody(20), GossipRules(push=1, lazy=0, rounds=3, round_ns=100 * MS)))
    party.run()
    assert [now_ns // MS for source, _, _, now_ns in party.line.sent if source == 0] == [0, 100, 200]


def test_a_regular_graph_is_regular_and_mutual() -> None:
    for count, degree, wanted in ((10, 4, 4), (9, 3, 4), (5, 30, 4)):
        peers = regular_peers(count, degree, 7)
        assert {len(some) for some in peers} == {wanted}
        assert all(member in peers[other] for member, some in enumerate(peers) for other in some)
