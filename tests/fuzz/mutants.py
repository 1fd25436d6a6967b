"""Protocols with one rule broken each, for the fuzzer to find. Scenario files name them, so they are importable."""

from __future__ import annotations

from consensus.effects import Persist
from consensus.messages import GENESIS
from consensus.protocols.simplex import Simplex
from consensus.protocols.tendermint import Tendermint
from consensus.protocols.tendermint_messages import PRECOMMIT


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
