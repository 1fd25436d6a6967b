"""The amqtt broker as a process: `python amqtt_broker.py CONFIGURATION`, with accounts and topic filters of its own.

A separate program: it is started by its path and imports nothing of ours.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amqtt.broker import Broker
from amqtt.contexts import Action
from amqtt.plugins.base import BaseAuthPlugin, BaseTopicPlugin


def covers(allowed: str, asked: str) -> bool:
    """Whether all that the topic or filter `asked` stands for is within the filter `allowed`."""
    allowed_levels, asked_levels = allowed.split("/"), asked.split("/")
    for position, level in enumerate(allowed_levels):
        if level == "#":
            return True
        if position >= len(asked_levels) or asked_levels[position] == "#":
            return False
        if level not in ("+", asked_levels[position]):
            return False
    return len(asked_levels) == len(allowed_levels) or allowed_levels == [*asked_levels, "#"]


class Gate(BaseAuthPlugin, BaseTopicPlugin):  # type: ignore[misc]
    """Lets in who knows the password, and lets through what the account's filters allow."""

    @dataclass
    class Config:
        """What amqtt hands in."""

        users: dict[str, Any]

    async def authenticate(self, *, session: Any) -> bool:
        # A random password needs no slow hash, and a slow one would hold up everybody's messages.
        given = hashlib.sha256((session.password or "").encode()).hexdigest()
        user = self.config.users.get(session.username or "", {})
        return hmac.compare_digest(given, user.get("sha256", ""))

    async def topic_filtering(self, *, session: Any = None, topic: str = "", action: Any = None) -> bool:
        if action == Action.RECEIVE:
            # Settled when the receiver subscribed.
            return True
        user = self.config.users.get(session.username, {})
        allowed = user.get("may_write" if action == Action.PUBLISH else "may_read", ())
        return any(covers(one, topic) for one in allowed)


async def serve(settings: dict[str, Any]) -> None:
    """Serves until the process is ended."""
    broker = Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": settings["bind"]}},
            "plugins": {f"{__name__}.{Gate.__name__}": {"users": settings["users"]}},
        }
    )
    await broker.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.basicConfig(level=logging.ERROR)
    asyncio.run(serve(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
