"""Adversaries that are confused: they forget, or live in another time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from consensus.byzantine.wrapper import Byzantine, Part
from consensus.effects import Effect, Persist, SetTimer
from consensus.messages import AnyPayload, Block, Message
from consensus.replica import Recovered
from consensus.types import ReplicaId

FORGET = "forget"


class Amnesia(Byzantine):
    """Locks and votes are what a replica persists under a name of its protocol; blocks go by their hashes."""

    name = "amnesia"
    suits = "leaders"
    does = "forgets its locks and votes, but no block, every `delay_ms` (by default a view's timeout)"
    takes = ("delay_ms",)

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        self._kept: dict[str | bytes, Any] = {}
        self._every_ns = self.patience_ns if part.scheme.delay_ns is None else part.scheme.delay_ns

    def start(self, recovered: Recovered, now_ns: int) -> Sequence[Effect]:
        self._kept.update(recovered)
        first_ns = max(self._every_ns, self._scheme.begin_ns - now_ns)
        return (*super().start(recovered, now_ns), SetTimer(self._timer + FORGET, first_ns))

    def fire(self, timer: str, now_ns: int) -> Sequence[Effect]:
        if timer != self._timer + FORGET:
            return super().fire(timer, now_ns)
        self.now_ns = now_ns
        if not self.active:
            return ()
        self.deed()
        self.inner = self._part.make(self._part.seat)
        blocks = {key: value for key, value in self._kept.items() if isinstance(key, bytes) or key == "final"}
        return (SetTimer(timer, self._every_ns), *self.edit(self.inner.start(blocks, now_ns)))

    def edit(self, effects: Sequence[Effect]) -> Sequence[Effect]:
        for effect in effects:
            if isinstance(effect, Persist):
                self._kept[effect.key] = effect.value
        return super().edit(effects)


class ClockSkew(Byzantine):
    name = "clock_skew"
    does = "has a clock that is `delay_ms` ahead (by default a view's timeout) and runs twice as fast"
    takes = ("delay_ms",)

    def __init__(self, part: Part) -> None:
        honest = part.seat.payloads

        def payloads(shown_ns: int, max_bytes: int, parent: Block) -> AnyPayload:
            # Whatever its clock says, it cannot have what has not arrived.
            return honest(self.now_ns, max_bytes, parent)

        super().__init__(part._replace(seat=replace(part.seat, payloads=payloads)))
        self._skew_ns = self.patience_ns if part.scheme.delay_ns is None else part.scheme.delay_ns
        self._shown_ns = 0

    def start(self, recovered: Recovered, now_ns: int) -> Sequence[Effect]:
        return self.edit(self.inner.start(recovered, self._show(now_ns)))

    def receive(self, sender: ReplicaId, message: Message, now_ns: int) -> Sequence[Effect]:
        return self.edit(self.inner.receive(sender, message, self._show(now_ns)))

    def fire(self, timer: str, now_ns: int) -> Sequence[Effect]:
        return self.edit(self.inner.fire(timer, self._show(now_ns)))

    def submit(self, payload: AnyPayload, now_ns: int) -> Sequence[Effect]:
        return self.edit(self.inner.submit(payload, self._show(now_ns)))

    def edit(self, effects: Sequence[Effect]) -> Sequence[Effect]:
        return [self._hurried(effect) if isinstance(effect, SetTimer) else effect for effect in super().edit(effects)]

    def _show(self, now_ns: int) -> int:
        """The time that its clock shows, which never goes back."""
        self.now_ns = now_ns
        if self.active:
            now_ns += self._skew_ns + (now_ns - self._scheme.begin_ns)
        self._shown_ns = max(self._shown_ns, now_ns)
        return self._shown_ns

    def _hurried(self, timer: SetTimer) -> SetTimer:
        if not self.active:
            return timer
        self.deed()
        return SetTimer(timer.timer, timer.delay_ns // 2)
