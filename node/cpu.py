"""A replica's CPU: one server, one queue, first come, first served.

It checks a message before the replica sees it, makes a message ready before it leaves, and executes a block after the
replica has committed it. What clients send and replicas pass on, it hashes before the mempool has it. All of that takes
modelled time, none of it the time of this machine. Whatever comes meanwhile waits, messages and timers alike, and so it
shows in finality.

Three things are decided here and not in any paper:

- A block is executed after everything that the committing event asked for: its commit, and the messages it caused,
  have the time at which the protocol decided. An implementation too sends its votes first and hands the block to
  execution then; the other way round, a result would hang on where in its list of effects a protocol puts the commit.
  Execution does come before the next event, one's own words included, because there is one CPU.
- A signature that was seen lately, alone or in a certificate, is not verified again.
- An aggregate cannot be verified in part: it is free if every signature in it was seen, which lets the receiver build
  the same aggregate itself, and costs for all its signers otherwise. Building one is free; so is the difference
  between a certificate on one statement and one on several.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Literal

import msgspec

from consensus.messages import Block
from node.wire import Envelope

_SIGNATURES_REMEMBERED = 1 << 12
"""The newest so many, and up to as many again, cost nothing a second time."""
_PS_PER_NS = 1000

Verification = Literal["single", "batch", "aggregate"]
"""How several signatures in one message are verified: one by one, all together, or each certificate as a whole."""


class Cpu(msgspec.Struct, frozen=True, kw_only=True):
    """What things cost in virtual time."""

    sign_ns: int = 0
    verify_ns: int = 0
    """One signature alone."""
    verification: Verification = "single"
    batch_base_ns: int = 0
    """A batch of two signatures or more,"""
    batch_ns: int = 0
    """and each signature in it."""
    aggregate_base_ns: int = 0
    """A certificate,"""
    aggregate_ns: int = 0
    """and each of its signers."""
    hash_ps_per_byte: int = 0
    """Whoever signs a message hashes it first, and so does whoever receives it: its encoding and its transactions. What
    clients send and replicas pass on is hashed by its receivers alone."""
    execute_ns: int = 0
    """One transaction of a committed block."""

    @property
    def verifies(self) -> bool:
        """Whether verifying takes any time."""
        if self.verification == "batch":
            return bool(self.verify_ns or self.batch_base_ns or self.batch_ns)
        if self.verification == "aggregate":
            return bool(self.verify_ns or self.aggregate_base_ns or self.aggregate_ns)
        return bool(self.verify_ns)

    @property
    def takes_time(self) -> bool:
        """Whether anything does."""
        return bool(self.sign_ns or self.verifies or self.hash_ps_per_byte or self.execute_ns)

    def verifying_ns(self, envelope: Envelope, unseen: Set[bytes]) -> int:
        """What it takes to verify those of an envelope's signatures that are `unseen`."""
        if self.verification == "aggregate":
            return self._aggregates_ns(envelope, unseen)
        if self.verification == "batch" and len(unseen) > 1:
            return self.batch_base_ns + self.batch_ns * len(unseen)
        return self.verify_ns * len(unseen)

    def _aggregates_ns(self, envelope: Envelope, unseen: Set[bytes]) -> int:
        """Certificates as wholes; what else is signed, the message first of all, one by one."""
        cost_ns, alone = 0, set(unseen)
        for signatures in {certificate.signatures for certificate in envelope.message.certificates()}:
            if not unseen.isdisjoint(signatures):
                cost_ns += self.aggregate_base_ns + self.aggregate_ns * len(signatures)
                alone.difference_update(signatures)
        return cost_ns + self.verify_ns * len(alone)

    def hashing_ns(self, size_bytes: int) -> int:
        """What it takes to hash so many bytes, to the nearest nanosecond."""
        return (self.hash_ps_per_byte * size_bytes + _PS_PER_NS // 2) // _PS_PER_NS


class Work(msgspec.Struct, kw_only=True):
    """What a CPU was asked to do, in ns of its time."""

    sign_ns: int = 0
    verify_ns: int = 0
    hash_ns: int = 0
    execute_ns: int = 0
    undone_ns: int = 0
    """Of all these, what a crash or the end of the run came before."""
    messages: int = 0
    """Messages that came,"""
    queued_ns: int = 0
    """how much work lay ahead of them when they did, in total"""
    queued_max_ns: int = 0
    """and at most."""

    @property
    def busy_ns(self) -> int:
        """How long the CPU has worked."""
        return self.sign_ns + self.verify_ns + self.hash_ns + self.execute_ns - self.undone_ns

    def __add__(self, other: Work) -> Work:
        """Both together: two incarnations of one CPU."""
        most_ns = max(self.queued_max_ns, other.queued_max_ns)
        sums = {field: getattr(self, field) + getattr(other, field) for field in self.__struct_fields__}
        return Work(**(sums | {"queued_max_ns": most_ns}))


class Processor:
    """The CPU of one replica: what it has seen lately, and the books of its work. Memory does not grow.

    Whoever gives it something to do says when it can begin, and is told when it is done; both in ns.
    """

    __slots__ = (
        "_cpu",
        "_each_ns",
        "_execute_ns",
        "_hash_ns",
        "_messages",
        "_queued_max_ns",
        "_queued_ns",
        "_seen",
        "_seen_before",
        "_sign_ns",
        "_undone_ns",
        "_verifies",
        "_verify_ns",
        "busy_until_ns",
        "hashes",
        "owed_ns",
    )

    def __init__(self, cpu: Cpu) -> None:
        self.busy_until_ns = 0
        """When it is done with what it has been given so far."""
        self.owed_ns = 0
        """What the committed blocks take that are still to be executed."""
        self.hashes = bool(cpu.hash_ps_per_byte)
        """Whether hashing takes any time."""
        self._cpu = cpu
        self._verifies = cpu.verifies
        self._each_ns = cpu.verify_ns if cpu.verification == "single" else 0
        self._sign_ns = self._verify_ns = self._hash_ns = self._execute_ns = self._undone_ns = 0
        self._messages = self._queued_ns = self._queued_max_ns = 0
        self._seen: set[bytes] = set()
        self._seen_before: set[bytes] = set()

    def check(self, envelope: Envelope, due_ns: int, now_ns: int) -> int:
        """Verify and hash a message that came at `due_ns`."""
        self._messages += 1
        queued_ns = now_ns - due_ns
        if queued_ns:
            self._queue(queued_ns)
        if self._verifies:
            seen, unseen = self._seen, envelope.signatures
            if not (seen.isdisjoint(unseen) and self._seen_before.isdisjoint(unseen)):
                # Seen lately, alone or in a certificate.
                unseen = unseen - seen - self._seen_before
            if unseen:
                cost_ns = self._each_ns * len(unseen) or self._cpu.verifying_ns(envelope, unseen)
                self._verify_ns += cost_ns
                self.busy_until_ns = now_ns = now_ns + cost_ns
                seen.update(unseen)
                if len(seen) > _SIGNATURES_REMEMBERED:
                    self._seen, self._seen_before = set(), seen
        return self._hash(envelope.size_bytes, now_ns) if self.hashes else now_ns

    def seal(self, envelope: Envelope, now_ns: int) -> int:
        """Hash and sign a message that is about to leave."""
        if self._cpu.sign_ns:
            self._sign_ns += self._cpu.sign_ns
            self.busy_until_ns = now_ns = now_ns + self._cpu.sign_ns
        return self._hash(envelope.size_bytes, now_ns) if self.hashes else now_ns

    def take(self, size_bytes: int, due_ns: int, now_ns: int) -> int:
        """Hash what came at `due_ns` for the mempool: nobody signed it."""
        self._messages += 1
        if now_ns > due_ns:
            self._queue(now_ns - due_ns)
        return self._hash(size_bytes, now_ns)

    def _queue(self, queued_ns: int) -> None:
        self._queued_ns += queued_ns
        if queued_ns > self._queued_max_ns:
            self._queued_max_ns = queued_ns

    def _hash(self, size_bytes: int, now_ns: int) -> int:
        hash_ns = self._cpu.hashing_ns(size_bytes)
        self._hash_ns += hash_ns
        self.busy_until_ns = now_ns + hash_ns
        return self.busy_until_ns

    def owe(self, block: Block) -> None:
        """A block is committed, and to be executed."""
        self.owed_ns += self._cpu.execute_ns * block.payload.count

    def execute(self, now_ns: int) -> int:
        """Execute the blocks that are to be."""
        self._execute_ns += self.owed_ns
        self.busy_until_ns = now_ns + self.owed_ns
        self.owed_ns = 0
        return self.busy_until_ns

    def crash(self, at_ns: int) -> None:
        """Forget everything."""
        self._undone_ns += max(0, self.busy_until_ns - at_ns)
        self.busy_until_ns = min(self.busy_until_ns, at_ns)
        self.owed_ns = 0
        self._seen, self._seen_before = set(), set()

    def work(self, by_ns: int) -> Work:
        """What it has been given, of which what it has not done by then counts as undone."""
        return Work(
            sign_ns=self._sign_ns,
            verify_ns=self._verify_ns,
            hash_ns=self._hash_ns,
            execute_ns=self._execute_ns,
            undone_ns=self._undone_ns + max(0, self.busy_until_ns - by_ns),
            messages=self._messages,
            queued_ns=self._queued_ns,
            queued_max_ns=self._queued_max_ns,
        )
