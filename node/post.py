"""The post room of a node: what it says is sealed and put on its topic, what comes in is opened and looked at."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from network.mqtt import MqttLink
from node import topics
from node.frames import (
    ALL,
    LAUNCHER,
    Body,
    Commission,
    Farewell,
    Frame,
    Notice,
    Refusal,
    Refused,
    authenticate,
    open_commission,
    parse,
    seal,
)
from node.signing import SigningKey


class Sealer:
    """Seals one sender's frames, and numbers them as they come."""

    def __init__(self, run: str, sender: int, incarnation: int, key: SigningKey) -> None:
        self._run = run
        self._sender = sender
        self._incarnation = incarnation
        self._key = key
        self._serial = 0

    def seal(self, to: int, body: Body) -> bytes:
        """The bytes of a frame."""
        self._serial += 1
        return seal(Frame(self._run, self._sender, to, self._incarnation, self._serial, body), self._key)


class LauncherEar:
    """Hears the launcher and nobody who pretends to be it."""

    def __init__(self, run: str, replica: int) -> None:
        self._run = run
        self._replica = replica
        self._key: bytes | None = None
        self._serial = 0
        self._farewell = 0

    def commission(self, payload: bytes) -> Commission:
        """The commission in a payload, whose key is the launcher's from now on. Raises `Refused`."""
        commission = open_commission(payload, self._run, self._replica)
        self._key = commission.launcher
        return commission

    def notice(self, payload: bytes) -> Notice | Farewell | None:
        """What the launcher says; None for what it had said before. Raises `Refused`."""
        if self._key is None:
            # Whom to believe is not known yet; one broker brings this unasked, and will bring it again.
            return None
        frame = parse(payload)
        authenticate(frame, payload, self._run, {LAUNCHER: self._key})
        if not isinstance(frame.body, (Notice, Farewell)):
            raise Refused(Refusal.MISADDRESSED)
        if isinstance(frame.body, Farewell):
            # Written before the notices that it follows, so it has a count of its own.
            if frame.serial <= self._farewell:
                raise Refused(Refusal.REPLAYED)
            self._farewell = frame.serial
            return frame.body
        if frame.serial <= self._serial:
            # A broker repeats what it has retained at each connection.
            if frame.serial < self._serial:
                raise Refused(Refusal.REPLAYED)
            return None
        self._serial = frame.serial
        return frame.body


def check_from(topic: str, payload: bytes, frame: Frame, run: str, receiver: int, members: Mapping[int, bytes]) -> None:
    """Believe a member's frame only if it is for this receiver and came on its sender's topic. Raises `Refused`."""
    authenticate(frame, payload, run, members)
    allowed = (receiver,) if receiver == LAUNCHER else (ALL, receiver)
    if frame.to not in allowed or topics.sender_of(topic) != str(frame.sender):
        raise Refused(Refusal.MISADDRESSED)


def poster(link: MqttLink, run: str, sender: int) -> Callable[[int, bytes], None]:
    """`post(to, payload)`: publish where `to` listens to this sender."""

    def post(to: int, payload: bytes) -> None:
        link.publish(topics.outgoing(run, sender, to), payload)

    return post
