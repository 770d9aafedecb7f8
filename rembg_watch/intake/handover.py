"""A finished file on its way to the job table, which knows whether it is new; perhaps with an output in place."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import structlog

from rembg_watch.jobs.model import Arrival, Version
from rembg_watch.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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

    def give(self, finished: Sequence[Finished]) -> None:
        """Hand them over. Whatever ``on_arrivals`` or the job table raises comes out: then nothing was given."""
        late = [candidate for candidate, _ in finished if candidate.by_rescan and not self._is_known(candidate)]
        self._on_arrivals([self._arrival(candidate, refusal) for candidate, refusal in finished])
        for candidate in late:
            self.found_by_rescan += 1
            log.warning(
                "intake.found_by_rescan",
                folder=printable(candidate.inbox.name),
                path=printable(candidate.path),
                total=self.found_by_rescan,
            )

    def _is_known(self, candidate: Candidate) -> bool:
        return self._store.known_version(candidate.inbox.name, candidate.path) == _version(candidate)

    def _arrival(self, candidate: Candidate, refusal: Refusal | None) -> Arrival:
        folder = candidate.inbox.folder
        version = _version(candidate)
        profile = folder.profile_for(candidate.path)
        return Arrival(
            candidate.inbox.name,
            candidate.path,
            version,
            profile.options.fingerprint,
            profile.name,
            folder.priority,
            refusal,
            self._adopted(candidate, version) if refusal is None else None,
        )

    def _adopted(self, candidate: Candidate, version: Version) -> str | None:
        folder = candidate.inbox.folder
        if self._adopt is None or not folder.adopt_existing:
            return None
        output = self._adopt(folder, candidate.path, version.mtime_ns)
        # Asked last, as hardly any new file has one: what a row knows in any version adopts nothing.
        if output is None or self._store.known_version(candidate.inbox.name, candidate.path) is not None:
            return None
        return output


def _version(candidate: Candidate) -> Version:
    assert candidate.identity is not None
    return Version(candidate.identity.size, candidate.identity.mtime_ns)
