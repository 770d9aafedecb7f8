"""From intake to the queue: finished files become jobs, and the log says which of them need no sending."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from rembg_watch.dispatch.tidying import wish
from rembg_watch.jobs.arrivals import Accepted
from rembg_watch.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rembg_watch.config.model import Config, Folder
    from rembg_watch.jobs.model import Arrival
    from rembg_watch.jobs.store import JobStore

log = structlog.get_logger()


def enqueue(arrivals: Iterable[Arrival], config: Config, store: JobStore) -> bool:
    """Enter finished files into the queue; True where a source of an ended job is to be tidied away."""
    with_wishes = [_with_wish(arrival, config.folder(arrival.folder)) for arrival in arrivals]
    outcomes = store.enqueue(with_wishes, time.time())
    for arrival, outcome in zip(with_wishes, outcomes, strict=True):
        where = {
            "folder": printable(arrival.folder),
            "path": printable(arrival.path),
            "profile": arrival.profile,
            "bytes_in": arrival.version.size,
        }
        if outcome is Accepted.REFUSED and arrival.refusal is not None:
            log.warning("job.refused", **where, code=arrival.refusal.code, reason=arrival.refusal.message)
        elif outcome is Accepted.ADOPTED:
            log.info("job.adopted", **where, output=printable(arrival.adopt or ""))
        elif outcome is not Accepted.KNOWN:
            log.debug("job.queued", **where, outcome=outcome.value)
    return any(arrival.tidy for arrival in with_wishes)


def _with_wish(arrival: Arrival, folder: Folder | None) -> Arrival:
    """Add what is to become of the source of a job that ends as it begins."""
    if folder is None or (arrival.refusal is None and arrival.adopt is None):
        return arrival
    return replace(arrival, tidy=wish(folder, failed=arrival.refusal is not None))
