"""The post room: frames are for whom they are addressed to, from whom they say, and on that one's topic."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from node import topics
from node.frames import (
    ALL,
    LAUNCHER,
    Body,
    Commission,
    Farewell,
    Frame,
    Notice,
    Pulse,
    Refusal,
    Refused,
    Request,
    Word,
    parse,
    run_name,
    seal,
)
from node.post import LauncherEar, Sealer, check_from, poster
from node.signing import SigningKey

N = 4
KEYS = [SigningKey(bytes([i]) * 32) for i in range(N)]
MEMBERS = {i: key.public for i, key in enumerate(KEYS)}
OWNER, THIEF = SigningKey(b"o" * 32), SigningKey(b"t" * 32)
RUN = run_name(OWNER.public)
WORD = Word(1, (5, 6, 7), b"hi")
ME = 2


def reason(act: Callable[[], object]) -> Refusal | None:
    """Why it is refused, or None."""
    try:
        act()
    except Refused as refused:
        return refused.reason
    return None


def from_member(
    sender: int, to: int, topic: str, *, receiver: int = ME, key: SigningKey | None = None, run: str = RUN
) -> Refusal | None:
    payload = Sealer(run, sender, 1, key or KEYS[sender]).seal(to, WORD)
    return reason(lambda: check_from(topic, payload, parse(payload), RUN, receiver, MEMBERS))


# -- between nodes -----------------------------------------------------------------------------------------------


def test_words_to_all_and_words_to_us_are_believed_on_their_senders_topics() -> None:
    assert from_member(1, ALL, topics.outgoing(RUN, 1, ALL)) is None
    assert from_member(1, ME, topics.outgoing(RUN, 1, ME)) is None
    # Words to all are said again to one.
    assert from_member(1, ALL, topics.outgoing(RUN, 1, ME)) is None


@pytest.mark.parametrize("to", [0, 1, 3, LAUNCHER, -3, N, 10**9])
def test_a_word_for_another_is_misaddressed_whatever_topic_it_comes_on(to: int) -> None:
    for topic in (topics.outgoing(RUN, 1, to), topics.outgoing(RUN, 1, ME), topics.outgoing(RUN, 1, ALL)):
        assert from_member(1, to, topic) is Refusal.MISADDRESSED


@pytest.mark.parametrize(
    "topic",
    [
        topics.outgoing(RUN, 0, ALL),
        topics.outgoing(RUN, 0, ME),
        topics.outgoing(RUN, 3, ALL),
        f"quorbit/{RUN}/from/01/all",
        f"quorbit/{RUN}/from/1",
        f"quorbit/{RUN}/from/1/all/more",
        topics.commission(RUN, ME),
        topics.notice(RUN),
        "",
    ],
)
def test_a_word_on_another_members_topic_is_misaddressed(topic: str) -> None:
    assert from_member(1, ALL, topic) is Refusal.MISADDRESSED


def test_nobody_speaks_for_another_even_on_that_ones_topic() -> None:
    for topic in (topics.outgoing(RUN, 1, ALL), topics.outgoing(RUN, 3, ALL)):
        assert from_member(1, ALL, topic, key=KEYS[3]) is Refusal.BAD_SIGNATURE


def test_strangers_and_other_runs_are_refused_for_that_reason() -> None:
    topic = topics.outgoing(RUN, 1, ALL)
    assert from_member(N, ALL, topics.outgoing(RUN, N, ALL), key=THIEF) is Refusal.UNKNOWN_SENDER
    assert from_member(LAUNCHER, ALL, topics.outgoing(RUN, LAUNCHER, ALL), key=OWNER) is Refusal.UNKNOWN_SENDER
    assert from_member(1, ALL, topic, run="another") is Refusal.WRONG_RUN


def test_the_launcher_hears_what_is_said_to_it_alone() -> None:
    topic = topics.outgoing(RUN, 1, LAUNCHER)
    assert from_member(1, LAUNCHER, topic, receiver=LAUNCHER) is None
    assert from_member(1, ALL, topic, receiver=LAUNCHER) is Refusal.MISADDRESSED
    assert from_member(1, ME, topic, receiver=LAUNCHER) is Refusal.MISADDRESSED
    assert from_member(1, LAUNCHER, topics.outgoing(RUN, 0, LAUNCHER), receiver=LAUNCHER) is Refusal.MISADDRESSED


def test_frames_are_numbered_as_they_come_and_say_who_sealed_them() -> None:
    sealer = Sealer(RUN, 1, 77, KEYS[1])
    bodies: list[tuple[int, Body]] = [(ALL, WORD), (ME, Request(True, 1, 0)), (LAUNCHER, Farewell())]
    assert [parse(sealer.seal(to, body)) for to, body in bodies] == [
        Frame(RUN, 1, to, 77, serial, body) for serial, (to, body) in enumerate(bodies, 1)
    ]


# -- the launcher's words ----------------------------------------------------------------------------------------


def commission(owner: SigningKey = OWNER, run: str = RUN, to: int = ME) -> bytes:
    return Sealer(run, LAUNCHER, 1, owner).seal(to, Commission(owner.public, b"brief"))


def notice(serial: int, body: Body | None = None, key: SigningKey = OWNER, **fields: object) -> bytes:
    frame = Frame(RUN, LAUNCHER, ALL, 1, serial, Notice(serial) if body is None else body)
    return seal(msgspec.structs.replace(frame, **fields), key)


def listening() -> LauncherEar:
    ear = LauncherEar(RUN, ME)
    ear.commission(commission())
    return ear


def test_a_commission_is_taken_from_the_key_that_the_run_is_named_after_alone() -> None:
    ear = LauncherEar(RUN, ME)
    assert reason(lambda: ear.commission(commission(THIEF))) is Refusal.UNKNOWN_SENDER
    assert reason(lambda: ear.commission(commission(THIEF, run_name(THIEF.public)))) is Refusal.WRONG_RUN
    assert reason(lambda: ear.commission(notice(1))) is Refusal.WRONG_RUN
    # None of that has taught it whom to believe.
    assert ear.notice(notice(5, key=THIEF)) is None
    assert ear.commission(commission()) == Commission(OWNER.public, b"brief")
    assert ear.notice(notice(5)) == Notice(5)


def test_a_second_commission_from_somebody_else_changes_nothing() -> None:
    ear = listening()
    assert reason(lambda: ear.commission(commission(THIEF))) is Refusal.UNKNOWN_SENDER
    assert reason(lambda: ear.notice(notice(5, key=THIEF))) is Refusal.BAD_SIGNATURE
    assert ear.notice(notice(5)) == Notice(5)


def test_before_it_knows_whom_to_believe_it_hears_nothing_and_misses_nothing() -> None:
    ear = LauncherEar(RUN, ME)
    assert ear.notice(notice(3)) is None
    assert ear.notice(b"nonsense") is None
    ear.commission(commission())
    assert ear.notice(notice(3)) == Notice(3)


def test_a_notice_is_news_once_and_an_older_one_is_refused() -> None:
    ear = listening()
    assert ear.notice(notice(4)) == Notice(4)
    assert ear.notice(notice(4)) is None
    assert reason(lambda: ear.notice(notice(3))) is Refusal.REPLAYED
    assert ear.notice(notice(9)) == Notice(9)
    assert reason(lambda: ear.notice(notice(4))) is Refusal.REPLAYED
    assert ear.notice(notice(9)) is None
    assert ear.notice(notice(10)) == Notice(10)


def test_a_farewell_is_heard_once_and_is_no_news_of_the_run() -> None:
    """It is sealed at each connection, before the notices that it may follow."""
    ear = listening()
    ear.notice(notice(4))
    assert ear.notice(notice(1, Farewell())) == Farewell()
    for serial in (1, 0):
        assert reason(lambda serial=serial: ear.notice(notice(serial, Farewell()))) is Refusal.REPLAYED  # type: ignore[misc]
    assert ear.notice(notice(5)) == Notice(5)
    assert ear.notice(notice(3, Farewell())) == Farewell()
    assert ear.notice(notice(6)) == Notice(6)


def test_the_commission_of_another_node_is_not_taken() -> None:
    ear = LauncherEar(RUN, ME)
    for to in (0, 1, 3, ALL):
        assert reason(lambda to=to: ear.commission(commission(to=to))) is Refusal.MISADDRESSED  # type: ignore[misc]
    # Nor does it say whom to believe.
    assert ear.notice(notice(5)) is None


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (notice(5, key=THIEF), Refusal.BAD_SIGNATURE),
        (notice(5, Farewell(), key=THIEF), Refusal.BAD_SIGNATURE),
        (notice(5, run="another"), Refusal.WRONG_RUN),
        (notice(5, sender=1), Refusal.UNKNOWN_SENDER),
        (notice(5, sender=1, key=KEYS[1]), Refusal.UNKNOWN_SENDER),
        (notice(5, WORD), Refusal.MISADDRESSED),
        (notice(5, Pulse(True, 1, 1, 1, 1, {})), Refusal.MISADDRESSED),
        (notice(5, Commission(OWNER.public, b"")), Refusal.MISADDRESSED),
        (notice(5)[:-1], Refusal.TRUNCATED),
        (b"", Refusal.TRUNCATED),
        (notice(5) + b"\0", Refusal.MALFORMED),
    ],
)
def test_nobody_else_gives_notice(payload: bytes, expected: Refusal) -> None:
    ear = listening()
    assert reason(lambda: ear.notice(payload)) is expected
    # And nothing of it was taken in.
    assert ear.notice(notice(1)) == Notice(1)


# -- topics ------------------------------------------------------------------------------------------------------


class Published:
    """Stands in for a link: what was published."""

    def __init__(self) -> None:
        self.letters: list[tuple[str, bytes]] = []

    def publish(self, topic: str, payload: bytes) -> None:
        self.letters.append((topic, payload))


def test_what_is_posted_goes_to_the_senders_own_topics() -> None:
    link = Published()
    post = poster(link, "r", 1)  # type: ignore[arg-type]
    for to in (ALL, 3, LAUNCHER):
        post(to, b"x")
    assert link.letters == [(f"quorbit/r/from/1/{to}", b"x") for to in ("all", "3", "launcher")]


def covers(topic_filter: str, topic: str) -> bool:
    """MQTT's rule for filters that have no wildcard but a last #."""
    return topic.startswith(topic_filter[:-1]) if topic_filter.endswith("/#") else topic == topic_filter


def test_everybody_listens_where_the_others_speak_to_it_and_to_all_and_nowhere_else() -> None:
    for receiver in range(N):
        assert sorted(topics.incoming(RUN, receiver, N)) == sorted(
            topics.outgoing(RUN, sender, to) for sender in range(N) for to in (ALL, receiver) if sender != receiver
        )
    assert topics.incoming(RUN, LAUNCHER, N) == [topics.outgoing(RUN, sender, LAUNCHER) for sender in range(N)]


def test_everybody_may_write_its_own_topics_and_no_others() -> None:
    spoken = {sender: [topics.outgoing(RUN, sender, to) for to in (ALL, LAUNCHER, *range(N))] for sender in range(N)}
    spoken[LAUNCHER] = [topics.notice(RUN), topics.farewell(RUN), *(topics.commission(RUN, i) for i in range(N))]
    allowed = {sender: topics.node_writes(RUN, sender) for sender in range(N)}
    allowed[LAUNCHER] = topics.launcher_writes(RUN)
    for writer, filters in allowed.items():
        for speaker, spoken_topics in spoken.items():
            for topic in spoken_topics:
                assert any(covers(one, topic) for one in filters) == (writer == speaker), (writer, topic)
    # Number 1 is not the beginning of number 10 or 11.
    assert not covers(topics.node_writes(RUN, 1)[0], topics.outgoing(RUN, 10, ALL))


def test_a_topic_names_its_sender() -> None:
    for sender in (0, 7, 12):
        for to in (ALL, LAUNCHER, 3):
            assert topics.sender_of(topics.outgoing(RUN, sender, to)) == str(sender)
    for topic in (topics.notice(RUN), topics.farewell(RUN), "", "a/b/c/d/e/f"):
        assert topics.sender_of(topic) == ""
