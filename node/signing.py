"""Ed25519 (RFC 8032): keys, signatures, and whether they are good.

libsodium verifies in half the time that OpenSSL takes for it, and verifying is most of what a node's processor does;
key files are read and written by `cryptography`.
"""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from nacl.bindings import crypto_sign, crypto_sign_open, crypto_sign_seed_keypair, randombytes
from nacl.exceptions import CryptoError

SEED_BYTES = 32
PUBLIC_BYTES = 32
SIGNATURE_BYTES = 64


class SigningKey:
    """A private key. `public` is the key, 32 bytes, by which its signatures are verified."""

    def __init__(self, seed: bytes) -> None:
        """The key of these 32 secret bytes."""
        self._seed = seed
        self.public, self._secret = crypto_sign_seed_keypair(seed)

    @classmethod
    def generate(cls) -> SigningKey:
        """A key that nobody else has."""
        return cls(randombytes(SEED_BYTES))

    @classmethod
    def from_pem(cls, pem: bytes) -> SigningKey:
        """The key in a PEM file. Raises ValueError with one sentence."""
        try:
            key = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise ValueError("must be a private key in PEM, without a passphrase") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError("must be an Ed25519 key")
        return cls(key.private_bytes_raw())

    def pem(self) -> bytes:
        """What a key file holds: PKCS #8, not encrypted."""
        key = Ed25519PrivateKey.from_private_bytes(self._seed)
        return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def sign(self, content: bytes) -> bytes:
        """64 bytes."""
        signed: bytes = crypto_sign(content, self._secret)
        return signed[:SIGNATURE_BYTES]


def is_signed(content: bytes, signature: bytes, public: bytes) -> bool:
    """Whether the signature over the content was made with the private key of this public one."""
    if len(signature) != SIGNATURE_BYTES or len(public) != PUBLIC_BYTES:
        return False
    try:
        crypto_sign_open(signature + content, public)
    except CryptoError:
        return False
    return True
