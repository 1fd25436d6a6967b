"""Counting votes: a certificate is handed out exactly once, when the quorum is reached."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from consensus.messages import QuorumCertificate, Timeout, TimeoutCertificate, Vote
from consensus.types import BlockId, Height, ReplicaId, View

_Slot = tuple[str, View, Height, BlockId]

OPENED = 1024
"""In how many places one replica may be the first to vote. Nobody honest is so far ahead for long."""


def may_open(places: Mapping[Any, Collection[ReplicaId]], sender: ReplicaId) -> bool:
    """Whether a replica may be the first to vote in one more place: who votes everywhere must not fill our memory.

    `places` holds those who have voted in each place, in the order in which they did.
    """
    return len(places) < OPENED or sum(next(iter(voters), None) == sender for voters in places.values()) < OPENED


class Tally:
    """Votes by phase, view, height and block; a replica's second vote for the same thing counts nothing."""

    def __init__(self, quorum: int) -> None:
        self._quorum = quorum
        self._votes: dict[_Slot, dict[ReplicaId, bytes]] = {}

    def add(self, sender: ReplicaId, vote: Vote) -> QuorumCertificate | None:
        """Count one vote; returns the certificate if this vote completes the quorum, otherwise None."""
        slot = (vote.phase, vote.view, vote.height, vote.block)
        votes = self._votes.get(slot)
        if votes is None:
            if not may_open(self._votes, sender):
                return None
            votes = self._votes[slot] = {}
        elif sender in votes:
            return None
        votes[sender] = vote.signature
        if len(votes) != self._quorum:
            return None
        signers = tuple(sorted(votes))
        signatures = tuple(votes[signer] for signer in signers)
        return QuorumCertificate(vote.view, signers, signatures, vote.phase, vote.height, vote.block)

    def rivals(self, vote: Vote) -> set[ReplicaId]:
        """Who voted for another block in that phase and view."""
        return {
            sender
            for (phase, view, _, block), votes in self._votes.items()
            if (phase, view) == (vote.phase, vote.view) and block != vote.block
            for sender in votes
        }

    def forget_heights(self, up_to: Height) -> None:
        """Drop votes at or below a height that is settled."""
        self._votes = {slot: votes for slot, votes in self._votes.items() if slot[2] > up_to}

    def forget_views(self, below: View) -> None:
        """Drop votes of views that no certificate is wanted from any more."""
        self._votes = {slot: votes for slot, votes in self._votes.items() if slot[1] >= below}


class TimeoutTally:
    """Timeouts by view."""

    def __init__(self, quorum: int) -> None:
        self._quorum = quorum
        self._timeouts: dict[View, dict[ReplicaId, Timeout]] = {}

    def add(self, sender: ReplicaId, timeout: Timeout) -> TimeoutCertificate | None:
        """Count one timeout; returns the certificate if it completes the quorum, otherwise None."""
        votes = self._timeouts.get(timeout.view)
        if votes is None:
            if not may_open(self._timeouts, sender):
                return None
            votes = self._timeouts[timeout.view] = {}
        elif sender in votes:
            return None
        votes[sender] = timeout
        if len(votes) != self._quorum:
            return None
        signers = tuple(sorted(votes))
        return TimeoutCertificate(
            timeout.view,
            signers,
            tuple(votes[signer].signature for signer in signers),
            tuple(votes[signer].high_certificate.view for signer in signers),
        )

    def count(self, view: View) -> int:
        """How many replicas gave up this view, as far as I know."""
        return len(self._timeouts.get(view, ()))

    def forget_views(self, below: View) -> None:
        """Drop timeouts of views that are over."""
        self._timeouts = {view: votes for view, votes in self._timeouts.items() if view >= below}
