"""Disks that are full, read-only or gone, at each place that is written to; real ones, where mounting is permitted."""

from __future__ import annotations

import os
import time

import pytest
from survival_world import cut_out, picture, until

from rembg_watch.dispatch.steps import Step

HURRY = 0.3


def done(world, count=1):
    return lambda: world.states()["done"] == count


def held(world, kind):
    """Wait for a hold, and see that ``status --json`` says what is held, since when, and what would release it."""
    hold, shown = until(lambda: world.hold_shown(kind), what=lambda: f"{world.holds()} {world.tail()}")
    assert shown["why"]
    assert shown["release"]
    assert 0 <= time.time() - shown["since"] < 600
    return hold


# -- the outbox


def test_full_before_anything_is_sent(world, mount):
    """With a full outbox nothing is sent; with room again, everything is, and no attempt was used up."""
    mount(world.outbox)
    (world.outbox / "filler").write_bytes(bytes(3_500_000))
    world.put("a.png")
    daemon = world.start(hurry=HURRY)
    hold = held(world, "full")
    assert str(world.outbox) in hold.scope
    assert world.sandbox.charged == 0
    (world.outbox / "filler").unlink()
    until(done(world), what=world.tail)
    assert world.stop(daemon) == 0
    assert world.job("a.png").attempts == 0
    assert world.sandbox.charged == 1
    assert not world.holds()


@pytest.mark.parametrize("step", [Step.OPENED, Step.ANSWERED, Step.VERIFIED, Step.MARKED_RECEIVED, Step.PLACED])
def test_full_while_an_answer_comes(world, mount, step):
    """An answer that the outbox can't take is kept, and delivered when there is room: it is not paid again."""
    mount(world.outbox)
    data = world.put("a.png", picture("large", (600, 400)))
    daemon = world.start(hurry=HURRY, calls=[(step.value, "fill", (str(world.outbox),))])
    until((world.outbox / "filler").exists)
    until(lambda: world.sandbox.charged == 1)
    if step in {Step.OPENED, Step.ANSWERED, Step.VERIFIED}:  # not copied yet
        held(world, "full")
        assert not world.output("a.png").exists()
        assert [kept.read_bytes() for kept in world.kept()] == [cut_out(data)]
        assert world.states() == {"received": 1}
    else:
        until(done(world), what=world.tail)
    (world.outbox / "filler").unlink()
    until(done(world), what=world.tail)
    assert world.stop(daemon) == 0
    assert world.output("a.png").read_bytes() == cut_out(data)
    assert world.sandbox.charged == world.check_ledger().charged == 1
    assert not world.debris()


def test_touched_while_its_answer_waits_for_room(world, mount):
    """A new time makes a new version of the same bytes: the answer that is here already is theirs, and not paid again."""
    mount(world.outbox)
    data = world.put("a.png", picture("large", (600, 400)))
    daemon = world.start(hurry=HURRY, calls=[("opened", "fill", (str(world.outbox),))])
    held(world, "full")
    os.utime(world.inbox / "a.png")
    until(lambda: world.states() == {"received": 1, "queued": 1}, what=world.tail)
    (world.outbox / "filler").unlink()
    until(lambda: world.states()["done"] == 2, what=world.tail)
    assert world.stop(daemon) == 0
    assert world.output("a.png").read_bytes() == cut_out(data)
    assert world.sandbox.charged == world.check_ledger().charged == 1
    assert len(world.sandbox.requests) == 1
    assert not world.debris()


def test_same_bytes_elsewhere_while_an_answer_waits_for_room(world, mount):
    """The answer that waits serves a copy of the photo whose own outbox has room: the copy is not paid for again."""
    mount(world.outbox / "full")
    for name in ("full", "well"):
        (world.inbox / name).mkdir()
    common = {"profile": "clear", "settle": 0.05, "rescan": 0.5}
    world.write_config(
        folders=[
            {"inbox": str(world.inbox / name), "outbox": str(world.outbox / name), **common}
            for name in ("full", "well")
        ]
    )
    data = world.put("a.png", picture("large", (600, 400)), world.inbox / "full")
    daemon = world.start(hurry=HURRY, calls=[("opened", "fill", (str(world.outbox / "full"),))])
    held(world, "full")
    world.put("b.png", data, world.inbox / "well")
    until(done(world), what=world.tail)
    assert (world.outbox / "well" / "b.png").read_bytes() == cut_out(data)
    (world.outbox / "full" / "filler").unlink()
    until(done(world, 2), what=world.tail)
    assert world.stop(daemon) == 0
    assert (world.outbox / "full" / "a.png").read_bytes() == cut_out(data)
    assert world.sandbox.charged == world.check_ledger().charged == 1
    assert not world.debris()


def test_killed_while_an_answer_waits_for_room(world, mount):
    """Killed with an answer that waits for its outbox, the next run delivers it."""
    mount(world.outbox)
    data = world.put("sub/a.png", picture("large", (600, 400)))
    daemon = world.start(hurry=HURRY, calls=[("opened", "fill", (str(world.outbox),))])
    held(world, "full")
    until(lambda: world.states() == {"received": 1}, what=world.tail)
    world.kill(daemon)
    (world.outbox / "filler").unlink()
    assert world.drain() == 0, world.tail()
    assert world.output("sub/a.png").read_bytes() == cut_out(data)
    assert world.sandbox.charged == world.check_ledger().charged == 1
    assert not world.debris()


@pytest.mark.parametrize("step", [Step.ANSWERED, Step.VERIFIED])
def test_killed_while_the_outbox_is_full(world, mount, step):
    """Killed with an answer in the result store that no row knows, the next run finds it there."""
    mount(world.outbox)
    data = world.put("sub/a.png", picture("large", (600, 400)))
    process = world.start(calls=[("opened", "fill", (str(world.outbox),))], kill=(step.value, 1))
    assert world.end(process) == -9
    (world.outbox / "filler").unlink()
    assert world.drain() == 0, world.tail()
    assert world.output("sub/a.png").read_bytes() == cut_out(data)
    assert world.sandbox.charged == world.check_ledger().charged == 1
    assert not world.debris()


def test_read_only(world, mount):
    """With a read-only outbox nothing is sent; it goes on by itself when it is writable."""
    mount(world.outbox)
    world.put("a.png")
    daemon = world.start(hurry=HURRY, calls=[("read", "make_read_only", (str(world.outbox),))])
    held(world, "readonly")
    assert world.sandbox.charged == 0
    mount.remount(world.outbox)
    until(done(world), what=world.tail)
    assert world.stop(daemon) == 0
    assert world.sandbox.charged == 1
    assert world.job("a.png").attempts == 0


def test_unmounted_outbox(world, mount):
    """Nothing is written below an outbox whose disk is not mounted; it goes on when the disk is back."""
    mount(world.outbox)
    daemon = world.start(hurry=HURRY)
    until(lambda: world.events("ready"))
    mount.away(world.outbox)
    world.put("a.png")
    held(world, "missing")
    assert not list(world.outbox.iterdir())
    assert world.sandbox.charged == 0
    mount(world.outbox)
    until(done(world), what=world.tail)
    assert world.stop(daemon) == 0
    assert world.sandbox.charged == 1
    assert world.output("a.png").exists()


def test_removed_outbox(world):
    """An outbox that somebody removed is not made again by itself: that would be below an unmounted disk."""
    daemon = world.start(hurry=HURRY)
    until(lambda: world.events("ready"))
    world.outbox.rmdir()
    world.put("a.png")
    held(world, "missing")
    assert not world.outbox.exists()
    world.outbox.mkdir()
    until(done(world), what=world.tail)
    assert world.stop(daemon) == 0


# -- the state directory


@pytest.mark.parametrize("step", [Step.CLAIMED, Step.READ, Step.OPENED, Step.ANSWERED, Step.PLACE_SYNCED])
def test_the_state_directory_is_full(world, mount, step):
    """When the database can't be written, nothing more is sent, and what was paid for is written down as soon as it can."""
    mount(world.state, kib=3000)
    world.state.chmod(0o700)
    world.put("a.png")
    daemon = world.start(hurry=HURRY, calls=[(step.value, "fill", (str(world.state),))])
    until((world.state / "filler").exists)
    until(lambda: os.statvfs(world.state).f_bavail == 0)
    world.put("b.png")
    until(lambda: [e for e in world.events() if e.get("level") in {"error", "critical"}], what=world.tail)
    assert len(world.sandbox.requests) <= 1
    (world.state / "filler").unlink()
    until(done(world, 2), what=world.tail)
    assert world.stop(daemon) == 0
    world.check_sources()
    world.check_outputs()
    assert world.sandbox.charged == 2
    assert world.check_ledger().charged == 2


def test_the_state_directory_is_full_at_the_start(world, mount):
    """Without room for its database the daemon says so, with 73, and sends nothing."""
    mount(world.state, kib=64)
    world.state.chmod(0o700)
    world.put("a.png")
    with (world.state / "filler").open("wb") as filler:
        filler.write(bytes(60_000))
    process = world.start()
    assert world.end(process) == 73, world.tail()
    assert world.events("refused")[0]["hint"]
    assert not world.sandbox.requests


# -- the archive and the failed folder


@pytest.mark.parametrize("kind", ["archive", "failed"])
def test_the_place_for_the_source_is_full(world, mount, kind):
    """A source that can't be put away stays in its inbox, whole, until it can; its job is done all the same."""
    if kind == "archive":
        world.write_config(folder={"on_success": "archive", "archive": str(world.archive)})
        place, state = world.archive, "done"
    else:
        world.write_config(folder={"on_failure": "move", "failed": str(world.failed)})
        world.sandbox.set_faults({"413": 1.0})
        place, state = world.failed, "failed"
    mount(place, kib=100)
    (place / "filler").write_bytes(bytes(90_000))
    data = world.put("a.png", picture("large", (900, 900), "BMP"))
    daemon = world.start(hurry=HURRY)
    until(lambda: world.states()[state] == 1, what=world.tail)
    until(lambda: world.events("source.tidy_waits"))
    assert (world.inbox / "a.png").read_bytes() == data
    # It is tried again and again, each time with a temporary file.
    assert {path.name for path in place.iterdir() if not path.name.startswith(".rembg-watch-")} == {"filler"}
    mount.remount(place, kib=8192)
    until(lambda: not (world.inbox / "a.png").exists(), what=world.tail)
    until(lambda: world.job("a.png").tidy is None)
    assert world.stop(daemon) == 0
    assert (place / "a.png").read_bytes() == data
    assert not world.debris()


# -- the inbox


def test_unmounted_inbox(world, mount):
    """An inbox that is unmounted is not empty: its photos wait, and go on when it is back; none is paid twice."""
    real = world.root / "disk"  # keeps its files while it is away
    real.mkdir()
    mount.bind(real, world.inbox)
    world.write_config(workers=1, api={"read_timeout": 100})
    world.sandbox.latency = 3600
    for number in range(4):
        world.put(f"{number}.png")
    daemon = world.start(hurry=HURRY)
    until(lambda: world.sandbox.working == 1, what=world.tail)
    mount.away(world.inbox)
    hold = until(lambda: next((h for h in world.holds() if h.scope.startswith("inbox:")), None), what=world.tail)
    assert hold.message
    assert hold.release
    world.sandbox.latency = 0.0
    until(lambda: 1 <= world.paid().charged == len(world.sandbox.requests), what=world.tail)
    assert len(world.sandbox.requests) <= 2, "more than what was in flight and what stood next in line"
    assert not world.states()["failed"]
    mount.bind(real, world.inbox)
    until(lambda: {job.path for job in world.jobs() if job.state == "done"} == set(world.sources), what=world.tail)
    until(lambda: not world.holds())
    assert world.stop(daemon) == 0
    world.check_sources()
    world.check_outputs()
    assert world.sandbox.charged == world.check_ledger().charged == 4
