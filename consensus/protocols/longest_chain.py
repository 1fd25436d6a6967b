"""Longest chain: Nakamoto consensus, "Bitcoin: A Peer-to-Peer Electronic Cash System", 2008.

Sections 4 and 5: miners extend the longest chain they know; of two chains of equal length the one received first
is kept. Section 11: a block is believed final once it is `confirmations` deep, itself included; nothing makes that
certain, so a deeper reorganisation commits a second block at the same height and the agreement check reports it.

Deviations:
- Mining is sampled, not computed: each miner's instants are a Poisson process of rate share / `block_interval_s`,
  drawn ahead and independent of what it mines on (hash power does not depend on the tip).
- There is no difficulty: the longest chain is the one with the most blocks.
- `tie_break = "uniform"` tosses a coin at each tie instead of keeping the first seen (Eyal and Sirer, 2014,
  section 5).

Faults: safe against less than half of the hash power, less the share lost to forks. Commit: `confirmations`
block intervals. Messages: n-1 per block.
"""

from __future__ import annotations

import random
from typing import Literal

import msgspec

from consensus.chain import ChainReplica, blocks_in
from consensus.effects import Adopted, Broadcast, Committed, Reason, SetTimer
from consensus.messages import GENESIS, Ancestors, Block, Fetch, Message
from consensus.replica import Lottery, ProtocolFacts, Recovered, Seat
from consensus.types import Height, ReplicaId, View

_MINE = "mine"
PRUNE_EVERY = 64


class Mined(Message, frozen=True, array_like=True, tag=True):
    """A freshly mined block."""

    block: Block

    def proposes(self) -> Block:
        return self.block

    @property
    def payload_bytes(self) -> int:
        return self.block.payload.size_bytes


class LongestChainParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a scenario may set."""

    block_interval_s: float = 2.0
    """Mean time between blocks of the whole committee."""
    confirmations: int = 6
    """How deep a block must be, itself included, to count as final."""
    tie_break: Literal["first_seen", "uniform"] = "first_seen"

    def __post_init__(self) -> None:
        if self.block_interval_s <= 0:
            raise ValueError("`block_interval_s` must be positive")
        if self.confirmations < 1:
            raise ValueError("`confirmations` must be at least 1")


class LongestChain(ChainReplica):
    """One miner."""

    facts = ProtocolFacts(
        name="longest_chain",
        paper="Nakamoto, Bitcoin, 2008",
        fault_bound="< 1/2 of hash power",
        responsive="n/a",
        commit_delays="confirmations × interval",
        period="block_interval_s",
        messages_per_block="n-1",
        view_change="none",
        shape=Lottery(),
        timeout_deltas=None,
    )
    Parameters = LongestChainParameters
    messages = (Mined, Fetch, Ancestors)

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        parameters: LongestChainParameters = seat.parameters
        share = seat.committee.weights[seat.me] / sum(seat.committee.weights)
        self._mean_gap_ns = parameters.block_interval_s * 1e9 / share if share else None
        self._confirmations = parameters.confirmations
        self._uniform = parameters.tie_break == "uniform"
        self._instant_ns = 0
        self._instants = 0
        # Ties must not touch the source that mining draws from: its instants do not depend on the tip.
        self._coin = random.Random(seat.random.getrandbits(64))
        self._rivals = 1
        self.tip = GENESIS

    def on_start(self, recovered: Recovered) -> None:
        self.recover_tree(recovered)
        # Equal heights: what was persisted first was seen first.
        self.tip = max(blocks_in(recovered), key=lambda block: block.height, default=GENESIS)
        # Instants that passed while we were down are lost.
        self._await_instant(self.now_ns)

    def on_message(self, sender: ReplicaId, message: Message) -> None:
        if type(message) is Mined:
            self._on_mined(sender, message)
        else:
            super().on_message(sender, message)

    def on_timer(self, timer: str) -> None:
        if timer == _MINE:
            self._mine()
            # A CPU that was busy is late for it; mining does not wait for the CPU, so no instant is skipped.
            self._await_instant(self._instant_ns)
        else:
            super().on_timer(timer)

    def on_held(self, block: Block) -> None:
        """Section 5: nodes always consider the longest chain to be the correct one."""
        if block.height > self.tip.height:
            self._rivals = 1
        elif block.height < self.tip.height or not self._wins_tie():
            return
        self.tip = block
        self.emit(Adopted(block))
        self._confirm()

    def _on_mined(self, sender: ReplicaId, message: Mined) -> None:
        block = message.block
        if block.proposer != sender or block.height < 1:
            self.reject(sender, Reason.WRONG_LEADER)
        elif self.holds_or_waits(block.parent, block.height - 1, sender, message):
            self.hold(block)

    def _await_instant(self, after_ns: int) -> None:
        """Section 4: finding a block is a Poisson process; wait for its first instant after `after_ns`."""
        if self._mean_gap_ns is None:
            return
        while self._instant_ns <= after_ns:
            self._instant_ns += max(1, round(self.random.expovariate(1.0) * self._mean_gap_ns))
            self._instants += 1
        self.emit(SetTimer(_MINE, max(0, self._instant_ns - self.now_ns)))

    def _mine(self) -> None:
        payload = self._seat.payloads(self.now_ns, self._seat.block_max_bytes, self.tip)
        height = Height(self.tip.height + 1)
        self.emit(Broadcast(Mined(Block(self.tip.id, height, View(self._instants), self.me, payload))))

    def _wins_tie(self) -> bool:
        """Uniform: each of the k blocks seen at this height is the tip with probability 1/k."""
        self._rivals += 1
        return self._uniform and self._coin.random() * self._rivals < 1

    def _confirm(self) -> None:
        """Section 11: what is deep enough is final, as far as a longest chain knows finality."""
        depth = self.tip.height - self._confirmations + 1
        if depth < 1:
            return
        for block in self.tree.finalise(self.tree.ancestor(self.tip, depth)):
            self.emit(Committed(block))
        self.persist_final()
        if depth % PRUNE_EVERY == 0:
            self.tree.prune(depth)
