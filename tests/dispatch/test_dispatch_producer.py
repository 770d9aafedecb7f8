"""Which photos are sent next, how many, and which not at all."""

from __future__ import annotations

import threading
from hashlib import sha256

import pytest

from rembg_watch.dispatch.steps import Step
from rembg_watch.jobs.status_table import TOO_MANY


def pics(pic, count, width=60):
    return {f"{width + number}.jpg": pic(size=(width + number, 60)) for number in range(count)}


def test_folders_take_turns(world, pic):
    """A large drop in one folder does not keep the photos of the others waiting; within each the oldest goes first."""
    world.settings["workers"] = 1
    others = [world.add_folder(f"other-{number}")[0] for number in range(2)]
    photos = {world.inbox: pics(pic, 30)}
    for number, inbox in enumerate(others):
        photos[inbox] = pics(pic, 3, 100 + 20 * number)
    with world.running():
        world.pause()
        for inbox, data in photos.items():
            world.drop_all(data, inbox)
        world.resume()
        world.wait_done(36)
    names = {sha256(data).hexdigest(): (inbox, path) for inbox, files in photos.items() for path, data in files.items()}
    order = [names[request.sha256] for request in world.sandbox.requests]
    for inbox in others:
        assert max(at for at, (where, _) in enumerate(order) if where == inbox) < 15
    for inbox, files in photos.items():
        place = {path: at for at, path in enumerate(files)}
        sent = [place[path] for where, path in order if where == inbox]
        assert max(abs(at - number) for at, number in enumerate(sent)) <= 1  # one is read while another one is sent


def test_a_folder_of_higher_priority_goes_first(world, pic):
    """Its photos are sent before the others that wait, but for the one that is read while another one is sent."""
    world.settings["workers"] = 1
    urgent, _ = world.add_folder("urgent", priority=5)
    photos = pics(pic, 4, 100)
    with world.running():
        world.pause()
        world.drop_all(pics(pic, 6))
        world.drop_all(photos, urgent)
        world.resume()
        world.wait_done(10)
    first = {request.sha256 for request in world.sandbox.requests[:5]}
    assert first >= {sha256(data).hexdigest() for data in photos.values()}


def test_a_mistaken_drop_is_held_with_its_price(world, pic):
    """More new photos than ``hold_above`` wait until somebody agrees; what came until then is agreed to."""
    world.folder["hold_above"] = 5
    other, other_outbox = world.add_folder("other", hold_above=5)
    with world.running() as daemon:
        world.sandbox.latency = 3600
        world.drop_all(pics(pic, 12))
        assert "new photos came within 10 minutes" in world.wait_held(TOO_MANY).message
        world.drop_all(pics(pic, 4, 80))
        assert "up to 16 credits" in world.wait_held(TOO_MANY).message
        assert "resume --folder" in world.wait_held(TOO_MANY).release
        world.sandbox.latency = 0
        world.drop_all(pics(pic, 5, 100), other)
        world.wait_until(lambda: len(world.delivered(other_outbox)) == 5)
        sent = world.sandbox.charged
        assert sent <= 5 + daemon.config.workers
        world.sandbox.latency = 3600
        world.change("DELETE FROM holds WHERE kind = ?", TOO_MANY)
        world.wait_well()
        world.drop("late.jpg", pic("blue"))  # does not bring the hold back
        assert not daemon.holds.all()
        world.drop_all(pics(pic, 12, 120))  # another mistake does
        world.wait_held(TOO_MANY)
        world.change("DELETE FROM holds WHERE kind = ?", TOO_MANY)
        world.sandbox.latency = 0
        world.wait_done(34)


@pytest.mark.parametrize("limit", ["daily", "monthly", "folder", "credits"])
def test_a_limit_is_never_exceeded_by_one_image(world, pic, one_day, limit):
    """With 16 workers and photos marked as sent in batches, over a restart, and with copies that cost nothing."""
    world.settings["workers"] = 16
    world.settings["credits"] = {"batch_size": 5}
    if limit == "folder":
        world.folder["daily_limit"] = 7
    elif limit == "credits":
        world.settings["credits"]["reserve"] = 3
        world.sandbox.set_credits(10)
    else:
        world.settings["credits"][f"{limit}_limit"] = 7
    kind = "credits" if limit == "credits" else f"{limit}-limit" if limit == "monthly" else "daily-limit"
    for run in range(2):
        with world.running():
            world.drop_all(pics(pic, 30, 60 + 40 * run))
            world.wait_done(7)
            world.wait_held(kind)
    assert world.sandbox.charged == 7
    assert len(world.delivered()) == 7


def test_what_was_not_charged_is_given_to_others(world, pic):
    """Failed attempts that cost nothing do not use up a limit."""
    world.settings["credits"] = {"daily_limit": 6}
    world.sandbox.next(*["503"] * 4)
    with world.running():
        world.drop_all(pics(pic, 10))
        world.wait_done(6)
        world.wait_held("daily-limit")
    assert world.sandbox.charged == 6


def test_no_photo_is_marked_as_sent_beyond_the_places_in_flight(world, pic):
    """It would stand behind a hung one, and be counted as possibly charged by a kill."""
    world.settings["workers"] = 4
    world.sandbox.latency = 3600
    with world.running() as daemon:
        world.drop_all(pics(pic, 20))
        world.wait_until(lambda: world.sandbox.working == 4)
        assert list(world.states().values()).count("running") == 4
        assert daemon._parts.rate.in_flight == 4
        world.sandbox.latency = 0
        world.wait_done(20)
    assert world.sandbox.max_in_flight <= 5  # the account is asked beside them


def test_a_photo_that_comes_in_during_a_reload_has_the_new_options(world, pic, monkeypatch):
    """The watcher made its arrival by the config before; it is queued after the reload has looked at the queue."""
    with world.running() as daemon:
        enqueue = daemon.queue.enqueue

        def reload_first(arrivals, now):
            monkeypatch.undo()
            world.folder["profile"] = {"format": "png", "bg_color": "#ff0000"}
            world.config()
            daemon.reload()
            return enqueue(arrivals, now)

        monkeypatch.setattr(daemon.queue, "enqueue", reload_first)
        monkeypatch.setattr(daemon.intake, "replace_folders", lambda _folders: None)
        world.drop("a.jpg", pic())
        world.wait_done()
    assert world.sandbox.requests[0].fields["bg_color"] == "#ff0000"


def test_a_stop_does_not_wait_for_a_blocked_commit(world, pic, gate):
    """The state directory's disk is full as a photo is marked as sent: the daemon stops all the same."""
    world.settings["shutdown_grace"] = 1
    blocked = gate(Step.FOUND)
    with world.running(failpoint=blocked) as daemon:
        world.drop("a.jpg", pic())
        blocked.wait()
        held = threading.Event()
        with daemon.live.lock:
            stopping = threading.Thread(target=lambda: (daemon.live.stop(), held.set()), daemon=True)
            stopping.start()
            assert held.wait(60)
        blocked.open()
    assert not world.sandbox.requests
    with world.running():
        world.wait_done()


def test_a_stop_ends_what_waits_for_a_place(world, pic):
    """Photos that are read and not sent are left in the queue, at no cost; what is in flight is delivered."""
    world.settings["workers"] = 1
    world.sandbox.latency = 0.5
    with world.running() as daemon:
        world.drop_all(pics(pic, 10))
        world.wait_until(lambda: world.sandbox.working == 1 and daemon._parts.claims.unsent() >= 1)
    states = list(world.states().values())
    assert set(states) == {"done", "queued"}
    assert world.ledger() == (states.count("done"), 0)
