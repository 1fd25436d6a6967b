"""Adversaries of the longest chain: miners who keep their blocks to themselves for a while.

The miner inside does not hear of others' blocks before it is to build on them: it stays on its own branch, whatever it
would do at a tie.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from consensus.byzantine.wrapper import Byzantine, Part
from consensus.effects import Adopted, Broadcast, Effect, Send
from consensus.messages import GENESIS, Block, Message
from consensus.types import ReplicaId

UNHEARD = 1024
"""Blocks of others kept back from the miner inside; it fetches what is forgotten."""


class SecretMiner(Byzantine, ABC):
    """What both have in common: a secret branch, and a view of how long the public chain is."""

    suits = "mining"

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        self.secret: deque[Broadcast] = deque()
        """Own blocks that nobody has heard of, lowest first."""
        self.public = 0
        """The height of the longest chain that others know of."""
        self.tip = GENESIS
        """What the miner inside builds on."""
        self._unheard: deque[tuple[ReplicaId, Message]] = deque(maxlen=UNHEARD)

    @property
    def lead(self) -> int:
        """By how much one's own chain is longer than the public one."""
        return self.tip.height - self.public

    def edit(self, effects: Sequence[Effect]) -> Sequence[Effect]:
        for effect in effects:
            if isinstance(effect, Adopted):
                self.tip = effect.block
                if self.tip.proposer != self.me:
                    # The miner inside builds on another chain: its secrets are worth nothing.
                    self.secret.clear()
        return super().edit(effects)

    def say(self, words: Send | Broadcast) -> Iterable[Effect]:
        if not isinstance(words, Broadcast) or words.message.proposes() is None:
            return (words,)
        self.deed()
        self.secret.append(words)
        # The miner inside hears of its own block, and builds on it.
        return (Send(self.me, words.message),)

    def receive(self, sender: ReplicaId, message: Message, now_ns: int) -> Sequence[Effect]:
        self.now_ns = now_ns
        height = _height(message)
        if sender == self.me or not height:
            return (*super().receive(sender, message, now_ns), *self.own_turn())
        lead, grown = self.lead, height > self.public
        self.public = max(self.public, height)
        self._unheard.append((sender, message))
        heard = self._hear() if self.surrenders() else ()
        return (*heard, *self.answer(lead)) if grown else tuple(heard)

    @abstractmethod
    def surrenders(self) -> bool:
        """Whether the miner inside is to hear what others have found, and to build on that."""

    @abstractmethod
    def answer(self, lead: int) -> Iterable[Effect]:
        """What to do when the public chain has grown; `lead` is what it was before."""

    def own_turn(self) -> Iterable[Effect]:
        """What to do when the miner inside may have found a block."""
        return ()

    def _hear(self) -> Iterable[Effect]:
        unheard = list(self._unheard)
        self._unheard.clear()
        return [effect for words in unheard for effect in super(SecretMiner, self).receive(*words, self.now_ns)]

    def publish(self, count: int) -> Iterator[Effect]:
        """Let others have the lowest secret blocks."""
        for _ in range(min(count, len(self.secret))):
            words = self.secret.popleft()
            self.public = max(self.public, _height(words.message))
            for to in self.hearers(words):
                if to != self.me:
                    yield Send(to, words.message)


class SelfishMining(SecretMiner):
    """Eyal and Sirer, "Majority is not enough", FC 2014, algorithm 1."""

    name = "selfish_mining"
    does = "keeps its blocks secret, and publishes them so that others' work is wasted (Eyal and Sirer 2014)"

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        self._racing = False
        """Two branches of one length are public, and one of them is its own."""

    def surrenders(self) -> bool:
        return self.lead < 0

    def answer(self, lead: int) -> Iterable[Effect]:
        self._racing = lead == 1 and bool(self.secret)
        return self.publish(len(self.secret) if lead == 2 else min(lead, 1))

    def say(self, words: Send | Broadcast) -> Iterable[Effect]:
        yield from super().say(words)
        if self._racing and self.secret:
            # It has won the race.
            self._racing = False
            yield from self.publish(len(self.secret))


class PrivateAttack(SecretMiner):
    """Nakamoto 2008, section 11: a payment is confirmed, and a longer chain without it is published."""

    name = "private_attack"
    does = "mines a secret branch until the public one is confirmed and shorter, then publishes it; gives up far behind"

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        self._confirmations: int = getattr(part.seat.parameters, "confirmations", 6)
        self._since = 0
        """The height at which its branch leaves the public one."""

    def surrenders(self) -> bool:
        """When further behind than others wait for; then a new attempt begins."""
        if self.active and -self.lead <= self._confirmations:
            return False
        self.secret.clear()
        self._since = self.public
        return True

    def answer(self, lead: int) -> Iterable[Effect]:
        return self.own_turn()

    def own_turn(self) -> Iterable[Effect]:
        """Publish once others think that their branch is final and it is not."""
        if self.secret and self.public - self._since >= self._confirmations and self.lead > 0:
            yield from self.publish(len(self.secret))
            self._since = self.public


def _height(message: Message) -> int:
    """The height of the block that a message brings; 0 if it brings none."""
    block: Block | None = message.proposes()
    return 0 if block is None else block.height
