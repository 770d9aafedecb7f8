"""Progress of uploads and downloads on a terminal; silence anywhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn, TransferSpeedColumn

if TYPE_CHECKING:
    from types import TracebackType

    from rich.progress import TaskID

    from rembg_watch.api.model import Progress as Passed


class Bars:
    """One line for the picture on its way; ``total`` counts the pictures."""

    def __init__(self, total: int) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=32),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._total = total
        self._number = 0
        self._name = ""
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def begin(self, name: str) -> None:
        """Start the line of the next picture; ``name`` is safe to show."""
        self.end()
        self._number += 1
        self._name = escape(name if self._total == 1 else f"{name} ({self._number} of {self._total})")
        self._task = self._progress.add_task(f"{self._name}: waiting", total=None)
        self._progress.start()

    def upload(self, progress: Passed) -> None:
        """Show how much of the photo is out."""
        at_end = progress.total is not None and progress.loaded >= progress.total
        self._show("cutting out" if at_end else "sending", progress)

    def download(self, progress: Passed) -> None:
        """Show how much of the answer is here."""
        self._show("receiving", progress)

    def _show(self, doing: str, progress: Passed) -> None:
        if self._task is not None:
            self._progress.update(
                self._task, description=f"{self._name}: {doing}", completed=progress.loaded, total=progress.total
            )

    def end(self) -> None:
        """Take the line away, so that what is printed next has the place to itself."""
        if self._task is not None:
            self._progress.stop()
            self._progress.remove_task(self._task)
            self._task = None
