"""What unit tests of replicas share: a seat, signed-looking votes, certificates, blocks."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from consensus.effects import Effect, Persist
from consensus.messages import GENESIS, Block, Message, Payload, QuorumCertificate, TimeoutCertificate, Vote
from consensus.replica import Replica, Seat
from consensus.types import Committee, Height, ReplicaId, View

DELTA_NS = 100


def seat(me: int, parameters: Any, n: int = 4, **changes: Any) -> Seat:
    """Replica `me` of `n`, with Δ = 100 ns and nothing to propose."""
    return Seat(
        **{
            "me": ReplicaId(me),
            "committee": Committee.of(n),
            "delta_ns": DELTA_NS,
            "timeout_ns": None,
            "random": random.Random(me),
            "payloads": lambda now_ns, most, parent: Payload(parent.payload.end, 0, 0),
            "block_max_bytes": 1000,
            "parameters": parameters,
            **changes,
        }
    )


def child(parent: Block, view: int, n: int = 4, count: int = 0) -> Block:
    """The block that the leader of `view` makes on `parent`."""
    payload = Payload(parent.payload.end, count, count)
    return Block(parent.id, Height(parent.height + 1), View(view), ReplicaId(view % n), payload)


def chain(length: int, first_view: int = 1) -> list[Block]:
    """`length` blocks on genesis, one a view."""
    blocks = [GENESIS]
    for view in range(first_view, first_view + length):
        blocks.append(child(blocks[-1], view))
    return blocks[1:]


def certificate(phase: str, view: int, block: Block, *signers: int) -> QuorumCertificate:
    """As a tally would make it from unsigned votes."""
    replicas = tuple(ReplicaId(i) for i in signers or (0, 1, 2))
    return QuorumCertificate(View(view), replicas, (b"",) * len(replicas), phase, block.height, block.id)


def timeout_certificate(view: int, *high_views: int) -> TimeoutCertificate:
    """Replicas 0, 1 and 2 gave up `view`."""
    replicas = tuple(ReplicaId(i) for i in range(3))
    return TimeoutCertificate(View(view), replicas, (b"",) * 3, tuple(View(v) for v in high_views or (0, 0, 0)))


def vote(phase: str, view: int, block: Block) -> Vote:
    """An unsigned vote."""
    return Vote(phase, View(view), block.height, block.id)


def tell(replica: Replica, sender: int, message: Message, now_ns: int = 0) -> list[Effect]:
    """Deliver one message."""
    return list(replica.receive(ReplicaId(sender), message, now_ns))


def spoken(effects: Sequence[Effect]) -> list[Effect]:
    """The effects without what is only made durable."""
    return [effect for effect in effects if type(effect) is not Persist]
