"""Keys: who may sign for which replica, and one verification per distinct signature and process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Protocol

from consensus.messages import Evidence, Message
from consensus.types import ReplicaId
from node.signing import SigningKey, is_signed
from node.wire import Envelope, signed_bytes

_REMEMBERED = 1 << 17


class Scheme(Protocol):
    """A way to sign: the keys of a whole committee."""

    def sign(self, replica: ReplicaId, statement: bytes) -> bytes:
        """The replica's signature, 64 bytes."""

    def verify(self, replica: ReplicaId, statement: bytes, signature: bytes) -> bool:
        """Whether the signature is this replica's over this statement."""


def _secret(seed: bytes, replica: int) -> bytes:
    return blake2b(b"key of replica %d" % replica, key=seed[:64], digest_size=32).digest()


class Ed25519:
    """Real signatures: everybody's public keys, and the private ones of those who sign here."""

    def __init__(self, private: Mapping[ReplicaId, SigningKey], public: Sequence[bytes]) -> None:
        self._private = private
        self._public = public

    @classmethod
    def derived(cls, n: int, seed: bytes) -> Ed25519:
        """All keys of a committee, derived from a seed, so that a run in virtual time can be repeated."""
        keys = {ReplicaId(i): SigningKey(_secret(seed, i)) for i in range(n)}
        return cls(keys, [key.public for key in keys.values()])

    def sign(self, replica: ReplicaId, statement: bytes) -> bytes:
        return self._private[replica].sign(statement)

    def verify(self, replica: ReplicaId, statement: bytes, signature: bytes) -> bool:
        return 0 <= replica < len(self._public) and is_signed(statement, signature, self._public[replica])


class Modelled:
    """Signatures of the same size as Ed25519's that cost next to nothing: a keyed hash, forgeable only with the key.

    For large sweeps; what signing costs is charged in virtual time either way.
    """

    def __init__(self, n: int, seed: bytes) -> None:
        self._secrets = [_secret(seed, i) for i in range(n)]

    def sign(self, replica: ReplicaId, statement: bytes) -> bytes:
        return blake2b(statement, key=self._secrets[replica]).digest()

    def verify(self, replica: ReplicaId, statement: bytes, signature: bytes) -> bool:
        return 0 <= replica < len(self._secrets) and self.sign(replica, statement) == signature


class Notary:
    """Signs for replicas and checks envelopes; remembers which signatures it has found good."""

    def __init__(self, scheme: Scheme, domain: bytes) -> None:
        self._scheme = scheme
        self._domain = domain
        self._good: dict[tuple[ReplicaId, bytes], bytes] = {}
        self.verifications = 0
        """Distinct signatures verified."""

    def sign(self, replica: ReplicaId, message: Message) -> bytes:
        """The replica's signature over what the message states."""
        return self._scheme.sign(replica, signed_bytes(message.statement(), self._domain))

    def check(self, envelope: Envelope) -> bool:
        """Whether the sender's signature and every signature carried inside are good; looks once per envelope."""
        if envelope.valid is None:
            message = envelope.message
            envelope.valid = self._good_signature(envelope.sender, message.statement(), message.signature) and all(
                self._good_signature(*evidence) for evidence in message.evidence()
            )
        return envelope.valid

    def vouches(self, evidence: Iterable[Evidence]) -> bool:
        """Whether all these signatures are good."""
        return all(self._good_signature(*piece) for piece in evidence)

    def _good_signature(self, replica: ReplicaId, statement: Message, signature: bytes) -> bool:
        covered = signed_bytes(statement, self._domain)
        slot = (replica, signature)
        if self._good.get(slot) == covered:
            return True
        self.verifications += 1
        if not self._scheme.verify(replica, covered, signature):
            return False
        if len(self._good) >= _REMEMBERED:
            del self._good[next(iter(self._good))]
        self._good[slot] = covered
        return True
