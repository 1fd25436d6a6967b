"""The keeper of a node: how a process ends decides what is said about it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from node.contract import TRACEBACK, ProtocolError
from testbed.launch.keeper import NodeFailedError, NodeKeeper


def keeper(folder: Path, program: str) -> NodeKeeper:
    """Of a node that is this program."""
    command = [sys.executable, "-c", program]
    return NodeKeeper(2, command, folder / "2.log", os.getpgrp(), dict(os.environ), lambda: False)


BROKEN = "import sys; print('Traceback', 'ZeroDivisionError', 'protocol p broke', sep='\\n'); sys.exit(2)"


async def test_a_protocol_that_broke_is_its_own_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TRACEBACK, raising=False)
    with pytest.raises(ProtocolError) as caught:
        await keeper(tmp_path, BROKEN).keep()
    assert str(caught.value) == "protocol p broke"


async def test_with_its_traceback_for_who_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRACEBACK, "1")
    with pytest.raises(ProtocolError) as caught:
        await keeper(tmp_path, BROKEN).keep()
    assert str(caught.value) == "Traceback\nZeroDivisionError\nprotocol p broke"


async def test_any_other_failure_is_the_nodes(tmp_path: Path) -> None:
    with pytest.raises(NodeFailedError, match=r"node 2 failed \(exit code 1\); its log ends:\n.*ours"):
        await keeper(tmp_path, "raise SystemExit('ours')").keep()
