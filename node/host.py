"""The host: drives one replica and does what it asks for, in order.

A host's own clock runs ahead of the network's while its CPU works: a message that arrives at t, when the CPU is free
at b, is handled at max(t, b) plus the time to check it, and whatever it causes leaves from then on. Messages are
handled one at a time in order of arrival, so nothing is re-entered, and one's own words come back as events.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from consensus.effects import (
    Adopted,
    Broadcast,
    CancelTimer,
    Committed,
    Effect,
    Entered,
    Held,
    Persist,
    Reason,
    Rejected,
    Send,
    SetTimer,
)
from consensus.messages import Message
from consensus.replica import NOTHING, StateMachine
from consensus.types import ReplicaId
from network.bus import Bus
from network.clock import Clock, TimeStandsStillError
from node.contract import BreachError, Contract, Places
from node.cpu import Cpu, Processor
from node.grammar import shown
from node.keys import Notary
from node.store import Store
from node.trace import Trace
from node.wire import Envelope

_OWN_WORDS = 10_000
"""More messages to oneself than any one event causes: a committee of one can answer itself for ever."""
_FIRINGS = 10_000
_MOMENT_NS = 100_000
"""So many timers within so little time mean that there will be no end to them."""


class Host:
    """Carries for one replica: signs and sends, checks and delivers, persists, keeps timers, records."""

    def __init__(
        self,
        me: ReplicaId,
        spawn: Callable[[], StateMachine],
        *,
        clock: Clock,
        notary: Notary,
        store: Store,
        trace: Trace,
        cpu: Cpu,
        contract: Contract,
        windows_down: Sequence[tuple[int, int | None]] = (),
    ) -> None:
        """`spawn` makes the replica, at the start and after each crash.

        `windows_down` are its crashes, in ns, earliest first; they neither overlap nor touch.
        """
        self.me = me
        self.contract = contract
        self.receiver_down = 0
        """Messages that came while the replica was not running."""
        self.crashes_ns: list[int] = []
        """When the node crashed."""
        self._spawn = spawn
        self._clock = clock
        self._notary = notary
        self._store = store
        self._trace = trace
        self.processor = Processor(cpu)
        """The modelled CPU, with the books of what it has done."""
        self._charges = cpu.takes_time
        self._windows_down = windows_down
        self._bus: Bus | None = None
        self._replica: StateMachine | None = None
        self._now_ns = 0
        self._timers: dict[str, object] = {}
        self._fired = self._firing_since_ns = 0
        self._own: deque[Message] = deque()
        self._do: dict[type[Any], Callable[[Any], None]] = {
            Persist: self._persist,
            Send: self._send,
            Broadcast: self._broadcast,
            SetTimer: self._set_timer,
            CancelTimer: self._cancel_timer,
        }
        for fact in (Entered, Held, Adopted, Committed, Rejected):
            self._do[fact] = self._recorder(fact)
        if cpu.execute_ns:
            self._do[Committed] = self._executor(self._do[Committed])

    def attach(self, bus: Bus) -> None:
        """Connect to the bus, and schedule the crashes. `power_on` comes when all hosts are attached."""
        self._bus = bus
        for begin_ns, end_ns in self._windows_down:
            self._clock.at(begin_ns, self._crash)
            if end_ns is not None:
                self._clock.at(end_ns, self._boot)

    def power_on(self, at_ns: int = 0) -> None:
        """Schedule the start; a node that is down at 0 starts when its window ends, and counts as restarted."""
        if at_ns or not any(begin_ns == 0 for begin_ns, _ in self._windows_down):
            self._clock.at(at_ns, self._boot)

    @property
    def up(self) -> bool:
        """Whether the replica is running."""
        return self._replica is not None

    def accusation(self, deed: str, places: Places) -> str:
        """The sentence that says what the replica has done, from the frames in which it did."""
        return self.contract.sentence(deed, places, self.me, self._now_ns)

    def deliver(self, envelope: Envelope, due_ns: int) -> int | None:
        """Take what the bus brings: verify, hand to the replica, carry out what it wants.

        Returns when the message had been found to be signed well, and may be passed on to others; None for never.
        """
        replica = self._replica
        if replica is None:
            self.receiver_down += 1
            return None
        now_ns = self._now_ns
        if due_ns > now_ns:
            now_ns = due_ns
        if self._charges:
            now_ns = self.processor.check(envelope, due_ns, now_ns)
        self._now_ns = now_ns
        if self._windows_down and self._crashes_first():
            self.receiver_down += 1
            return None
        if not (envelope.valid or self._notary.check(envelope)):
            self._trace.tell("rejected", now_ns, self.me, envelope.sender, Reason.BAD_SIGNATURE.name.lower())
            return None
        effects = replica.receive(envelope.sender, envelope.message, now_ns)
        if effects is not NOTHING:
            self._carry_out(effects)
        return now_ns

    def admit(self, size_bytes: int, due_ns: int) -> int | None:
        """Hash what came for the mempool, in turn with messages; returns when it is there, None for never."""
        if self._replica is not None:
            if not self.processor.hashes:
                return due_ns
            self._now_ns = self.processor.take(size_bytes, due_ns, max(self._now_ns, due_ns))
            if not self._crashes_first():
                return self._now_ns
        self.receiver_down += 1
        return None

    def _carry_out(self, effects: Sequence[Effect]) -> None:
        began_ns = self._now_ns
        self._carry(effects)
        own_words = 0
        while self._own:
            own_words += 1
            if own_words > _OWN_WORDS:
                if self.contract.n > 1:
                    raise BreachError(f"goes on answering itself, {_OWN_WORDS:,} times by now")
                if self._now_ns == began_ns:
                    raise TimeStandsStillError(began_ns)
                # Time passes, though only here: let the clock see it.
                self._clock.at(self._now_ns, self._go_on)
                return
            message = self._own.popleft()
            assert self._replica is not None, "a replica cannot stop within one of its own events"
            self._carry(self._replica.receive(self.me, message, self._now_ns))

    def _carry(self, effects: Sequence[Effect]) -> None:
        if type(effects) not in (list, tuple):
            raise BreachError(f"returned {shown(effects)}, which is no list or tuple of effects")
        do = self._do
        for effect in effects:
            do[type(effect)](effect)
            if self._windows_down and self._crashes_first():
                # What is persisted by now is all that is left of this event.
                self._own.clear()
                return
        if self.processor.owed_ns:
            self._now_ns = self.processor.execute(self._now_ns)
            if self._windows_down and self._crashes_first():
                self._own.clear()

    def _go_on(self, _: object, due_ns: int) -> None:
        if self._replica is not None:
            self._carry_out(())

    def _boot(self, _: object, due_ns: int) -> None:
        self._replica = self._spawn()
        self._now_ns = due_ns
        if due_ns > 0:
            self._trace.tell("restarted", due_ns, self.me)
        self._carry_out(self._replica.start(self._store.recover(), self._now_ns))

    def _crash(self, _: object, due_ns: int) -> None:
        self._replica = None
        self._timers.clear()
        self.processor.crash(due_ns)
        self._now_ns = due_ns
        self.crashes_ns.append(due_ns)
        self._trace.tell("stopped", due_ns, self.me)

    def _crashes_first(self) -> bool:
        """Whether the node crashes before its CPU, busy as it is, gets to what is asked of it now."""
        return any(self._clock.now_ns < begin_ns <= self._now_ns for begin_ns, _ in self._windows_down)

    # Effects

    def _persist(self, effect: Persist) -> None:
        if type(effect.key) not in (str, bytes):
            self.contract.check(effect)
        self.contract.check_once(type(effect.value), effect)
        self._store.put(effect.key, effect.value)

    def _send(self, effect: Send) -> None:
        if type(effect.to) is not int or not 0 <= effect.to < self.contract.n:
            self.contract.check(effect)
        self.contract.check_once(type(effect.message), effect)
        taken_ns, envelope = self._now_ns, self._sealed(effect.message, effect.to)
        if effect.to == self.me:
            self._own.append(envelope.message)
            return
        if self._windows_down and self._crashes_first():
            return
        assert self._bus is not None, "attach() comes first"
        due_ns = self._bus.send(self.me, effect.to, envelope.size_bytes, envelope, self._now_ns)
        self._trace.tell("sent", self._now_ns, envelope, due_ns, taken_ns)

    def _broadcast(self, effect: Broadcast) -> None:
        self.contract.check_once(type(effect.message), effect)
        taken_ns, envelope = self._now_ns, self._sealed(effect.message)
        self._own.append(envelope.message)
        if self._windows_down and self._crashes_first():
            return
        assert self._bus is not None, "attach() comes first"
        due_ns = self._bus.broadcast(self.me, envelope.size_bytes, envelope, self._now_ns)
        self._trace.tell("sent", self._now_ns, envelope, due_ns, taken_ns)

    def _sealed(self, message: Message, to: ReplicaId | None = None) -> Envelope:
        """Sign, unless a misbehaving replica has put a signature of its own there; a proposal counts from before."""
        block = message.proposes()
        if block is not None:
            self._trace.tell("proposed", self._now_ns, self.me, block, message)
        if not message.signature:
            message = msgspec.structs.replace(message, signature=self._notary.sign(self.me, message))
        envelope = Envelope(self.me, message, to)
        if self._charges:
            self._now_ns = self.processor.seal(envelope, self._now_ns)
        return envelope

    def _set_timer(self, effect: SetTimer) -> None:
        if type(effect.timer) is not str or type(effect.delay_ns) is not int or effect.delay_ns < 0:
            self.contract.check(effect)
        token = self._timers[effect.timer] = object()
        self._clock.at(self._now_ns + effect.delay_ns, self._fire, (effect.timer, token))

    def _cancel_timer(self, effect: CancelTimer) -> None:
        self._timers.pop(effect.timer, None)

    def _fire(self, timer: tuple[str, object], due_ns: int) -> None:
        name, token = timer
        if self._replica is None or self._timers.get(name) is not token:
            return
        del self._timers[name]
        self._now_ns = max(self._now_ns, due_ns)
        if self._windows_down and self._crashes_first():
            return
        if due_ns - self._firing_since_ns > _MOMENT_NS:
            self._firing_since_ns, self._fired = due_ns, 0
        self._fired += 1
        if self._fired > _FIRINGS:
            raise BreachError(f"sets timers without end that take no time, {_FIRINGS:,} by now")
        effects = self._replica.fire(name, self._now_ns)
        if effects is not NOTHING:
            self._carry_out(effects)

    def _recorder(self, fact: type[Any]) -> Callable[[Any], None]:
        record, me = self._trace.recorders[fact], self.me
        return lambda effect: record(self._now_ns, me, effect)

    def _executor(self, record: Callable[[Committed], None]) -> Callable[[Committed], None]:
        def do(effect: Committed) -> None:
            record(effect)
            self.processor.owe(effect.block)

        return do
