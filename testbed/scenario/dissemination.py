"""How broadcasts spread, in detail: `[network.gossip]`, `[network.shreds]`, `[network.compact]`."""

from typing import Final

from testbed.scenario.base import Table
from testbed.scenario.quantities import (
    Count,
    DataFile,
    Flag,
    MillisecondsOrZero,
    Name,
    Share,
    Shares,
    WholeOrZero,
)

WHOLE: Final = "whole"
"""What a committee calls replicas that have no part in compact blocks."""


class Gossip(Table):
    """dissemination = "gossip": whom members tell, and how."""

    peers: Count = 16
    """How many peers each member has, in a random graph; everybody else where there are no more."""
    peers_file: DataFile | None = None
    """A CSV of who has whom as a peer instead: two replica numbers a line, once for each pair."""
    push: WholeOrZero = 8
    """To so many of its peers a member sends each message at once, drawn anew for each;"""
    lazy: WholeOrZero = 6
    """so many of the others it tells that it has it, and who lacks it asks. More than there are means all."""
    announcement_bytes: WholeOrZero = 64
    """Size of telling,"""
    request_bytes: WholeOrZero = 64
    """and of asking."""
    heartbeat_ms: MillisecondsOrZero = 0.0
    """Telling waits for the next multiple of this; gossipsub: 1,000."""
    retry_ms: MillisecondsOrZero = 1000.0
    """Who has asked and not got it in this time asks the next one that told; 0: never."""
    rounds: Count = 1
    """How often a member pushes each message,"""
    round_ms: MillisecondsOrZero = 0.0
    """and how long after each other."""


class Shreds(Table):
    """dissemination = "shreds": how messages are cut, and how the pieces spread."""

    data: Count = 32
    """Any so many shreds give the message back;"""
    parity: WholeOrZero = 32
    """so many more are sent."""
    fanout: Count = 200
    """How many others each passes a shred on to."""
    header_bytes: WholeOrZero = 88
    """Added to each shred."""
    whole_below_bytes: WholeOrZero = 4096
    """Smaller messages go whole, a copy from the source to each."""


class Receiver(Table):
    """A kind of replica, as to what it lacks of a compact block."""

    name: Name
    """What committees call it."""
    misses: Share = 0.0
    """How often it lacks some transactions,"""
    missing: Shares = (0.1,)
    """and what share of the block's bytes; of several shares each time one is drawn."""


class Compact(Table):
    """Blocks go with references in place of transactions, and receivers ask for those they lack."""

    enabled: Flag = False
    """With dissemination = "unicast" or "gossip"."""
    reference_bytes: WholeOrZero = 6
    """Size of the reference to one transaction."""
    misses: Share = 0.0
    """Share of receivers that lack some transactions of a block,"""
    missing: Shares = (0.1,)
    """and what share of the block's bytes those lack; of several shares each time one is drawn."""
    request_bytes: WholeOrZero = 64
    """Size of asking."""
    receiver: tuple[Receiver, ...] = ()
    """Kinds of replicas that lack more or less than that."""
