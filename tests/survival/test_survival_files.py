"""Files that change, vanish, come twice or come back, and two that want one place."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

import pytest
from survival_world import cut_out, picture, until

from rembg_watch.dispatch.steps import Step

BEFORE = [Step.CLAIMED, Step.READ, Step.MARKED_SENT, Step.OPENED]
"""The photo has not gone out yet."""
AFTER = [Step.ANSWERED, Step.MARKED_RECEIVED, Step.PLACED, Step.FINISHED]


def delivered(world, path, data):
    output = world.output(path)
    return output.exists() and output.read_bytes() == cut_out(data)


@pytest.mark.parametrize("how", ["write", "replace"])
@pytest.mark.parametrize("step", BEFORE + AFTER)
def test_changed_on_the_way(world, step, how):
    """A photo that changes on its way is delivered as it is at last; the older version costs only if it was sent."""
    world.put("a.png", picture("first"))
    after = picture("second", (80, 60))
    world.sources["a.png"] = after
    daemon = world.start(calls=[(step.value, how, (str(world.inbox / "a.png"), after))])
    until(lambda: delivered(world, "a.png", after), what=world.tail)
    until(lambda: world.job("a.png").state == "done")
    assert world.stop(daemon) == 0
    world.check_sources()
    world.check_outputs()
    assert not world.debris()
    assert world.sandbox.charged == world.check_ledger().charged == (1 if step in BEFORE else 2)


@pytest.mark.parametrize("step", BEFORE)
def test_removed_before_it_was_sent(world, step):
    """A photo that is taken away before it went out is not paid for, and nothing is left of it."""
    world.put("a.png")
    daemon = world.start(calls=[(step.value, "remove", (str(world.inbox / "a.png"),))])
    until(lambda: world.states()["superseded"], what=world.tail)
    assert world.stop(daemon) == 0
    assert not list(world.outbox.rglob("*"))
    assert world.sandbox.charged == world.check_ledger().charged == 0


@pytest.mark.parametrize("step", AFTER)
def test_removed_when_it_was_paid(world, step):
    """A photo that is taken away after it was answered is delivered: it is paid for."""
    data = world.put("a.png")
    daemon = world.start(calls=[(step.value, "remove", (str(world.inbox / "a.png"),))])
    until(lambda: world.states()["done"], what=world.tail)
    assert world.stop(daemon) == 0
    assert delivered(world, "a.png", data)
    assert world.sandbox.charged == 1


@pytest.mark.parametrize("step", [Step.READ, Step.OPENED, Step.ANSWERED])
def test_renamed_on_the_way(world, step):
    """A photo that gets another name on its way is delivered under it, and is not paid for twice."""
    data = world.put("a.png")
    daemon = world.start(calls=[(step.value, "move", (str(world.inbox / "a.png"), str(world.inbox / "b.png")))])
    until(lambda: delivered(world, "b.png", data), what=world.tail)
    until(lambda: not world.states().keys() & {"queued", "running", "waiting"})
    assert world.stop(daemon) == 0
    assert world.sandbox.charged == world.check_ledger().charged == 1
    assert not world.debris()


def test_same_bytes_under_many_names(world):
    """Twelve copies of one photo are one request, however many workers there are."""
    world.write_config(workers=4)
    world.sandbox.latency = 0.1
    data = picture("shared")
    for number in range(12):
        world.put(f"{number % 3}/{number}.png", data)
    assert world.drain() == 0
    world.check_outputs()
    assert len(world.sandbox.requests) == world.sandbox.charged == world.check_ledger().charged == 1
    assert sorted(job.how for job in world.jobs()) == ["reused"] * 11 + ["sent"]


@pytest.mark.parametrize("spoil", ["removed", "edited", "replaced"])
def test_a_result_that_is_no_longer_what_was_delivered_is_not_copied(world, spoil):
    """Where no results are kept, an output is only copied while its hash is right; else the picture is paid for again."""
    world.write_config(results="off")
    data = world.put("a.png")
    assert world.drain() == 0
    result = world.output("a.png")
    if spoil == "removed":
        result.unlink()
    elif spoil == "edited":
        result.write_bytes(result.read_bytes()[:-20] + b"edited in some editor")
    else:
        result.write_bytes(cut_out(picture("another")))
    edited = result.read_bytes() if result.exists() else None

    world.put("b.png", data)
    assert world.drain() == 0
    assert world.output("b.png").read_bytes() == cut_out(data)
    assert world.sandbox.charged == 2
    assert (result.read_bytes() if result.exists() else None) == edited, "somebody's own file was touched"

    world.put("c.png", data)  # the second result is good
    assert world.drain() == 0
    assert world.output("c.png").read_bytes() == cut_out(data)
    assert world.sandbox.charged == 2


def test_a_touch_and_a_restored_backup_cost_nothing(world):
    """The same bytes with a new time are the same picture."""
    data = world.put("a.png")
    assert world.drain() == 0
    world.put("a.png", data)
    world.put("restored/a.png", data)
    assert world.drain() == 0
    world.check_outputs()
    assert world.sandbox.charged == 1


def test_the_profile_changes_while_an_answer_is_kept(world):
    """A paid answer is delivered as it was asked for, and is never taken for a result of the new options."""
    data = world.put("a.png")
    world.run_until_killed(Step.MARKED_RECEIVED)
    world.write_config(profiles={"clear": {"format": "png", "bg_color": "white"}})
    assert world.drain() == 0
    assert world.output("a.png").read_bytes() == cut_out(data)
    world.put("b.png", data)
    assert world.drain() == 0
    assert world.output("b.png").read_bytes() == cut_out(data, bg_color="#ffffff")
    assert world.sandbox.charged == world.check_ledger().charged == 2


def test_the_database_is_lost(world):
    """With a new database, what stands in its place and is newer than its source is adopted; the rest is sent."""
    for number in range(5):
        world.put(f"sub/{number}.png")
    assert world.drain() == 0
    world.output("sub/4.png").unlink()
    shutil.rmtree(world.state)

    assert world.drain() == 0
    world.check_sources()
    world.check_outputs()
    assert world.sandbox.charged == 6
    assert sorted(job.how for job in world.jobs()) == ["adopted"] * 4 + ["sent"]


def _take_the_results(world):
    for path in world.sources:
        world.output(path).unlink()
    for path, data in dict(world.sources).items():
        world.put(path, data)


def _touch(world):
    for path in world.sources:
        os.utime(world.inbox / path)


def _renumber(world):
    for number, (path, data) in enumerate(dict(world.sources).items()):
        (world.inbox / path).unlink()
        world.output(path).unlink()
        del world.sources[path]
        world.put(f"renumbered/{1000 + number}.png", data)


def _move_the_inbox(world):
    moved = world.root / "moved"
    world.inbox.rename(moved)
    world.inbox = moved
    world.outbox = world.root / "other-out"
    world.outbox.mkdir()
    world.write_config(folder={"inbox": str(moved), "outbox": str(world.outbox)})


def _lose_the_database(world):
    for file in world.state.glob("jobs.db*"):
        file.unlink()
    for path in list(world.sources)[::2]:
        world.output(path).unlink()


@pytest.mark.parametrize(
    "again",
    [_take_the_results, _touch, _renumber, _move_the_inbox, _lose_the_database],
    ids=lambda way: way.__name__[1:],
)
def test_fifty_photos_that_come_again_cost_nothing(world, again):
    """While its paid result is kept, the same picture with the same options is never paid for twice."""
    world.write_config(workers=8)
    for number in range(50):
        world.put(f"{number % 5}/{number}.png")
    assert world.drain() == 0
    assert world.sandbox.charged == 50
    again(world)
    assert world.drain() == 0
    world.check_sources()
    world.check_outputs()
    assert world.sandbox.charged == len(world.sandbox.requests) == 50


def test_two_daemons(world):
    """A second daemon with the same state directory is refused with 75, and the first one goes on."""
    first = world.start()
    until(lambda: world.events("ready"))
    second = world.start()
    assert world.end(second) == 75
    assert str(first.pid) in world.events("refused")[0]["message"]
    world.put("a.png")
    until(lambda: delivered(world, "a.png", world.sources["a.png"]))
    assert world.stop(first) == 0


def test_two_daemons_with_one_outbox(make_world):
    """Two daemons of two inboxes that share an outbox never overwrite each other's outputs."""
    one, other = make_world("one", latency=0.05), make_world("other", latency=0.05)
    outbox = one.root / "shared"
    outbox.mkdir()
    for world in (one, other):
        world.write_config(workers=3, folder={"outbox": str(outbox), "adopt_existing": False})
        for number in range(6):
            world.put(f"{number}.png", picture(f"{world.root.name} {number}"))
    daemons = [world.start() for world in (one, other)]
    until(lambda: one.states()["done"] == other.states()["done"] == 6, what=lambda: one.tail() + other.tail())
    for world, daemon in zip((one, other), daemons, strict=True):
        assert world.stop(daemon) == 0
    found = sorted(path.read_bytes() for path in outbox.iterdir())
    assert found == sorted(cut_out(data) for world in (one, other) for data in world.sources.values())
    for world in (one, other):
        assert world.sandbox.charged == 6
        for job in world.jobs():
            assert Path(job.output).read_bytes() == cut_out(world.sources[job.path])


def test_two_inboxes_with_one_outbox(world):
    """Photos of one name from two inboxes become two outputs, and stay whose they are when they change."""
    second = world.root / "in2"
    second.mkdir()
    common = {"outbox": str(world.outbox), "profile": "clear", "settle": 0.05}
    world.write_config(workers=2, folders=[{"inbox": str(world.inbox), **common}, {"inbox": str(second), **common}])
    for inbox in (world.inbox, second):
        for number in range(4):
            world.put(f"{number}.png", picture(f"{inbox} {number}"), inbox)
    assert world.drain() == 0
    places = {(job.folder, job.path): Path(job.output) for job in world.jobs()}
    assert len(set(places.values())) == 8
    world.put("2.png", picture("changed"), second)
    assert world.drain() == 0
    for (folder, path), output in places.items():
        assert output.read_bytes() == cut_out(Path(folder, path).read_bytes()), output
    assert len(list(world.outbox.iterdir())) == 8


def test_an_output_of_somebody_else_is_never_overwritten(world):
    """A file in the outbox that is not ours stays as it is; ours gets another name."""
    world.outbox.mkdir()
    mine = world.outbox / "a.png"
    mine.write_bytes(b"the only copy of a poem")
    world.put("a.png")
    assert world.drain() == 0
    assert mine.read_bytes() == b"the only copy of a poem"
    assert (world.outbox / "a.png.png").read_bytes() == cut_out(world.sources["a.png"])


# -- the database


def test_the_database_is_locked_for_a_while(world):
    """While somebody else writes to the database for seconds, nothing is lost, and nothing paid twice."""
    world.put("a.png")
    assert world.drain() == 0
    daemon = world.start(stops=[("answered", world.root / "stop")])
    world.put("b.png")
    until((world.root / "stop").exists)
    connection = sqlite3.connect(world.state / "jobs.db", timeout=60, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    world.put("c.png")
    (world.root / "stop").unlink()
    daemon.join(2)
    assert daemon.exitcode is None
    assert not world.output("c.png").exists()
    connection.execute("COMMIT")
    connection.close()
    until(lambda: world.states()["done"] == 3, what=world.tail)
    assert world.stop(daemon) == 0
    world.check_outputs()
    assert world.sandbox.charged == world.check_ledger().charged == 3


@pytest.mark.parametrize("damage", ["header", "page", "cut"])
def test_the_database_is_damaged(world, damage):
    """A damaged database is refused with 73 and what to do; nothing is sent, and nothing begins anew."""
    for number in range(20):
        world.put(f"{number}.png")
    assert world.drain() == 0
    database = world.state / "jobs.db"
    before = bytearray(database.read_bytes())
    if damage == "header":
        before[:64] = b"this is no database any more".ljust(64)
    elif damage == "page":
        before[4096:8192] = bytes(range(256)) * 16
    else:
        del before[len(before) // 2 :]
    database.write_bytes(before)
    world.put("new.png")

    process = world.start()
    assert world.end(process) == 73
    refused = world.events("refused")[-1]
    assert str(database) in refused["message"]
    assert "adopt" in refused["hint"] or "restore" in refused["hint"].lower()
    assert database.read_bytes() == before
    assert world.sandbox.charged == 20
