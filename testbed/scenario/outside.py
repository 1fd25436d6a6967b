"""Protocols from outside: where the module of "package.module:Class" is found.

Python looks where it always does, then in the scenario's own folder, then where the command runs. If the folder has
the module, it is written down in the scenario, so that a resolved one runs from anywhere; should Python find another
module of that name first, that is a mistake, because nobody could tell which of the two was meant.
"""

import sys
from pathlib import Path
from typing import Any

from consensus.protocols import load_protocol, look_in
from consensus.replica import Replica


def remember_folder(tables: dict[str, Any], folder: Path) -> None:
    """Fill in `consensus.protocol_folder` if `folder` has the module of the protocol."""
    consensus = tables.get("consensus")
    if isinstance(consensus, dict) and "protocol_folder" not in consensus:
        name = consensus.get("protocol")
        if isinstance(name, str) and _module_file(folder, name) is not None:
            consensus["protocol_folder"] = str(folder.absolute())


def load_from(folder: Path | None, name: str) -> type[Replica]:
    """The protocol of that name, whose module may be in `folder`. Raises `LookupError` with one sentence."""
    if folder is None:
        return load_protocol(name)
    look_in(str(folder))
    protocol = load_protocol(name)
    wanted = _module_file(folder, name)
    found = getattr(sys.modules.get(name.partition(":")[0]), "__file__", None)
    if wanted is not None and found is not None and not wanted.samefile(found):
        raise LookupError(f"protocol {name!r} is in {wanted}, but Python finds {found} first; rename one of them")
    return protocol


def _module_file(folder: Path, name: str) -> Path | None:
    """The file of the module of "package.module:Class", if it is in this folder."""
    module, colon, _ = name.partition(":")
    if not colon:
        return None
    stem = folder.joinpath(*module.split("."))
    files = (stem / "__init__.py", stem.with_name(f"{stem.name}.py"))
    return next((file for file in files if file.is_file()), None)
