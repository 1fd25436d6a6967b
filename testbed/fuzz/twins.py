"""A Twins schedule played at speed: the state machines alone, without hosts, signatures or a network.

The rules are those of `consensus.byzantine.schedule`, and what honest replicas commit is what they commit in a run of
the same schedule on a laboratory network; a test compares the two. Every message takes as long, so that the network is
a queue; nobody signs, because both copies are honest code; promises are not kept, because nobody crashes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from heapq import heappop, heappush
from random import Random
from typing import TYPE_CHECKING, Any

from consensus.byzantine import Partition
from consensus.effects import Broadcast, CancelTimer, Committed, Effect, Entered, Persist, Send, SetTimer
from consensus.messages import Ancestors, Fetch, Message
from consensus.replica import Replica
from consensus.types import ReplicaId, View
from node.guard import FAULTS
from testbed.fuzz.copying import Memo, copied
from testbed.fuzz.schedules import Choices
from testbed.fuzz.twins_watch import Outcome, TwinsWatch

if TYPE_CHECKING:
    from testbed.fuzz.arena import Arena

PATIENCE = 16
"""Whoever has committed nothing new so many view timeouts after everything was lifted is stalled, if others are so many
rounds past the schedule's end by then; as timeouts may double with each view, all are given time for that otherwise."""
_TO_ALL = -1
_RECEIVERS, _OUTSIDE = -1, 0
"""Rounds of messages that do not say theirs: whichever the receiver is in; none, so that all hear them."""

Machines = tuple[tuple[int, ...], ...]


class Hearing:
    """Who hears a node in one partition: machines in the order in which messages arrive, each with the nodes on it.

    Both copies are on one machine: what they hear together is one event of it.
    """

    def __init__(self, groups: Partition, n: int, twin: int) -> None:
        self.near = near = {node: group for group in groups for node in group}
        """Who hears each node."""

        def machine(speaker: int, replica: int) -> Machines:
            nodes = (twin, n) if replica == twin else (replica,)
            heard = tuple(node for node in nodes if node in near[speaker])
            return (heard,) if heard else ()

        nodes, replicas = range(n + 1), range(n)
        identity = [*replicas, twin]
        self.one = [[machine(speaker, replica) for replica in replicas] for speaker in nodes]
        """Who hears what a node sends to a replica,"""
        self.all = [
            tuple(heard for i in replicas if i != identity[speaker] for heard in self.one[speaker][i])
            for speaker in nodes
        ]
        """what it sends to all others,"""
        self.own = [self.one[node][identity[node]] for node in nodes]
        """and what it sends to itself."""


def _is_first(alarm: tuple[Any, ...], letter: tuple[Any, ...]) -> bool:
    """Whether an alarm is due before a letter or, if both are due at once, was set before it was sent."""
    due_ns, arrives_ns = alarm[0], letter[0]
    return bool(due_ns < arrives_ns or (due_ns == arrives_ns and alarm[1] < letter[1]))


class Play:
    """One schedule being played."""

    def __init__(self, arena: Arena, choices: Choices) -> None:
        space = arena.space
        self.arena, self.identity = arena, arena.identity
        self.length, self.round_ns, self.view_ns = space.rounds, arena.round_ns, arena.view_ns
        self.n, self.twin = space.committee.n, space.twin
        self.watch = TwinsWatch(arena)
        self.hearing: list[Hearing] = []
        """Who hears whom in each round; in round 0, which is none of the schedule, all."""
        self.follow(choices)
        self.replicas: list[Replica] = []
        self.receives: list[Callable[[ReplicaId, Message, int], Sequence[Effect]]] = []
        self.now_ns = 0
        self.serial = 0
        self.queue: deque[tuple[int, int, int, Message, Machines | None, int]] = deque()
        """What is on its way: due, serial, speaker, message, who hears it (None: it depends), whom it was sent to."""
        self.alarms: list[tuple[int, int, int, str]] = []
        self.timers: list[dict[str, int]] = [{} for _ in self.identity]
        """For each node the serial of the alarm that counts, by timer."""
        self.own: deque[tuple[int, Message, Machines]] = deque()
        self.views = [0] * len(self.identity)
        self.finals = [0] * len(self.identity)
        self.furthest = 0
        """The latest round that an honest replica has come to."""
        self.over = 0
        """After how many events the first honest replica left the last round; 0 as long as none has."""
        self.events = 0
        self.untouched: list[int] = []
        """How many events came before the first on which any round after the first k = 0, 1, ... had an influence."""

    def branch(self, choices: Choices) -> Play:
        """The same up to here, and on by another schedule."""
        arena = self.arena
        memo: Memo = {id(kept): kept for kept in (arena, arena.unhindered, *arena.hearing)}
        # What is in these never changes: no need to look at each.
        queue, alarms, hearing = self.queue, self.alarms, self.hearing
        self.queue, self.alarms, self.hearing = deque(), [], []
        branch: Play = copied(self, memo)
        self.queue, self.alarms, self.hearing = queue, alarms, hearing
        branch.queue, branch.alarms = queue.copy(), alarms.copy()
        branch.follow(choices)
        return branch

    def follow(self, choices: Choices) -> None:
        """Go on by this schedule, which has in common with the last one whatever had an influence so far."""
        arena = self.arena
        hearing = arena.hearing
        self.rounds = arena.rounds(choices)
        self.hearing = [arena.unhindered, *(hearing[choice % len(hearing)] for choice in choices)]
        self.leaders: dict[View, ReplicaId] = {}
        self.watch.outcome.choices = choices

    def in_common(self, rounds: int) -> int:
        """How many of its events a schedule must share that shares so many first rounds."""
        untouched = self.untouched[rounds] if rounds < len(self.untouched) else self.events
        return min(untouched, self.over) if self.over else untouched

    def leader(self, view: View) -> ReplicaId:
        """Who leads a view."""
        leader = self.leaders.get(view)
        if leader is None:
            self._use(self.rounds.place(view, 1))
            leader = self.leaders[view] = self.rounds.leader(self.arena.space.committee, view)
        return leader

    def _use(self, number: int) -> None:
        if number <= self.length:
            while len(self.untouched) < number:
                self.untouched.append(self.events - 1)

    # Events

    def run(self, recover: bool) -> Outcome:
        """Until an honest replica has left the last round or, if asked for, all have committed something new."""
        waiting = self.watch.waiting
        healed_ns = self.length * self.round_ns
        soon_ns, late_ns = healed_ns + PATIENCE * self.view_ns, healed_ns + (self.view_ns << (self.length + 2))
        self.arena.playing = self
        try:
            while (waiting if recover else not self.over) and self.now_ns <= late_ns:
                stuck = self.now_ns > soon_ns and self.furthest > self.length + PATIENCE
                if stuck or not self._step():
                    break
        except FAULTS as error:  # whatever a protocol raises is what is looked for
            self.watch.violate(f"error: {type(error).__name__}: {error}")
        return self.watch.ended(self.now_ns, recover or not self.over)

    def run_to(self, events: int) -> None:
        """Until so many events have been."""
        self.arena.playing = self
        while self.events < events:
            self._step()

    def _step(self) -> bool:
        """The next event; False if there will never be one."""
        queue, alarms = self.queue, self.alarms
        self.events += 1
        if self.events == 1:
            self._start()
        elif not alarms and not queue:
            return False
        elif alarms and (not queue or _is_first(alarms[0], queue[0])):
            self._ring(*heappop(alarms))
        else:
            self.now_ns, _, speaker, message, machines, to = queue.popleft()
            self._hear(self._listening(speaker, to) if machines is None else machines, self.identity[speaker], message)
        return True

    def _start(self) -> None:
        # Chance begins anew with each play, so that a schedule is the same play whatever was played before.
        seats = [replace(seat, random=Random(node)) for node, seat in enumerate(self.arena.seats)]
        self.replicas = [self.arena.protocol(seat) for seat in seats]
        self.receives = [replica.receive for replica in self.replicas]
        for node in sorted(range(len(self.replicas)), key=lambda node: (self.identity[node], node)):
            self._carry(node, self.replicas[node].start({}, 0))
            if node != self.twin:
                self._hear_own()

    def _ring(self, due_ns: int, serial: int, node: int, timer: str) -> None:
        if self.timers[node].get(timer) == serial:
            del self.timers[node][timer]
            self.now_ns = due_ns
            self._carry(node, self.replicas[node].fire(timer, due_ns))
            self._hear_own()

    def _hear(self, machines: Machines, sender: ReplicaId, message: Message) -> None:
        """Deliver to each machine, and to itself what it says thereupon."""
        receives, now_ns, own = self.receives, self.now_ns, self.own
        for machine in machines:
            for node in machine:
                effects = receives[node](sender, message, now_ns)
                if effects:
                    self._carry(node, effects)
            if own:
                self._hear_own()

    def _hear_own(self) -> None:
        own = self.own
        while own:
            speaker, message, machines = own.popleft()
            self._hear(machines, self.identity[speaker], message)

    # Effects

    def _carry(self, node: int, effects: Sequence[Effect]) -> None:
        """Do what matters here: promises are for restarts, and of facts the checks look at two."""
        for effect in effects:
            if type(effect) is Persist:
                continue
            if type(effect) is Broadcast:
                self._say(node, effect.message, _TO_ALL)
            elif type(effect) is Send:
                self._say(node, effect.message, effect.to)
            elif type(effect) is SetTimer:
                self.serial = serial = self.serial + 1
                self.timers[node][effect.timer] = serial
                heappush(self.alarms, (self.now_ns + effect.delay_ns, serial, node, effect.timer))
            elif type(effect) is Entered:
                self.views[node] = effect.view
                self._moved(node)
                self.watch.entered(node, effect)
            elif type(effect) is Committed:
                self.finals[node] = effect.block.height
                self._moved(node)
                self.watch.committed(node, effect.block, self.now_ns)
            elif type(effect) is CancelTimer:
                self.timers[node].pop(effect.timer, None)

    def _moved(self, node: int) -> None:
        if self.identity[node] != self.twin:
            number = self._round_at(node)
            self.furthest = max(self.furthest, number)
            if number > self.length and not self.over:
                self.over = self.events

    def _round_at(self, node: int) -> int:
        return self.rounds.place(self.views[node], self.finals[node] + 1)

    # Who hears whom

    def _say(self, node: int, message: Message, to: int) -> None:
        me, now_ns = self.identity[node], self.now_ns
        due_ns = now_ns + self.arena.delay_ns
        number = self._round_of(node, message)
        hearing = self.hearing[0]
        # What a copy says is divided as it leaves, what others say as it arrives.
        if 0 < number <= self.length and (now_ns if me == self.twin else due_ns) < number * self.round_ns:
            self._use(number)
            hearing = self.hearing[number]
        self.watch.said(node, message, number)
        if to == _TO_ALL:
            self.own.append((node, message, hearing.own[node]))
            machines = hearing.all[node]
        elif to == me:
            self.own.append((node, message, hearing.own[node]))
            return
        else:
            machines = hearing.one[node][to]
        self.serial += 1
        self.queue.append((due_ns, self.serial, node, message, machines if number != _RECEIVERS else None, to))

    def _round_of(self, node: int, message: Message) -> int:
        kind = type(message)
        if kind is Fetch or kind is Ancestors:
            return _OUTSIDE
        number = self.rounds.round_of(message)
        if number is None:
            return self._round_at(node) if self.identity[node] == self.twin else _RECEIVERS
        return number

    def _listening(self, speaker: int, to: int) -> Machines:
        """Who hears, each in its own round, what an honest replica says."""
        everybody = self.hearing[0]
        meant = everybody.all[speaker] if to == _TO_ALL else everybody.one[speaker][to]
        heard = (tuple(node for node in machine if self._is_near(node, speaker)) for machine in meant)
        return tuple(machine for machine in heard if machine)

    def _is_near(self, node: int, speaker: int) -> bool:
        number = self._round_at(node)
        in_force = 0 < number <= self.length and self.now_ns < number * self.round_ns
        if in_force:
            self._use(number)
        return not in_force or node in self.hearing[number].near[speaker]
