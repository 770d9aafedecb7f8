"""Which jobs may be sent now: permits, holds and folders' limits in, claimed jobs out."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from rembg_watch.dispatch.credits import day_start
from rembg_watch.dispatch.holds import ALL, LATEST_CHECK, inbox_scope
from rembg_watch.dispatch.patience import lease_seconds
from rembg_watch.dispatch.renewal import take_over_options
from rembg_watch.errors import ApiError, StateError

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable

    from rembg_watch.config.model import Config
    from rembg_watch.dispatch.account import Account
    from rembg_watch.dispatch.crew import Crew
    from rembg_watch.dispatch.holds import Holds
    from rembg_watch.dispatch.reactions import Reactions
    from rembg_watch.jobs.ledger import Ledger
    from rembg_watch.jobs.model import Job
    from rembg_watch.jobs.store import JobStore


class Claims:
    """Claims jobs for the crew. For one thread, the dispatcher's."""

    def __init__(
        self,
        config: Callable[[], Config],
        store: JobStore,
        ledger: Ledger,
        account: Account,
        holds: Holds,
        reactions: Reactions,
        crew: Crew,
        give_back: Callable[[Job], None],
        orphans: deque[Job],
        clock: Callable[[], float],
    ) -> None:
        self._config = config
        self._store = store
        self._ledger = ledger
        self._account = account
        self._holds = holds
        self._reactions = reactions
        self._crew = crew
        self._give_back = give_back
        self._orphans = orphans
        self._clock = clock
        self._unknown: tuple[str, ...] = ()

    def reload(self) -> None:
        """Take over a new config: jobs of folders that are not in it are left alone."""
        known = {str(folder.inbox) for folder in self._config().folders}
        self._unknown = tuple(folder for folder in self._store.folders() if folder not in known)
        for profile in self._holds.scopes("profile:"):
            take_over_options(profile, self._config(), self._store)

    def leave_alone(self, folder: str) -> None:
        """Claim nothing of an inbox while it is not in the config: a photo of it came in as it was taken out."""
        self._unknown = (*self._unknown, folder)

    def next_batch(self) -> list[Job]:
        """Claim the next batch if the workers will soon be out of work; gives what may be sent, or nothing."""
        if self._crew.waiting() >= self._config().workers:
            return []
        if jobs := self._paid_already():
            return jobs
        if self._holds.has(ALL) or self._account.is_looking_ahead():  # that ends soon, with a reading, and wakes us
            return []
        if not self._due():
            return []
        profiles = self._holds.scopes("profile:")
        trial = next((profile for profile, job in list(self._reactions.trials.items()) if job is None), None)
        one = self._reactions.on_trial or trial is not None
        if one and (self._reactions.on_trial and self._crew.claimed()):
            return []
        count = self._permitted()
        if count <= 0:
            return []
        folders = self.held_folders()
        if trial is not None and not self._reactions.on_trial:
            take_over_options(trial, self._config(), self._store)
            jobs = self._claim(1, folders, [held for held in profiles if held != trial], only=trial)
            if jobs:
                self._reactions.trials[trial] = jobs[0].id
            else:
                self._reactions.trials.pop(trial, None)
        if not jobs:
            jobs = self._claim(1 if self._reactions.on_trial else count, folders, profiles)
        return jobs

    def _paid_already(self) -> list[Job]:
        """Claim what needs no sending any more: a paid answer is delivered, whatever else is held but its outbox."""
        now, lease = self._clock(), lease_seconds(self._config())
        folders = [*self._with_held_outbox(), *self._not_in_config()]
        jobs = self._store.claim_kept(self._config().workers, now, lease, folders=folders)
        self._crew.enter(jobs)
        self._account.give(len(jobs))
        return jobs

    def _due(self) -> bool:
        if self._store.ready():
            return True
        soonest = self._store.next_due()
        return soonest is not None and soonest <= self._clock()

    def _permitted(self) -> int:
        if self._account.needs_reading() and not self._read_account():
            return 0
        grant = self._account.grant()
        if grant.count <= 0 and not self._account.outstanding():
            # What was under way at the last reading was counted twice, to be safe. Now that nothing is, look again.
            if self._account.is_cautious() and self._read_account():
                grant = self._account.grant()
            if grant.count <= 0:
                check_in = LATEST_CHECK * random.uniform(0.8, 1.0)  # noqa: S311 - spreads the checks of many machines
                self._holds.hold(ALL, grant.kind, grant.message, grant.release, now=self._clock(), check_in=check_in)
        return grant.count

    def _read_account(self) -> bool:
        """Begin a new batch with a new reading, or on the last one; False where a hold came of it."""
        try:
            self._account.read()
        except ApiError as error:
            self._reactions.usage_failed(error, usable=self._account.grant().count > 0)
            return not self._holds.has(ALL)
        return True

    def held_folders(self) -> list[str]:
        """Give the inboxes whose jobs wait: held themselves, or by their outbox, or not in the config."""
        return [*self._with_held_outbox(), *self._holds.scopes("inbox:"), *self._not_in_config()]

    def _with_held_outbox(self) -> list[str]:
        outboxes = set(self._holds.scopes("outbox:"))
        return [str(folder.inbox) for folder in self._config().folders if str(folder.outbox) in outboxes]

    def _not_in_config(self) -> list[str]:
        config = self._config()
        return [inbox for inbox in self._unknown if config.folder(inbox) is None]

    def _claim(self, count: int, folders: list[str], profiles: list[str], only: str | None = None) -> list[Job]:
        now = self._clock()
        jobs = self._store.claim(
            count, now, lease_seconds(self._config()), folders=folders, profiles=profiles, only=only
        )
        try:
            jobs = self._within_folder_limits(jobs, now)
        except StateError:
            self._orphans.extend(jobs)
            raise
        self._crew.enter(jobs)
        self._account.give(len(jobs))
        return jobs

    def _within_folder_limits(self, jobs: list[Job], now: float) -> list[Job]:
        """Give back what a folder's own daily limit does not allow, and hold that folder until tomorrow."""
        kept: list[Job] = []
        left: dict[str, int] = {}
        for job in jobs:
            folder = self._config().folder(job.folder)
            if folder is None or folder.daily_limit is None:
                kept.append(job)
                continue
            if job.folder not in left:
                out = self._crew.claimed(job.folder)
                # What is claimed may be sent and in the ledger as well: counting it twice errs on the safe side.
                spent = self._ledger.spent_since(day_start(now), job.folder)
                left[job.folder] = folder.daily_limit - spent - out
            if left[job.folder] > 0:
                left[job.folder] -= 1
                kept.append(job)
                continue
            self._give_back(job)
            self._holds.hold(
                inbox_scope(job.folder),
                "daily-limit",
                f"the folder's daily limit of {folder.daily_limit} images is reached",
                "a new UTC day, or a higher daily_limit",
                now=now,
                check_in=1.0,
                until_tomorrow=not self._crew.claimed(job.folder),
            )
        return kept
