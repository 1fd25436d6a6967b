"""What makes an effect one that a host can carry out: looked into when something broke, and once for each new type."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from consensus.effects import (
    Adopted,
    Broadcast,
    CancelTimer,
    Committed,
    Entered,
    Held,
    Persist,
    Rejected,
    Send,
    SetTimer,
)
from consensus.messages import Block, Message
from node.wire import decoder, encode

_SHOWN = 120


class Grammar:
    """What the replicas of one protocol may say, in a committee of `n`."""

    def __init__(self, messages: Sequence[type[Message]], n: int) -> None:
        self._messages = messages
        self._n = n
        self._decode = decoder(messages).decode

    def fault_in(self, effect: Any) -> str | None:
        """What is wrong with an effect, to go after what it is; None if nothing is."""
        match effect:
            case Persist():
                return self._fault_in_promise(effect)
            case Send():
                return self._fault_in_target(effect.to) or self._fault_in_message(effect.message)
            case Broadcast():
                return self._fault_in_message(effect.message)
            case SetTimer():
                return _fault_in_fields(effect) or _fault_in_delay(effect.delay_ns)
            case Entered():
                return _fault_in_fields(effect) or _fault_in_view(effect.view)
            case Held() | Adopted() | Committed():
                return _fault_in_block(effect.block)
            case CancelTimer() | Rejected():
                return _fault_in_fields(effect)
            case _:
                return "which is no effect"

    def _fault_in_target(self, to: Any) -> str | None:
        if type(to) is int and 0 <= to < self._n:
            return None
        return f"but replicas are the whole numbers 0 to {self._n - 1}"

    def _fault_in_message(self, message: Any) -> str | None:
        if not isinstance(message, Message):
            return f"whose message is no consensus.messages.Message but {_kind(message)}"
        if type(message) not in self._messages:
            return f"but {_kind(message)} is not among the `messages` that the protocol declares"
        try:
            arrived = self._decode(encode(message))
        except Exception as error:  # msgspec's, or whatever a __post_init__ raises
            return f"which cannot travel: {_in_words(error, type(message))}"
        if arrived != message:
            return f"which arrives as {shown(arrived)}"
        return _fault_in_answers(message)

    def _fault_in_promise(self, effect: Persist) -> str | None:
        if not isinstance(effect.key, str | bytes):
            return f"whose key is no text or bytes but {_kind(effect.key)}"
        value = effect.value
        if not isinstance(value, msgspec.Struct):
            return f"whose value is no msgspec.Struct but {_kind(value)}"
        return _fault_in_copy(value)


def shown(value: Any) -> str:
    """A value in one line, cut if it is long; whatever its own `repr` does."""
    try:
        text = " ".join(repr(value).split())
    except Exception:
        text = reprlib.repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _fault_in_answers(message: Message) -> str | None:
    """What hosts and observers ask of every message has an answer of the right kind."""
    wanted: dict[str, tuple[Callable[[], Any], Any]] = {
        "kind": (lambda: message.kind, str),
        "payload_bytes": (lambda: message.payload_bytes, int),
        "payload_count": (lambda: message.payload_count, int),
        "proposes()": (message.proposes, Block | None),
        "statement()": (message.statement, Message),
        "certificates()": (lambda: tuple(message.certificates()), tuple),
        "evidence()": (lambda: tuple(message.evidence()), tuple),
    }
    for name, (ask, kind) in wanted.items():
        try:
            answer = ask()
        except Exception as error:
            return f"whose {name} raises {type(error).__name__}: {error}"
        if not isinstance(answer, kind):
            return f"whose {name} gives {shown(answer)}"
    return None


def _fault_in_fields(effect: SetTimer | CancelTimer | Entered | Rejected) -> str | None:
    try:
        msgspec.convert(msgspec.structs.asdict(effect), type(effect))
    except msgspec.ValidationError as error:
        return f"which is wrong: {_in_words(error, type(effect))}"
    return None


def _fault_in_delay(delay_ns: int) -> str | None:
    return "whose delay is less than nothing" if delay_ns < 0 else None


def _fault_in_view(view: int) -> str | None:
    return None if 0 <= view < 1 << 63 else "whose view is less than 0, or more than 63 bits"


def _fault_in_block(block: Any) -> str | None:
    if not isinstance(block, Block):
        return f"whose block is no consensus.messages.Block but {_kind(block)}"
    return _fault_in_copy(block)


def _fault_in_copy(value: msgspec.Struct) -> str | None:
    """Whatever is written down must be read again as what it was."""
    try:
        copy = msgspec.msgpack.decode(msgspec.msgpack.encode(value), type=type(value))
    except Exception as error:  # msgspec's, or whatever a __post_init__ raises
        return f"which cannot be written down and read again: {_in_words(error, type(value))}"
    return None if copy == value else f"which is read again as {shown(copy)}"


def _in_words(error: Exception, kind: type[msgspec.Struct]) -> str:
    """msgspec's "Expected `int`, got `float` - at `$[3]`", with the field's name where it is one of `kind`."""
    found = re.fullmatch(r"Expected `(.+)`, got `(.+)` - at `\$\.?(\w*)(?:\[(\d+)\])?(.*)`", str(error))
    if found is None:
        return str(error)
    wanted, given, name, place, deeper = found.groups()
    if place is not None and not name:
        # In an array, the tag stands first.
        position = int(place) - (kind.__struct_config__.tag is not None)
        name = kind.__struct_fields__[position] if 0 <= position < len(kind.__struct_fields__) else f"[{place}]"
    return f"its {name}{deeper} must be {wanted}, not {given}"


def _kind(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
