"""Giving a view up by vote: what Simplex and its kin share.

A vote to nullify says "no block in this view" (Simplex calls it a vote for the dummy block). A quorum of them lets
everybody go on to the next view. It names no block, so it is no `Vote` and cannot contradict one.
"""

from __future__ import annotations

from collections.abc import Iterator

from consensus.messages import Certificate, Evidence, Message
from consensus.tally import may_open
from consensus.types import ReplicaId, View


class Nullify(Message, frozen=True, array_like=True, tag=True):
    """A signed "no block in `view`"."""

    view: View


class Nullification(Certificate, frozen=True, array_like=True):
    """A quorum's votes to nullify one view."""

    def evidence(self) -> Iterator[Evidence]:
        vote = Nullify(self.view)
        for signer, signature in zip(self.signers, self.signatures, strict=True):
            yield signer, vote, signature


class NullifyTally:
    """Votes to nullify by view; a certificate is handed out exactly once, when the quorum is reached."""

    def __init__(self, quorum: int) -> None:
        self._quorum = quorum
        self._votes: dict[View, dict[ReplicaId, bytes]] = {}

    def add(self, sender: ReplicaId, vote: Nullify) -> Nullification | None:
        """Count one vote; returns the certificate if this vote completes the quorum, otherwise None."""
        votes = self._votes.get(vote.view)
        if votes is None:
            if not may_open(self._votes, sender):
                return None
            votes = self._votes[vote.view] = {}
        elif sender in votes:
            return None
        votes[sender] = vote.signature
        if len(votes) != self._quorum:
            return None
        signers = tuple(sorted(votes))
        return Nullification(vote.view, signers, tuple(votes[signer] for signer in signers))

    def voters(self, view: View) -> set[ReplicaId]:
        """Who voted to nullify it."""
        return set(self._votes.get(view, ()))

    def forget_views(self, below: View) -> None:
        """Drop votes of views that are over."""
        self._votes = {view: votes for view, votes in self._votes.items() if view >= below}
