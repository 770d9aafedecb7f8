"""When a worker may send its photo: at its place in the line, while nothing is held, and as the config is by then."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rembg_watch.dispatch.holds import ALL, outbox_scope, profile_scope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rembg_watch.config.model import Config
    from rembg_watch.dispatch.crew import Crew
    from rembg_watch.dispatch.holds import Holds
    from rembg_watch.dispatch.line import RequestLine
    from rembg_watch.dispatch.reactions import Reactions
    from rembg_watch.jobs.model import Job


class Turns:
    """The workers' turns. Safe for threads."""

    def __init__(
        self, config: Callable[[], Config], holds: Holds, reactions: Reactions, line: RequestLine, crew: Crew
    ) -> None:
        self._config = config
        self._holds = holds
        self._reactions = reactions
        self._line = line
        self._crew = crew
        self._stale: frozenset[str | None] = frozenset()
        """The leases of jobs that were claimed by the limits of a config that is over."""

    def renew(self) -> None:
        """Give no turn to what is claimed by now: there is a new config, and permits are given anew."""
        self._stale = self._crew.leases()

    @contextmanager
    def turn(self, job: Job, then: Config, fingerprint: str) -> Iterator[None]:
        """Wait for the job's turn, and keep its place in the line to the end of the block.

        ``then`` is the config by which the photo was made ready, and ``fingerprint`` that of its options.

        Raises:
            InterruptedError: it may not be sent any more, or not like this: a new config came while it waited.
        """
        self._crew.step_waits()
        with (
            self._crew.away(),
            self._line.place(lambda: self._may_send(job, then, fingerprint)),
            self._crew.in_flight(job),
        ):
            self._crew.step_made()
            yield

    def _may_send(self, job: Job, then: Config, fingerprint: str) -> bool:
        folder = then.folder(job.folder)
        if self._config() is not then or folder is None or job.lease in self._stale:
            return False
        if self._holds.has(ALL) or self._holds.has(outbox_scope(str(folder.outbox))):
            return False
        tries_it = self._reactions.trials.get(fingerprint) == job.id
        return tries_it or not self._holds.has(profile_scope(fingerprint))
