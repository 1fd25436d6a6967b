"""HotStuff-2: Malkhi and Nayak, 2023 (IACR ePrint 2023/397), pipelined.

One proposal a view, whose votes are the second phase of the parent too, as rules over
`consensus/chained.py`.

- Propose: a leader that holds the certificate of the view before proposes at once. Any other may have missed a newer
  lock, and waits for P + Δ first: P = Δ for everybody's timeout to have left once a quorum's have arrived (f+1 of them
  are honest, went to all and are joined) and Δ for those to arrive, so that it knows every honest lock.
- Vote: the parent's certificate is at least as new as the lock.
- Lock: the certificate under the block voted for. Only votes lock, so that an honest lock is never newer than what the
  replica has reported in its last timeout, and nobody can raise it behind the leader's back.
- Commit: a block whose child is certified in the view right after its own.

Responsive but for that wait: views after a certificate never wait, nor does the second honest leader in a row.

Deviations: those of `consensus/chained.py`. In particular its pacemaker: timeouts go to all in every view, O(n²) each,
where the paper synchronises views once in f+1 for O(n) each on average; the timeouts also carry the locks that the
paper sends to the leader upon entering a view. A proposal after a timeout carries the timeout certificate that shows
that its view may begin, which the paper leaves to its pacemaker.

With leaders in turn a commit takes three live leaders in a row, two who propose and one who collects the last votes.

Faults: n > 3f. Constant delay δ: block b is proposed at 2δ(b-1) and committed at 2δ(b+1)+δ, so finality is 5δ and
the period 2δ; 2(n-1) messages a block, all in steady state with leaders in turn. A dead leader costs two timeouts, as
in HotStuff, and the next leader's wait: it proposes 2T + 3δ + 2Δ after the block whose votes were lost.
"""

from __future__ import annotations

from typing import Any

import msgspec

from consensus.chained import PHASE, ChainedReplica, Promise
from consensus.messages import Block, QuorumCertificate
from consensus.replica import Chained, ProtocolFacts, Seat
from consensus.types import ReplicaId, View

WAIT_DELTAS = 2


class HotStuff2Promise(Promise, frozen=True):
    """The lock is a promise too."""

    locked: View


class HotStuff2(ChainedReplica):
    """One replica of HotStuff-2."""

    facts = ProtocolFacts(
        name="hotstuff2",
        paper="Malkhi and Nayak, ePrint 2023/397, pipelined",
        fault_bound="n > 3f",
        responsive="yes, but for the first leader after a timeout",
        commit_delays="5δ",
        period="2δ",
        messages_per_block="2(n-1)",
        view_change="n(n-1) timeouts and 2Δ of waiting",
        shape=Chained(chain=2),
        timeout_deltas=10.0,
        one_vote_per=("view",),
        final_phase=PHASE,
    )

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        self.locked = View(0)

    def _hold_back_ns(self) -> int:
        """Propose: "if the leader has a certificate of view v-1 it proceeds, otherwise it waits"."""
        waited_ns = self.now_ns - self._turn_began_ns
        return max(0, WAIT_DELTAS * self.delta_ns - waited_ns) if self._timed_out() else 0

    def _on_certificate(self, sender: ReplicaId, certificate: QuorumCertificate) -> None:
        """The certificate of the view before may also come while its leader waits."""
        super()._on_certificate(sender, certificate)
        self._propose()

    def _safe(self, block: Block, justify: QuorumCertificate) -> bool:
        """Vote: the parent's certificate ranks no lower than the lock."""
        return justify.view >= self.locked

    def _vote(self, block: Block, justify: QuorumCertificate) -> None:
        """Vote: with the vote, lock on the parent's certificate."""
        self.locked = justify.view
        super()._vote(block, justify)

    def _on_certified(self, newest: Block) -> None:
        """Commit: certificates of a block and of its child in two consecutive views."""
        self._commit_chain(newest, 2)

    def _promise(self) -> HotStuff2Promise:
        return HotStuff2Promise(**msgspec.structs.asdict(super()._promise()), locked=self.locked)

    def _recall(self, promise: Any) -> None:
        super()._recall(promise)
        self.locked = promise.locked
