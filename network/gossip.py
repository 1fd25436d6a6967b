"""Gossip: members pass on to some of their peers what they have not seen, at once or when asked.

A member that gets a message for the first time hands it to its replica; if that finds it valid it sends the whole
message to some peers (eager push) and tells others that it has it (lazy pull: who lacks it asks whoever told first).
This is how gossipsub spreads blocks, and with nothing pushed how Bitcoin does.

Sources: Demers et al., "Epidemic algorithms for replicated database maintenance", 1987; Vyzovitis et al., "GossipSub",
arXiv 2007.02754; Decker and Wattenhofer, IEEE P2P 2013, section III.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import networkx as nx
import numpy as np

from network.carriage import UNDER_WAY, Carriage, Direct
from network.clock import VirtualClock
from network.plan import IntArray

Receiver = Callable[[Any, int], int | None]
"""`receive(parcel, due_ns)` hands over; returns when it has been found valid and may be passed on, None for never."""
Peers = Sequence[Sequence[int]]
"""Each member's peers, ascending."""
FAR_NS: Final = 2**63 - 1
"""Later than anything."""


@dataclass(frozen=True)
class GossipRules:
    """How members gossip. A number of peers that they do not have means all they have."""

    push: int = 8
    """To so many peers the whole message goes at once, drawn anew for each message,"""
    lazy: int = 6
    """and to so many of the others an announcement, also to whom it came from."""
    announcement_bytes: int = 64
    request_bytes: int = 64
    heartbeat_ns: int = 0
    """Announcements wait for the next multiple of this."""
    retry_ns: int = 1_000_000_000
    """Who has been promised a message and not got it asks the next one who announced it; 0 for never."""
    rounds: int = 1
    """How often a member pushes each message (rumour mongering), each time to peers drawn anew,"""
    round_ns: int = 0
    """so long after each other."""


def everybody(count: int) -> Peers:
    """All other members are peers."""
    return [[other for other in range(count) if other != member] for member in range(count)]


def regular_peers(count: int, degree: int, seed: int) -> Peers:
    """A random graph in which everybody has `degree` peers; everybody else where there are no more.

    If both numbers are odd there is no such graph, and everybody has one peer more.
    """
    degree += degree * count % 2
    if degree >= count - 1:
        return everybody(count)
    graph = nx.random_regular_graph(degree, count, seed=seed)
    return [sorted(graph[member]) for member in range(count)]


class Rumour:
    """A message that spreads, and who has it, has been asked for it, or could be asked."""

    __slots__ = ("announced_by", "asked", "have", "parcel", "size_bytes", "told_ns")

    def __init__(self, parcel: Any, size_bytes: int, members: int) -> None:
        self.parcel = parcel
        self.size_bytes = size_bytes
        self.have = [False] * members
        self.asked = [False] * members
        self.announced_by: dict[int, list[int]] = {}
        self.told_ns = [FAR_NS] * members
        """When each is told first, where the others are spared."""


@dataclass
class GossipAccount:
    """What gossip took."""

    rumours: int = 0
    """Messages that members broadcast; the rest is copies of them."""
    bodies: int = 0
    duplicates: int = 0
    announcements: int = 0
    requests: int = 0


class Gossip:
    """Spreads broadcasts from member to member; see `network.dissemination.Dissemination`."""

    def __init__(
        self,
        clock: VirtualClock,
        carriage: Carriage,
        receivers: Sequence[Receiver],
        peers: Peers,
        rules: GossipRules,
        rng: random.Random,
        *,
        bodies: Carriage | None = None,
        validation_ns: int = 0,
        up: Callable[[int], bool] = lambda member: True,
        spare: Direct | None = None,
    ) -> None:
        """`bodies` carries whole messages, if not as `carriage` does. `up` says whether a member is running: one that
        is not neither asks nor answers.

        A carriage on which announcements are in nobody's way, and members that are always up, may be given as `spare`:
        it takes the announcements in `carriage`'s place. Those that would not be heeded are then counted but not
        carried, and those that another one forestalls not handed over. That is most of them.
        """
        self.account = GossipAccount()
        self._clock = clock
        self._carriage = carriage
        self._bodies = bodies or carriage
        self._receivers = receivers
        self._peers = peers
        self._rules = rules
        self._rng = rng
        self._validation_ns = validation_ns
        self._up = up
        self._spare = spare
        count = len(receivers)
        self._take_body = [partial(self._on_body, member) for member in range(count)]
        self._take_announcement = [partial(self._on_announcement, member) for member in range(count)]
        self._take_request = [partial(self._on_request, member) for member in range(count)]

    def spread(self, source: int, targets: IntArray, size_bytes: int, parcel: Any, now_ns: int) -> IntArray:
        """See `network.dissemination.Dissemination.spread`."""
        rumour = Rumour(parcel, size_bytes, len(self._receivers))
        rumour.have[source] = rumour.asked[source] = True
        self.account.rumours += 1
        self._pass_on(source, (rumour, source), now_ns)
        return np.full(len(targets), UNDER_WAY, dtype=np.int64)

    def egress_bytes(self, source: int, targets: IntArray, size_bytes: int) -> int:
        """See `network.dissemination.Dissemination.egress_bytes`: what is asked for later comes on top."""
        pushed = min(self._rules.push, len(self._peers[source]))
        told = min(self._rules.lazy, len(self._peers[source]) - pushed)
        return pushed * size_bytes + told * self._rules.announcement_bytes

    def _pass_on(self, me: int, copy: tuple[Rumour, int], now_ns: int) -> None:
        """Push and announce; the second of `copy` is who it came from."""
        rumour, sender = copy
        rules, peers = self._rules, self._peers[me]
        if rules.push:
            others = [*peers]
            if sender in peers:
                others.remove(sender)
            pushed = set(self._push(me, rumour, others, now_ns))
            if rules.lazy:
                peers = [peer for peer in peers if peer not in pushed]
        if rules.lazy:
            peers = self._some(peers, rules.lazy)
            beat_ns = -(-now_ns // rules.heartbeat_ns) * rules.heartbeat_ns if rules.heartbeat_ns else now_ns
            if beat_ns > now_ns:
                self._clock.at(beat_ns, self._announce_later, (me, rumour, peers))
            else:
                self._announce(me, rumour, peers, now_ns)
        if rules.rounds > 1:
            self._clock.at(now_ns + rules.round_ns, self._push_again, (me, rumour, rules.rounds - 1))

    def _push(self, me: int, rumour: Rumour, peers: Sequence[int], now_ns: int) -> Sequence[int]:
        chosen = self._some(peers, self._rules.push)
        if chosen:
            self.account.bodies += len(chosen)
            self._bodies.carry_few(me, chosen, rumour.size_bytes, (rumour, me), self._take_body, now_ns)
        return chosen

    def _push_again(self, push: tuple[int, Rumour, int], now_ns: int) -> None:
        me, rumour, rounds = push
        if self._up(me):
            self._push(me, rumour, self._peers[me], now_ns)
        if rounds > 1:
            self._clock.at(now_ns + self._rules.round_ns, self._push_again, (me, rumour, rounds - 1))

    def _announce_later(self, told: tuple[int, Rumour, Sequence[int]], now_ns: int) -> None:
        me, rumour, peers = told
        if self._up(me):
            self._announce(me, rumour, peers, now_ns)

    def _announce(self, me: int, rumour: Rumour, peers: Sequence[int], now_ns: int) -> None:
        self.account.announcements += len(peers)
        rules, copy, take = self._rules, (rumour, me), self._take_announcement
        if self._spare is None:
            self._carriage.carry_few(me, peers, rules.announcement_bytes, copy, take, now_ns)
            return
        deaf, first_ns = (rumour.have, None) if rules.retry_ns else (rumour.asked, rumour.told_ns)
        listening = [peer for peer in peers if not deaf[peer]]
        if listening:
            self._spare.carry_few(me, listening, rules.announcement_bytes, copy, take, now_ns, first_ns)
        if len(listening) < len(peers):
            unheard = [peer for peer in peers if deaf[peer]]
            self._spare.count_only(me, unheard, rules.announcement_bytes, now_ns)

    def _some(self, peers: Sequence[int], count: int) -> Sequence[int]:
        return peers if count >= len(peers) else sorted(self._rng.sample(peers, count))

    # What arrives

    def _on_body(self, me: int, copy: tuple[Rumour, int], now_ns: int) -> None:
        rumour, _ = copy
        if rumour.have[me]:
            self.account.duplicates += 1
            return
        if not self._up(me):
            # Lost on it, though not for ever: its host counts this copy, and another may find it running.
            self._receivers[me](rumour.parcel, now_ns)
            return
        rumour.have[me] = rumour.asked[me] = True
        rumour.announced_by.pop(me, None)
        if self._validation_ns:
            self._clock.at(now_ns + self._validation_ns, partial(self._accept, me), copy)
        else:
            self._accept(me, copy, now_ns)

    def _accept(self, me: int, copy: tuple[Rumour, int], now_ns: int) -> None:
        valid_ns = self._receivers[me](copy[0].parcel, now_ns)
        if valid_ns is None:
            return
        if valid_ns > now_ns:
            self._clock.at(valid_ns, partial(self._pass_on_later, me), copy)
        else:
            self._pass_on(me, copy, now_ns)

    def _pass_on_later(self, me: int, copy: tuple[Rumour, int], now_ns: int) -> None:
        if self._up(me):
            self._pass_on(me, copy, now_ns)

    def _on_announcement(self, me: int, copy: tuple[Rumour, int], now_ns: int) -> None:
        rumour, sender = copy
        if not rumour.asked[me]:
            if self._up(me):
                rumour.asked[me] = True
                self._ask(me, rumour, sender, now_ns)
        elif self._rules.retry_ns and not rumour.have[me] and self._up(me):
            rumour.announced_by.setdefault(me, []).append(sender)

    def _ask(self, me: int, rumour: Rumour, whom: int, now_ns: int) -> None:
        self.account.requests += 1
        self._carriage.carry_few(me, (whom,), self._rules.request_bytes, (rumour, me), self._take_request, now_ns)
        if self._rules.retry_ns:
            self._clock.at(now_ns + self._rules.retry_ns, self._ask_again, (me, rumour))

    def _ask_again(self, question: tuple[int, Rumour], now_ns: int) -> None:
        me, rumour = question
        others = rumour.announced_by.get(me)
        if others and not rumour.have[me] and self._up(me):
            self._ask(me, rumour, others.pop(0), now_ns)
        else:
            # Whoever announces it from now on is asked at once, unless it has come.
            rumour.asked[me] = rumour.have[me]

    def _on_request(self, me: int, copy: tuple[Rumour, int], now_ns: int) -> None:
        rumour, asker = copy
        if self._up(me):
            self.account.bodies += 1
            self._bodies.carry_few(me, (asker,), rumour.size_bytes, (rumour, me), self._take_body, now_ns)
