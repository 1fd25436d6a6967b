"""What a run over processes is asked for, what it says meanwhile, and how it is interrupted."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from network.broker import BrokerAddress
from testbed.launch.brokers import Broker
from testbed.launch.desk import NodeView


@dataclass(frozen=True)
class NodesProgress:
    """How far a run over processes has come."""

    virtual_s: float
    """Negative before the start."""
    duration_s: float
    nodes: Sequence[NodeView]


@dataclass(frozen=True)
class Options:
    """How to run a scenario's nodes, where that differs from the usual."""

    by_hand: frozenset[int] = frozenset()
    """Replicas whose nodes somebody else starts."""
    tell: Callable[[str], None] = lambda sentence: print(sentence, file=sys.stderr)
    """Where to say what the user must know or do."""
    progress: Callable[[NodesProgress], None] | None = None
    broker: Broker | BrokerAddress | None = None
    """Instead of what the scenario names, with the environment's credentials."""


class Interruption:
    """Ctrl-C, or being asked to end, as something to wait for."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> Interruption:
        main = threading.current_thread() is threading.main_thread()
        numbers = (signal.SIGINT, signal.SIGTERM) if main else ()
        self._before = {number: signal.signal(number, self._ask) for number in numbers}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: object) -> None:
        self.asked = True
