"""Protocols with one rule broken each, for the fuzzer to find. Scenario files name them, so they are importable."""

from __future__ import annotations

import os
import time
from dataclasses import replace

import msgspec

from consensus.effects import Persist
from consensus.messages import GENESIS, Block, Message, Timeout, TimeoutCertificate
from consensus.pacemaker import BftParameters
from consensus.protocols.hotstuff import HotStuff
from consensus.protocols.hotstuff2 import HotStuff2
from consensus.protocols.jolteon import Jolteon
from consensus.protocols.pbft import Pbft
from consensus.protocols.simplex import Simplex
from consensus.protocols.streamlet import Streamlet
from consensus.protocols.tendermint import Tendermint
from consensus.protocols.tendermint_messages import PRECOMMIT
from consensus.replica import Replica, Seat
from consensus.types import ReplicaId, View


class ForgetfulSimplex(Simplex):
    """It does not make durable what it has voted for."""

    def _promise(self) -> Persist:
        return Persist("nothing", GENESIS)


class CurtSimplex(Simplex):
    """It says everything once: what a lossy network swallows is lost."""

    def _nullify(self) -> None:
        if self.nullified < self.view:
            super()._nullify()


class SurprisedTendermint(Tendermint):
    """It raises where it meets what it did not expect."""

    def on_timer(self, timer: str) -> None:
        if timer == PRECOMMIT:
            raise ValueError("nobody told me that\nrounds can fail")
        super().on_timer(timer)


class FastJolteon(Jolteon):
    """It commits a certified parent, however many views lie between (the Fast-HotStuff attack, T1)."""

    def _linked(self, child: Block, parent: Block) -> bool:
        return True


class FastHotStuff2(HotStuff2):
    """The same, with HotStuff-2's locks."""

    def _linked(self, child: Block, parent: Block) -> bool:
        return True


class LocklessTendermint(Tendermint):
    """It forgets at each round's end what it is locked on (amnesia)."""

    def enter(self, view: View) -> None:
        self.locked = None
        super().enter(view)


class DeafJolteon(Jolteon):
    """It does not count timeouts: whoever is left behind stays there."""

    def _on_timeout(self, sender: ReplicaId, timeout: Timeout) -> None:
        pass


class _Fewer(Replica):
    """Votes of one replica too few are a quorum."""

    def __init__(self, seat: Seat) -> None:
        committee = replace(seat.committee, quorum=seat.committee.quorum - 1)
        super().__init__(replace(seat, committee=committee))


class FewerPbft(_Fewer, Pbft): ...


class FewerHotStuff(_Fewer, HotStuff): ...


class FewerStreamlet(_Fewer, Streamlet): ...


class FewerTendermint(_Fewer, Tendermint): ...


class RaisingHotStuff(HotStuff):
    """It raises when a view was given up."""

    def _on_timeout(self, sender: ReplicaId, timeout: Timeout) -> None:
        raise ValueError("nobody told me that\nviews can fail")


class EndlessHotStuff(HotStuff):
    """It never returns when a view was given up."""

    def _on_timeout(self, sender: ReplicaId, timeout: Timeout) -> None:
        while True:
            pass


class SleepingJolteon(Jolteon):
    """It sleeps when a timer runs out."""

    def on_timer(self, timer: str) -> None:
        time.sleep(3600)


class LeavingJolteon(Jolteon):
    """It ends its process when a timer runs out."""

    def on_timer(self, timer: str) -> None:
        os._exit(5)


class FallingSilentJolteon(Jolteon):
    """It goes no further than view 4."""

    def _enter(self, view: View, by: TimeoutCertificate | None = None) -> None:
        if view < 5:
            super()._enter(view, by)

    def on_timer(self, timer: str) -> None:
        if self.view < 4:
            super().on_timer(timer)


class Needs(BftParameters, frozen=True, kw_only=True):
    factor: int


class NeedyJolteon(Jolteon):
    """It has a parameter without a default."""

    Parameters = Needs


class OddJolteon(Jolteon):
    """It bears what no committee is made for."""

    facts = msgspec.structs.replace(Jolteon.facts, resilience=4)


class OwnJolteon(Jolteon):
    """It keeps what no copy could be made of, and draws by chance."""

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        self._seconds = (number * 1e-9 for number in range(1 << 62))
        self._whoever = lambda: self

    def on_message(self, sender: ReplicaId, message: Message) -> None:
        assert self._whoever() is self
        next(self._seconds)
        if self.random.random() < 0.9:
            super().on_message(sender, message)
