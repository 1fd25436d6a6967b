"""PBFT's view changes: Castro and Liskov, OSDI 1999, section 4.4 and 4.5.2. The normal case is in `pbft`.

`ViewChanging` owns what survives from view to view: the view itself, what was accepted and prepared, and the
newest commit certificate. `Pbft` above it owns the normal case and is told through four hooks.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator

import msgspec

from consensus.chain import ChainReplica
from consensus.effects import Broadcast, Entered, Persist, Reason, Send, SetTimer
from consensus.messages import (
    Block,
    Certificate,
    Evidence,
    Message,
    QuorumCertificate,
    genesis_certificate,
)
from consensus.pacemaker import timeout_ns
from consensus.replica import Recovered, Seat
from consensus.types import BlockId, Height, ReplicaId, View

PREPARE, COMMIT = "prepare", "commit"
TIMEOUT_DELTAS = 8.0
MAX_DOUBLINGS = 10
REQUEST = "request"


class Prepared(msgspec.Struct, frozen=True, array_like=True):
    """Section 4.4, an element of P: a prepared certificate and the header it certifies."""

    certificate: QuorumCertificate
    header: Block


class ViewChange(Message, frozen=True, array_like=True, tag=True):
    """Section 4.4: `replica` asks for `view`, with what it has committed and what it has prepared above that."""

    view: View
    replica: ReplicaId
    committed: QuorumCertificate
    prepared: tuple[Prepared, ...]

    @property
    def kind(self) -> str:
        return "view_change"

    def certificates(self) -> Iterator[Certificate]:
        yield self.committed
        for prepared in self.prepared:
            yield prepared.certificate


class NewView(Message, frozen=True, array_like=True, tag=True):
    """Section 4.4: a quorum's view changes. What they let survive (O) follows from them, so it is not sent."""

    view: View
    changes: tuple[ViewChange, ...]

    @property
    def kind(self) -> str:
        return "new_view"

    def certificates(self) -> Iterator[Certificate]:
        for change in self.changes:
            yield from change.certificates()

    def evidence(self) -> Iterator[Evidence]:
        yield from super().evidence()
        for change in self.changes:
            yield change.replica, change.statement(), change.signature


class Promise(msgspec.Struct, frozen=True):
    """What a restarted replica must remember so as never to contradict itself."""

    view: View
    changing: bool
    accepted: tuple[Block, ...]
    survivors: tuple[Block, ...]
    prepared: tuple[Prepared, ...]
    committed: QuorumCertificate


def surviving(changes: Iterable[ViewChange]) -> tuple[QuorumCertificate, list[Prepared]]:
    """Section 4.4, min-s and O: the newest commit certificate among the view changes, and what follows it.

    Above that certificate, at each height, the block prepared in the highest view survives, as long as each
    extends the one below. Nothing above a gap can have committed: whoever votes to commit a block has prepared all
    between it and the certificate that it reports.
    """
    changes = list(changes)
    base = max((change.committed for change in changes), key=lambda certificate: certificate.height)
    chain: list[Prepared] = []
    tip, height = base.block, base.height + 1
    while True:
        candidates = [
            prepared
            for change in changes
            for prepared in change.prepared
            if prepared.header.height == height and prepared.header.parent == tip
        ]
        if not candidates:
            return base, chain
        newest = max(candidates, key=lambda prepared: prepared.certificate.view)
        chain.append(newest)
        tip, height = newest.header.id, height + 1


class ViewChanging(ChainReplica):
    """The part of a PBFT replica that outlives views."""

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        self.view = View(0)
        self.changing = False
        self.accepted: dict[Height, Block] = {}
        self.prepared: dict[Height, Prepared] = {}
        self.proofs: dict[Height, QuorumCertificate] = {}
        """Commit certificates that are not acted upon yet."""
        self.committed = genesis_certificate(COMMIT)
        self.survivors: list[Block] = []
        """Blocks of the new view that wait to be accepted, lowest first."""
        self.doublings = 0
        self._timeout_ns = timeout_ns(seat, TIMEOUT_DELTAS)
        self._changes: dict[ReplicaId, ViewChange] = {}
        self._new_view: NewView | None = None

    @abstractmethod
    def accept(self, block: Block) -> None:
        """The new view gives this block to its height again."""

    @abstractmethod
    def commit_by_proof(self, source: ReplicaId, proof: QuorumCertificate) -> None:
        """A quorum has committed this; `source` should hold it."""

    @abstractmethod
    def resume(self) -> None:
        """The new view has begun."""

    def primary(self, view: int) -> ReplicaId:
        """Section 4: p = v mod n."""
        return self.leader(view)

    def await_progress(self) -> None:
        """Start the request timer; it doubles with every view in a row that brought nothing (section 4.5.2)."""
        self.emit(SetTimer(REQUEST, self._timeout_ns << min(self.doublings, MAX_DOUBLINGS)))

    def no_progress(self) -> None:
        """The request timer ran out: ask for the next view, but wait for a quorum before going further still.

        Whoever asks for a later view has given this one up too; not to count it would keep two groups apart for ever.
        """
        given_up = sum(change.view >= self.view for change in self._changes.values())
        if not self.changing or given_up >= self.committee.quorum:
            self._ask_for(View(self.view + 1))
        else:
            self.emit(Broadcast(self._view_change()))
            self.await_progress()

    def follow_to(self, view: View) -> None:
        """A quorum has worked in a later view: go there and ask its primary how it began."""
        self._leave_for(view)
        self.emit(Send(self.primary(view), self._view_change()))

    def persist_promise(self) -> None:
        """Make durable what the next vote or view change relies on."""
        accepted = tuple(self.accepted.values())
        prepared = tuple(self.prepared.values())
        promise = Promise(self.view, self.changing, accepted, tuple(self.survivors), prepared, self.committed)
        self.emit(Persist("promise", promise))

    def recover_promise(self, recovered: Recovered) -> None:
        """Take up again what was promised before a crash."""
        promise: Promise | None = recovered.get("promise")
        if promise is not None:
            self.view, self.changing, self.committed = promise.view, promise.changing, promise.committed
            self.accepted = {block.height: block for block in promise.accepted}
            self.survivors = list(promise.survivors)
            self.prepared = {prepared.header.height: prepared for prepared in promise.prepared}

    def is_prepared(self, height: int) -> bool:
        """Section 4.2, prepared(m, v, n): whether this height has a certificate of the current view."""
        prepared = self.prepared.get(Height(height))
        return prepared is not None and prepared.certificate.view == self.view

    def accepted_id(self, height: int) -> BlockId | None:
        """The block accepted for this height in the current view."""
        block = self.accepted.get(Height(height))
        return None if block is None else block.id

    def lacks_committed(self) -> bool:
        """Whether others have committed blocks that are still being fetched."""
        return any(self.tree.get(proof.block, height) is None for height, proof in self.proofs.items())

    def _ask_for(self, view: View) -> None:
        self._leave_for(view)
        self.emit(Broadcast(self._view_change()))

    def _leave_for(self, view: View) -> None:
        self.view, self.changing = view, True
        self.accepted.clear()
        self.survivors.clear()
        self.doublings += 1
        self.persist_promise()
        self.emit(Entered(view, timed_out=True))
        self.await_progress()

    def _view_change(self) -> ViewChange:
        prepared = tuple(self.prepared[height] for height in sorted(self.prepared))
        return ViewChange(self.view, self.me, self.committed, prepared)

    def _changes_to(self, view: View) -> list[ViewChange]:
        return [self._changes[sender] for sender in sorted(self._changes) if self._changes[sender].view == view]

    def on_view_change(self, sender: ReplicaId, change: ViewChange) -> None:
        """Collect; help those behind; join f+1 who are ahead; as the new primary, begin with a quorum."""
        if change.replica != sender or not self._sound(change):
            self.reject(sender, Reason.WEAK_CERTIFICATE)
            return
        current = self._new_view
        if current is not None and change.view <= current.view and sender != self.me:
            self.emit(Send(sender, msgspec.structs.replace(current, signature=b"")))
            return
        held = self._changes.get(sender)
        if held is not None and held.view > change.view:
            return
        # Who says it again, because it cannot know that it was heard, makes nobody wait anew.
        news = held is None or held.view < change.view
        self._changes[sender] = change
        ahead = sorted(other.view for other in self._changes.values() if other.view > self.view)
        if len(ahead) > self.committee.f:
            self._ask_for(ahead[0])
        changes = self._changes_to(self.view)
        if change.view == self.view and self.changing and len(changes) == self.committee.quorum:
            # Section 4.5.2: the timer of a view starts when a quorum has asked for it.
            if news:
                self.await_progress()
            if self.primary(self.view) == self.me:
                self.emit(Broadcast(NewView(self.view, tuple(changes))))

    def on_new_view(self, sender: ReplicaId, message: NewView) -> None:
        """Enter a view that a quorum has asked for.

        It may come from anybody: the quorum inside proves it, and as a replica accepts one block per height of a
        view, two different quorums for one view cannot both commit.
        """
        stale = message.view < self.view or (message.view == self.view and not self.changing)
        if stale:
            return
        voters = {change.replica for change in message.changes if change.view == message.view}
        sound = all(self._sound(change) for change in message.changes)
        if len(voters) < self.committee.quorum or len(voters) != len(message.changes) or not sound:
            self.reject(sender, Reason.WEAK_CERTIFICATE)
            return
        if message.view > self.view:
            self.emit(Entered(message.view, timed_out=True))
        self.view, self.changing, self._new_view = message.view, False, message
        self.accepted.clear()
        base, chain = surviving(message.changes)
        self.survivors = [prepared.header for prepared in chain]
        self.persist_promise()
        if base.height > self.tree.final.height:
            self.commit_by_proof(sender, base)
        self.await_progress()
        self.accept_survivors(sender)
        self.resume()

    def accept_survivors(self, source: ReplicaId) -> None:
        """Accept what survived, in order, as far as it is held; `source` should have the rest."""
        while self.survivors:
            lowest = self.survivors[0]
            if self.tree.get(lowest.id, lowest.height) is None:
                self.want(lowest.id, lowest.height, source)
                return
            self.accept(self.survivors.pop(0))

    def _sound(self, change: ViewChange) -> bool:
        """Quorums of distinct signers in every certificate, each for the block beside it."""
        base = change.committed
        if base.view == 0 and base.height == 0:
            proven = base.block == genesis_certificate(COMMIT).block
        else:
            proven = base.phase == COMMIT and base.proves(self.committee.quorum)
        return proven and all(
            prepared.certificate.phase == PREPARE
            and prepared.certificate.block == prepared.header.id
            and prepared.certificate.height == prepared.header.height
            and prepared.certificate.view < change.view
            and prepared.certificate.proves(self.committee.quorum)
            for prepared in change.prepared
        )
