"""What every benchmark uses: the scale, photos, and fresh folders with a service for each run."""

from __future__ import annotations

import shutil
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from benchmarks import photos
from benchmarks.runners import Workspace
from benchmarks.server import WEBP_64
from benchmarks.service import Certificates, Service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.server import Answer

KB, MB = 1024, 1024 * 1024
SMALL, LARGE = 68 * KB, 5 * MB
"""Bytes of a photo."""


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    name: str
    repeats: int
    small: int
    """Photos of 68 KB a run."""
    large: int
    """Photos of 5 MB a run."""
    slow: int
    """Photos of 68 KB a run, where each takes longer: a service of 200 ms, or a PNG to decode."""
    tls: int
    peers: tuple[str, ...]
    bound: tuple[tuple[float, int], ...]
    """Seconds that the service takes, and number of photos, for the runs in which the API is the limit."""
    drops: int
    writes: int
    memory: tuple[int, ...]
    """Photos in flight at once."""
    memory_bytes: int
    depths: tuple[int, ...]
    """Queued jobs, and as many done ones."""
    known: int
    known_folders: int
    idle_folders: int
    idle_seconds: float
    workers: int = 16


FULL = Scale(
    name="full",
    repeats=5,
    small=2000,
    large=200,
    slow=640,
    tls=1000,
    peers=("session", "inotify-curl", "find-curl", "curl-parallel", "huey"),
    bound=((0.2, 2000), (2.0, 320)),
    drops=150,
    writes=60,
    memory=(16, 64),
    memory_bytes=45 * MB,
    depths=(1000, 100_000, 1_000_000),
    known=1_000_000,
    known_folders=1000,
    idle_folders=10_000,
    idle_seconds=50.0,
)
QUICK = Scale(
    name="quick",
    repeats=1,
    small=400,
    large=40,
    slow=160,
    tls=100,
    peers=("session", "curl-parallel"),
    bound=((0.2, 480), (2.0, 64)),
    drops=30,
    writes=10,
    memory=(16,),
    memory_bytes=45 * MB,
    depths=(1000, 100_000),
    known=50_000,
    known_folders=50,
    idle_folders=2000,
    idle_seconds=5.0,
)
TINY = Scale(
    name="tiny",
    repeats=1,
    small=20,
    large=2,
    slow=8,
    tls=10,
    peers=("session",),
    bound=((0.2, 16),),
    drops=4,
    writes=3,
    memory=(2,),
    memory_bytes=2 * MB,
    depths=(50, 200),
    known=200,
    known_folders=4,
    idle_folders=20,
    idle_seconds=1.0,
    workers=4,
)
SCALES = {scale.name: scale for scale in (FULL, QUICK, TINY)}


class Suite:
    """What a benchmark gets. ``root`` is an empty folder on the disk that is measured."""

    def __init__(self, scale: Scale, root: Path) -> None:
        self.scale = scale
        self.root = root
        self._runs = 0

    @cached_property
    def certificates(self) -> Certificates:
        return Certificates.make(self.root / "tls")

    def photos(self, count: int, size: int) -> list[Path]:
        """Return ``count`` different photos of ``size`` bytes."""
        return photos.make(self.root / "photos" / str(size), count, size)

    @contextmanager
    def workspace(
        self,
        *,
        latency: float = 0.0,
        tls: bool = False,
        answer: Answer = WEBP_64,
        workers: int | None = None,
        folder: dict[str, object] | None = None,
    ) -> Iterator[Workspace]:
        """Yield fresh folders and a service for one run; ``folder`` holds more keys of the daemon's folder.

        The folders stay until the end of the suite: ext4 passes over freed file numbers one by one for some minutes, so
        the next run would pay for their removal.
        """
        self._runs += 1
        root = self.root / f"run-{self._runs}"
        root.mkdir()
        with Service(latency, self.certificates if tls else None, answer) as service:
            yield Workspace(root, service, workers or self.scale.workers, folder or {})

    @contextmanager
    def folder(self, name: str) -> Iterator[Path]:
        """Yield a fresh folder and remove it at the end of the block."""
        root = self.root / name
        root.mkdir()
        try:
            yield root
        finally:
            shutil.rmtree(root, ignore_errors=True)

    def progress(self, text: str) -> None:
        """Write a line to stderr."""
        sys.stderr.write(f"  {text}\n")
        sys.stderr.flush()
