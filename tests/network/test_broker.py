"""Where a broker is: each mistake in its URL is one sentence, and a password is in nothing that is printed."""

from __future__ import annotations

import re
import ssl
from dataclasses import replace
from pathlib import Path

import pytest

from network.broker import CA_FILE, PASSWORD, USER, BrokerAddress

SECRET = "corr3ct-h0rse"
PLACE = "must be mqtt://host:port or mqtts://host:port"


@pytest.mark.parametrize(
    ("url", "address", "again"),
    [
        ("mqtt://example.org", BrokerAddress("example.org", 1883), "mqtt://example.org:1883"),
        ("mqtts://example.org", BrokerAddress("example.org", 8883, tls=True), "mqtts://example.org:8883"),
        ("mqtt://127.0.0.1:21883/", BrokerAddress("127.0.0.1", 21883), "mqtt://127.0.0.1:21883"),
        ("MQTTS://Example.org:1", BrokerAddress("example.org", 1, tls=True), "mqtts://example.org:1"),
        ("mqtt://ann@host:7", BrokerAddress("host", 7, user="ann"), "mqtt://ann@host:7"),
        ("mqtt://[::1]:65535", BrokerAddress("::1", 65535), "mqtt://[::1]:65535"),
        ("mqtts://ann@[fe80::2]", BrokerAddress("fe80::2", 8883, tls=True, user="ann"), "mqtts://ann@[fe80::2]:8883"),
    ],
)
def test_a_url_says_where_and_whether_with_tls_and_can_be_had_back(
    url: str, address: BrokerAddress, again: str
) -> None:
    assert BrokerAddress.parse(url) == address
    assert address.url == again
    assert BrokerAddress.parse(again) == address


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("", PLACE),
        ("localhost", PLACE),
        ("localhost:1883", PLACE),
        ("http://localhost", PLACE),
        ("mqtt+tls://localhost", PLACE),
        ("mqtt:localhost", PLACE),
        ("mqtt://", PLACE),
        ("mqtt://:1883", PLACE),
        ("mqtt://ann@", PLACE),
        ("mqtt://localhost/topic", PLACE),
        ("mqtt://localhost:1883?clean=1", PLACE),
        ("mqtt://localhost:65536", "has a port that is not between 1 and 65535"),
        ("mqtt://localhost:-1", "has a port that is not between 1 and 65535"),
        ("mqtt://localhost:mqtt", "has a port that is not between 1 and 65535"),
    ],
)
def test_a_mistake_in_a_url_is_one_sentence(url: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        BrokerAddress.parse(url)


@pytest.mark.parametrize("url", ["mqtt://ann:{}@host", "mqtts://:{}@host:1", "mqtt://ann:{}@host:99999"])
def test_a_password_in_a_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ValueError, match=r"^must not have a password in it, .*: use QUORBIT_MQTT_PASSWORD$") as raised:
        BrokerAddress.parse(url.format(SECRET))
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize("url", ["mqtt://ann:@host", "mqtt://:@host"])
def test_an_empty_password_is_one_too(url: str) -> None:
    with pytest.raises(ValueError, match="must not have a password in it"):
        BrokerAddress.parse(url)


def test_credentials_come_from_the_environment_and_a_url_outranks_its_user(tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    ca_file.touch()
    environment = {USER: "bob", PASSWORD: SECRET, CA_FILE: str(ca_file), "HOME": "/"}
    found = BrokerAddress("host", 1883, user="bob", password=SECRET, ca_file=ca_file)
    assert BrokerAddress.parse("mqtt://host").with_credentials(environment) == found
    assert BrokerAddress.parse("mqtt://ann@host").with_credentials(environment) == replace(found, user="ann")
    plain = BrokerAddress.parse("mqtts://ann@host")
    assert plain.with_credentials({}) == plain
    assert plain.with_credentials({USER: "", PASSWORD: "", CA_FILE: ""}) == plain


def test_what_the_environment_leaves_out_stays_as_it_was() -> None:
    address = BrokerAddress("host", 1, user="ann", password=SECRET, ca_file=Path("ca.pem"))
    assert address.with_credentials({USER: "bob"}) == address
    assert replace(address, user=None).with_credentials({USER: "bob"}) == replace(address, user="bob")
    assert address.with_credentials({PASSWORD: "another"}) == replace(address, password="another")


@pytest.mark.parametrize("text", [SECRET, f"{SECRET}\n", f"{SECRET}\r\n", f"{SECRET}\nwhat follows\n"])
def test_a_password_file_is_its_first_line_and_outranks_the_environment(tmp_path: Path, text: str) -> None:
    file = tmp_path / "password"
    file.write_bytes(text.encode())
    address = BrokerAddress("host", 1).with_credentials({PASSWORD: "another", USER: "bob"}, file)
    assert (address.user, address.password) == ("bob", SECRET)


def test_a_password_may_hold_spaces_and_any_letter(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(" pässword: 1 \n", encoding="utf-8")
    assert BrokerAddress("host", 1).with_credentials({}, file).password == " pässword: 1 "


def test_a_password_file_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        BrokerAddress("host", 1).with_credentials({}, tmp_path / "nowhere")


@pytest.mark.parametrize("tls", [True, False])
def test_a_certificate_authority_that_is_not_there_is_one_sentence(tls: bool, tmp_path: Path) -> None:
    for place in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(ValueError, match=f"^{CA_FILE}={place}: no such file$"):
            BrokerAddress("host", 1, tls=tls).with_credentials({CA_FILE: str(place)})


def test_a_certificate_authority_that_is_none_is_one_sentence_to_whoever_needs_one(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.write_text("no certificate")
    with pytest.raises(ValueError, match=f"^{CA_FILE}={notes}: .+$"):
        BrokerAddress("host", 1, tls=True).with_credentials({CA_FILE: str(notes)})
    assert BrokerAddress("host", 1).with_credentials({CA_FILE: str(notes)}).tls_context() is None


def test_no_password_is_in_what_is_printed() -> None:
    address = BrokerAddress.parse("mqtts://ann@host").with_credentials({PASSWORD: SECRET})
    assert address.password == SECRET
    for text in (repr(address), str(address), f"{address}", address.url, repr([address])):
        assert SECRET not in text
    assert address.url == "mqtts://ann@host:8883"


def test_with_tls_the_broker_must_prove_who_it_is() -> None:
    context = BrokerAddress.parse("mqtts://host").tls_context()
    assert context is not None
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
    assert BrokerAddress.parse("mqtt://host").tls_context() is None


@pytest.mark.parametrize("url", ["mqtt://host:0", "mqtt://host#part", "mqtt://[::1", "mqtt://a b"])
def test_more_mistakes_in_urls(url: str) -> None:
    with pytest.raises(ValueError, match=r"^(must be mqtt://host:port or mqtts://host:port|has a port that is .*)"):
        BrokerAddress.parse(url)
