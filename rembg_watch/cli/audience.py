"""Follows the demo's photos in the daemon's job table, reading it from outside as anybody may."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rembg_watch.cli.options import DATABASE
from rembg_watch.cli.show import count, name
from rembg_watch.config.load import load_config
from rembg_watch.errors import StateError
from rembg_watch.jobs.database import Database
from rembg_watch.jobs.model import Charge, State
from rembg_watch.jobs.queries import Queries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rembg_watch.cli.stage import Prop, Stage
    from rembg_watch.cli.telling import Telling
    from rembg_watch.jobs.model import Job


@dataclass(frozen=True)
class Through:
    """One photo that has its output."""

    path: str
    profile: str
    output: Path
    before: int
    after: int
    credits: int


class Audience:
    """Knows of each photo whether it is through. Closes the database at the end of a ``with``."""

    def __init__(self, stage: Stage, props: Sequence[Prop], telling: Telling) -> None:
        config = load_config(stage.config, {})
        self._folder = config.folders[0]
        self._file = config.state_dir / DATABASE
        self._paths = [prop.path for prop in props]
        self._stage = stage
        self._telling = telling
        self._database: Database | None = None
        self._done: dict[str, Job] = {}
        self.failed: dict[str, Job] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._database is not None:
            self._database.close()

    def look(self) -> bool:
        """Take in what has ended since; True when nothing is left to wait for."""
        for job in self._jobs():
            if job.path in self._done or job.path in self.failed or job.path not in self._paths:
                continue
            if job.state is State.DONE and job.output is not None:
                self._done[job.path] = job
                self._telling.delivered(f"out  {name(job.path)} -> {name(self._below(job.output))}")
            elif job.state in (State.FAILED, State.CANCELLED):
                self.failed[job.path] = job
                self._telling.delivered(f"FAIL {name(job.path)}: {name(job.message or job.state)}")
        return len(self._done) + len(self.failed) == len(self._paths)

    def _jobs(self) -> list[Job]:
        if self._database is None:
            try:
                self._database = Database(self._file, readonly=True)
            except StateError:  # the daemon has not made it yet
                return []
        return Queries(self._database).select(limit=2 * len(self._paths) + 100)

    def _below(self, output: str) -> str:
        return f"outbox/{Path(self._whole(output)).relative_to(self._stage.outbox).as_posix()}"

    def _whole(self, output: str) -> str:
        return str(self._folder.outbox / output)

    def left(self) -> str:
        """Say what is not delivered, and why where that is known."""
        missing = [path for path in self._paths if path not in self._done]
        reasons = [
            f"{name(p)} ({name(self.failed[p].message or 'failed')})" if p in self.failed else name(p) for p in missing
        ]
        return f"{len(missing)} of {count(len(self._paths), 'photo')} not delivered: {', '.join(reasons[:5])}"

    def through(self) -> list[Through]:
        """Give every delivered photo, in the order in which they are listed."""
        assert self._database is not None
        queries = Queries(self._database)
        found = []
        for path in self._paths:
            if (job := self._done.get(path)) is None or job.output is None:
                continue
            output = Path(self._whole(job.output))
            charged = sum(attempt.charge is not Charge.NOT_CHARGED for attempt in queries.attempts(job.id))
            before = (self._stage.inbox / path).stat().st_size
            found.append(Through(path, job.profile, output, before, output.stat().st_size, charged))
        return found
