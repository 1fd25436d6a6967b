"""Where a broker is, and who asks there."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

PORTS = {"mqtt": 1883, "mqtts": 8883}
USER, PASSWORD, CA_FILE = "QUORBIT_MQTT_USER", "QUORBIT_MQTT_PASSWORD", "QUORBIT_MQTT_CA"
"""Environment variables: what a command line would show to everybody."""


@dataclass(frozen=True)
class BrokerAddress:
    """A broker's place and the credentials for it; the password is in nothing that is printed."""

    host: str
    port: int
    tls: bool = False
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: Path | None = None

    @classmethod
    def parse(cls, url: str) -> BrokerAddress:
        """`mqtt://[user@]host[:port]`, or mqtts for TLS. Raises ValueError with one sentence."""
        try:
            parts = urlsplit(url)
        except ValueError as error:
            raise ValueError(f"must be mqtt://host:port or mqtts://host:port ({error})") from None
        more = parts.query or parts.fragment or any(map(str.isspace, url))
        if parts.scheme not in PORTS or not parts.hostname or parts.path not in ("", "/") or more:
            raise ValueError("must be mqtt://host:port or mqtts://host:port")
        if parts.password is not None:
            raise ValueError(f"must not have a password in it, which results and process lists show: use {PASSWORD}")
        try:
            port = parts.port
        except ValueError:
            port = 0
        if port == 0:
            raise ValueError("has a port that is not between 1 and 65535")
        return cls(parts.hostname, port or PORTS[parts.scheme], parts.scheme == "mqtts", parts.username)

    @property
    def url(self) -> str:
        """The URL again, without any secret."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = f"{self.user}@" if self.user else ""
        return f"{'mqtts' if self.tls else 'mqtt'}://{user}{host}:{self.port}"

    def with_credentials(self, environment: Mapping[str, str], password_file: Path | None = None) -> BrokerAddress:
        """With what the environment says, and with the first line of a file for a password if there is one.

        Raises ValueError, or OSError for a file that cannot be read.
        """
        ca_file = environment.get(CA_FILE)
        password = environment.get(PASSWORD)
        if password_file is not None:
            try:
                password = password_file.read_text(encoding="utf-8").partition("\n")[0]
            except UnicodeDecodeError:
                raise ValueError(f"{password_file}: is not UTF-8 text") from None
        if ca_file and not Path(ca_file).is_file():
            raise ValueError(f"{CA_FILE}={ca_file}: no such file")
        found = replace(
            self,
            user=self.user or environment.get(USER),
            password=password or self.password,
            ca_file=Path(ca_file) if ca_file else self.ca_file,
        )
        try:
            found.tls_context()
        except OSError as error:
            raise ValueError(f"{CA_FILE}={ca_file}: {error.strerror or error}") from None
        return found

    def tls_context(self) -> ssl.SSLContext | None:
        """How to check who the broker is: against `ca_file`, or what the system trusts."""
        return ssl.create_default_context(cafile=self.ca_file) if self.tls else None
