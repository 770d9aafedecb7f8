"""Which jobs are claimed, and that none is claimed and then forgotten."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import pytest

from rembg_watch.dispatch.claims import Claims
from rembg_watch.dispatch.crew import Crew
from rembg_watch.dispatch.holds import inbox_scope, outbox_scope, profile_scope
from rembg_watch.errors import StateError
from rembg_watch.jobs.ledger import AttemptEnd
from rembg_watch.jobs.model import Charge, State


class Desk:
    """The claims of a bench, with what they gave back and what they left to be given back."""

    def __init__(self, bench):
        self.bench = bench
        self.orphans = deque()
        self.crew = Crew(bench.worker.run, lambda *_: None, lambda: None, bench.clock)
        tables = bench.store, bench.ledger, bench.account, bench.holds, bench.reactions
        self.claims = Claims(lambda: bench.config, *tables, self.crew, self._give_back, self.orphans, bench.clock)
        self.claims.reload()

    def _give_back(self, job):
        self.bench.store.end(job, State.QUEUED, self.bench.now, keep_answer=True)

    def next(self):
        return [job.path for job in self.claims.next_batch()]


@pytest.fixture
def desk(bench):
    return Desk(bench)


def _keep(bench, path):
    """Have a job whose paid answer is written down, but nowhere to be found."""
    bench.arrive(path, b"bytes")
    job = bench.claim()
    attempt = bench.store.mark_sent(job, "hash", f"{bench.outbox}/{path}.png", f"{bench.outbox}/gone", bench.now)
    end = AttemptEnd(Charge.CHARGED)
    bench.store.mark_received(job, attempt, end, "answer", 20, f"{bench.outbox}/gone", bench.now)
    bench.store.end(job, State.QUEUED, bench.now, keep_answer=True)


def test_what_was_claimed_when_the_table_fails_is_not_forgotten(bench, desk, monkeypatch):
    """A table that can't be read or written at that moment leaves no photo claimed that nobody works on."""
    bench.config = replace(bench.config, folders=(replace(bench.folder, daily_limit=5),))
    bench.arrive("a.jpg", b"bytes")

    def fail(*_):
        raise StateError("can't be read", "wait")

    monkeypatch.setattr(bench.ledger, "spent_since", fail)
    with pytest.raises(StateError):
        desk.next()
    assert bench.job("a.jpg").state is State.RUNNING
    assert [job.path for job in desk.orphans] == ["a.jpg"]
    assert desk.crew.claimed() == 0


@pytest.mark.parametrize("scope", ["inbox", "profile"])
def test_a_paid_answer_is_delivered_though_its_photos_are_held(bench, desk, scope):
    """It needs no credit, and neither a folder's limit nor options that are refused by now are about it."""
    _keep(bench, "a.jpg")
    fingerprint = bench.profile.options.fingerprint
    held = {"inbox": inbox_scope(str(bench.inbox)), "profile": profile_scope(fingerprint)}[scope]
    bench.holds.hold(held, "any", "held", "wait", now=bench.now)
    bench.arrive("b.jpg", b"other")
    assert desk.next() == ["a.jpg"]
    assert desk.next() == []


def test_a_folders_limit_does_not_keep_a_paid_answer(bench, desk):
    """The very photo that reached the limit is delivered today, though its outbox had no room at first."""
    _keep(bench, "a.jpg")
    bench.config = replace(bench.config, folders=(replace(bench.folder, daily_limit=1),))
    assert desk.next() == ["a.jpg"]
    assert not bench.holds.all()


def test_a_paid_answer_waits_for_its_outbox(bench, desk):
    """That is the one hold which is about it."""
    _keep(bench, "a.jpg")
    bench.holds.hold(outbox_scope(str(bench.outbox)), "full", "full", "make room", now=bench.now)
    assert desk.next() == []


def test_a_paid_answer_that_is_lost_is_not_sent_without_a_permit(bench, desk):
    """It was claimed as one that costs nothing: it waits in the queue like any other photo."""
    _keep(bench, "a.jpg")
    (job,) = desk.claims.next_batch()
    assert not bench.worker.run(job).sent
    again = bench.job("a.jpg")
    assert (again.state, again.result_hash, again.temp) == (State.QUEUED, None, None)
    assert bench.sandbox.requests == []


def test_an_inbox_that_is_not_in_the_config_is_left_alone_until_it_is(bench, desk):
    """Also where its first photo came in after the config had been taken over; and whichever of the two came first."""
    bench.arrive("a.jpg", b"bytes")
    folders, bench.config = bench.config.folders, replace(bench.config, folders=())
    assert desk.next() == ["a.jpg"]
    bench.worker.run(desk.crew.claimed() and bench.store.running()[0])
    desk.claims.leave_alone(str(bench.inbox))
    assert desk.next() == []
    bench.config = replace(bench.config, folders=folders)
    assert desk.next() == ["a.jpg"]
