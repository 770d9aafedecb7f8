"""Any steps in any order: no current version is lost, and no two versions of a file are worked on at once."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from jobs_table import INBOX, Table

from rembg_watch.jobs.database import Database
from rembg_watch.jobs.ledger import AttemptEnd
from rembg_watch.jobs.model import Charge, State, Tidy
from rembg_watch.jobs.queue import Accepted

PROFILES = ("white", "blue")


class Owner:
    """One owner of the queue, as the daemon is: what it claimed is at hand until it lets go of it.

    Each step takes a number, from which it makes its choices.
    """

    def __init__(self, database):
        self.database = database
        self.table = Table(database)
        self.queue, self.queries = self.table.queue, self.table.queries
        self.now = 1000.0
        self.at_hand = {}
        self.attempts = {}
        self.versions = {}
        """The version of each file that was handed over last and is still in the inbox."""
        self.sent = 0

    def pick(self, number):
        return list(self.at_hand.values())[number % len(self.at_hand)] if self.at_hand else None

    def let_go(self, job):
        self.at_hand.pop(job.id, None)
        self.attempts.pop(job.id, None)

    # -- the steps

    def arrive(self, number):
        path, mtime = ("a.jpg", "a.jpg", "b/c.jpg")[number % 3], number // 3
        was = self.versions.get(path)
        accepted = self.table.arrive(path, mtime, profile=PROFILES[number % 2], now=self.now)
        assert accepted is (Accepted.NEW if was is None else Accepted.KNOWN if was == mtime else Accepted.CHANGED)
        self.versions[path] = mtime

    def claim(self, number):
        jobs = self.table.ready(*PROFILES, now=self.now, limit=1 + number % 2, at_hand=list(self.at_hand))
        assert not self.at_hand.keys() & {job.id for job in jobs}
        self.at_hand.update((job.id, job) for job in jobs)

    def claim_received(self, number):
        jobs = self.queue.received([INBOX], self.now, 1 + number % 2, list(self.at_hand))
        assert not self.at_hand.keys() & {job.id for job in jobs}
        self.at_hand.update((job.id, job) for job in jobs)

    def send(self, number):
        job = self.pick(number)
        if job and job.state is not State.RECEIVED:
            attempt = self.table.send(job, self.now)
            if attempt is not None:
                self.attempts[job.id] = attempt
                self.sent += 1
            elif job.id not in self.attempts:
                self.let_go(job)

    def receive(self, number):
        job = self.pick(number)
        if job and not self.table.receive(job, self.attempts.get(job.id), self.now):
            self.let_go(job)

    def finish(self, number):
        if job := self.pick(number):
            self.table.finish(job, self.now, tidy=(None, Tidy.DELETE)[number % 2])
            self.let_go(job)

    def end(self, number):
        if job := self.pick(number // 3):
            state = (State.QUEUED, State.WAITING, State.FAILED)[number % 3]
            attempt = self.attempts.get(job.id)
            end = attempt and (attempt, AttemptEnd(Charge.POSSIBLY, "reset", counted=True))
            self.queue.end(job, state, self.now, not_before=self.now + number, attempt=end)
            self.let_go(job)

    def put_off(self, number):
        if job := self.pick(number):
            self.queue.put_off(job, self.now + number, "place", "", "", self.now)
            self.let_go(job)

    def retry(self, number):
        self.queries.retry(ids=[number], now=self.now)

    def cancel(self, number):
        self.queries.cancel(ids=[number], now=self.now)

    def reload(self, number):
        profile = PROFILES[number % 2]
        self.queue.refresh_profiles(lambda *_: (f"{profile}-fp", profile))

    def put_away(self, number):
        """Put the sources away; a command may come in between."""
        untidy = self.queue.untidy([INBOX])
        if number % 2:
            self.retry(number)
        for job in untidy:
            self.queue.tidied(job)
            if self.queue.known_version(INBOX, job.path) is None:
                del self.versions[job.path]

    def crash(self, _number=0):
        self.at_hand, self.attempts = {}, {}
        for job in self.queue.running():
            self.queue.requeue_interrupted(job, self.now, 0)

    def wait(self, number):
        self.now += number

    # -- the promises

    def check(self):
        current = self.database.read("SELECT ltrim(dir || '/' || name, '/'), mtime_ns FROM jobs WHERE current = 1")
        assert sorted(current) == sorted(self.versions.items())
        busy = self.database.read("SELECT dir, name FROM jobs WHERE state IN ('running', 'received')")
        assert len(set(busy)) == len(busy)
        unsendable = "SELECT id FROM jobs WHERE state IN ('queued', 'waiting') AND current = 0"
        assert self.database.read(unsendable) == []
        assert self.database.read("SELECT count(*) FROM attempts") == [(self.sent,)]

    def finish_everything(self):
        """After a restart every open job can be taken to its end."""
        self.crash()
        self.now += 1e6
        for _ in range(self.queue.open_count()):
            self.claim(0)
            self.claim_received(0)
            for step in (self.send, self.receive, self.finish):
                step(0)
        assert self.queue.open_count() == 0


STEPS = [
    *(Owner.arrive, Owner.claim, Owner.send, Owner.receive, Owner.finish) * 2,
    *(Owner.claim_received, Owner.end, Owner.put_off, Owner.retry, Owner.cancel, Owner.reload, Owner.put_away),
    *(Owner.crash, Owner.wait),
]


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 8)), min_size=40, max_size=80))
def test_any_steps_in_any_order(tmp_path_factory, steps):
    """Every file has one current job, one version of it is busy, every attempt is in the ledger, nothing is stuck."""
    with Database(tmp_path_factory.mktemp("machine") / "jobs.db") as database:
        owner = Owner(database)
        for step, number in steps:
            step(owner, number)
            owner.check()
        owner.finish_everything()
        owner.check()
