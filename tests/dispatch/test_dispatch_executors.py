"""The worker pool: what hangs holds up nothing else, what fails ends nothing else, and no executor is ever lost."""

from __future__ import annotations

import errno
import os
from dataclasses import replace

import pytest
from dispatch_pictures import QUICK

from rembg_watch.dispatch import photo as photo_module
from rembg_watch.dispatch import producer
from rembg_watch.dispatch.photo import Photo
from rembg_watch.dispatch.steps import Step
from rembg_watch.fsutil import Mount
from rembg_watch.jobs.queries import Queries

PATIENT = replace(QUICK, late=600.0)


def wait_all_free(world, size):
    """Wait until the pool has ``size`` threads and all of them are free: nothing was lost on any way."""
    pool = world.daemon.executors
    world.wait_until(
        lambda: (len(pool._seats), pool.free, len(world.daemon._parts.claims)) == (size, size, 0),
        60,
        lambda: (pool._seats, pool.free, world.daemon._parts.claims.ids()),
    )
    assert world.daemon._parts.rate.in_flight == 0
    assert world.daemon._parts.claims.unsent() == 0
    assert not world.daemon._parts.claims._keys
    assert not world.daemon._parts.targets._reserved


def row(world, path):
    """Return a job's whole row, and how many attempts it has."""
    job = world.jobs()[path]
    with world.database() as database:
        return job, len(Queries(database).attempts(job.id))


def hang(monkeypatch, gate, inbox):
    """Make each opening of a photo in an inbox hang at a gate."""
    opens = photo_module.open_source

    def open_source(path, **more):
        if path.startswith(f"{inbox}/"):
            gate.stop()
        return opens(path, **more)

    monkeypatch.setattr(photo_module, "open_source", open_source)


def test_a_thousand_copies_behind_a_hung_answer(world, pic, gate):
    """They are set aside: other photos go on, and all of them together cost one credit."""
    hung = gate(Step.OPENED)
    with world.running(failpoint=hung):
        world.drop("a.jpg", pic())
        hung.wait()
        world.drop_all({f"copy-{number}.jpg": pic() for number in range(1000)})
        world.drop("other.jpg", pic("blue"))
        world.wait_for(other="done")
        assert world.sandbox.charged == 1
        hung.open()
        world.wait_done(1002)
        wait_all_free(world, 3)
    assert world.sandbox.charged == 2
    assert world.ledger() == (2, 0)


@pytest.mark.parametrize("why", ["paused", "cancelled", "other options"])
def test_a_photo_that_is_dropped_is_not_written(world, pic, gate, why):
    """A photo in memory that may not be sent any more is forgotten there: its row says nothing of it, nor the ledger."""
    world.settings["workers"] = 1
    hung = gate(Step.OPENED)
    with world.running(failpoint=hung) as daemon:
        world.drop("a.jpg", pic())
        hung.wait()
        world.drop("b.jpg", pic("blue"))
        world.wait_until(lambda: daemon._parts.claims.unsent() == 1)  # it is read, and waits for a place in flight
        if why == "paused":
            world.pause()
        else:
            what = "state = 'cancelled'" if why == "cancelled" else "fingerprint = 'other'"
            world.change(f"UPDATE jobs SET {what} WHERE name = 'b.jpg'")
        before = row(world, "b.jpg")
        hung.open()
        world.wait_for(a="done")
        world.wait_until(lambda: daemon._parts.claims.unsent() == 0)
        assert row(world, "b.jpg") == before
        assert before[1] == 0
        wait_all_free(world, 2)
    assert world.sandbox.charged == 1


def test_an_inbox_that_hangs_is_held_and_its_executors_are_replaced(world, pic, gate, monkeypatch):
    """All executors wait for a dead inbox: it is held after a while, the other one goes on, and no place is lost."""
    good, good_outbox = world.add_folder("good")
    hung = gate()
    hang(monkeypatch, hung, world.inbox)
    with world.running() as daemon:
        world.drop_all({f"{number}.jpg": pic(size=(60 + number, 60)) for number in range(6)})
        hung.wait()
        hold = world.wait_held("late")
        assert hold.scope == f"inbox:{world.inbox}"
        world.drop_all({f"{number}.jpg": pic(size=(80 + number, 60)) for number in range(6)}, good)
        world.wait_until(lambda: len(world.delivered(good_outbox)) == 6)
        assert daemon.executors.free == 3
        hung.open()
        world.wait_done(12)
        world.wait_well()
        wait_all_free(world, 3)


def test_a_photo_that_hangs_while_it_is_sent_gives_up_its_place_in_flight(world, pic, gate, monkeypatch):
    """A large photo is read as it is sent: where its inbox hangs then, another photo has its place."""
    world.settings["workers"] = 1
    good, good_outbox = world.add_folder("good")
    hung, checks, check = gate(), [], Photo.check

    def hang_at_the_last_block(photo):
        checks.append(photo)
        if photo.path.endswith("large.png") and checks.count(photo) == 2:
            hung.stop()
        check(photo)

    monkeypatch.setattr(Photo, "check", hang_at_the_last_block)
    with world.running() as daemon:
        world.drop("large.png", pic(size=(500, 500), form="PNG", noise=True))
        hung.wait()
        assert world.wait_held("late").scope == f"inbox:{world.inbox}"
        world.drop("a.jpg", pic(), good)
        world.wait_until(lambda: world.delivered(good_outbox))
        assert daemon._parts.rate.in_flight == 0
        hung.open()
        world.wait_done(2)
        world.wait_well()
        wait_all_free(world, 2)


def test_a_network_inbox_has_half_of_the_executors_at_most(world, pic, gate, monkeypatch):
    """A share may die at any moment: what reads from it at once leaves half of the executors to others."""
    world.settings["workers"] = 4
    good, good_outbox = world.add_folder("good")
    mounts = [Mount(1, "/", "ext4"), Mount(2, str(world.inbox), "nfs4")]
    monkeypatch.setattr(producer, "read_mounts", lambda: mounts)
    hung = gate()
    hang(monkeypatch, hung, world.inbox)
    with world.running(timings=PATIENT) as daemon:
        world.drop_all({f"{number}.jpg": pic(size=(60 + number, 60)) for number in range(10)})
        hung.wait()
        world.drop_all({f"{number}.jpg": pic(size=(80 + number, 60)) for number in range(10)}, good)
        world.wait_until(lambda: len(world.delivered(good_outbox)) == 10)
        assert daemon._parts.claims.unsent(str(world.inbox)) == 2
        hung.open()
        world.wait_done(20)


def test_more_and_fewer_executors_are_as_many_as_asked_for(world, pic, gate, monkeypatch):
    """Reloads in quick succession, some while a thread hangs, come to what the last one says."""
    hung = gate()
    hang(monkeypatch, hung, world.inbox)
    good, good_outbox = world.add_folder("good")
    with world.running() as daemon:
        world.drop("a.jpg", pic())
        world.wait_held("late")
        for workers in (8, 1, 1, 4, 2, 2):
            daemon.executors.resize(workers)
        world.wait_until(lambda: daemon.executors._count() == 3)
        world.drop_all({f"{number}.jpg": pic(size=(80 + number, 60)) for number in range(6)}, good)
        world.wait_until(lambda: len(world.delivered(good_outbox)) == 6)
        hung.open()
        world.wait_done(7)
        wait_all_free(world, 3)


@pytest.mark.parametrize("step", [Step.CLAIMED, Step.READ, Step.FOUND])
def test_an_error_of_ours_before_sending_ends_no_executor(world, pic, step):
    """The photo at which it happens waits or is tried again; it costs nothing, and others go on."""
    errors = [KeyError("a bug")]

    def fail(now):
        if now is step and errors:
            raise errors.pop()

    with world.running(failpoint=fail):
        world.drop("a.jpg", pic())
        world.wait_until(lambda: not errors)
        world.drop_all({f"{number}.jpg": pic(size=(80 + number, 60)) for number in range(6)})
        world.wait_done(6)
        world.wait_until(lambda: world.states()["a.jpg"] in ("done", "waiting"))
        wait_all_free(world, 3)
    assert world.ledger()[1] == 0


def test_an_error_of_ours_after_sending_is_not_paid_for_again_and_again(world, pic):
    """It may have cost a credit, so it counts: tried again in 10 minutes, and failed the second time."""

    def fail(now):
        if now is Step.ANSWERED:
            raise KeyError("a bug")

    with world.running(failpoint=fail):
        world.drop("a.jpg", pic())
        world.wait_for(a="waiting")
        job = world.jobs()["a.jpg"]
        assert job.code == "internal"
        assert job.not_before > job.updated_at + 500
        world.change("UPDATE jobs SET not_before = 0")
        world.wait_for(a="failed")
        wait_all_free(world, 3)
    job = world.jobs()["a.jpg"]
    assert job.code == "internal"
    assert f"jobs retry {job.id}" in job.hint
    assert world.ledger() == (0, 2)


@pytest.mark.parametrize("call", ["open", "fstat"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES])
def test_a_photo_that_can_not_be_read_for_now_waits(world, pic, monkeypatch, number, call):
    """It costs nothing and fails nothing, whatever call it is that the disk or the share refuses."""
    broken, really = [True], getattr(os, call)

    def fail(where, *arguments, **more):
        path = where if call == "open" else os.readlink(f"/proc/self/fd/{where}")
        if broken and str(path).endswith("a.jpg"):
            raise OSError(number, os.strerror(number))
        return really(where, *arguments, **more)

    with world.running():
        with monkeypatch.context() as patch:
            patch.setattr(photo_module.os, call, fail)
            world.drop("a.jpg", pic())
            world.wait_until(lambda: world.states().get("a.jpg") not in ("queued", "running"))
        job = world.jobs()["a.jpg"]
        if number == errno.ESTALE:  # gone: the watcher looks at it again
            assert (job.state, job.code) == ("superseded", "changed")
        else:
            assert (job.state, job.code) == ("waiting", "unreadable")
            world.change("UPDATE jobs SET not_before = 0")
            world.wait_for(a="done")
        wait_all_free(world, 3)
    assert world.ledger()[1] == 0
