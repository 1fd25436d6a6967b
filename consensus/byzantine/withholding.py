"""Adversaries that say nothing false, but not everything, not to everybody, or not in time."""

from __future__ import annotations

from collections.abc import Iterable

from consensus.byzantine.wrapper import Byzantine
from consensus.effects import Broadcast, Effect, Send
from consensus.messages import QuorumCertificate, Vote

JUST_UNDER = 0.9
"""The share of a view's timeout by which a slow replica is late."""


class Silent(Byzantine):
    name = "silent"
    does = "sends nothing"

    def say(self, words: Send | Broadcast) -> Iterable[Effect]:
        return self.only_to(words, lambda to: False)


class SilentLeader(Byzantine):
    name = "silent_leader"
    does = "proposes nothing, and votes as it should"

    def say(self, words: Send | Broadcast) -> Iterable[Effect]:
        if words.message.proposes() is None:
            return (words,)
        return self.only_to(words, lambda to: False)


class WithholdBlock(Byzantine):
    name = "withhold_block"
    does = "does not send its blocks to the victims (every second other replica)"
    takes = ("victims",)

    def say(self, words: Send | Broadcast) -> Iterable[Effect]:
        if words.message.proposes() is None:
            return (words,)
        return self.only_to(words, lambda to: to not in self.victims)


class WithholdCommit(Byzantine):
    """go-f3's withhold-commit attack: what makes a block final reaches one victim, who may decide alone."""

    name = "withhold_commit"
    does = "lets only the victims (the next replica) have the votes and certificates that make a block final"
    suits = "leaders"
    takes = ("victims",)

    @property
    def victims(self) -> frozenset[int]:
        return super().victims if self._scheme.victims is not None else frozenset({(self.me + 1) % self.n})

    def say(self, words: Send | Broadcast) -> Iterable[Effect]:
        message, final = words.message, self._part.protocol.facts.final_phase
        votes = isinstance(message, Vote) and message.phase == final
        proofs = (each for each in message.certificates() if isinstance(each, QuorumCertificate) and each.signers)
        if not votes and not any(proof.phase == final for proof in proofs):
            return (words,)
        return self.only_to(words, lambda to: to in self.victims)


class Slow(Byzantine):
    name = "slow"
    does = "says everything late, by `delay_ms` (by default 0.9 of a view's timeout)"
    takes = ("delay_ms",)

    def say(self, words: Send | Broadcast) -> Iterable[Effect]:
        self.deed()
        delay_ns = self._scheme.delay_ns
        return (self.later(round(JUST_UNDER * self.patience_ns) if delay_ns is None else delay_ns, [words]),)
