"""Words over a network that loses, repeats and restarts: each is taken once and in order by everyone it is due at."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node import exchange
from node.exchange import PATIENCE_NS, Exchange
from node.frames import ALL, Body, Frame, Greeting, Notice, Pulse, Refusal, Refused, Request, Resumption, Word

_decode = msgspec.msgpack.Decoder(Frame).decode


class Taken(NamedTuple):
    """A word that a node was given."""

    sender: int
    incarnation: int
    to: int
    number: int
    due_ns: int
    message: bytes


class Peer:
    """One incarnation of a node: it says words, and takes those that come."""

    def __init__(self, net: Net, me: int, boot_ns: int) -> None:
        self.me = me
        self.net = net
        self.boot_ns = boot_ns
        self.incarnation = net.next_incarnation()
        self.serial = 0
        self.said: dict[int, list[tuple[int, ...]]] = {}
        self.taken: list[Taken] = []
        self.refused: Counter[Refusal] = Counter()
        self.exchange = Exchange(
            me,
            net.n,
            incarnation=self.incarnation,
            seal=self._seal,
            post=lambda to, payload: net.post(me, to, payload),
            now_ns=lambda: net.now_ns,
        )
        self.exchange.boot_ns = boot_ns

    def _seal(self, to: int, body: Body) -> bytes:
        self.serial += 1
        return msgspec.msgpack.encode(Frame("r", self.me, to, self.incarnation, self.serial, body))

    def say(self, to: int, due_ns: tuple[int, ...]) -> None:
        said = self.said.setdefault(to, [])
        said.append(due_ns)
        self.exchange.say(to, due_ns, f"{self.me}/{self.incarnation}/{to}/{len(said)}".encode())

    def hear(self, payload: bytes) -> None:
        frame = _decode(payload)
        try:
            word = self.exchange.hear(frame)
        except Refused as refused:
            self.refused[refused.reason] += 1
            return
        if word is not None:
            due_ns = self.exchange.due_ns(frame, word)
            self.taken.append(Taken(frame.sender, frame.incarnation, frame.to, word.number, due_ns, word.message))


class Net:
    """A broker: what is posted waits in one queue, in order, one copy for each receiver."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.now_ns = 1
        self.sent: list[tuple[int, bytes]] = []
        self.flying: deque[tuple[int, bytes]] = deque()
        self._incarnation = 0
        self.peers = [Peer(self, me, 0) for me in range(n)]

    def next_incarnation(self) -> int:
        self._incarnation += 1
        return self._incarnation

    def post(self, sender: int, to: int, payload: bytes) -> None:
        for receiver in range(self.n) if to == ALL else (to,):
            if receiver != sender:
                self.flying.append((receiver, payload))

    def deliver(self, count: int | None = None) -> None:
        """Hand over so many of those that wait, or all, and what they cause."""
        budget = 100_000 if count is None else count
        while self.flying and budget:
            budget -= 1
            receiver, payload = self.flying.popleft()
            self.sent.append((receiver, payload))
            self.peers[receiver].hear(payload)
        assert count is not None or not self.flying, "they never fall silent"

    def greet(self) -> None:
        for peer in self.peers:
            peer.exchange.greet()

    def crash(self, pause_ns: int = 0) -> None:
        """The broker is killed and comes back: what was on its way is lost, and everybody connects again."""
        self.flying.clear()
        self.now_ns += pause_ns
        self.greet()

    def restart(self, member: int, pause_ns: int = 0) -> None:
        """A node is killed and comes back, knowing nothing; what was on its way to it is lost."""
        self.flying = deque(one for one in self.flying if one[0] != member)
        self.now_ns += pause_ns
        self.peers[member] = Peer(self, member, self.now_ns)
        self.peers[member].exchange.greet()


def place(receiver: int, sender: int, to: int) -> int:
    """Where a receiver's due time stands in a word's."""
    return 0 if to != ALL else [member for member in range(99) if member != sender].index(receiver)


def check(net: Net) -> None:
    """Everybody has taken all that is due in its time, once, in order, and word for word."""
    for receiver in net.peers:
        for sender in net.peers:
            for to in (ALL, receiver.me):
                taken = [t for t in receiver.taken if (t.sender, t.to) == (sender.me, to)]
                # Of one incarnation after the other, and of each in order.
                order = [(t.incarnation, t.number) for t in taken]
                assert order == sorted(set(order))
                for one in taken:
                    assert one.message == f"{sender.me}/{one.incarnation}/{to}/{one.number}".encode()
                now = {t.number: t.due_ns for t in taken if t.incarnation == sender.incarnation}
                said = sender.said.get(to, []) if sender is not receiver else []
                due_ns = {number: dues[place(receiver.me, sender.me, to)] for number, dues in enumerate(said, 1)}
                assert now.items() <= due_ns.items()
                assert {number for number, due in due_ns.items() if due >= receiver.boot_ns} <= now.keys()


class Step(NamedTuple):
    """Something that happens to the network."""

    act: str
    member: int
    amount: int


ACTS = ["say to all"] * 4 + ["say to one"] * 3 + ["deliver"] * 3 + ["lose one", "replay", "crash", "restart", "wait"]
steps = st.lists(st.builds(Step, st.sampled_from(ACTS), st.integers(0, 3), st.integers(0, 40)), min_size=5, max_size=80)


def play(net: Net, story: list[Step], rng: random.Random, pause_ns: int = 0) -> None:
    for act, number, amount in story:
        member = number % net.n
        net.now_ns += rng.randrange(5)
        if act == "say to all":
            # A receiver's due times need not ascend, and a channel may have dropped its copy.
            dues = tuple(rng.choice([-1, net.now_ns + rng.randrange(60)]) for _ in range(net.n - 1))
            net.peers[member].say(ALL, dues)
        elif act == "say to one":
            to = (member + 1 + amount % (net.n - 1)) % net.n
            net.peers[member].say(to, (net.now_ns + amount,))
        elif act == "deliver":
            net.deliver(amount)
        elif act == "lose one" and net.flying:
            del net.flying[amount % len(net.flying)]
        elif act == "replay" and net.sent:
            net.flying.appendleft(net.sent[-1 - amount % len(net.sent)])
        elif act == "crash":
            net.crash(pause_ns)
        elif act == "restart":
            net.restart(member, pause_ns)
        elif act == "wait":
            net.now_ns += rng.choice([1, PATIENCE_NS - 1, PATIENCE_NS, 3 * PATIENCE_NS])


@given(n=st.integers(2, 4), story=steps, seed=st.integers(0, 2**32), pause_ns=st.sampled_from([0, PATIENCE_NS]))
@settings(deadline=None, max_examples=300)
def test_whatever_is_lost_everybody_has_everything_once_all_have_greeted(
    n: int, story: list[Step], seed: int, pause_ns: int
) -> None:
    net = Net(n)
    play(net, story, random.Random(seed), pause_ns)
    net.crash()
    net.deliver()
    check(net)
    # And nothing is asked for any more.
    before = [peer.exchange.resent for peer in net.peers]
    net.crash()
    net.deliver()
    assert [peer.exchange.resent for peer in net.peers] == before
    check(net)


@given(n=st.integers(2, 4), story=steps, seed=st.integers(0, 2**32), kept=st.integers(0, 400))
@settings(deadline=None, max_examples=150)
def test_what_is_no_longer_kept_holds_nobody_up(n: int, story: list[Step], seed: int, kept: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exchange, "KEPT_BYTES", kept)
        net = Net(n)
        play(net, story, random.Random(seed))
        net.crash()
        net.deliver()
        # From here on nothing is lost, and so nothing is missed.
        for peer in net.peers:
            for to in [ALL, *(other for other in range(n) if other != peer.me)]:
                peer.say(to, (net.now_ns,) * (n - 1 if to == ALL else 1))
        net.deliver()
    for receiver in net.peers:
        latest = {(t.sender, t.to): t.number for t in receiver.taken}
        others = [peer for peer in net.peers if peer is not receiver]
        assert latest == {(peer.me, to): len(peer.said[to]) for peer in others for to in (ALL, receiver.me)}


# -- one case at a time ------------------------------------------------------------------------------------------


def numbers(peer: Peer, sender: int = 0, to: int = ALL) -> list[int]:
    return [t.number for t in peer.taken if (t.sender, t.to) == (sender, to)]


def said(net: Net, count: int, due_ns: Callable[[int], int] = lambda number: 1) -> None:
    """Member 0 says so much to all, due as `due_ns` says."""
    already = len(net.peers[0].said.get(ALL, []))
    for number in range(already + 1, already + count + 1):
        net.peers[0].say(ALL, (due_ns(number),) * (net.n - 1))


def waiting(net: Net, kind: type[Any]) -> list[tuple[int, Any]]:
    """What of one kind is on its way to whom."""
    frames = [(receiver, _decode(payload)) for receiver, payload in net.flying]
    return [(receiver, frame.body) for receiver, frame in frames if isinstance(frame.body, kind)]


def refusal(peer: Peer, frame: Frame) -> Refusal | None:
    try:
        peer.exchange.hear(frame)
    except Refused as refused:
        return refused.reason
    return None


def test_words_to_all_and_words_to_one_are_streams_of_their_own() -> None:
    net = Net(3)
    net.peers[0].say(ALL, (10, 20))
    net.peers[0].say(2, (30,))
    net.peers[0].say(1, (40,))
    net.peers[0].say(ALL, (50, -1))
    net.deliver()
    assert net.peers[1].taken == [
        Taken(0, 1, ALL, 1, 10, b"0/1/-2/1"),
        Taken(0, 1, 1, 1, 40, b"0/1/1/1"),
        Taken(0, 1, ALL, 2, 50, b"0/1/-2/2"),
    ]
    assert net.peers[2].taken == [
        Taken(0, 1, ALL, 1, 20, b"0/1/-2/1"),
        Taken(0, 1, 2, 1, 30, b"0/1/2/1"),
        Taken(0, 1, ALL, 2, -1, b"0/1/-2/2"),
    ]
    assert [peer.exchange.resent for peer in net.peers] == [0, 0, 0]


@pytest.mark.parametrize("sender", range(4))
def test_a_receivers_due_time_is_found_among_all_but_the_senders(sender: int) -> None:
    word = Word(1, (100, 101, 102), b"")
    others = [member for member in range(4) if member != sender]
    frame = Frame("r", sender, ALL, 1, 1, word)
    assert [Peer(Net(4), me, 0).exchange.due_ns(frame, word) for me in others] == [100, 101, 102]
    alone = Word(1, (7,), b"")
    assert [Peer(Net(4), me, 0).exchange.due_ns(Frame("r", sender, me, 1, 1, alone), alone) for me in others] == [7] * 3


@pytest.mark.parametrize(("to", "count"), [(ALL, 0), (ALL, 1), (ALL, 2), (ALL, 4), (1, 0), (1, 2), (1, 3)])
def test_a_word_with_too_many_due_times_or_too_few_is_malformed(to: int, count: int) -> None:
    word = Word(1, (5,) * count, b"")
    with pytest.raises(Refused) as raised:
        Peer(Net(4), 1, 0).exchange.due_ns(Frame("r", 0, to, 1, 1, word), word)
    assert raised.value.reason is Refusal.MALFORMED


@pytest.mark.parametrize("sender", [-1, -2, 4, 5, 10**9])
@pytest.mark.parametrize("me", [0, 3])
def test_a_word_of_nobody_we_know_is_due_never(me: int, sender: int) -> None:
    """It is asked when a word is due before it is known who has signed it."""
    for to, count in ((ALL, 3), (me, 1)):
        word = Word(1, (5,) * count, b"")
        with pytest.raises(Refused) as raised:
            Peer(Net(4), me, 0).exchange.due_ns(Frame("r", sender, to, 1, 1, word), word)
        assert raised.value.reason is Refusal.UNKNOWN_SENDER


def test_a_gap_is_asked_about_and_filled_in_order() -> None:
    net = Net(2)
    said(net, 5)
    del net.flying[1]
    net.deliver(2)
    assert numbers(net.peers[1]) == [1]
    # About both streams, because a broker that lost of one has lost of the other.
    assert waiting(net, Request) == [(0, Request(True, 2, 0)), (0, Request(False, 1, 0))]
    net.deliver(4)
    # What is kept is said again, and nothing about it.
    assert [(receiver, word.number) for receiver, word in waiting(net, Word)] == [(1, 2), (1, 3), (1, 4), (1, 5)]
    assert waiting(net, Resumption) == []
    net.deliver()
    assert numbers(net.peers[1]) == [1, 2, 3, 4, 5]
    assert net.peers[0].exchange.resent == 4
    assert net.peers[1].refused == {}


def test_it_asks_once_and_again_when_there_is_no_answer_for_long() -> None:
    net = Net(2)
    said(net, 4)
    del net.flying[0]
    asked = []
    for wait_ns in (0, PATIENCE_NS - 1, 1):
        net.now_ns += wait_ns
        net.deliver(1)
        asked.append(len(waiting(net, Request)))
        # The answer is lost each time.
        net.flying = deque(one for one in net.flying if one[0] == 1)
    assert asked == [2, 0, 2]


def test_a_word_that_comes_twice_is_taken_once() -> None:
    net = Net(2)
    said(net, 2)
    net.flying.extend(list(net.flying))
    net.deliver()
    assert numbers(net.peers[1]) == [1, 2]
    assert net.peers[1].refused == {Refusal.REPLAYED: 2}


def test_the_last_words_before_a_crash_are_missed_when_all_greet() -> None:
    """Nothing comes after them that would show a gap."""
    net = Net(3)
    said(net, 3)
    net.peers[0].say(2, (5,))
    net.crash()
    net.deliver()
    assert (numbers(net.peers[1]), numbers(net.peers[2]), numbers(net.peers[2], to=2)) == ([1, 2, 3], [1, 2, 3], [1])


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("greeter", [0, 1])
def test_one_greeting_is_enough_whoever_hears_it(greeter: int, count: int) -> None:
    net = Net(2)
    said(net, count)
    for _ in range(count):
        net.peers[0].say(1, (5,))
    net.flying.clear()
    net.peers[greeter].exchange.greet()
    net.deliver()
    assert numbers(net.peers[1]) == numbers(net.peers[1], to=1) == list(range(1, count + 1))


def test_who_greets_an_earlier_incarnation_is_told_everything_by_the_next() -> None:
    net = Net(2)
    said(net, 3)
    net.deliver()
    net.restart(0)
    said(net, 2)
    net.flying.clear()
    net.peers[1].exchange.greet()
    net.deliver()
    assert [(t.incarnation, t.number) for t in net.peers[1].taken] == [(1, 1), (1, 2), (1, 3), (3, 1), (3, 2)]


def test_who_comes_back_is_told_what_is_due_in_its_time_and_no_more() -> None:
    net = Net(3)
    # Due at 10, 20, 30, ... but the fourth is early.
    said(net, 6, lambda number: 5 if number == 4 else 10 * number)
    net.deliver()
    net.now_ns = 30
    net.restart(1)
    assert waiting(net, Greeting) == [
        (receiver, Greeting(0, (0, 0, 0), ((0, 1, 1), (0, 1, 1), (0, 1, 1)), 30)) for receiver in (0, 2)
    ]
    net.deliver()
    assert numbers(net.peers[1]) == [3, 4, 5, 6]
    assert numbers(net.peers[2]) == [1, 2, 3, 4, 5, 6]
    assert net.peers[0].exchange.resent == 4
    # Nothing it was not told is missed.
    said(net, 1)
    net.deliver()
    assert numbers(net.peers[1])[-1] == 7


def test_who_comes_back_unheard_asks_for_what_is_due_in_its_time_when_it_hears_something() -> None:
    net = Net(2)
    said(net, 4, lambda number: 10 * number)
    net.deliver()
    net.now_ns = 30
    net.restart(1)
    net.flying.clear()
    said(net, 1, lambda number: 50)
    net.deliver(1)
    assert waiting(net, Request) == [(0, Request(True, 1, 30)), (0, Request(False, 1, 30))]
    net.deliver()
    assert numbers(net.peers[1]) == [3, 4, 5]


def test_who_comes_back_to_nothing_of_its_time_waits_for_what_follows() -> None:
    net = Net(2)
    said(net, 5, lambda number: number)
    net.deliver()
    net.now_ns = 25
    net.restart(1)
    net.deliver()
    assert (numbers(net.peers[1]), net.peers[0].exchange.resent) == ([], 0)
    said(net, 1)
    net.deliver()
    assert numbers(net.peers[1]) == [6]


def test_who_comes_back_begins_to_count_anew_and_is_heard() -> None:
    net = Net(2)
    said(net, 3)
    net.deliver()
    net.restart(0)
    said(net, 2)
    net.deliver()
    assert [(t.incarnation, t.number) for t in net.peers[1].taken] == [(1, 1), (1, 2), (1, 3), (3, 1), (3, 2)]
    # It is told again what the other said, which it has forgotten.
    net.peers[1].say(ALL, (10**9,))
    net.deliver()
    net.restart(0)
    net.deliver()
    assert numbers(net.peers[0], sender=1) == [1]


def test_what_an_earlier_incarnation_said_is_refused_whatever_it_is() -> None:
    net = Net(2)
    net.restart(0)
    net.deliver()
    bodies: list[Body] = [
        Word(1, (5,), b""),
        Greeting(9, (0, 0), ((0, 1, 1), (0, 1, 1)), 0),
        Request(True, 1, 0),
        Resumption(True, 7, 2),
    ]
    for body in bodies:
        assert refusal(net.peers[1], Frame("r", 0, ALL, 1, 100, body)) is Refusal.REPLAYED
    assert not net.flying
    said(net, 1)
    net.deliver()
    assert numbers(net.peers[1]) == [1]


@pytest.mark.parametrize("serial", [1, 2])
def test_what_was_heard_before_is_refused_by_its_serial(serial: int) -> None:
    net = Net(2)
    said(net, 1)
    net.peers[0].exchange.greet()
    net.deliver()
    # The word was its first frame and the greeting its second.
    bodies: list[Body] = [
        Greeting(9, (0, 0), ((0, 1, 1), (0, 1, 1)), 0),
        Request(True, 1, 0),
        Resumption(True, 7, 2),
    ]
    for body in bodies:
        assert refusal(net.peers[1], Frame("r", 0, ALL, 1, serial, body)) is Refusal.REPLAYED
    assert not net.flying
    assert refusal(net.peers[1], Frame("r", 0, ALL, 1, 3, Resumption(True, 7, 2))) is None


def test_a_resumption_never_leads_back() -> None:
    net = Net(2)
    said(net, 3)
    net.deliver()
    for serial, number in enumerate((1, 3, 4), 100):
        assert refusal(net.peers[1], Frame("r", 0, 1, 1, serial, Resumption(True, number, 2))) is None
    said(net, 1)
    net.deliver()
    assert numbers(net.peers[1]) == [1, 2, 3, 4]
    assert refusal(net.peers[1], Frame("r", 0, 1, 1, 103, Resumption(True, 9, 2))) is None
    said(net, 5)
    net.deliver(4)
    assert numbers(net.peers[1]) == [1, 2, 3, 4]
    net.deliver()
    assert numbers(net.peers[1]) == [1, 2, 3, 4, 9]


@pytest.mark.parametrize("body", [Pulse(True, 1, 1, 1, 1, {}), Notice(5)])
def test_what_is_said_to_the_launcher_or_by_it_is_not_for_us(body: Body) -> None:
    assert refusal(Net(2).peers[1], Frame("r", 0, ALL, 1, 1, body)) is Refusal.MISADDRESSED


@pytest.mark.parametrize(
    "greeting",
    [
        Greeting(1, (), ((0, 1, 1),) * 3, 0),
        Greeting(1, (0, 0), ((0, 1, 1),) * 3, 0),
        Greeting(1, (0,) * 4, ((0, 1, 1),) * 3, 0),
        Greeting(1, (0,) * 3, (), 0),
        Greeting(1, (0,) * 3, ((0, 1, 1),) * 4, 0),
    ],
)
def test_a_greeting_that_does_not_count_all_members_is_malformed(greeting: Greeting) -> None:
    net = Net(3)
    assert refusal(net.peers[1], Frame("r", 0, ALL, 1, 1, greeting)) is Refusal.MALFORMED
    assert not net.flying


def ask(net: Net, *members: int) -> None:
    """What was on its way is lost, and these ask for it."""
    net.flying.clear()
    for member in members:
        net.peers[member].exchange.greet()
    net.deliver()


def test_words_are_kept_as_long_as_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net(2)
    said(net, 1)
    size = len(net.flying[0][1])
    monkeypatch.setattr(exchange, "KEPT_BYTES", 4 * size)
    said(net, 8)
    ask(net, 1)
    # Nine were said, of one size; the last four are kept.
    assert numbers(net.peers[1]) == [6, 7, 8, 9]
    assert net.peers[0].exchange.resent == 4
    said(net, 1)
    net.deliver()
    assert numbers(net.peers[1]) == [6, 7, 8, 9, 10]
    ask(net, 1)
    assert net.peers[0].exchange.resent == 4


def test_the_oldest_word_goes_first_whoever_it_was_for(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net(3)
    net.peers[0].say(1, (5,))
    size = len(net.flying[0][1])
    monkeypatch.setattr(exchange, "KEPT_BYTES", 3 * size)
    for to in (1, 2, 1, 2):
        net.peers[0].say(to, (5,))
    ask(net, 1, 2)
    assert numbers(net.peers[1], to=1) == [3]
    assert numbers(net.peers[2], to=2) == [1, 2]
    assert net.peers[0].exchange.resent == 3


def test_a_greeting_is_asked_back_although_it_was_asked_a_moment_ago() -> None:
    """The first question was lost with the broker; member 1 was back before member 0, which is silent from then on."""
    net = Net(2)
    said(net, 2)
    del net.flying[0]
    net.deliver(1)
    net.flying.clear()
    net.now_ns += PATIENCE_NS // 2
    net.peers[1].exchange.greet()
    net.flying.clear()
    net.peers[0].exchange.greet()
    net.deliver()
    assert numbers(net.peers[1]) == [1, 2]


def test_an_answer_to_an_earlier_incarnation_does_not_lead_the_next_one_astray() -> None:
    net = Net(2)
    # The first is due far in the future; the second was dropped by the channel; the third shows that it is missing.
    said(net, 3, lambda number: {1: 1000, 2: -1, 3: 1000}[number])
    del net.flying[1]
    net.deliver(2)
    net.now_ns = 10
    net.restart(1)
    net.deliver()
    assert numbers(net.peers[1]) == [1, 2, 3]
