"""Getting in: which broker a run uses, and the files by which each node may use it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from network.broker import BrokerAddress
from node import topics
from node.signing import SigningKey
from testbed.launch.brokers import (
    LOOPBACK,
    Account,
    Broker,
    check_broker,
    choose_broker,
    free_port,
    write_privately,
)
from testbed.launch.guard import Warden


@dataclass(frozen=True)
class Access:
    """A broker, and the addresses at which the launcher and each replica's node may use it."""

    name: str
    """A broker's name, or its URL."""
    launcher: BrokerAddress
    nodes: tuple[BrokerAddress, ...]


def broker_named(
    value: str | None, environment: Mapping[str, str], password_file: Path | None = None
) -> Broker | BrokerAddress:
    """The broker that a scenario or a command line asks for: a URL, the name of one to start, or the best there is.

    Credentials for a broker that runs already come from the environment and the file. Raises ValueError with one
    sentence, or OSError for a file that cannot be read.
    """
    if value is None:
        return choose_broker()
    check_broker(value)
    if "://" in value:
        return BrokerAddress.parse(value).with_credentials(environment, password_file)
    return choose_broker(value)


def open_broker(chosen: Broker | BrokerAddress, run: str, n: int, warden: Warden) -> Access:
    """Ways into a broker that runs already, or into one that starts now."""
    if isinstance(chosen, BrokerAddress):
        return Access(chosen.url, chosen, (chosen,) * n)
    reads = (f"{topics.root(run)}/#",)
    launcher = Account.fresh("launcher", topics.launcher_writes(run), reads)
    nodes = [Account.fresh(f"node-{replica}", topics.node_writes(run, replica), reads) for replica in range(n)]
    port = free_port()
    warden.keep(chosen.prepare(warden.folder, port, [launcher, *nodes]))

    def address_of(account: Account) -> BrokerAddress:
        return BrokerAddress(LOOPBACK, port, user=account.user, password=account.password)

    return Access(chosen.name, address_of(launcher), tuple(map(address_of, nodes)))


def node_arguments(folder: Path, run: str, replica: int, key: SigningKey, address: BrokerAddress) -> list[str]:
    """What to start a node with; its key and its password go into files that only their owner can read."""
    key_file = folder / f"{replica}.key"
    write_privately(key_file, key.pem().decode())
    arguments = ["--broker", address.url, "--run", run, "--replica", str(replica), "--key", str(key_file)]
    if address.password is not None:
        password_file = folder / f"{replica}.password"
        write_privately(password_file, address.password + "\n")
        arguments += ["--password-file", str(password_file)]
    return arguments


def by_hand_sentences(arguments: Mapping[int, Sequence[str]]) -> list[str]:
    """How to start the nodes that the launcher does not, each in a shell of its own."""
    if not arguments:
        return []
    lines = [f"quorbit node {shlex.join(words)}" for _, words in sorted(arguments.items())]
    return [f"start {len(lines)} nodes by hand, each with its own command:", *lines]
