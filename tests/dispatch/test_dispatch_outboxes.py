"""From a verified answer to its place: a hung, full or failing outbox holds only itself, and loses nothing."""

from __future__ import annotations

import os
from contextlib import suppress

import pytest
from blake3 import blake3
from test_dispatch_recovery import ANSWER, Dead

from rembg_watch import clock
from rembg_watch.dispatch import completer
from rembg_watch.dispatch.steps import Step
from rembg_watch.dispatch.targets import Targets
from rembg_watch.errors import TargetError, TargetTaken
from rembg_watch.jobs.ledger import AttemptEnd
from rembg_watch.jobs.model import Charge, How
from rembg_watch.jobs.queue import Received


def pics(pic, count, width=60):
    return {f"{number}.jpg": pic(size=(width + number, 60)) for number in range(count)}


def fill(folder):
    """Leave no room on a folder's filesystem."""
    with open(folder / ".rembg-watch-filler", "wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


def free(folder):
    (folder / ".rembg-watch-filler").unlink()


def test_a_hung_outbox_holds_only_itself(world, pic, gate):
    """Its paid answers are kept and marked as received; nothing more is sent for it; others are delivered."""
    other, other_outbox = world.add_folder("other")
    hung = gate(Step.SYNCED)
    with world.running(failpoint=hung) as daemon:
        world.drop("first.jpg", pic())
        hung.wait()
        world.drop("second.jpg", pic("blue"))
        world.wait_until(lambda: world.sandbox.charged == 2)
        hold = world.wait_held("late")
        assert hold.scope == f"outbox:{world.outbox}"
        world.wait_for(first="received", second="received")
        world.drop("third.jpg", pic("green"))
        world.drop_all(pics(pic, 6), other)
        world.wait_until(lambda: len(world.delivered(other_outbox)) == 6)
        assert world.states()["third.jpg"] == "queued"
        assert world.delivered() == []
        hung.open()
        world.wait_done(9)
        world.wait_well()
        assert daemon.completers.idle()
        world.wait_until(lambda: not daemon._parts.targets._reserved)
    assert world.delivered() == ["first.png", "second.png", "third.png"]
    assert world.sandbox.charged == 9


def test_a_stop_does_not_wait_for_a_hung_outbox(world, pic, gate):
    """It ends when ``shutdown_grace`` is over; the next run delivers what was paid for."""
    world.settings["shutdown_grace"] = 1
    hung = gate(Step.SYNCED)
    with world.running(failpoint=hung):
        world.drop("a.jpg", pic())
        hung.wait()
        world.wait_for(a="received")
    with world.running():
        world.wait_done()
    assert world.delivered() == ["a.png"]
    assert world.sandbox.charged == 1


@pytest.mark.parametrize("size", [(80, 60), (800, 700)], ids=["small", "large"])
def test_an_outbox_without_room_waits_with_its_paid_answer(world, pic, mount_at, size):
    """It gets full while the answer comes in: that is kept in the store, and delivered when there is room."""
    mount_at(world.outbox, "-t", "tmpfs", "-o", "size=3m", "tmpfs")

    filled = []

    def fail(step):
        if step is Step.ANSWERED and not filled:
            filled.append(True)
            fill(world.outbox)

    with world.running(failpoint=fail):
        world.drop("a.jpg", pic(size=size, noise=True))
        world.wait_for(a="received")
        assert world.wait_held("full").scope == f"outbox:{world.outbox}"
        assert len(world.kept()) == 1
        world.drop("b.jpg", pic("blue"))
        free(world.outbox)
        world.wait_for(a="done")
        world.wait_for(b="done")
    assert world.sandbox.charged == 2


def test_an_answer_that_fits_nowhere_is_held_in_memory(world, pic, mount_at):
    """Store and outbox get full while it comes in: nothing more is sent anywhere until one of them takes it."""
    other, other_outbox = world.add_folder("other")
    (world.root / "state").mkdir()
    mount_at(world.results, "-t", "tmpfs", "-o", "size=2m", "tmpfs")
    mount_at(world.outbox, "-t", "tmpfs", "-o", "size=3m", "tmpfs")
    filled = []

    def fail(step):
        if step is Step.OPENED and not filled:
            filled.append(True)
            fill(world.outbox)
            fill(world.results)

    with world.running(failpoint=fail) as daemon:
        world.drop("a.jpg", pic())
        world.wait_held("unsaved")
        assert world.states()["a.jpg"] == "running"
        free(world.results)
        scope = f"outbox:{other_outbox}"
        daemon.holds.hold(scope, "full", "m", "r", check_in=0.0)  # the other outbox is looked at, and found well
        world.wait_until(lambda: scope not in {hold.scope for hold in daemon.holds.all()})
        assert world.wait_held("unsaved")
        world.drop("b.jpg", pic("blue"), other)
        free(world.outbox)
        world.wait_done(2)
        world.wait_well()
    assert world.delivered() == ["a.png"]
    assert world.sandbox.charged == 2


@pytest.mark.parametrize("step", [Step.SYNCED, Step.MARKED_RECEIVED, Step.PLACED, Step.PLACE_SYNCED, Step.FINISHED])
def test_an_error_of_ours_loses_no_answer(world, pic, step):
    """The photo at which it happens is delivered later, and not paid for again; others of its batch go on."""
    errors = [KeyError("a bug")]

    def fail(now):
        if now is step and errors:
            raise errors.pop()

    with world.running(failpoint=fail) as daemon:
        world.drop_all(pics(pic, 4))
        world.wait_until(lambda: not errors and daemon.completers.idle() and len(daemon._parts.claims) == 0)
        world.change("UPDATE jobs SET not_before = NULL WHERE state = 'received'")
        daemon.completers.reload(daemon.config)
        world.wait_done(4)
        world.wait_until(lambda: not daemon._parts.targets._reserved and not len(daemon._parts.claims))
    assert len(world.delivered()) == 4
    assert world.sandbox.charged == 4


def test_an_answer_that_was_put_off_is_delivered_after_a_restart(world):
    """Its place could not be written when the daemon ended: it is tried again at its time."""
    dead = Dead(world)
    dead.results.write(dead.key, ANSWER, blake3(ANSWER).hexdigest(), dead.job.attempt)
    answer = Received(
        dead.job,
        dead.key,
        str(world.outbox / "a.png"),
        blake3(ANSWER).hexdigest(),
        len(ANSWER),
        How.SENT,
        dead.job.attempt,
        AttemptEnd(Charge.CHARGED),
    )
    dead.queue.mark_received([answer], clock.now())
    dead.queue.put_off(dead.job, clock.now() + 1.0, "place", "m", "h", clock.now())
    dead.database.close()
    with world.running():
        world.wait_done()
    assert (world.outbox / "a.png").read_bytes() == ANSWER
    assert not world.sandbox.requests


def test_a_name_that_a_kill_left_unsynced_is_synced_before_its_photo_is_done(world, monkeypatch):
    """The kill came right after the rename: a power cut must not undo it when the source is gone."""
    dead = Dead(world)
    (world.outbox / "a.png").write_bytes(ANSWER)
    answer = Received(
        dead.job, dead.key, str(world.outbox / "a.png"), blake3(ANSWER).hexdigest(), len(ANSWER), How.SENT
    )
    dead.queue.mark_received([answer], clock.now())
    dead.database.close()
    synced, sync = [], completer.fsync_folder

    def note(folder):
        synced.append((os.readlink(f"/proc/self/fd/{folder}"), world.states()["a.jpg"]))
        sync(folder)

    monkeypatch.setattr(completer, "fsync_folder", note)
    with world.running():
        world.wait_done()
    assert synced == [(str(world.outbox), "received")]


@pytest.mark.parametrize("times", [1, 100])
def test_a_name_that_another_program_takes_is_given_up(world, pic, monkeypatch, times):
    """The output gets another name; where each one is taken at once, the answer waits, and nothing stays reserved."""
    taken, place = [], completer.place

    def take(temp, path, **more):
        if len(taken) < times:
            taken.append(path)
            (world.outbox / path).write_bytes(b"somebody's")
            raise TargetTaken(f"{path} is taken")
        return place(temp, path, **more)

    monkeypatch.setattr(completer, "place", take)
    with world.running() as daemon:
        world.drop("a.jpg", pic())
        world.wait_until(lambda: world.states().get("a.jpg") == "done" or world.jobs()["a.jpg"].code == "place")
        world.wait_until(lambda: not daemon._parts.targets._reserved)
    assert world.states()["a.jpg"] == ("done" if times == 1 else "received")
    assert (world.outbox / taken[0]).read_bytes() == b"somebody's"
    assert world.sandbox.charged == 1


def test_a_reservation_survives_when_no_other_name_is_left(world, pic, monkeypatch):
    """The path is given back once, by the one who has it."""
    world.settings["folders"][0]["include"] = ["*.jpg"]
    with world.running() as daemon:
        world.drop("a.jpg", pic())
        world.wait_done()
        targets, job = Targets(daemon.outputs), world.jobs()["a.jpg"]
        target = targets.reserve(job, str(world.outbox), [str(world.outbox / "new.png")])

        def none_left(*_):
            raise TargetError("no free name is left", "Clear up.")

        monkeypatch.setattr("rembg_watch.dispatch.targets.choose", none_left)
        with pytest.raises(TargetError):
            targets.exchange(job, target, [str(world.outbox / "new.png")])
        assert list(targets._reserved) == [target.path]
        targets.release(target)
        assert not targets._reserved


def test_a_held_outbox_costs_no_processor(world):
    """An answer that is due, and the probe of an outbox whose name begins alike, do not wake a held outbox's thread."""
    with world.running() as daemon:
        one = daemon.completers._of(str(world.outbox))
        world.wait_until(lambda: one._since is None and not one._is_due())
        daemon.holds.hold(f"outbox:{world.outbox}2", "full", "m", "r", check_in=-10.0)
        assert not one._is_due()
        daemon.holds.hold(f"outbox:{world.outbox}", "full", "m", "r", check_in=600.0)
        one._next_look = clock.now() - 10
        assert not one._is_due()
