"""Adversaries that say what is false, or more than they should."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import TypeVar

import msgspec

from consensus.byzantine.wrapper import Byzantine, Part, proposed_block, rewritten
from consensus.effects import Broadcast, Effect, Send
from consensus.messages import AnyPayload, Block, Message, QuorumCertificate, Vote
from consensus.types import BlockId, Height, ReplicaId, View

K = TypeVar("K")
V = TypeVar("V")
REMEMBERED = 64
FORGED = bytes(64)
INFLATION = 1000
"""Rounds of all leaders by which an inflated view is ahead."""
FLOOD = 8
"""Views ahead that a flood covers."""


class Equivocate(Byzantine):
    name = "equivocate"
    does = (
        "proposes a second, empty block to the victims (every second other replica) wherever its own is not empty; "
        "those with the same fault get both"
    )
    takes = ("victims",)

    def say(self, words: Send | Broadcast) -> Iterable[Effect]:
        block = proposed_block(words.message)
        if block is None or not block.payload.count:
            return (words,)
        other = rewritten(words.message, block=_with_payload(block, block.payload.emptied()))
        return self._split(words, other)

    def _split(self, words: Send | Broadcast, other: Message) -> Iterator[Effect]:
        for to in self.hearers(words):
            accomplice = to in self._scheme.replicas
            if accomplice or to not in self.victims:
                yield Send(to, words.message)
            if to != self.me and (accomplice or to in self.victims):
                self.deed()
                yield Send(to, other)


class DoubleVote(Byzantine):
    name = "double_vote"
    does = "votes in each phase for every block it hears of, at once for one that nobody has if it knows no rival"
    suits = "leaders"

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        self._blocks: dict[View, list[BlockId]] = {}
        """What is proposed in the latest views."""
        self._votes: dict[tuple[str, View, Height], tuple[Send | Broadcast, set[BlockId]]] = {}
        """What it has voted for in the latest places, and how it said so first."""

    def receive(self, sender: ReplicaId, message: Message, now_ns: int) -> Sequence[Effect]:
        effects = super().receive(sender, message, now_ns)
        self._learn(message)
        if not self.active or type(message) is not Vote or _place(message) not in self._votes:
            return effects
        words, voted = self._votes[_place(message)]
        return effects if message.block in voted else (*effects, *self._also(words, voted, message.block))

    def say(self, words: Send | Broadcast) -> Iterable[Effect]:
        yield words
        vote = words.message
        self._learn(vote)
        if not isinstance(vote, Vote) or _place(vote) in self._votes:
            return
        voted = {vote.block}
        _remember(self._votes, _place(vote), (words, voted))
        rivals = [block for block in self._blocks.get(vote.view, ()) if block != vote.block]
        for block in rivals or [BlockId(blake2b(vote.block, digest_size=32).digest())]:
            yield from self._also(words, voted, block)

    def _also(self, words: Send | Broadcast, voted: set[BlockId], block: BlockId) -> Iterator[Effect]:
        voted.add(block)
        return self.tell_others(words, rewritten(words.message, block=block))

    def _learn(self, message: Message) -> None:
        block = message.proposes()
        if block is not None:
            if block.view not in self._blocks:
                _remember(self._blocks, block.view, [])
            if block.id not in self._blocks[block.view]:
                self._blocks[block.view].append(block.id)


def _place(vote: Vote) -> tuple[str, View, Height]:
    return vote.phase, vote.view, vote.height


class Fork(Byzantine):
    name = "fork"
    does = "proposes on the block below the newest certified one, with that block's certificate where there is one"
    suits = "leaders"

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        self._blocks: dict[BlockId, Block] = {}
        self._certificates: dict[BlockId, QuorumCertificate] = {}

    def receive(self, sender: ReplicaId, message: Message, now_ns: int) -> Sequence[Effect]:
        self._learn(message)
        return super().receive(sender, message, now_ns)

    def say(self, words: Send | Broadcast) -> Iterable[Effect]:
        self._learn(words.message)
        block = proposed_block(words.message)
        parent = self._blocks.get(block.parent) if block is not None else None
        below = self._blocks.get(parent.parent) if parent is not None else None
        if block is None or below is None:
            return (words,)
        changes: dict[str, object] = {"block": self._child(below, block)}
        if "justify" in words.message.__struct_fields__:
            changes["justify"] = self._certificates.get(below.id, getattr(words.message, "justify", None))
        return self.tell_all(words, rewritten(words.message, **changes))

    def _child(self, parent: Block, like: Block) -> Block:
        payload = self._part.seat.payloads(self.now_ns, self._part.seat.block_max_bytes, parent)
        return Block(parent.id, Height(parent.height + 1), like.view, self.me, payload)

    def _learn(self, message: Message) -> None:
        block = message.proposes()
        if block is not None:
            _remember(self._blocks, block.id, block)
        for certificate in message.certificates():
            if isinstance(certificate, QuorumCertificate):
                _remember(self._certificates, certificate.block, certificate)


class Replay(Byzantine):
    name = "replay"
    does = "says something old again with everything new"

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        self._said: deque[Message] = deque(maxlen=REMEMBERED)

    def say(self, words: Send | Broadcast) -> Iterable[Effect]:
        yield words
        if self._said:
            yield from self.tell_others(words, self._said[0])
        self._said.append(words.message)


class WrongSignature(Byzantine):
    name = "wrong_signature"
    does = "signs wrongly whatever it says to others"

    def say(self, words: Send | Broadcast) -> Iterable[Effect]:
        if self.me in self.hearers(words):
            yield Send(self.me, words.message)
        yield from self.tell_others(words, msgspec.structs.replace(words.message, signature=FORGED))


class InflateView(Byzantine):
    name = "inflate_view"
    does = "says everything about a view also about one that is far ahead"
    suits = "leaders"

    def say(self, words: Send | Broadcast) -> Iterable[Effect]:
        yield words
        yield from _ahead(self, words, [INFLATION * self.n])


class Flood(Byzantine):
    name = "flood"
    does = f"says everything about a view also about each of the next {FLOOD}"
    suits = "leaders"

    def say(self, words: Send | Broadcast) -> Iterable[Effect]:
        yield words
        yield from _ahead(self, words, range(1, FLOOD + 1))


def _ahead(adversary: Byzantine, words: Send | Broadcast, ahead: Iterable[int]) -> Iterator[Effect]:
    view = getattr(words.message, "view", None)
    if isinstance(view, int):
        for more in ahead:
            yield from adversary.tell_others(words, rewritten(words.message, view=View(view + more)))


def _with_payload(block: Block, payload: AnyPayload) -> Block:
    return Block(block.parent, block.height, block.view, block.proposer, payload)


def _remember(kept: dict[K, V], key: K, value: V) -> None:
    kept[key] = value
    if len(kept) > REMEMBERED:
        del kept[next(iter(kept))]
