"""What is paid for: once, found again in every case, and never taken for something else."""

from __future__ import annotations

import os

import pytest
from PIL import Image
from test_dispatch_recovery import ANSWER, Dead

from rembg_watch.dispatch.results import IN_MEMORY
from rembg_watch.dispatch.steps import Step
from rembg_watch.jobs.database import Database
from rembg_watch.jobs.queries import Queries

RED = {"format": "png", "bg_color": "#ff0000"}


def corner(world, name="a.png"):
    with Image.open(world.outbox / name) as result:
        return result.convert("RGBA").getpixel((0, 0))


def retry(world, path):
    """Do what ``rembg-watch jobs retry`` does."""
    number, before = world.jobs()[path].id, world.jobs()[path].updated_at
    with Database(world.root / "state" / "jobs.db", guest=True) as database:
        assert Queries(database).retry(ids=[number], now=before + 0.001) == [number]
    world.daemon._parts.wake_producer.set()


@pytest.mark.parametrize("size", [(80, 60), (900, 800)], ids=["small", "large"])
def test_the_same_picture_costs_nothing_while_its_answer_is_kept(world, pic, size):
    """Another name, other metadata, another run, the output deleted: the kept answer serves, whatever its size."""
    data = pic(size=size, noise=True)
    with world.running():
        world.drop("a.jpg", data)
        world.wait_done()
        (kept,) = world.kept()
        assert (kept.stat().st_size > IN_MEMORY) == (size != (80, 60))
        first = (world.outbox / "a.png").read_bytes()
        (world.outbox / "a.png").unlink()
        world.drop("b.jpg", data)
        world.wait_done(2)
        world.drop("c.jpg", data[:2] + b"\xff\xfe\x00\x07hello" + data[2:])  # a comment was added
        world.wait_done(3)
    with world.running():
        world.drop("d.jpg", data)
        world.wait_done(4)
    assert {(world.outbox / f"{name}.png").read_bytes() for name in "bcd"} == {first}
    assert world.sandbox.charged == 1


def test_the_store_survives_the_loss_of_the_database(world, pic):
    """With a new job table and the same results the picture costs nothing."""
    with world.running():
        world.drop("a.jpg", pic())
        world.wait_done()
    for file in (world.root / "state").glob("jobs.db*"):
        file.unlink()
    with world.running():
        world.drop("b.jpg", pic())
        world.wait_done()
    assert world.delivered() == ["a.png", "b.png"]
    assert world.sandbox.charged == 1


def test_a_store_that_keeps_nothing(world, pic):
    """With ``results: off`` an answer is removed when it is delivered; its output serves for copies while it is whole."""
    world.settings["results"] = False
    with world.running():
        world.drop("a.jpg", pic())
        world.wait_done()
        world.drop("b.jpg", pic())
        world.wait_done(2)
        world.wait_until(lambda: not world.kept())
        assert world.sandbox.charged == 1
        for name in ("a.png", "b.png"):
            (world.outbox / name).write_bytes(b"edited")
        world.drop("c.jpg", pic())
        world.wait_done(3)
    assert world.sandbox.charged == 2


def test_reuse_can_be_switched_off(world, pic):
    """With ``reuse_results: false`` each copy of a photo is sent."""
    world.folder["reuse_results"] = False
    with world.running():
        for name in ("a.jpg", "b.jpg"):
            world.drop(name, pic())
            world.wait_done(1 + (name == "b.jpg"))
    assert world.sandbox.charged == 2


def test_a_damaged_answer_is_not_delivered(world, pic):
    """Neither a kept answer nor an output that is not what was paid for serves for another photo."""
    with world.running():
        world.drop("a.jpg", pic())
        world.wait_done()
        for path in (world.kept()[0], world.outbox / "a.png"):
            path.write_bytes(b"edited")
        world.drop("b.jpg", pic())
        world.wait_done(2)
    assert corner(world, "b.png")
    assert (world.outbox / "a.png").read_bytes() == b"edited"
    assert world.sandbox.charged == 2


def test_a_touched_photo_whose_output_is_in_place_is_not_rewritten(world, pic):
    """Only its time is new: nothing is sent, copied or renamed."""
    with world.running():
        photo = world.drop("a.jpg", pic())
        world.wait_done()
        before = (world.outbox / "a.png").stat()
        os.utime(photo, (1, 1))
        world.drop("a.jpg")
        world.wait_done(2)
    after = (world.outbox / "a.png").stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_ctime_ns) == (
        before.st_ino,
        before.st_mtime_ns,
        before.st_ctime_ns,
    )
    assert world.delivered() == ["a.png"]
    assert world.sandbox.charged == 1


def test_a_forced_photo_is_sent_again_and_replaces_its_output(world, pic):
    """``jobs retry`` of a done photo pays once more; the old answer stays until the new one is verified."""
    seen = []

    def look(step):
        if step is Step.VERIFIED:
            seen.append(len(world.kept()))

    with world.running(failpoint=look):
        world.drop("a.jpg", pic())
        world.wait_done()
        (older,) = world.kept()
        retry(world, "a.jpg")
        world.wait_until(lambda: world.sandbox.charged == 2)
        world.wait_done()
    assert seen == [0, 1]
    (newer,) = world.kept()
    assert newer != older
    assert world.delivered() == ["a.png"]
    assert world.ledger() == (2, 0)


@pytest.mark.parametrize("fault", ["wrong-size", "wrong-format"])
def test_a_wrong_picture_is_paid_for_twice_at_most(world, pic, fault):
    """Over attempts, names and restarts; only a confirmed retry begins anew, and that, too, ends after two."""
    world.settings["retry"]["max_attempts"] = 9
    world.sandbox.set_faults({fault: 1.0})
    with world.running():
        world.drop("a.jpg", pic())
        world.wait_for(a="failed")
        world.drop("b.jpg", pic())
        world.wait_for(b="failed")
        assert world.jobs()["b.jpg"].code == "wasted"
    with world.running():
        world.drop("c.jpg", pic())
        world.wait_for(c="failed")
        assert world.sandbox.charged == 2
        assert not world.kept()
        retry(world, "c.jpg")
        world.wait_until(lambda: world.sandbox.charged == 4)
        world.wait_for(c="failed")
        world.drop("d.jpg", pic())
        world.wait_for(d="failed")
    assert world.sandbox.charged == 4
    assert world.delivered() == []


def test_a_forced_photo_is_paid_for_twice_at_most_as_well(world, pic):
    """A retry of a done photo that brings wrong pictures ends, and the older answer stays in its place."""
    world.settings["retry"]["max_attempts"] = 9
    with world.running():
        world.drop("a.jpg", pic())
        world.wait_done()
        (kept,) = world.kept()
        world.sandbox.set_faults({"wrong-size": 1.0})
        retry(world, "a.jpg")
        world.wait_for(a="failed")
    assert world.sandbox.charged == 3
    assert world.kept() == [kept]


def test_a_picture_that_was_wasted_and_then_paid_for_serves(world, pic):
    """Once a retry has brought its answer, its copies get that: they are not refused for what was in vain before."""
    world.sandbox.next("wrong-size", "wrong-size")
    with world.running():
        world.drop("a.jpg", pic())
        world.wait_for(a="failed")
        retry(world, "a.jpg")
        world.wait_for(a="done")
        world.drop("b.jpg", pic())
        world.wait_for(b="done")
    assert world.sandbox.charged == 3


# -- answers that wait for their delivery, and what has changed since


def put_off(world, dead, until):
    """Have a paid answer that waits for its place."""
    dead.part()
    dead.recover(crashed=False)
    dead.queue.put_off(dead.job, until, "place", "m", "h", 1.0)
    dead.database.close()


def test_an_answer_to_the_options_of_before_is_not_taken_for_one_to_todays(world, pic):
    """Killed with an answer there, and then with new options: the photo is sent as it is meant now."""
    dead = Dead(world)
    photo = world.inbox / "a.jpg"
    photo.write_bytes(pic())
    status = photo.stat()
    dead.database.write(
        lambda db: db.execute("UPDATE jobs SET size = ?, mtime_ns = ?", (status.st_size, status.st_mtime_ns))
    )
    dead.part()
    dead.database.close()
    world.settings["profiles"] = {"before": dict(world.folder["profile"])}
    world.folder["profile"] = RED
    with world.running():
        world.wait_done()
    assert corner(world) == (255, 0, 0, 255)
    assert world.sandbox.charged == 1


def test_a_kept_answer_is_delivered_before_a_newer_version_is_begun(world, pic):
    """The photo changed while its answer waited: the newer one is not sent before, so it stands in the end."""
    dead = Dead(world)
    put_off(world, dead, 9e9)
    with world.running() as daemon:
        world.drop("a.jpg", pic("blue", (90, 70)))
        world.drop("b.jpg", pic("green"))
        world.wait_for(b="done")
        assert world.states()["a.jpg"] == "queued"
        world.change("UPDATE jobs SET not_before = NULL WHERE state = 'received'")
        daemon.completers.reload(daemon.config)
        world.wait_done(3)
    assert world.delivered() == ["a.png", "b.png"]
    with Image.open(world.outbox / "a.png") as result:
        assert result.size == (90, 70)


def test_a_kept_answer_keeps_its_extension_in_another_outbox(world):
    """Outbox and format are others by now: the answer has the name of what it is."""
    dead = Dead(world)
    put_off(world, dead, None)
    new = world.root / "new"
    new.mkdir()
    world.folder.update(outbox=str(new), profile={"format": "webp"})
    with world.running():
        world.wait_done()
    assert world.delivered(new) == ["a.png"]
    assert (new / "a.png").read_bytes() == ANSWER
    with world.database() as database:
        ((fingerprint,),) = database.read("SELECT fingerprint FROM outputs")
    assert fingerprint == dead.key.fingerprint
