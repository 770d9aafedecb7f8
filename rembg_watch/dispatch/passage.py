"""One job on its way through the line: what is known of it so far."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

import structlog

from rembg_watch.errors import StateError
from rembg_watch.jobs.ledger import AttemptEnd
from rembg_watch.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from rembg_watch.config.model import Config, Folder
    from rembg_watch.dispatch.steps import Tools
    from rembg_watch.jobs.model import Charge, Job

log = structlog.get_logger()
T = TypeVar("T")


class Passage:
    """A job, its config and folder as of its beginning, and how far it has come. Monotonic seconds, milliseconds."""

    def __init__(self, tools: Tools, job: Job, config: Config, folder: Folder) -> None:
        self.tools = tools
        self.job = job
        self.config = config
        self.folder = folder
        self.profile = folder.profile_for(job.path)
        self.attempt: int | None = None
        self.spent = False
        self.sent_at = 0.0
        self.api_ms = 0.0
        self.bytes_out = 0
        self.received = False

    def attempt_end(self, charge: Charge, code: str | None, message: str | None, status: int | None) -> AttemptEnd:
        """Give the end of the attempt for the ledger."""
        size = self.job.version.size if self.attempt is not None else 0
        return AttemptEnd(charge, code, status, message, size, self.bytes_out, self.api_ms)

    @property
    def folder_by_now(self) -> Folder:
        """The folder as the config has it at this moment, or had it last: it decides what becomes of the source."""
        return self.tools.config().folder(self.job.folder) or self.folder

    def canonical(self) -> dict[str, object]:
        """Give what every log line about an attempt begins with."""
        job = self.job
        return {
            "job": job.id,
            "folder": printable(job.folder),
            "path": printable(job.path),
            "profile": self.profile.name,
            "queue_ms": round((self.tools.clock() - job.created_at) * 1000 - self.api_ms),
            "api_ms": round(self.api_ms),
            "attempt": job.attempts + 1,
        }


def keep(write: Callable[[], T]) -> T:
    """Write down what was paid for, again and again until the database takes it: a full disk must not cost a credit."""
    while True:
        try:
            return write()
        except StateError as error:
            log.error("state.cannot_write", reason=error.message, hint=error.hint)
            time.sleep(1.0)
