"""Reference data that lives beside a checkout and is not part of it."""

from pathlib import Path

import pytest

_SHARED = Path(__file__).resolve().parents[2] / "shared"


def shared(relative: str) -> Path:
    """A file or folder of reference data; skips the test, saying so, where it is absent."""
    path = _SHARED / relative
    if not path.exists():
        pytest.skip(f"the reference data {relative} is not beside this checkout")
    return path
