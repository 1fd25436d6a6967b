"""Frames: what was sealed is what is opened; whatever else arrives is refused for a reason, and nothing more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.frames import (
    ALL,
    LAUNCHER,
    MAX_FRAME_BYTES,
    Body,
    Commission,
    Farewell,
    Frame,
    Greeting,
    Notice,
    Piece,
    Pulse,
    Refusal,
    Refused,
    Request,
    Resumption,
    Word,
    authenticate,
    open_commission,
    parse,
    run_name,
    seal,
)
from node.signing import SIGNATURE_BYTES, SigningKey

KEYS = [SigningKey(bytes([i]) * 32) for i in range(3)]
MEMBERS = {i: key.public for i, key in enumerate(KEYS)}
OWNER = SigningKey(b"o" * 32)
RUN = run_name(OWNER.public)
WORD = Word(1, (7, -1), b"hi")
SMALL = Frame("r", 1, ALL, 5, 2, WORD)
COMMISSION = Frame(RUN, LAUNCHER, 2, 9, 1, Commission(OWNER.public, b"brief"))
BODIES: list[Body] = [
    WORD,
    Word(2**63, (), b""),
    Greeting(3, (0, 1, 2), ((0, 1, 1), (7, 2, 3), (9, 9, 9)), 5),
    Request(True, 4, 10**12),
    Resumption(False, 8, 3),
    Pulse(True, 3, 2, 100, 17, {"replayed": 4}),
    Piece(0, 2, bytes(range(256))),
    Notice(),
    Notice(123, True, (0, 2)),
    Farewell(),
    Commission(OWNER.public, b"brief"),
]


def packed(frame: Any) -> bytes:
    return msgspec.msgpack.encode(frame)


def judge(payload: bytes, run: str = "r", members: dict[int, bytes] = MEMBERS) -> Frame | Refusal:
    """The frame if it is believed, the reason if it is refused; whatever else is raised fails the test."""
    try:
        frame = parse(payload)
        authenticate(frame, payload, run, members)
    except Refused as refused:
        return refused.reason
    return frame


def judge_commission(payload: bytes, run: str = RUN, replica: int = 2) -> Commission | Refusal:
    try:
        return open_commission(payload, run, replica)
    except Refused as refused:
        return refused.reason


@pytest.mark.parametrize("body", BODIES, ids=lambda body: type(body).__name__)
def test_what_was_sealed_is_what_is_opened(body: Body) -> None:
    frame = Frame("r", 2, 0, 5, 6, body)
    opened = judge(seal(frame, KEYS[2]))
    assert opened == frame
    assert isinstance(opened, Frame)
    assert type(opened.body) is type(body)


def flips(payload: bytes) -> Iterator[tuple[int, bytes]]:
    """Every bit of it, and what it is with that bit flipped."""
    for flipped in range(8 * len(payload)):
        wrong = bytearray(payload)
        wrong[flipped // 8] ^= 1 << flipped % 8
        yield flipped, bytes(wrong)


def test_a_frame_with_any_bit_flipped_is_refused() -> None:
    for flipped, payload in flips(seal(SMALL, KEYS[1])):
        reason = judge(payload)
        assert isinstance(reason, Refusal), flipped
        assert (reason is Refusal.BAD_SIGNATURE) or flipped >= 8 * SIGNATURE_BYTES


def test_a_commission_with_any_bit_flipped_is_refused() -> None:
    good = seal(COMMISSION, OWNER)
    assert judge_commission(good) == COMMISSION.body
    for flipped, payload in flips(good):
        assert isinstance(judge_commission(payload), Refusal), flipped


@pytest.mark.parametrize("body", BODIES, ids=lambda body: type(body).__name__)
def test_a_frame_that_ends_early_is_refused_as_such(body: Body) -> None:
    payload = seal(Frame("r", 1, ALL, 5, 2, body), KEYS[1])
    assert {judge(payload[:length]) for length in range(len(payload))} == {Refusal.TRUNCATED}


def test_a_frame_that_goes_on_after_its_end_is_refused() -> None:
    payload = seal(SMALL, KEYS[1])
    for more in (b"\0", b"\xc0", payload):
        assert judge(payload + more) is Refusal.MALFORMED
    # Even when the signature covers it.
    content = packed(SMALL) + b"\0"
    assert judge(KEYS[1].sign(b"quorbit/frame/1" + content) + content) is Refusal.MALFORMED


@given(payload=st.binary(max_size=300))
@settings(deadline=None, max_examples=500)
def test_random_bytes_are_refused(payload: bytes) -> None:
    assert isinstance(judge(payload), Refusal)
    assert isinstance(judge_commission(payload), Refusal)


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=3) | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=6,
)


@given(fields=st.lists(anything, min_size=4, max_size=7), body=st.lists(anything, max_size=6), tag=st.integers(-1, 10))
@settings(deadline=None, max_examples=100)
def test_well_formed_nonsense_is_refused(fields: list[Any], body: list[Any], tag: int) -> None:
    for content in (fields, ["r", 1, ALL, 1, 1, body], ["r", 1, ALL, 1, 1, [tag, *body]]):
        assert isinstance(judge(bytes(SIGNATURE_BYTES) + packed(content)), Refusal)


@given(body=st.sampled_from(BODIES), place=st.integers(0, 10**6), junk=st.binary(max_size=9), cut=st.integers(0, 9))
@settings(deadline=None, max_examples=500)
def test_a_frame_that_was_tampered_with_is_refused(body: Body, place: int, junk: bytes, cut: int) -> None:
    good = seal(Frame("r", 1, ALL, 5, 2, body), KEYS[1])
    place %= len(good)
    tampered = good[:place] + junk + good[place + cut :]
    assert isinstance(judge(tampered), Refusal) or tampered == good


def test_what_is_too_large_is_refused_before_it_is_read() -> None:
    fits = seal(Frame("r", 1, ALL, 5, 2, Word(1, (), bytes(MAX_FRAME_BYTES - 100))), KEYS[1])
    assert len(fits) <= MAX_FRAME_BYTES
    assert isinstance(judge(fits), Frame)
    assert judge(bytes(MAX_FRAME_BYTES + 1)) is Refusal.OVERSIZED
    assert judge(fits + bytes(MAX_FRAME_BYTES + 1 - len(fits))) is Refusal.OVERSIZED
    assert judge(fits + bytes(MAX_FRAME_BYTES - len(fits))) is Refusal.MALFORMED


@pytest.mark.parametrize("opening", [b"\x91", b"\x81\xa0", b"\xdd\x00\x00\x00\x01"])
@pytest.mark.parametrize("place", range(7))
def test_what_is_nested_deeply_is_refused(opening: bytes, place: int) -> None:
    fields = [packed(field) for field in ("r", 1, ALL, 1, 1, WORD)]
    fields[place:place] = [opening * 200_000 + b"\xc0"]
    assert judge(bytes(SIGNATURE_BYTES) + b"\x97" + b"".join(fields)) is Refusal.MALFORMED


@pytest.mark.parametrize("length", [b"\xdd\xff\xff\xff\xff", b"\xdd\x7f\xff\xff\xff", b"\xdc\xff\xff"])
def test_a_length_that_nothing_follows_costs_nothing(length: bytes) -> None:
    """A frame of a hundred bytes that says it holds four thousand million numbers."""
    opening = b"\x96" + b"".join(packed(field) for field in ("r", 1, ALL, 1, 1)) + b"\x94\x00\x01"
    assert judge(bytes(SIGNATURE_BYTES) + opening + length + bytes(20)) is Refusal.TRUNCATED


def test_a_frame_of_another_run_is_refused() -> None:
    payload = seal(SMALL, KEYS[1])
    assert judge(payload, run="q") is Refusal.WRONG_RUN
    assert judge(payload) == SMALL


@pytest.mark.parametrize("sender", [3, 10**9, LAUNCHER, ALL, -3, 2**64 - 1])
def test_a_sender_who_is_no_member_is_refused(sender: int) -> None:
    frame = msgspec.structs.replace(SMALL, sender=sender)
    assert {judge(seal(frame, key)) for key in KEYS} == {Refusal.UNKNOWN_SENDER}


def test_nobody_signs_for_another() -> None:
    for sender in MEMBERS:
        frame = msgspec.structs.replace(SMALL, sender=sender)
        judged = [judge(seal(frame, key)) for key in KEYS]
        expected: list[Any] = [Refusal.BAD_SIGNATURE] * 3
        expected[sender] = frame
        assert judged == expected


def test_a_signature_is_for_one_frame_and_for_frames_only() -> None:
    signature = seal(SMALL, KEYS[1])[:SIGNATURE_BYTES]
    for field, value in (("run", "s"), ("to", 2), ("incarnation", 6), ("serial", 3), ("body", Farewell())):
        other = msgspec.structs.replace(SMALL, **{field: value})
        assert judge(signature + packed(other), run=other.run) is Refusal.BAD_SIGNATURE
    # What a replica signs is no frame, even if it reads like one.
    content = packed(SMALL)
    assert judge(KEYS[1].sign(content) + content) is Refusal.BAD_SIGNATURE


def test_a_run_is_named_after_its_owner() -> None:
    assert len(RUN) == 24
    assert run_name(OWNER.public) == RUN != run_name(KEYS[0].public)


def test_only_its_owner_gives_out_a_runs_commissions() -> None:
    thief = KEYS[0]
    assert judge_commission(seal(COMMISSION, OWNER)) == COMMISSION.body
    # With the owner's key in it, and another's signature; with another's key in it and that one's signature.
    assert judge_commission(seal(COMMISSION, thief)) is Refusal.BAD_SIGNATURE
    own = msgspec.structs.replace(COMMISSION, body=Commission(thief.public, b"brief"))
    assert judge_commission(seal(own, thief)) is Refusal.UNKNOWN_SENDER
    assert judge_commission(seal(own, OWNER)) is Refusal.UNKNOWN_SENDER


@pytest.mark.parametrize(
    "frame",
    [
        msgspec.structs.replace(COMMISSION, run="another"),
        msgspec.structs.replace(COMMISSION, sender=0),
        msgspec.structs.replace(COMMISSION, sender=ALL),
        msgspec.structs.replace(COMMISSION, body=Notice(1)),
        msgspec.structs.replace(COMMISSION, body=Piece(0, 1, OWNER.public)),
    ],
)
def test_what_the_owner_signed_for_something_else_is_no_commission(frame: Frame) -> None:
    assert judge_commission(seal(frame, OWNER)) is Refusal.WRONG_RUN


def test_a_commission_of_another_run_of_the_same_owner_is_none_of_ours() -> None:
    assert judge_commission(seal(COMMISSION, OWNER), run="another") is Refusal.WRONG_RUN


@pytest.mark.parametrize("replica", [0, 1, 3, ALL, LAUNCHER])
def test_a_commission_of_another_is_misaddressed(replica: int) -> None:
    assert judge_commission(seal(COMMISSION, OWNER), replica=replica) is Refusal.MISADDRESSED


@pytest.mark.parametrize("frame", [SMALL, Frame("r", 1, LAUNCHER, 5, 2, Pulse(True, 1, 1, 1, 1, {"replayed": 1}))])
def test_text_that_is_no_utf_8_is_refused(frame: Frame) -> None:
    content = packed(frame)
    for text in (b"\xa1r", b"\xa8replayed"):
        if text in content:
            spoilt = content.replace(text, text[:1] + b"\xff" * (len(text) - 1))
            assert judge(KEYS[1].sign(b"quorbit/frame/1" + spoilt) + spoilt) is Refusal.MALFORMED
