"""The line that shows how far a run has come."""

import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from testbed.simulation import Progress


class ProgressLine:
    """Rewrites one line of a terminal, at most ten times a second."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self._stream = stream
        self._shown_s = float("-inf")

    def __call__(self, progress: "Progress") -> None:
        if progress.wall_s - self._shown_s >= 0.1:
            self._shown_s = progress.wall_s
            self._write(progress_text(progress))

    def clear(self) -> None:
        """Leave nothing behind."""
        self._write("")

    def _write(self, text: str) -> None:
        self._stream.write(f"\r\x1b[K{text}")
        self._stream.flush()


def progress_text(progress: "Progress") -> str:
    """`12.0 / 60 s   96 blocks   210,000 deliveries/s   ETA 0:08`; no ETA before there is anything to go by."""
    parts = [f"{progress.virtual_s:.1f} / {progress.duration_s:g} s", f"{progress.blocks:,} blocks"]
    if progress.wall_s > 0:
        parts.append(f"{progress.deliveries / progress.wall_s:,.0f} deliveries/s")
    if progress.virtual_s > 0:
        left_s = progress.wall_s * (progress.duration_s / progress.virtual_s - 1)
        minutes, seconds = divmod(round(max(left_s, 0.0)), 60)
        parts.append(f"ETA {minutes}:{seconds:02d}")
    return "   ".join(parts)
