"""The config in force with its client, replaced as one by a reload; and the parts that the threads share."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from blake3 import blake3

from rembg_watch.dispatch.steps import no_failpoint

if TYPE_CHECKING:
    from queue import SimpleQueue

    from rembg_watch.api.client import RembgClient
    from rembg_watch.config.model import Config
    from rembg_watch.dispatch.budget import Budget
    from rembg_watch.dispatch.claims import Claims
    from rembg_watch.dispatch.holds import Holds, Settable
    from rembg_watch.dispatch.outboxes import Outboxes
    from rembg_watch.dispatch.rate import RateLimiter
    from rembg_watch.dispatch.results import Results
    from rembg_watch.dispatch.steps import Failpoint
    from rembg_watch.dispatch.targets import Targets
    from rembg_watch.jobs.database import Database
    from rembg_watch.jobs.ledger import Ledger
    from rembg_watch.jobs.model import Job
    from rembg_watch.jobs.outputs import Outputs
    from rembg_watch.jobs.queue import Queue


STOP_SECONDS = 2.0
"""How long a stop waits for a commit that marks photos as sent."""


@dataclass(frozen=True)
class Runtime:
    """One config and its client. A job keeps the one that it began with."""

    config: Config
    client: RembgClient

    @cached_property
    def account(self) -> str:
        """A short hash that tells accounts apart: the addresses and the key."""
        api = self.config.api
        return blake3("\0".join((api.url, api.usage_url, self.config.key or "")).encode()).hexdigest(length=8)

    def options_of(self, inbox: str, path: str) -> tuple[str, str] | None:
        """Return the fingerprint and the profile's name for a photo; None where the config has no such inbox."""
        folder = self.config.folder(inbox)
        if folder is None:
            return None
        profile = folder.profile_for(path)
        return profile.options.fingerprint, profile.name


class LiveRuntime:
    """Holds the runtime in force. ``lock`` is held while it is replaced, and while photos are marked as sent.

    So after a reload no photo goes out by the config before it.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.lock = threading.Lock()
        self.current = runtime
        self.stopping = False
        """Once it is set nothing is marked as sent, but for a commit under way."""

    @property
    def config(self) -> Config:
        """The config in force."""
        return self.current.config

    def replace(self, runtime: Runtime) -> None:
        """Put another runtime in force."""
        with self.lock:
            self.current = runtime

    def stop(self) -> None:
        """Stop sending photos from now on.

        A commit under way is waited for, but not for long: a full disk may block it until there is room.
        """
        self.stopping = True
        if self.lock.acquire(timeout=STOP_SECONDS):
            self.lock.release()


@dataclass(frozen=True)
class Components:
    """What producer, executors and completers share. Built once, by the daemon."""

    live: LiveRuntime
    database: Database
    queue: Queue
    outputs: Outputs
    ledger: Ledger
    results: Results
    holds: Holds
    rate: RateLimiter
    budget: Budget
    claims: Claims
    targets: Targets
    outboxes: Outboxes
    instance: str
    """The name of this job database, in the names of temporary files."""
    rescans: SimpleQueue[tuple[str, str]]
    """Files to look at again, as inbox and path: they changed on their way."""
    wake_daemon: Settable
    wake_producer: threading.Event
    failpoint: Failpoint = no_failpoint

    def refresh_after(self, runtime: Runtime) -> None:
        """Refresh the options of jobs that were queued under ``runtime``, where a reload came in between."""
        if self.live.current is not runtime:
            self.queue.refresh_profiles(self.live.current.options_of)

    def temp_tag(self, job: Job) -> str:
        """Return the tag of a job's temporary file: always the same, so that a start finds what a crash left."""
        return f"{self.instance}-{job.id}"
