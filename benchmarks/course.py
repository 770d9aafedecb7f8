"""What a workload is given: the scale, a place on the disk, photos, services, and fresh folders for each run."""

from __future__ import annotations

import shutil
import sys
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

from benchmarks import photos
from benchmarks.contestants import Arena
from benchmarks.service import Certificates, Service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.scale import Scale


class Course:
    """The ground for all workloads. ``root`` is a folder of its own, on the disk that is measured."""

    def __init__(self, scale: Scale, root: Path) -> None:
        self.scale = scale
        self.root = root
        self._runs = 0

    @cached_property
    def certificates(self) -> Certificates:
        return Certificates.make(self.root / "tls")

    def stock(self, count: int, size: int) -> list[Path]:
        """Give ``count`` different photos of ``size`` bytes."""
        return photos.stock(self.root / "stock" / str(size), count, size)

    @contextmanager
    def arena(
        self,
        *,
        latency: float = 0.0,
        tls: bool = False,
        workers: int | None = None,
        folder: dict[str, object] | None = None,
    ) -> Iterator[Arena]:
        """Give fresh folders and a service of its own for one run.

        ``folder`` are more keys of the daemon's folder in its config. The folders go with the course itself: for some
        minutes ext4 passes over each file number that was freed, one by one, so that the next contestant would pay for
        what was taken away after this one.
        """
        self._runs += 1
        root = self.root / f"run-{self._runs}"
        root.mkdir()
        with Service(latency, self.certificates if tls else None) as service:
            yield Arena(root, service, workers or self.scale.workers, folder or {})

    @contextmanager
    def folder(self, name: str) -> Iterator[Path]:
        """Give one fresh folder, and take it away after."""
        root = self.root / name
        root.mkdir()
        try:
            yield root
        finally:
            shutil.rmtree(root, ignore_errors=True)

    def say(self, text: str) -> None:
        """Tell of the progress, on stderr."""
        sys.stderr.write(f"  {text}\n")
        sys.stderr.flush()
