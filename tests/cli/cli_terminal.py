"""A command on a terminal of its own, seen to its end."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from typing import Any


def on_terminal(*words: str, stdout: int | None = None, **how: Any) -> tuple[int, bytes, bytes | None]:
    """Run a command with stdout and stderr on a terminal, or with ``stdout=PIPE`` stderr alone.

    Gives its exit code, what the terminal was told, and what a pipe was.
    """
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "rembg_watch", *words],
        stdout=theirs if stdout is None else stdout, stderr=theirs, **how,
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    try:
        while chunk := os.read(ours, 65536):
            seen += chunk
    except OSError:  # how a terminal says that nobody is at its other end
        pass
    os.close(ours)
    told, _ = process.communicate(timeout=60)
    return process.returncode, seen, told
