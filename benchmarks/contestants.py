"""Who takes part: the daemon with everything durable on, and what one would write instead."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from benchmarks.processes import Waited, end, has_inotify, wait_for
from benchmarks.server import WEBP_64

if TYPE_CHECKING:
    from types import TracebackType

    from benchmarks.service import Service

HERE = Path(__file__).resolve().parent
PEERS = HERE / "peers"
PACKAGES = HERE / ".packages"
"""Where the setup step puts what only a peer needs."""

DAEMON = "rembg-watch"
BACKLOG_ONLY = {"find-curl", "curl-parallel"}
"""They do what is in the folder and end."""
DROPS_ONLY = {"inotify-curl"}
"""They see nothing of what was in the folder before them."""


def missing(name: str) -> str | None:
    """Say what a contestant needs and does not find, or None."""
    if "curl" in name and not shutil.which("curl"):
        return "curl is not installed"
    if name == "inotify-curl" and not shutil.which("inotifywait"):
        return "inotifywait is not installed: apt-get install inotify-tools, or --setup as root"
    if name == "huey" and not (PACKAGES / "huey").is_dir():
        return "huey is not installed: run 'python -m benchmarks --setup'"
    return None


@dataclass
class Arena:
    """The fresh folders of one run."""

    root: Path
    service: Service
    workers: int
    folder: dict[str, object] = field(default_factory=dict)
    """More keys of the daemon's folder in its config."""

    def __post_init__(self) -> None:
        self.inbox, self.outbox, self.state = (self.root / name for name in ("inbox", "outbox", "state"))
        for path in (self.inbox, self.outbox):
            path.mkdir(parents=True)

    def write_config(self) -> Path:
        """Write the daemon's config: everything as by default, but for what the race is about."""
        config = {
            "api": {
                "key": "benchmark-key",
                "url": self.service.url,
                "usage_url": f"{self.service.base}/api/membership-usage",
            },
            "state_dir": str(self.state),
            "workers": self.workers,
            "profiles": {"small": {"format": "webp", "w": WEBP_64.width, "h": WEBP_64.height, "exact_resize": True}},
            "folders": [{"inbox": str(self.inbox), "outbox": str(self.outbox), "profile": "small", **self.folder}],
        }
        path = self.root / "config.yaml"
        path.write_text(json.dumps(config))  # YAML is a superset
        path.chmod(0o600)
        return path

    def outputs(self) -> int:
        """Count the files that are in the outbox under their final names."""
        with os.scandir(self.outbox) as entries:
            return sum(1 for entry in entries if not entry.name.startswith("."))

    def last_output(self) -> float:
        """Give the Unix time at which the last output was put in its place."""
        with os.scandir(self.outbox) as entries:
            return max((entry.stat().st_ctime for entry in entries if not entry.name.startswith(".")), default=0.0)


def _command(name: str, arena: Arena) -> list[str]:
    where = [str(arena.inbox), str(arena.outbox), arena.service.url]
    match name:
        case "rembg-watch":
            config = str(arena.write_config())
            return [sys.executable, "-m", "rembg_watch", "run", "-c", config, "--log-format", "json"]
        case "naive" | "session":
            return [sys.executable, str(PEERS / f"{name}.py"), *where, "--workers", str(arena.workers)]
        case "huey":
            database = ["--database", str(arena.root / "huey.db")]
            return [sys.executable, str(PEERS / "huey_worker.py"), *where, "--workers", str(arena.workers), *database]
        case _:
            return ["sh", str(PEERS / f"{name.replace('-', '_')}.sh"), *where, str(arena.workers)]


def _environment(name: str, arena: Arena) -> dict[str, str]:
    environment = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    if certificates := arena.service.certificates:
        bundle = str(certificates.bundle)
        environment |= {"REQUESTS_CA_BUNDLE": bundle, "CURL_CA_BUNDLE": bundle, "SSL_CERT_FILE": bundle}
    if name == "huey":
        environment["PYTHONPATH"] = str(PACKAGES)
    return environment


class Contestant:
    """One contestant's running process. As a context manager it ends at the end of the block."""

    def __init__(self, name: str, arena: Arena) -> None:
        self.name = name
        self._arena = arena
        self._said = arena.root / "said.txt"
        environment = _environment(name, arena)
        with self._said.open("wb") as said:
            self._process = subprocess.Popen(
                _command(name, arena), env=environment, stdout=said, stderr=said, stdin=subprocess.DEVNULL
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_ready(self, seconds: float = 60.0) -> None:
        """Return when it watches its inbox.

        Raises:
            Waited: it does not, or it has ended.
        """
        if self.name == "inotify-curl":
            wait_for(lambda: has_inotify(self.pid), self.name, seconds)
            return
        word = '"event": "ready"' if self.name == DAEMON else "ready"
        wait_for(lambda: word in self.said() or self._process.poll() is not None, self.name, seconds)
        if self._process.poll() is not None:
            raise Waited(f"{self.name} ended:\n{self.said()[-2000:]}")

    def wait_outputs(self, count: int, seconds: float) -> None:
        """Return when so many outputs are in place.

        Raises:
            Waited: they are not within ``seconds``.
        """
        try:
            wait_for(lambda: self._arena.outputs() >= count, self.name, seconds, pause=0.05)
        except Waited as error:
            raise Waited(f"{error}: {self._arena.outputs()} of {count}\n{self.said()[-2000:]}") from None

    def said(self) -> str:
        """Give what it wrote to stdout and stderr."""
        return self._said.read_text(errors="replace")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        end(self._process)
