"""A command on a terminal of its own, seen to its end."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def on_terminal(
    *words: str, stdout: int | None = None, at: bytes | None = None, then: Callable[[], object] = bool, **how: Any
) -> tuple[int, bytes, bytes | None]:
    """Run a command with stdout and stderr on a terminal, or with ``stdout=PIPE`` stderr alone.

    Gives its exit code, what the terminal was told, and what a pipe was. Once it was told ``at``, calls ``then``.
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
            if at is not None and at in seen:
                at = None
                then()
    except OSError:  # how a terminal says that nobody is at its other end
        pass
    os.close(ours)
    told, _ = process.communicate(timeout=60)
    return process.returncode, seen, told
