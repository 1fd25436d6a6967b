"""A mill of bad frames: what a broken or hostile member of a run, or anybody else on its broker, may send to a node.

Everything comes from one seed, so a failure can be repeated. Members' keys are here too: an attacker who has one is
the most dangerous, and some frames among the bad ones have to be good, to show that those are still taken.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple, TypeVar

import msgspec

from consensus.messages import Vote
from consensus.types import BlockId, Height, ReplicaId, View
from node import topics
from node.carrier import domain
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
    Request,
    Resumption,
    Word,
    run_name,
    seal,
)
from node.keys import Ed25519, Notary
from node.signing import SIGNATURE_BYTES, SigningKey
from node.wire import encode

HOUR_NS: Final = 3_600_000_000_000
BODY_100_MB: Final = 100_000_000
DEPTH: Final = 5_000
"""Deeper than any interpreter recurses."""
_ALIEN = 1
"""Incarnation of members here: nodes' own are Unix times in ns, so there is an older one still, 0."""
T = TypeVar("T")


class Parcel(NamedTuple):
    """Bytes for a topic, and why they are to be refused; None where any reason will do."""

    kind: str
    topic: str
    payload: bytes
    reason: Refusal | None


class Member:
    """One member of the committee, or who speaks like it, as the node under test hears it."""

    def __init__(self, run: str, number: int, key: SigningKey, live: int) -> None:
        self.run, self.number, self.key, self.live = run, number, key, live
        self.now_ns = 0
        """A due time that has passed, though not before the node was there."""
        self._serial = 0
        self._said = {ALL: 0, live: 0}

    def frame(self, to: int, body: Body, **changes: int | str) -> Frame:
        """A frame whose serial is the next one; nobody has been told yet."""
        frame = Frame(self.run, self.number, to, _ALIEN, self._serial + 1, body)
        return msgspec.structs.replace(frame, **changes)

    def word(self, to: int, message: bytes, due_ns: int | None = None, count: int | None = None) -> Word:
        """The word that the node awaits on a stream, due at once if nothing else is said."""
        due_ns = self.now_ns if due_ns is None else due_ns
        count = (3 if to == ALL else 1) if count is None else count
        return Word(self._said.get(to, 0) + 1, (due_ns,) * count, message)

    def seal(self, to: int, body: Body, **changes: int | str) -> bytes:
        """The bytes of a frame."""
        return seal(self.frame(to, body, **changes), self.key)

    def advance(self, to: int, body: Body) -> None:
        """From now on the node has heard this body."""
        if isinstance(body, Word):
            self._said[to] += 1
        else:
            self._serial += 1

    def greeting(self, n: int = 4, awaited: int = 4) -> Greeting:
        """What an honest member says when it connects: all that it said has been heard."""
        said_to = tuple(self._said[self.live] if i == self.live else 0 for i in range(n))
        return Greeting(self._said[ALL], said_to, ((0, 1, 1),) * awaited, HOUR_NS)

    def topic(self, to: int) -> str:
        """Where the node listens to this member."""
        return topics.outgoing(self.run, self.number, to)


class Mill:
    """Makes frames for one live node, `live`, of a committee of four whose protocol is PBFT."""

    def __init__(self, seed: int, live: int) -> None:
        self._random = random.Random(seed)
        self.live = live
        self.launcher = self._key()
        self.run = run_name(self.launcher.public)
        self.keys = [self._key() for _ in range(4)]
        self.members = {i: Member(self.run, i, self.keys[i], live) for i in range(4) if i != live}
        self._notary = Notary(
            Ed25519({ReplicaId(i): key for i, key in enumerate(self.keys)}, [key.public for key in self.keys]),
            domain(self.run),
        )
        self._stranger = self._key()
        self._taken: list[tuple[str, bytes]] = []
        """Frames that the node has taken: they can be played again."""
        self.deliveries = 0
        """How many words the node is to have delivered."""
        self._known: tuple[Callable[[], Parcel], ...] = (
            self.short_noise,
            self.cut,
            self.trailing,
            self.flipped_signature,
            self.other_run,
            self.unknown_sender,
            self.wrong_key,
            self.wrong_key_later,
            self.wrong_topic,
            self.other_receiver,
            self.reflected,
            self.replay,
            self.older_incarnation,
            self.wrong_due_count,
            self.unreadable,
            self.not_for_nodes,
            self.lame_greeting,
            self.deep,
            self.boastful,
            self.launcher_forged,
            self.launcher_replayed,
        )
        self._vague: tuple[Callable[[], Parcel], ...] = (
            self.long_noise,
            self.flipped,
            self.flipped_twice,
            self.spliced,
        )

    # Good ones

    def begin(self, boot_ns: int) -> None:
        """The node has been there since then."""
        for member in self.members.values():
            member.now_ns = boot_ns

    def early_word(self) -> Parcel:
        """A word before which others are missing: the node has to ask for them, and to say since when it is there."""
        member = self.members[min(self.members)]
        return Parcel("early word", member.topic(ALL), member.seal(ALL, Word(9, (0, 0, 0), b"")), None)

    def good_word(self) -> Parcel:
        """A word that the node has to take: a vote of this protocol, well signed."""
        member, to = self._member(), self._to()
        return self._take("good word", member, to, member.word(to, self._vote(member)))

    def good_control(self) -> Parcel:
        """A frame between nodes that the node has to take, and that changes nothing."""
        member = self._member()
        resumption = Resumption(True, member.word(ALL, b"").number, 0)
        to, body = self._pick(
            [(ALL, member.greeting()), (self.live, Request(True, 1 << 40, 0)), (self.live, resumption)]
        )
        return self._take("good control", member, to, body)

    def word_on_each_stream(self) -> list[Parcel]:
        """One good word on each stream that the node listens to."""
        return [
            self._take("good word", member, to, member.word(to, self._vote(member)))
            for member in self.members.values()
            for to in (ALL, self.live)
        ]

    # Bad ones

    def known(self, count: int) -> Iterator[Parcel]:
        """Bad frames of all kinds for which there is one right reason."""
        for number in range(count):
            yield self._known[number % len(self._known)]()

    def vague(self, count: int) -> Iterator[Parcel]:
        """Bad frames that may be refused for one reason or another."""
        for number in range(count):
            yield self._vague[number % len(self._vague)]()

    def every_cut(self) -> Iterator[Parcel]:
        """Good frames of each kind that end too early, at every length."""
        for member, to, body in self._one_of_each():
            whole = member.seal(to, body)
            for length in range(len(whole)):
                yield Parcel("cut", member.topic(to), whole[:length], Refusal.TRUNCATED)

    def every_flip(self) -> Iterator[Parcel]:
        """Good frames of each kind with one bit wrong, each bit in turn."""
        for member, to, body in self._one_of_each():
            whole = member.seal(to, body)
            for bit in range(8 * len(whole)):
                yield Parcel("flipped", member.topic(to), _flip(whole, bit), None)

    def giants(self, count: int) -> Iterator[Parcel]:
        """Bodies of 100 MB: zeros, and what begins like a good frame."""
        for number in range(count):
            member, to = self._member(), self._to()
            head = b"" if number % 2 == 0 else member.seal(to, member.word(to, b""))
            payload = head + bytes(BODY_100_MB - len(head))
            yield Parcel("giant", member.topic(to), payload, Refusal.OVERSIZED)

    def large(self, count: int) -> Iterator[Parcel]:
        """Frames as large as they may be, for an hour from now, whose senders cannot sign."""
        message = bytes(MAX_FRAME_BYTES - 512)
        for _ in range(count):
            member = self._member()
            word = member.word(ALL, message, HOUR_NS)
            payload = bytes(SIGNATURE_BYTES) + msgspec.msgpack.encode(member.frame(ALL, word))
            yield Parcel("large", member.topic(ALL), payload, Refusal.BAD_SIGNATURE)

    def later(self, count: int) -> Iterator[Parcel]:
        """Small words that nobody signed, for much later."""
        for _ in range(count):
            yield self.wrong_key_later()

    def oversized(self) -> Parcel:
        """One byte more than a frame may have."""
        return Parcel("oversized", self._member().topic(ALL), bytes(MAX_FRAME_BYTES + 1), Refusal.OVERSIZED)

    def flush(self) -> Parcel:
        """A control frame again: whatever waits in the inbox before it is looked at now."""
        member, body = self.members[min(self.members)], Request(True, 1 << 40, 0)
        payload = member.seal(self.live, body, serial=0)
        return Parcel("flush", member.topic(self.live), payload, Refusal.REPLAYED)

    def short_noise(self) -> Parcel:
        """Random bytes, none included, too few to hold more than a signature."""
        length = self._random.randrange(SIGNATURE_BYTES + 1)
        return Parcel("short noise", self._any_topic(), self._random.randbytes(length), Refusal.TRUNCATED)

    def long_noise(self) -> Parcel:
        """Random bytes, mostly few."""
        length = SIGNATURE_BYTES + 1 + int(2 ** self._random.uniform(0, 12))
        return Parcel("long noise", self._any_topic(), self._random.randbytes(length), None)

    def cut(self) -> Parcel:
        """A good frame that ends too early."""
        topic, whole = self._fresh()
        return Parcel("cut", topic, whole[: self._random.randrange(len(whole))], Refusal.TRUNCATED)

    def trailing(self) -> Parcel:
        """A good frame and something more."""
        topic, whole = self._fresh()
        more = self._random.randbytes(self._random.randint(1, 40))
        return Parcel("trailing", topic, whole + more, Refusal.MALFORMED)

    def flipped_signature(self) -> Parcel:
        """A good frame whose signature has one bit wrong."""
        topic, whole = self._fresh()
        bit = self._random.randrange(8 * SIGNATURE_BYTES)
        return Parcel("flipped signature", topic, _flip(whole, bit), Refusal.BAD_SIGNATURE)

    def flipped(self) -> Parcel:
        """A good frame, the one that the node awaits, with one bit wrong."""
        topic, whole = self._fresh()
        return Parcel("flipped", topic, _flip(whole, self._random.randrange(8 * len(whole))), None)

    def flipped_twice(self) -> Parcel:
        """A good frame with several bits wrong in its content, where they matter most: the first 64 bytes of it."""
        topic, whole = self._fresh()
        bits = range(8 * SIGNATURE_BYTES, 8 * min(len(whole), 2 * SIGNATURE_BYTES))
        return Parcel("flipped", topic, _flip(whole, *self._random.sample(bits, self._random.randint(2, 8))), None)

    def spliced(self) -> Parcel:
        """The beginning of one good frame and the end of another."""
        (topic, one), (_, other) = self._fresh(), self._fresh()
        at = self._random.randrange(1, min(len(one), len(other)))
        payload = one[:at] + other[at:]
        if payload in (one, other):
            payload = _flip(payload, 0)
        return Parcel("spliced", topic, payload, None)

    def other_run(self) -> Parcel:
        """A good frame of another run in which the same members have the same keys."""
        member, to, body = self._body()
        run = self._pick([run_name(self._stranger.public), "", self.run[:-1], self.run + "0", "ü" * 12])
        return Parcel("other run", member.topic(to), member.seal(to, body, run=run), Refusal.WRONG_RUN)

    def unknown_sender(self) -> Parcel:
        """A frame from a number that no member has, the launcher's included."""
        member, to, body = self._body()
        sender, key = self._pick(
            [
                *((number, member.key) for number in (4, 1 << 63, -(1 << 63), ALL, -3)),
                (5, self._stranger),
                (LAUNCHER, self.launcher),
            ]
        )
        payload = seal(member.frame(to, body, sender=sender), key)
        return Parcel("unknown sender", member.topic(to), payload, Refusal.UNKNOWN_SENDER)

    def wrong_key(self) -> Parcel:
        """A frame by one member in the name of another, the node itself included."""
        member, to, body = self._body()
        key = self._pick([key for key in (*self.keys, self._stranger, self.launcher) if key is not member.key])
        return Parcel("wrong key", member.topic(to), seal(member.frame(to, body), key), Refusal.BAD_SIGNATURE)

    def wrong_key_later(self) -> Parcel:
        """The same, of a word that is due much later: it must not be waited for without end."""
        member, to = self._member(), self._to()
        due_ns = self._pick([HOUR_NS, 24 * HOUR_NS, (1 << 63) - 1, (1 << 64) - 1])
        word = member.word(to, self._vote(member), due_ns)
        return Parcel(
            "wrong key", member.topic(to), seal(member.frame(to, word), self._stranger), Refusal.BAD_SIGNATURE
        )

    def wrong_topic(self) -> Parcel:
        """A good frame where another member speaks."""
        member, to, body = self._body()
        other = self._pick([one for one in self.members.values() if one is not member])
        return Parcel("wrong topic", other.topic(to), member.seal(to, body), Refusal.MISADDRESSED)

    def other_receiver(self) -> Parcel:
        """A good frame for somebody else, or for nobody there is."""
        member = self._member()
        other = self._pick([*self.members, LAUNCHER, -3, 4, 1 << 63])
        body: Body = self._pick([member.word(other, self._vote(member)), Request(True, 1, 0)])
        return Parcel("other receiver", member.topic(self._to()), member.seal(other, body), Refusal.MISADDRESSED)

    def reflected(self) -> Parcel:
        """The node's own words, coming back."""
        member, to = self._member(), self._to()
        own = Member(self.run, self.live, self.keys[self.live], self.live)
        body: Body = self._pick([own.word(to, self._vote(own)), Request(True, 1, 0), own.greeting()])
        return Parcel("reflected", member.topic(to), own.seal(to, body), Refusal.MISADDRESSED)

    def replay(self) -> Parcel:
        """A frame that the node has taken."""
        topic, payload = self._pick(self._taken)
        return Parcel("replay", topic, payload, Refusal.REPLAYED)

    def older_incarnation(self) -> Parcel:
        """A new frame of a member as it was before it was started again."""
        member, to, body = self._body()
        return Parcel("older incarnation", member.topic(to), member.seal(to, body, incarnation=0), Refusal.REPLAYED)

    def wrong_due_count(self) -> Parcel:
        """A word that does not say for each receiver when it is due."""
        member, to = self._member(), self._to()
        count = self._pick([0, 2, 4, 1_000] + ([1] if to == ALL else [3]))
        word = member.word(to, self._vote(member), count=count)
        return Parcel("wrong due count", member.topic(to), member.seal(to, word), Refusal.MALFORMED)

    def unreadable(self) -> Parcel:
        """A word of a member that holds no message of this protocol; it counts as said."""
        member, to = self._member(), self._to()
        vote = self._vote(member)
        message = self._pick(
            [
                b"",
                self._random.randbytes(self._random.randrange(200)),
                vote[:-1],
                vote + b"\0",
                b"\x91\xa4Vote",
                vote.replace(b"Vote", b"Veto"),
                vote.replace(b"Vote", b"V\xff\xfee"),
                vote.replace(b"prepare", b"\xff" * 7),
                bytes([vote[0] + 1]) + vote[1:] + b"\x91" * DEPTH,
                b"\x91" * DEPTH,
                b"\xdd\xff\xff\xff\xff",
                b"\x93\xa9Ancestors\xdd\xff\xff\xff\xff",
                b"\x93\xa9Ancestors\xdd\x00\x01\x00\x00" + bytes(65_536),
            ]
        )
        return self._waste("unreadable", member, to, member.word(to, message), Refusal.UNREADABLE)

    def not_for_nodes(self) -> Parcel:
        """What only the launcher says or hears, from a member; it counts as said."""
        member, to = self._member(), self._to()
        body: Body = self._pick(
            [
                Notice(stopped=True),
                Notice(1),
                Farewell(),
                Commission(self.launcher.public, b""),
                Piece(0, 1, b""),
                Pulse(True, 0, 0, 0, 0, {}),
            ]
        )
        return self._waste("not for nodes", member, to, body, Refusal.MISADDRESSED)

    def lame_greeting(self) -> Parcel:
        """A greeting of a member that counts its committee wrong."""
        member = self._member()
        n, awaited = self._pick([(0, 4), (4, 0), (3, 3), (5, 4), (4, 5)])
        said = msgspec.structs.replace(member.greeting(4, awaited), said_to=(0,) * n)
        return self._waste("lame greeting", member, ALL, said, Refusal.MALFORMED)

    def deep(self) -> Parcel:
        """Arrays in arrays in arrays, alone or after a good frame's content."""
        topic, whole = self._fresh()
        content = whole[SIGNATURE_BYTES:]
        nested = self._pick(
            [b"\x91" * DEPTH, b"\x81\x01" * DEPTH, bytes([content[0] + 1]) + content[1:] + b"\x91" * DEPTH]
        )
        return Parcel("deep", topic, whole[:SIGNATURE_BYTES] + nested, Refusal.MALFORMED)

    def boastful(self) -> Parcel:
        """A frame that claims to be longer than all memory."""
        member = self._member()
        content = msgspec.msgpack.encode(member.frame(ALL, member.word(ALL, b"", 1)))
        due = content.index(b"\x93\1\1\1")
        payload = (
            bytes(SIGNATURE_BYTES)
            + content[:due]
            + self._pick([b"\xdd\xff\xff\xff\xff", b"\xdd\x7f\xff\xff\xff\x01", b"\x90\xc6\xff\xff\xff\xff"])
        )
        return Parcel("boastful", member.topic(ALL), payload, Refusal.TRUNCATED)

    def launcher_forged(self) -> Parcel:
        """What only the launcher may say, from somebody else."""
        return self._pick([self._forged_notice, self._forged_commission])()

    def launcher_replayed(self) -> Parcel:
        """What the launcher said long ago, or says to others, or never says."""
        if self._random.random() < 0.2:
            other = self._pick(list(self.members))
            frame = Frame(self.run, LAUNCHER, other, _ALIEN, 1, Commission(self.launcher.public, b""))
            topic = topics.commission(self.run, self.live)
            return Parcel("other commission", topic, seal(frame, self.launcher), Refusal.MISADDRESSED)
        body, reason = self._pick(
            [
                (Notice(), Refusal.REPLAYED),
                (Notice(stopped=True), Refusal.REPLAYED),
                (Word(1, (1, 1, 1), b""), Refusal.MISADDRESSED),
                (Request(True, 1, 0), Refusal.MISADDRESSED),
            ]
        )
        frame = Frame(self.run, LAUNCHER, ALL, _ALIEN, 1, body)
        topic = self._pick([topics.notice(self.run), topics.farewell(self.run)])
        return Parcel("launcher replayed", topic, seal(frame, self.launcher), reason)

    # Parts

    def _forged_notice(self) -> Parcel:
        body: Body = self._pick([Notice(stopped=True), Notice(received=(self.live,)), Notice(1), Farewell()])
        number, key, run, reason = self._pick(
            [
                *((LAUNCHER, key, self.run, Refusal.BAD_SIGNATURE) for key in (self._stranger, *self.keys)),
                *((number, key, self.run, Refusal.UNKNOWN_SENDER) for number, key in enumerate(self.keys)),
                (LAUNCHER, self.launcher, "0" * 24, Refusal.WRONG_RUN),
            ]
        )
        topic = self._pick([topics.notice(self.run), topics.farewell(self.run)])
        return Parcel("forged notice", topic, seal(Frame(run, number, ALL, 1 << 62, 1 << 62, body), key), reason)

    def _forged_commission(self) -> Parcel:
        key, named, run, sender, reason = self._pick(
            [
                (self._stranger, self._stranger, self.run, LAUNCHER, Refusal.UNKNOWN_SENDER),
                (self._stranger, self.launcher, self.run, LAUNCHER, Refusal.BAD_SIGNATURE),
                (self.launcher, self.launcher, "0" * 24, LAUNCHER, Refusal.WRONG_RUN),
                (self.keys[0], self.launcher, self.run, 0, Refusal.WRONG_RUN),
            ]
        )
        frame = Frame(run, sender, self.live, 1 << 62, 1 << 62, Commission(named.public, b""))
        return Parcel("forged commission", topics.commission(self.run, self.live), seal(frame, key), reason)

    def _key(self) -> SigningKey:
        return SigningKey(self._random.randbytes(32))

    def _pick(self, choices: Sequence[T]) -> T:
        return self._random.choice(choices)

    def _member(self) -> Member:
        return self._pick(list(self.members.values()))

    def _to(self) -> int:
        return self._pick([ALL, self.live])

    def _any_topic(self) -> str:
        control = [topics.commission(self.run, self.live), topics.notice(self.run), topics.farewell(self.run)]
        return self._pick([*control, *topics.incoming(self.run, self.live, 4)])

    def _vote(self, member: Member) -> bytes:
        vote = Vote(phase="prepare", view=View(0), height=Height(1), block=BlockId(self._random.randbytes(32)))
        return encode(msgspec.structs.replace(vote, signature=self._notary.sign(ReplicaId(member.number), vote)))

    def _body(self) -> tuple[Member, int, Body]:
        """What a member could say next, mostly a word."""
        member, to = self._member(), self._to()
        if self._random.random() < 0.6:
            return member, to, member.word(to, self._vote(member))
        return self._pick([(member, ALL, member.greeting())] + [(member, self.live, body) for body in _controls()])

    def _fresh(self) -> tuple[str, bytes]:
        member, to, body = self._body()
        return member.topic(to), member.seal(to, body)

    def _one_of_each(self) -> Iterator[tuple[Member, int, Body]]:
        member = self._member()
        for to in (ALL, self.live):
            yield member, to, member.word(to, self._vote(member))
        yield member, ALL, member.greeting()
        for body in _controls():
            yield member, self.live, body

    def _take(self, kind: str, member: Member, to: int, body: Body) -> Parcel:
        parcel = Parcel(kind, member.topic(to), member.seal(to, body), None)
        member.advance(to, body)
        self._taken.append(parcel[1:3])
        self.deliveries += isinstance(body, Word)
        return parcel

    def _waste(self, kind: str, member: Member, to: int, body: Body, reason: Refusal) -> Parcel:
        parcel = Parcel(kind, member.topic(to), member.seal(to, body), reason)
        member.advance(to, body)
        return parcel


def _controls() -> Sequence[Body]:
    return Request(True, 1, 0), Request(False, 1 << 40, HOUR_NS), Resumption(True, 1 << 40, 0), Resumption(False, 7, 0)


def _flip(data: bytes, *bits: int) -> bytes:
    flipped = bytearray(data)
    for bit in bits:
        flipped[bit // 8] ^= 1 << bit % 8
    return bytes(flipped)
