"""What a start does with photos that were being sent when the process before ended."""

from __future__ import annotations

import os

import pytest
from blake3 import blake3
from dispatch_pictures import picture

from rembg_watch.config.model import ResultsConfig
from rembg_watch.dispatch.recovery import recover
from rembg_watch.dispatch.results import Results
from rembg_watch.jobs.database import Database
from rembg_watch.jobs.ledger import Ledger
from rembg_watch.jobs.model import Arrival, Key, Version
from rembg_watch.jobs.queries import Queries
from rembg_watch.jobs.queue import Queue, Sending

ANSWER = picture(form="PNG")


class Dead:
    """A state directory whose daemon was killed after it had marked one photo as sent; ``job`` is the newest."""

    def __init__(self, world):
        self.world = world
        self.state = world.root / "state"
        self.state.mkdir()
        self.database = Database(self.state / "jobs.db")
        self.queue = Queue(self.database)
        self.results = Results(self.state, self.queue, ResultsConfig())
        fingerprint = world.config().folders[0].profile.options.fingerprint
        self.key = Key(f"p1{0:064x}", fingerprint)
        self.queue.enqueue([Arrival(str(world.inbox), "a.jpg", Version(1, 1), fingerprint, "in:options")], 1.0)
        self.send()

    @property
    def job(self):
        return Queries(self.database).select()[0]

    def send(self):
        self.queue.mark_sent([Sending(self.job, self.key, 80, 60, str(self.world.outbox / "a.png"))], 1.0, 1.0)

    def part(self, data=ANSWER):
        path = self.results.part_path(self.key, self.job.attempt)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)

    def recover(self, *, crashed=True):
        assert recover(self.queue, self.results, self.world.config(), crashed=crashed, instance="i") == 1
        return self.job

    def crash_in_the_look(self):
        """Start again after a crash, and crash while an answer is looked at."""

        class Crash(BaseException):
            pass

        def crash(*_):
            raise Crash

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("rembg_watch.dispatch.recovery.checked", crash)
            with pytest.raises(Crash):
                recover(self.queue, self.results, self.world.config(), crashed=True, instance="i")

    def charges(self):
        return Ledger(self.database).totals()


@pytest.fixture
def dead(world):
    made = Dead(world)
    yield made
    made.database.close()


def test_a_whole_answer_is_delivered(dead):
    """It came in whole before the kill: it gets its name in the store, and the job only its delivery."""
    dead.part()
    job = dead.recover()
    assert (job.state, job.result_size, job.crashes) == ("received", len(ANSWER), 0)
    assert dead.results.read(dead.results.find(dead.key)) == ANSWER
    assert dead.charges() == (1, 0)


@pytest.mark.parametrize("data", [ANSWER[:-20], b"", picture(size=(10, 10), form="PNG"), picture(form="JPEG")])
def test_an_answer_that_is_not_whole_or_not_asked_for_is_rejected(dead, data):
    """It was possibly charged; the photo is sent again."""
    dead.part(data)
    attempt = dead.job.attempt
    job = dead.recover()
    assert (job.state, job.crashes) == ("queued", 1)
    assert dead.results.find(dead.key) is None
    assert dead.results.rejected(dead.key, attempt) is not None
    assert dead.charges() == (0, 1)


def test_an_answer_that_was_kept_and_not_written_down_is_delivered(dead):
    """The kill came between the rename in the store and the commit."""
    dead.results.write(dead.key, ANSWER, blake3(ANSWER).hexdigest(), dead.job.attempt)
    assert dead.recover().state == "received"
    assert dead.charges() == (1, 0)


def test_an_older_answer_to_the_same_picture_is_not_taken_for_this_one(dead):
    """A photo that was sent again on purpose, and killed, is not done with the answer that was to be replaced."""
    dead.results.write(dead.key, ANSWER, blake3(ANSWER).hexdigest(), dead.job.attempt - 1)
    assert dead.recover().state == "queued"


def test_an_answer_to_other_options_is_kept_and_not_delivered(dead):
    """The folder has another profile by now: the answer stays in the store, and the photo is sent as it is meant now."""
    dead.part()
    old = dict(dead.world.folder["profile"])
    dead.world.settings["profiles"] = {"before": old}
    dead.world.folder["profile"] = {"format": "png", "bg_color": "#ff0000"}
    assert dead.recover().state == "queued"
    assert dead.results.find(dead.key) is not None
    assert dead.charges()[0] == 0


def test_an_answer_to_unknown_options_is_put_aside(dead):
    """What nothing can verify any more is not left in the way for ever."""
    dead.part()
    attempt = dead.job.attempt
    dead.world.folder["profile"] = {"format": "webp"}
    assert dead.recover().state == "queued"
    assert dead.results.rejected(dead.key, attempt) is not None


def test_two_crashes_in_a_row_fail_the_photo(dead):
    """It may be what crashes the process, and each time may cost a credit; the third start does not look at its answer."""
    assert dead.recover().state == "queued"
    dead.send()
    job = dead.recover()
    assert (job.state, job.code) == ("failed", "crash")
    assert f"jobs retry {job.id}" in job.hint
    assert dead.charges() == (0, 2)


def test_an_answer_that_crashes_the_process_is_not_opened_a_third_time(dead):
    """The count is written before the look; then the body is kept apart for the report."""
    dead.part()
    for _ in range(2):
        dead.crash_in_the_look()
    attempt = dead.job.attempt
    job = dead.recover()
    assert (job.state, job.code, job.crashes) == ("failed", "crash", 0)
    assert dead.results.rejected(dead.key, attempt) is not None


@pytest.mark.parametrize("has_answer", [False, True])
def test_a_kill_in_the_look_at_an_answer_counts_for_no_other_photo(dead, has_answer):
    """It is queued again with its one crash, whether an answer to it began to come in or not."""
    dead.part()
    dead.queue.enqueue(
        [Arrival(str(dead.world.inbox), "b.jpg", Version(2, 2), dead.key.fingerprint, "in:options")], 1.0
    )
    dead.key = Key(f"p1{1:064x}", dead.key.fingerprint)
    dead.send()
    if has_answer:
        dead.part(ANSWER[:20])
    dead.crash_in_the_look()
    assert recover(dead.queue, dead.results, dead.world.config(), crashed=True, instance="i") == 2
    assert (dead.job.path, dead.job.state, dead.job.crashes) == ("b.jpg", "queued", 1)


def test_a_stop_that_ran_out_of_time_is_no_crash(dead):
    """The photo is sent again, however often that happens."""
    for _ in range(5):
        job = dead.recover(crashed=False)
        assert (job.state, job.crashes) == ("queued", 0)
        dead.send()


def test_a_daemon_delivers_what_it_recovers(dead):
    """From the part in the store to the output, without a request."""
    dead.part()
    dead.database.close()
    with dead.world.running():
        dead.world.wait_done()
        assert (dead.world.outbox / "a.png").read_bytes() == ANSWER
    assert not dead.world.sandbox.requests
