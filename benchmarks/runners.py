"""The processes that are measured: the daemon with its default config, and its peers."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from benchmarks.processes import TimedOut, end, has_inotify, wait_for

if TYPE_CHECKING:
    from types import TracebackType

    from benchmarks.server import Answer
    from benchmarks.service import Service

PEERS = Path(__file__).resolve().parent / "peers"
PACKAGES = PEERS.parent / ".packages"
"""Where ``--setup`` installs what only a peer needs."""

DAEMON = "rembg-watch"
BACKLOG_ONLY = {"find-curl", "curl-parallel"}
"""They upload what is in the folder and end."""
DROPS_ONLY = {"inotify-curl"}
"""They ignore what was in the folder before they started."""


def install_peers() -> None:
    """Install inotify-tools by apt if run as root, and Huey into a folder of the suite."""
    if not shutil.which("inotifywait") and shutil.which("apt-get") and os.geteuid() == 0:
        subprocess.run(["apt-get", "install", "-y", "--no-install-recommends", "inotify-tools"], check=False)
    if not (PACKAGES / "huey").is_dir():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(PACKAGES)]
        subprocess.run([*pip, "huey>=2.5"], check=False)


def missing(name: str) -> str | None:
    """Return what a runner needs and is not installed, or None."""
    if "curl" in name and not shutil.which("curl"):
        return "curl is not installed"
    if name == "inotify-curl" and not shutil.which("inotifywait"):
        return "inotifywait is not installed: apt-get install inotify-tools, or --setup as root"
    if name == "huey" and not (PACKAGES / "huey").is_dir():
        return "huey is not installed: run 'python -m benchmarks --setup'"
    return None


def copy_peers(target: Path, answer: Answer) -> None:
    """Copy the peers' scripts and replace the format and size that they ask for by those of ``answer``."""
    target.mkdir()
    for script in PEERS.iterdir():
        if script.is_file():
            text = script.read_text().replace("webp", answer.format)
            text = re.sub(r'\bw("?[:=] ?)64\b', rf"w\g<1>{answer.width}", text)
            text = re.sub(r'\bh("?[:=] ?)64\b', rf"h\g<1>{answer.height}", text)
            (target / script.name).write_text(text)


@dataclass
class Workspace:
    """The fresh folders of one run, and its service."""

    root: Path
    service: Service
    workers: int
    folder: dict[str, object] = field(default_factory=dict)
    """More keys of the daemon's folder."""

    def __post_init__(self) -> None:
        self.inbox, self.outbox, self.state = (self.root / name for name in ("inbox", "outbox", "state"))
        for path in (self.inbox, self.outbox):
            path.mkdir(parents=True)

    def write_config(self) -> Path:
        """Write the daemon's config; every key that is not set here has its default."""
        answer = self.service.answer
        profile = {"format": answer.format, "w": answer.width, "h": answer.height, "exact_resize": True}
        config = {
            "api": {
                "key": "benchmark-key",
                "url": self.service.url,
                "usage_url": f"{self.service.base}/api/membership-usage",
            },
            "state_dir": str(self.state),
            "workers": self.workers,
            "profiles": {"cutout": profile},
            "folders": [{"inbox": str(self.inbox), "outbox": str(self.outbox), "profile": "cutout", **self.folder}],
        }
        path = self.root / "config.yaml"
        path.write_text(json.dumps(config))  # YAML is a superset
        path.chmod(0o600)
        return path

    def outputs(self) -> int:
        """Count the files in the outbox that have their final names."""
        with os.scandir(self.outbox) as entries:
            return sum(1 for entry in entries if not entry.name.startswith("."))

    def last_output(self) -> float:
        """Return the Unix time at which the last output got its final name."""
        with os.scandir(self.outbox) as entries:
            return max((entry.stat().st_ctime for entry in entries if not entry.name.startswith(".")), default=0.0)


class Runner:
    """A running daemon or peer; as a context manager it is ended at the end of the block."""

    def __init__(self, name: str, workspace: Workspace) -> None:
        self.name = name
        self._workspace = workspace
        self._log = workspace.root / "log.txt"
        command, environment = self._command(), self._environment()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def _command(self) -> list[str]:
        workspace = self._workspace
        if self.name == DAEMON:
            config = str(workspace.write_config())
            return [sys.executable, "-m", "rembg_watch", "run", "-c", config, "--log-format", "json"]
        scripts = workspace.root / "peers"
        copy_peers(scripts, workspace.service.answer)
        where = [str(workspace.inbox), str(workspace.outbox), workspace.service.url]
        if self.name == "huey":
            database = ["--database", str(workspace.root / "huey.db")]
            return [
                sys.executable,
                str(scripts / "huey_worker.py"),
                *where,
                "--workers",
                str(workspace.workers),
                *database,
            ]
        script = scripts / self.name.replace("-", "_")
        if script.with_suffix(".py").exists():
            return [sys.executable, f"{script}.py", *where, "--workers", str(workspace.workers)]
        return ["sh", f"{script}.sh", *where, str(workspace.workers)]

    def _environment(self) -> dict[str, str]:
        environment = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
        if certificates := self._workspace.service.certificates:
            bundle = str(certificates.bundle)
            environment |= {"REQUESTS_CA_BUNDLE": bundle, "CURL_CA_BUNDLE": bundle, "SSL_CERT_FILE": bundle}
        if self.name == "huey":
            environment["PYTHONPATH"] = str(PACKAGES)
        return environment

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_ready(self, seconds: float = 60.0) -> None:
        """Wait until the process watches its inbox.

        Raises:
            TimedOut: it does not, or it has ended.

        """
        if self.name == "inotify-curl":
            wait_for(lambda: has_inotify(self.pid), self.name, seconds)
            return
        word = '"event": "ready"' if self.name == DAEMON else "ready"
        wait_for(lambda: word in self.log() or self._process.poll() is not None, self.name, seconds)
        if self._process.poll() is not None:
            raise TimedOut(f"{self.name} ended:\n{self.log()[-2000:]}")

    def wait_outputs(self, count: int, seconds: float) -> None:
        """Wait until ``count`` outputs are in place.

        Raises:
            TimedOut: they are not within ``seconds``.

        """
        try:
            wait_for(lambda: self._workspace.outputs() >= count, self.name, seconds, pause=0.05)
        except TimedOut as error:
            raise TimedOut(f"{error}: {self._workspace.outputs()} of {count}\n{self.log()[-2000:]}") from None

    def log(self) -> str:
        """Return what the process wrote to stdout and stderr."""
        return self._log.read_text(errors="replace")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        end(self._process)
