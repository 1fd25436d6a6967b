"""When nodes are down: the scenario's crashes as windows."""

from __future__ import annotations

import pytest

from network.faults import Window
from testbed.faults import windows_down


@pytest.mark.parametrize(
    ("windows", "united"),
    [
        ([(100, 300), (200, 400)], [(100, 400)]),
        ([(200, 400), (100, 200)], [(100, 400)]),
        ([(100, 400), (200, 300)], [(100, 400)]),
        ([(300, 400), (100, 200)], [(100, 200), (300, 400)]),
        ([(100, None), (200, 300)], [(100, None)]),
        ([], []),
    ],
)
def test_windows_that_overlap_or_touch_are_one(
    windows: list[tuple[int, int | None]], united: list[tuple[int, int | None]]
) -> None:
    assert windows_down({number: Window(*window) for number, window in enumerate(windows)}) == united
