"""How a command ends that was told to."""

from __future__ import annotations

import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

EXIT_INTERRUPTED = 128 + signal.SIGINT


@contextmanager
def tidy_end() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end a command as Ctrl-C does: no half file stays behind, and the terminal is as before."""

    def leave(number: int, _: object) -> None:
        sys.exit(128 + number)

    before = {
        number: signal.signal(number, leave)
        for number in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is signal.SIG_DFL  # nohup ignores SIGHUP, and shall
    }
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
