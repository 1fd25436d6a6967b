"""The line that shows how far a run has come."""

import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import RenderableType

    from testbed.launch.options import NodesProgress
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


class NodesTable:
    """Keeps a table of nodes up to date at the end of a terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)

    def __call__(self, progress: "NodesProgress") -> None:
        if not self._live.is_started:
            self._live.start()
        self._live.update(nodes_table(progress), refresh=True)

    def clear(self) -> None:
        """Leave nothing behind."""
        self._live.stop()


def nodes_table(progress: "NodesProgress") -> "RenderableType":
    """A row for each node: alive, view, height, lateness."""
    from rich.table import Table

    ready = sum(node.ready for node in progress.nodes)
    title = f"{progress.virtual_s:.1f} / {progress.duration_s:g} s"
    if progress.virtual_s < 0:
        title = f"{ready} of {len(progress.nodes)} nodes ready"
    table = Table(title=title, title_justify="left", box=None)
    for name in ("node", "endpoint", "", "view", "height", "deliveries", "late p99, ms", "restarts"):
        table.add_column(name, justify="left" if name in ("endpoint", "") else "right")
    for node in progress.nodes:
        state = "starting" if not node.ready else "silent" if not node.alive else "up" if node.up else "down"
        numbers = f"{node.view:,}", f"{node.height:,}", f"{node.deliveries:,}", f"{node.lateness_ms:.2f}"
        table.add_row(str(node.replica), node.endpoint, state, *numbers, str(node.restarts))
    return table
