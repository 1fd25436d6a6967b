"""The trace: each event to whoever watches it, in order."""

from typing import Any

from consensus.effects import Adopted, Committed, Entered, Held, Reason, Rejected
from consensus.messages import GENESIS
from consensus.types import ReplicaId, View
from node.trace import EVENTS, Observer, Trace


class Watcher(Observer):
    def __init__(self, log: list[Any], name: str) -> None:
        self.log, self.name = log, name

    def committed(self, now_ns: int, replica: ReplicaId, block: Any) -> None:
        self.log.append((self.name, "committed", now_ns, replica))

    def entered(self, now_ns: int, replica: ReplicaId, view: View, timed_out: bool) -> None:
        self.log.append((self.name, "entered", view, timed_out))


class Curious(Watcher):
    def rejected(self, now_ns: int, replica: ReplicaId, sender: ReplicaId, reason: str) -> None:
        self.log.append((self.name, "rejected", sender, reason))


def test_observers_hear_what_they_ask_for_in_the_order_they_were_given() -> None:
    log: list[Any] = []
    trace = Trace([Watcher(log, "a"), Curious(log, "b"), Observer()])
    for fact in (
        Committed(GENESIS),
        Held(GENESIS),
        Adopted(GENESIS),
        Entered(View(3), timed_out=True),
        Rejected(ReplicaId(2), Reason.WRONG_LEADER),
    ):
        trace.recorders[type(fact)](7, ReplicaId(1), fact)
    assert log == [
        ("a", "committed", 7, 1),
        ("b", "committed", 7, 1),
        ("a", "entered", 3, True),
        ("b", "entered", 3, True),
        ("b", "rejected", 2, "wrong_leader"),
    ]


def test_every_event_can_be_told() -> None:
    trace = Trace([Observer()])
    assert "sent" in EVENTS
    for event in EVENTS:
        trace.tell(event, *range(5))
