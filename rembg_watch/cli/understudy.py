"""The real daemon as a process of the demo's: started, watched, stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from rembg_watch.errors import FileError, RembgWatchError
from rembg_watch.printable import printable

if TYPE_CHECKING:
    from types import TracebackType

    from rembg_watch.cli.stage import Stage

STOP_SECONDS = 20.0
"""How long the daemon may take to stop; its config says that photos in flight get 10 s."""
TAIL_LINES = 20

_NOT_ITS_OWN = (
    *("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"),
    *("REMBG_API_KEY", "REMBG_WATCH_CONFIG", "STATE_DIRECTORY", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET"),
)
"""What the environment says about the way to the real service, or about another daemon."""


class Daemon:
    """``rembg-watch run`` on the demo's config, in a process group of its own: Ctrl-C reaches the demo alone.

    Raises:
        FileError: it could not be started.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        env = {name: value for name, value in os.environ.items() if name not in _NOT_ITS_OWN}
        env["NO_PROXY"] = env["no_proxy"] = "127.0.0.1"
        try:
            with stage.log.open("xb") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "rembg_watch", "run", "-c", str(stage.config)],
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    process_group=0,
                )
        except OSError as error:
            raise FileError(f"the daemon can't be started: {error.strerror}", "Look at the system's log.") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def is_running(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> int:
        """Ask it to stop with SIGTERM, wait, and give its exit code; one that does not stop is killed."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_SECONDS)
            except BaseException as error:  # a second Ctrl-C as well
                self._process.kill()
                self._process.wait()
                if not isinstance(error, subprocess.TimeoutExpired):
                    raise
        return self._process.returncode

    def failure(self, what: str) -> RembgWatchError:
        """Give an error that shows the end of the daemon's log."""
        lines: list[str] = []
        with suppress(OSError):
            lines = self._stage.log.read_text("utf-8", "replace").splitlines()[-TAIL_LINES:]
        tail = "\n".join(f"    {printable(line)}" for line in lines) or "    (it is empty)"
        shown = printable(str(self._stage.log))
        return RembgWatchError(f"{what}. The end of {shown}:\n{tail}", "If it does not tell, please report it.")
