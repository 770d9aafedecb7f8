"""What becomes of a finished file: it is known already, or new, or new with an output that stands in place."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import structlog

from rembg_watch.jobs.model import Arrival, Version
from rembg_watch.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rembg_watch.intake.candidate import Adopt, Candidate, KnownFile
    from rembg_watch.jobs.model import Refusal

log = structlog.get_logger()


class Finished(NamedTuple):
    """A file that nobody writes any more. ``refusal``: why it is not to be sent, or None."""

    candidate: Candidate
    refusal: Refusal | None


class Handover:
    """Gives finished files to ``on_arrivals``. For one thread."""

    def __init__(self, store: KnownFile, on_arrivals: Callable[[list[Arrival]], None], adopt: Adopt | None) -> None:
        self._store = store
        self._on_arrivals = on_arrivals
        self._adopt = adopt
        self.found_by_rescan = 0

    def give(self, finished: Iterable[Finished]) -> None:
        """Hand over what is new. Whatever ``on_arrivals`` or the job table raises comes out: then nothing was given."""
        new = [(file.candidate, arrival) for file in finished if (arrival := self._arrival(*file)) is not None]
        if new:
            self._on_arrivals([arrival for _, arrival in new])
        for candidate, _ in new:
            if candidate.by_rescan:
                self.found_by_rescan += 1
                log.warning(
                    "intake.found_by_rescan",
                    folder=printable(candidate.inbox.name),
                    path=printable(candidate.path),
                    total=self.found_by_rescan,
                )

    def _arrival(self, candidate: Candidate, refusal: Refusal | None) -> Arrival | None:
        identity, status, folder = candidate.identity, candidate.status, candidate.inbox.folder
        assert identity is not None
        assert status is not None
        version = Version(identity.size, identity.mtime_ns)
        before = self._store.known_version(candidate.inbox.name, candidate.path)
        if before == version:
            return None
        adopted = None
        if before is None and refusal is None and folder.adopt_existing and self._adopt is not None:
            adopted = self._adopt(folder, candidate.path, status)
        profile = folder.profile_for(candidate.path)
        return Arrival(
            candidate.inbox.name,
            candidate.path,
            version,
            profile.options.fingerprint,
            profile.name,
            folder.priority,
            refusal,
            adopted,
        )
