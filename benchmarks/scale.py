"""How much of everything is measured: a full run, a quick one, and a tiny one that only shows that the suite works."""

from __future__ import annotations

from dataclasses import dataclass

KB, MB = 1024, 1024 * 1024


@dataclass(frozen=True)
class Size:
    """One kind of photo: how many of them are dropped, and how many bytes each has."""

    name: str
    count: int
    bytes: int


@dataclass(frozen=True)
class Scale:
    """The numbers of one run. ``repeats`` are interleaved: every contestant once, then every contestant again."""

    name: str
    repeats: int
    sizes: tuple[Size, ...]
    latencies: tuple[float, ...]
    """Of the service in the race, in seconds."""
    peers: tuple[str, ...]
    tls_count: int
    bound: tuple[tuple[float, int], ...]
    """Latency in seconds and number of photos, for the runs in which the API is the limit."""
    drops: int
    """Single photos whose way to the wire is timed."""
    writes: int
    memory: tuple[int, ...]
    memory_bytes: int
    depths: tuple[int, ...]
    """Queued jobs, and as many done ones."""
    known: int
    known_folders: int
    idle_folders: int
    idle_seconds: float
    workers: int = 16


ALL_PEERS = ("naive", "session", "inotify-curl", "find-curl", "curl-parallel", "huey")

FULL = Scale(
    name="full",
    repeats=3,
    sizes=(Size("68 KB", 2000, 68 * KB), Size("5 MB", 200, 5 * MB)),
    latencies=(0.0, 0.2),
    peers=ALL_PEERS,
    tls_count=1000,
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
    sizes=(Size("68 KB", 400, 68 * KB), Size("5 MB", 40, 5 * MB)),
    latencies=(0.0,),
    peers=("naive", "session", "curl-parallel"),
    tls_count=100,
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
    sizes=(Size("68 KB", 20, 68 * KB),),
    latencies=(0.0,),
    peers=("naive", "session"),
    tls_count=10,
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
