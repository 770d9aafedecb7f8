"""Where nothing happens for long, next to nothing is done, and news are seen as soon as ever."""

from __future__ import annotations

import time

import pytest

from rembg_watch.dispatch import dispatcher, rest
from rembg_watch.dispatch.dispatcher import Dispatcher
from rembg_watch.dispatch.holds import ALL
from rembg_watch.errors import StateError
from rembg_watch.jobs.database import Database
from rembg_watch.jobs.model import Arrival, Version
from rembg_watch.jobs.store import JobStore


def until(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.01)


class Calm:
    """A dispatcher that has come to rest, with the number of its whole turns and of its looks at the database."""

    def __init__(self, bench, monkeypatch):
        self.turns = self.looks = 0
        changed = bench.database.changed

        def look():
            self.looks += 1
            return changed()

        def turn():
            self.turns += 1

        monkeypatch.setattr(bench.database, "changed", look)
        monkeypatch.setattr(rest, "CALM_AFTER", 0.3)
        monkeypatch.setattr(rest, "IDLE_LOOK_SECONDS", 0.02)
        tables = bench.database, bench.store, bench.outputs, bench.ledger, bench.account, bench.holds
        self.dispatcher = Dispatcher(
            lambda: bench.config, lambda: bench.client, *tables, again=lambda *_: None, on_turn=turn
        )
        self.dispatcher.start()
        self.come_to_rest()

    def come_to_rest(self):
        """Wait until there are twenty looks without a turn."""

        def rests():
            turns, looks = self.turns, self.looks
            until(lambda: self.looks >= looks + 20)
            return self.turns == turns

        until(rests)


@pytest.fixture
def calm(bench, monkeypatch):
    made = Calm(bench, monkeypatch)
    yield made
    made.dispatcher.stop(5)


def test_a_calm_dispatcher_still_sees_what_another_process_writes(bench, calm, pic):
    """A job that another process enters, as ``jobs retry`` does, is begun at the next look."""
    photo = bench.inbox / "photo.jpg"
    photo.write_bytes(pic())
    version = Version(photo.stat().st_size, photo.stat().st_mtime_ns)
    arrival = Arrival(str(bench.inbox), "photo.jpg", version, bench.profile.options.fingerprint, "plain")
    with Database(bench.state / "jobs.db", guest=True) as other:
        JobStore(other).enqueue([arrival], time.time())
    until((bench.outbox / "photo.png").exists)
    calm.come_to_rest()


def test_a_stir_ends_the_calm(calm):
    """Whoever has news to tell is told of at once, and at the usual pace for a while."""

    def stirred():
        before = calm.turns
        calm.dispatcher.stir()
        calm.come_to_rest()
        return calm.turns >= before + 3

    until(stirred)  # on a machine that stands still it may come to rest sooner


def test_a_calm_dispatcher_is_well(calm, monkeypatch):
    """Its sign of life comes with every look, not only with the turns."""
    monkeypatch.setattr(dispatcher, "longest_turn", lambda _config: 50.0)
    beat = calm.dispatcher.beat
    until(lambda: calm.dispatcher.beat > beat)
    assert calm.dispatcher.unwell() is None


def test_a_turn_that_fails_is_not_tried_again_at_once(bench, calm, monkeypatch):
    """Though somebody woke it before: a database that can't be written would fill the journal otherwise."""
    failed = []

    def fail():
        failed.append(time.monotonic())
        raise StateError("the disk is full", "Make room.")

    monkeypatch.setattr(dispatcher, "FAILED_SECONDS", 0.2)
    monkeypatch.setattr(calm.dispatcher, "_turn_around", fail)
    calm.dispatcher.wake()
    until(lambda: len(failed) >= 5)
    assert failed[4] - failed[1] >= 0.5


def test_a_hold_that_could_not_be_shown_as_ended_is_not_shown_for_good(bench, calm, monkeypatch):
    """The database could not be written as it ended: the next turn tells the board."""
    bench.holds.hold(ALL, "pace", "too fast", "wait", now=time.time(), check_in=600.0)

    def full(*_):
        raise StateError("the disk is full", "Make room.")

    with monkeypatch.context() as patch:
        patch.setattr(bench.board, "release", full)
        with pytest.raises(StateError):
            bench.holds.release(ALL)
    calm.dispatcher.wake()
    until(lambda: not bench.board.holds())
