"""`python -m node`, which is `quorbit node`: one replica's process, on a broker."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, NoReturn

from consensus.protocols import look_in
from network.broker import CA_FILE, PASSWORD, USER, BrokerAddress
from network.mqtt import BrokerError
from node.contract import ProtocolError, told
from node.guard import patience_s
from node.process import Node, NodeError, Post
from node.signing import SigningKey

DONE, FAILED, MISTAKE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Be a node until its run is over; the exit code is 0, 1 when that failed, or 2 for the user's mistake."""
    look_in(os.getcwd())
    try:
        post = _post(_parser().parse_args(arguments))
    except ValueError as error:
        print(f"quorbit node: {error} (see quorbit node --help)", file=sys.stderr)
        return MISTAKE
    except SystemExit:  # --help
        return DONE
    code = FAILED
    try:
        return _run(_live(post))
    except* (NodeError, BrokerError) as errors:
        print(f"quorbit node: {_first(errors)}", file=sys.stderr)
    except* ProtocolError as errors:
        code = MISTAKE
        print(told(_first(errors), os.environ), file=sys.stderr)
    return code


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="quorbit node",
        description="Run one replica as a process of its own, for a run that `quorbit run --bus mqtt` waits to begin.",
        epilog=f"A password comes from {PASSWORD} or --password-file, a user also from {USER}, the certificate "
        f"authority of an mqtts broker from {CA_FILE}. Started again after it was killed, a node goes on from its "
        "store.",
        allow_abbrev=False,
    )
    parser.add_argument("--broker", required=True, metavar="URL", help="mqtt://[user@]host[:port], or mqtts://…")
    parser.add_argument("--run", required=True, metavar="RUN", help="the run's name, as quorbit run printed it")
    parser.add_argument("--replica", required=True, metavar="N", type=int, help="which replica this is")
    parser.add_argument("--key", required=True, metavar="FILE", type=Path, help="its private key (PEM)")
    parser.add_argument("--password-file", metavar="FILE", type=Path, help="a file with the broker's password")
    parser.add_argument(
        "--store", metavar="FILE", type=Path, help="its store [default: quorbit-RUN-N.sqlite, here]; remove it after"
    )
    return parser


def _post(given: argparse.Namespace) -> Post:
    """Raises ValueError with one sentence."""
    if given.replica < 0:
        raise ValueError(f"--replica {given.replica}: must be 0 or more")
    try:
        address = BrokerAddress.parse(given.broker)
    except ValueError as error:
        raise ValueError(f"--broker {given.broker if '@' not in given.broker else ''}: {error}") from None
    try:
        address = address.with_credentials(os.environ, given.password_file)
    except OSError as error:
        raise ValueError(f"--password-file {given.password_file}: {error.strerror}") from None
    except ValueError as error:
        option = "--password-file " if str(error).startswith(str(given.password_file)) else ""
        raise ValueError(f"{option}{error}") from None
    store = given.store or Path(f"quorbit-{given.run}-{given.replica}.sqlite")
    return Post(address, given.run, given.replica, _key(given.key), store, patience_s(os.environ))


def _key(file: Path) -> SigningKey:
    try:
        return SigningKey.from_pem(file.read_bytes())
    except ValueError as error:
        raise ValueError(f"--key {file}: {error}") from None
    except OSError as error:
        raise ValueError(f"--key {file}: {error.strerror}") from None


async def _live(post: Post) -> int:
    node = Node(post)
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, node.leave)
    # What is loaded by now stays: collections need not look at it each time.
    gc.freeze()
    await node.live()
    return DONE


def _run(main: Coroutine[Any, Any, int]) -> int:
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


def _first(errors: BaseExceptionGroup[BaseException]) -> Any:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


if __name__ == "__main__":
    sys.exit(main())
