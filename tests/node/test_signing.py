"""Signatures are Ed25519 as RFC 8032 has it, whoever else makes or reads them."""

from __future__ import annotations

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from node.signing import SigningKey, is_signed

RFC_8032 = [
    # Section 7.1, tests 1 to 3: secret key, public key, message, signature.
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
        "d25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
        "387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659"
        "4a7c15e9716ed28dc027beceea1ec40a",
    ),
]
KEY = SigningKey(b"k" * 32)
OPTIONS = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize(("secret", "public", "message", "signature"), RFC_8032)
def test_the_examples_of_rfc_8032(secret: str, public: str, message: str, signature: str) -> None:
    key = SigningKey(bytes.fromhex(secret))
    assert key.public.hex() == public
    assert key.sign(bytes.fromhex(message)).hex() == signature
    assert is_signed(bytes.fromhex(message), bytes.fromhex(signature), key.public)


@given(seed=st.binary(min_size=32, max_size=32), content=st.binary(max_size=200))
@settings(deadline=None, max_examples=50)
def test_it_signs_and_verifies_what_openssl_does(seed: bytes, content: bytes) -> None:
    ours, theirs = SigningKey(seed), Ed25519PrivateKey.from_private_bytes(seed)
    signature = ours.sign(content)
    assert ours.public == theirs.public_key().public_bytes_raw()
    assert signature == theirs.sign(content)
    Ed25519PublicKey.from_public_bytes(ours.public).verify(signature, content)
    assert is_signed(content, signature, ours.public)


def test_any_flipped_bit_is_found() -> None:
    content = b"content"
    signature = KEY.sign(content)
    given_parts = (content, signature, KEY.public)
    assert is_signed(*given_parts)
    for part, whole in enumerate(given_parts):
        for flipped in range(8 * len(whole)):
            wrong = bytearray(whole)
            wrong[flipped // 8] ^= 1 << flipped % 8
            parts = list(given_parts)
            parts[part] = bytes(wrong)
            assert not is_signed(*parts), (part, flipped)


@pytest.mark.parametrize("length", [0, 1, 31, 33, 63, 65, 128])
def test_what_has_the_wrong_length_is_no_signature_and_no_key(length: int) -> None:
    assert not is_signed(b"", bytes(length), KEY.public)
    assert not is_signed(b"content", KEY.sign(b"content"), bytes(length))
    # No boundary can be moved between a signature and what it covers.
    assert not is_signed(b"ontent", KEY.sign(b"content") + b"c", KEY.public)


def test_the_zero_key_and_signature_are_worth_nothing() -> None:
    assert not is_signed(b"", bytes(64), bytes(32))
    assert not is_signed(b"", bytes(64), KEY.public)


def test_s_must_be_reduced() -> None:
    """RFC 8032, section 5.1.7: S is below the group's order, else there would be a second signature."""
    order = 2**252 + 27742317777372353535851937790883648493
    signature = KEY.sign(b"content")
    larger = int.from_bytes(signature[32:], "little") + order
    malleated = signature[:32] + larger.to_bytes(32, "little")
    assert not is_signed(b"content", malleated, KEY.public)
    with pytest.raises(InvalidSignature):
        Ed25519PublicKey.from_public_bytes(KEY.public).verify(malleated, b"content")


def test_a_key_goes_into_a_file_and_comes_back() -> None:
    again = SigningKey.from_pem(KEY.pem())
    assert (again.public, again.sign(b"x")) == (KEY.public, KEY.sign(b"x"))
    assert KEY.pem() == Ed25519PrivateKey.from_private_bytes(b"k" * 32).private_bytes(*OPTIONS)


def test_no_two_generated_keys_are_the_same() -> None:
    assert len({SigningKey.generate().public for _ in range(20)}) == 20


NOT_PEM = "must be a private key in PEM, without a passphrase"


@pytest.mark.parametrize(
    ("pem", "sentence"),
    [
        (b"", NOT_PEM),
        (b"not a key\n", NOT_PEM),
        (b"\xff\xfe\x00", NOT_PEM),
        (KEY.pem()[:-40], NOT_PEM),
        (KEY.pem().replace(b"PRIVATE", b"SECRET"), NOT_PEM),
        (KEY.public, NOT_PEM),
        (
            Ed25519PrivateKey.generate().private_bytes(
                Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"passphrase")
            ),
            NOT_PEM,
        ),
        (
            Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            NOT_PEM,
        ),
        (rsa.generate_private_key(65537, 2048).private_bytes(*OPTIONS), "must be an Ed25519 key"),
        (ec.generate_private_key(ec.SECP256R1()).private_bytes(*OPTIONS), "must be an Ed25519 key"),
        (ed448.Ed448PrivateKey.generate().private_bytes(*OPTIONS), "must be an Ed25519 key"),
    ],
)
def test_a_file_with_anything_else_is_one_sentence(pem: bytes, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        SigningKey.from_pem(pem)
