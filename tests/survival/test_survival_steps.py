"""The daemon is killed at every point of the line, on every way that a photo can take; nothing is lost or paid twice.

Each test kills the real daemon with SIGKILL at one point, looks at what lies there, runs it again, and looks at the end:
sources whole, outputs whole or absent and in the end all there, each from its own source, nothing left over, and the
ledger on both sides of what the server counted.
"""

from __future__ import annotations

import json

import pytest
from survival_world import cut_out, picture, until

from rembg_watch.dispatch.steps import Step

SENT = list(Step)
"""The points that a photo passes which is sent; the last one only where its source is tidied away."""
DELIVERED = [Step.SYNCED, Step.MARKED_RECEIVED, Step.PLACED, Step.PLACE_SYNCED, Step.FINISHED]
COPIED = [Step.CLAIMED, Step.READ, Step.FOUND, *DELIVERED, Step.TIDIED]
"""The points that a photo passes whose bytes were paid for before."""
KEPT = [Step.CLAIMED, *DELIVERED]
"""The points that a photo passes whose answer is in the result store, recorded or not."""

PAID = {
    # the daemon is killed at: (what the server charged in the end, charged by the ledger, possibly charged by it)
    Step.CLAIMED: (1, 1, 0),
    Step.READ: (1, 1, 0),
    Step.FOUND: (1, 1, 0),
    Step.MARKED_SENT: (1, 1, 1),  # nothing went out, but nobody can know that
    Step.OPENED: (1, 1, 1),
    Step.ANSWERED: (1, 1, 0),  # from here on the answer is on the disk, and found
    Step.VERIFIED: (1, 1, 0),
    Step.SYNCED: (1, 1, 0),
    Step.MARKED_RECEIVED: (1, 1, 0),
    Step.PLACED: (1, 1, 0),
    Step.PLACE_SYNCED: (1, 1, 0),
    Step.FINISHED: (1, 1, 0),
    Step.TIDIED: (1, 1, 0),
}
IN_PLACE = {Step.PLACED, Step.PLACE_SYNCED, Step.FINISHED, Step.TIDIED}


def seen(world):
    return (world.sandbox.charged, *world.check_ledger())


def at_rest(world, **kept):
    """All that holds when everything is done."""
    world.check_sources(**kept)
    world.check_outputs()
    assert not world.debris()


def test_every_step_is_killed_on_some_way():
    """A point that is added to the line is killed here too, or this fails."""
    assert set(PAID) == set(SENT) == set(Step)


@pytest.mark.parametrize("step", SENT)
def test_a_photo_is_sent(world, step):
    """Killed anywhere on its way, the photo is delivered in the end, and paid again only if its answer never came."""
    world.write_config(folder={"on_success": "archive", "archive": str(world.archive)})
    world.put("a.png")

    world.run_until_killed(step)
    world.check_sources(archived=True)
    world.check_outputs(all_there=step in IN_PLACE)

    assert world.drain() == 0, world.tail()
    at_rest(world, archived=True)
    assert seen(world) == PAID[step]
    assert world.states() == {"done": 1}
    assert not list(world.inbox.rglob("*.*"))


@pytest.mark.parametrize("step", [step for step in SENT if step is not Step.TIDIED])
def test_one_of_many_is_in_the_middle(world, step):
    """Killed with several photos on their way, each is delivered from its own source, and only open requests cost again."""
    world.write_config(workers=3)
    for number in range(8):
        world.put(f"shelf {number % 2}/{number}.png")

    world.run_until_killed(step, 4)
    world.check_sources()
    world.check_outputs(all_there=False)
    begun = world.execute("SELECT id FROM attempts WHERE ended_at IS NULL")
    answered = {int(path.name.rpartition("-")[2]) for path in world.kept()}
    parts = [path for path in (world.state / "results").rglob("*.part") if path.stat().st_size]
    answered |= {int(path.stem.rpartition(".")[2]) for path in parts}
    assert len({number for (number,) in begun} - answered) <= 3  # in flight: the others' answers are safe

    assert world.drain() == 0, world.tail()
    at_rest(world)
    charged, _, possibly = seen(world)
    assert 8 <= charged <= 8 + 3
    assert possibly <= 3
    assert world.states() == {"done": 8}


@pytest.mark.parametrize("workers", [1, 3])
def test_requests_are_in_flight(world, workers):
    """Killed while the service works on photos, exactly these may be paid twice, and are counted as such."""
    world.write_config(workers=workers, api={"read_timeout": 100})
    world.sandbox.latency = 3600
    for number in range(4):
        world.put(f"{number}.png")
    daemon = world.start()
    until(lambda: world.sandbox.working == workers, what=world.tail)
    world.kill(daemon)
    world.check_sources()
    world.check_outputs(all_there=False)

    world.sandbox.latency = 0.0
    until(lambda: world.sandbox.charged == workers)  # what nobody waits for any more is counted all the same
    assert world.drain() == 0, world.tail()
    at_rest(world)
    assert seen(world) == (4 + workers, 4, workers)


@pytest.mark.parametrize("step", COPIED)
def test_the_same_bytes_were_paid_for_before(world, step):
    """Killed anywhere while a paid result is copied for another name, nothing is paid again, and no copy is left over."""
    world.write_config(folder={"on_success": "archive", "archive": str(world.archive)})
    data = world.put("first.png")
    assert world.drain() == 0
    world.put("again/other.png", data)

    world.run_until_killed(step)
    world.check_sources(archived=True)
    world.check_outputs(all_there=step in IN_PLACE)

    assert world.drain() == 0, world.tail()
    at_rest(world, archived=True)
    assert seen(world) == (1, 1, 0)
    assert world.job("again/other.png").how == "reused"


def test_a_copy_is_not_taken_for_the_answer(world):
    """A copy that a kill left behind is no proof that the request before it was charged."""
    first, second = world.inbox / "first", world.inbox.parent / "in2"
    second.mkdir()
    common = {"profile": "clear", "settle": 0.05}
    world.write_config(
        folders=[
            {"inbox": str(world.inbox), "outbox": str(world.outbox), **common},
            {"inbox": str(second), "outbox": str(world.outbox / "second"), "priority": 5, **common},
        ]
    )
    data = world.put("a.png")
    world.run_until_killed(Step.MARKED_SENT)
    (second / "b.png").write_bytes(data)  # goes first, and so it is the one that is sent
    world.run_until_killed(Step.SYNCED, 1)
    assert world.drain() == 0, world.tail()
    assert seen(world) == (1, 1, 1)
    assert (world.outbox / "a.png").read_bytes() == (world.outbox / "second" / "b.png").read_bytes() == cut_out(data)
    assert not world.debris()
    assert not first.exists()


@pytest.mark.parametrize("step", [Step.PLACE_SYNCED, Step.FINISHED, Step.TIDIED])
def test_the_source_is_deleted(world, step):
    """A source is only deleted when its output is in place, and then it is, whenever the kill came."""
    world.write_config(folder={"on_success": "delete"})
    world.put("sub/a.png")

    world.run_until_killed(step)
    world.check_sources(deleted=True)
    assert (world.inbox / "sub/a.png").exists() == (step is not Step.TIDIED)

    assert world.drain() == 0, world.tail()
    at_rest(world, deleted=True)
    assert not (world.inbox / "sub/a.png").exists()
    assert seen(world) == (1, 1, 0)


@pytest.mark.parametrize("step", [Step.CLAIMED, Step.READ, Step.MARKED_SENT, Step.OPENED, Step.FINISHED, Step.TIDIED])
def test_the_source_is_moved_as_failed(world, step):
    """A photo that the service refuses ends in the failed folder, whole and with its reason, whenever the kill came."""
    world.write_config(folder={"on_failure": "move", "failed": str(world.failed)})
    data = world.put("a.png")
    world.sandbox.set_faults({"413": 1.0})

    world.run_until_killed(step)
    places = [folder / "a.png" for folder in (world.inbox, world.failed) if (folder / "a.png").exists()]
    assert [place.read_bytes() for place in places] == [data]

    assert world.drain() in {0, 1}, world.tail()
    assert not (world.inbox / "a.png").exists()
    assert (world.failed / "a.png").read_bytes() == data
    assert json.loads((world.failed / "a.png.error.json").read_text())["code"] == world.job("a.png").code
    assert not world.debris()
    assert world.sandbox.charged == world.check_ledger().charged == 0


@pytest.mark.parametrize("step", [step for step in SENT if step is not Step.TIDIED])
def test_a_changed_source_replaces_its_own_output(world, step):
    """While a newer version is on its way, the older output stands, until the newer one takes its place in one step."""
    before = world.put("a.png")
    assert world.drain() == 0
    after = world.put("a.png", picture("changed"))

    world.run_until_killed(step)
    world.check_sources()
    there = world.output("a.png").read_bytes()
    assert there == cut_out(after if step in IN_PLACE else before)

    assert world.drain() == 0, world.tail()
    at_rest(world)
    charged, known, possibly = PAID[step]
    assert seen(world) == (1 + charged, 1 + known, possibly)


def test_what_is_left_of_an_older_version_goes(world):
    """A photo is replaced while the daemon is dead: nothing of the request for its older bytes stays behind."""
    world.put("a.png")
    world.run_until_killed(Step.ANSWERED)
    after = world.put("a.png", picture("changed"))
    assert world.drain() == 0, world.tail()
    assert world.output("a.png").read_bytes() == cut_out(after)
    at_rest(world)
    assert seen(world) == (2, 2, 0)


@pytest.mark.parametrize("second", KEPT)
def test_killed_again_when_the_answer_was_found(world, second):
    """An answer that lies there unrecorded is found by the next run, and still there for the one after that."""
    world.put("a.png")
    world.run_until_killed(Step.ANSWERED)
    world.run_until_killed(second)
    world.check_sources()
    world.check_outputs(all_there=second in IN_PLACE)
    assert world.drain() == 0, world.tail()
    at_rest(world)
    assert seen(world) == (1, 1, 0)
    assert len(world.sandbox.requests) == 1


@pytest.mark.parametrize("second", KEPT)
def test_killed_again_when_the_answer_was_kept(world, second):
    """An answer that is written down is delivered by the next run, or by the one after that."""
    world.put("a.png")
    world.run_until_killed(Step.MARKED_RECEIVED)
    world.run_until_killed(second)
    world.check_sources()
    world.check_outputs(all_there=second in IN_PLACE)
    assert world.drain() == 0, world.tail()
    at_rest(world)
    assert seen(world) == (1, 1, 0)
    assert len(world.sandbox.requests) == 1


@pytest.mark.parametrize("lost", [False, True])
def test_a_kept_answer_is_delivered_while_everything_is_held(world, lost):
    """What is paid for needs no credit: it is delivered though none is left. One that is lost waits like any other."""
    world.sandbox.set_credits(1)
    world.put("a.png")
    world.run_until_killed(Step.MARKED_RECEIVED)
    if lost:
        for kept in (*world.outbox.rglob(".rembg-watch-*"), *world.kept()):
            kept.unlink()
    daemon = world.start()
    if lost:
        until(lambda: any(hold.kind == "credits" for hold in world.holds()))
        until(lambda: world.job("a.png").result_hash is None)
        until(lambda: world.states() == {"queued": 1})
    else:
        until(lambda: world.states()["done"])
    assert world.stop(daemon) == 0
    if not lost:
        at_rest(world)
    assert seen(world) == (1, 1, 0)


def test_killed_at_each_step_in_turn(world):
    """One photo, one kill after the other at every point that it gets to: it is delivered, and paid for once.

    Two kills in a row while it was sent make it fail, as it may be what crashes the daemon; somebody asks for it again.
    """
    world.write_config(folder={"on_success": "archive", "archive": str(world.archive)})
    world.put("a.png")
    for step in SENT:
        if world.states()["failed"]:
            assert world.job("a.png").code == "crash"
            world.retry("a.png")
        if world.states()["done"] and not world.job("a.png").tidy:
            break
        process = world.start(kill=(step, 1))
        until(
            lambda p=process: (
                p.exitcode is not None
                or world.states()["failed"]
                or (world.states()["done"] and not world.job("a.png").tidy)
            )
        )
        if process.exitcode is None:
            world.kill(process)
        world.check_sources(archived=True)
        world.check_outputs(all_there=False)
    assert world.drain() == 0, world.tail()
    at_rest(world, archived=True)
    assert world.sandbox.charged == 1
    world.check_ledger()
