"""A new config while work is under way: it counts at once, for the photos that are here already too."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from dataclasses import replace

import pytest
from daemon_photos import corner_of, number_in, photo

from rembg_watch.dispatch.steps import Step
from rembg_watch.jobs.model import Arrival, Version
from rembg_watch.sandbox import Sandbox, app
from rembg_watch.sandbox.texts import Refusal

RED = (255, 0, 0, 255)


@pytest.fixture
def picky(place, monkeypatch):
    """A service that does not take the profile ``bad`` any more; ``good`` is one that it takes. It is tried seldom."""
    parse = app.parse_wish

    def refuse(fields):
        narrow = fields.get("w") == "50"
        return [Refusal(400, "'w' must be at least 100, got: 50", "w")] if narrow else parse(fields)

    monkeypatch.setattr(app, "parse_wish", refuse)
    place.timings = replace(place.timings, profile_check=3600.0)
    place.settings["profiles"] = {"bad": {"format": "png", "w": 50}, "good": {"format": "png"}}
    place.folder["profile"] = "bad"


def _eight_queued(place, sandbox, daemon, steps):
    """Have one photo at work, one that was read and waits for its turn, and six in the queue."""
    place.cli("pause")
    place.wait_until(lambda: daemon.holds.has("all", "pause"))
    for number in range(8):
        place.drop(f"{number}.jpg", photo(number))
    place.wait_until(lambda: len(place.states()) == 8)
    sandbox.latency = 3600
    place.cli("resume")
    place.wait_until(lambda: sandbox.working == 1)
    place.wait_until(lambda: steps.count(Step.FOUND) == 2)


def _refused(place, daemon, count):
    """Wait until the profile is held, and so many photos wait for it."""
    place.wait_until(lambda: ("profile", "options") in place.holds())
    place.wait_until(lambda: len(place.states()) == count and daemon.idle())


def test_a_folder_with_another_profile_does_not_wait_for_the_one_it_had(place, sandbox, picky):
    """The profile is held, and stays in the config: the folder that has another one now goes on at once."""
    with place.daemon() as daemon:
        for number in range(4):
            place.drop(f"{number}.jpg", photo(number))
        _refused(place, daemon, 4)
        place.folder["profile"] = "good"
        place.reload(daemon)
        place.settled(4)
        place.wait_until(lambda: not place.holds())
    assert set(place.states().values()) == {"done"}


def test_a_folder_that_goes_on_leaves_the_other_one_held(place, sandbox, picky):
    """Two folders share the profile that is held; only one of them gets a better one."""
    other, _ = place.add_folder("other")
    with place.daemon() as daemon:
        place.drop("left.jpg", photo(5), other)
        for number in range(3):
            place.drop(f"{number}.jpg", photo(number))
        _refused(place, daemon, 4)
        place.folder["profile"] = "good"
        place.reload(daemon)
        place.wait_until(lambda: sum(state == "done" for state in place.states().values()) == 3)
        assert place.states()["left.jpg"] == "queued"
        assert ("profile", "options") in place.holds()


@pytest.mark.parametrize("change", ["profile", "outbox", "removed"])
def test_a_photo_in_the_line_is_not_sent_as_the_config_was_before(place, sandbox, change):
    """It was read and waits for its turn: it goes out with today's options, to today's outbox, or not at all."""
    place.settings["workers"] = 1
    other, _ = place.add_folder("other")
    steps = []
    with place.daemon(failpoint=steps.append) as daemon:
        sandbox.latency = 3600
        place.drop("a.jpg", photo(1), other)
        place.wait_until(lambda: sandbox.working == 1)
        place.drop("b.jpg", photo(2))
        place.wait_until(lambda: steps.count(Step.FOUND) == 2)
        match change:
            case "profile":
                place.folder["profile"] = {"format": "png", "bg_color": "red"}
            case "outbox":
                place.folder["outbox"] = str(place.root / "new")
            case _:
                place.settings["folders"].pop(0)
        place.reload(daemon)
        sandbox.latency = 0
        place.drop("c.jpg", photo(3), other)
        place.wait_until(lambda: place.states().get("c.jpg") == "done")
        if change == "removed":
            place.wait_until(lambda: place.states()["b.jpg"] == "queued")
            assert len(sandbox.requests) == 2
        else:
            place.settled(3)
    if change == "profile":
        assert corner_of(place.outbox / "b.png") == RED
    if change == "outbox":
        assert number_in(place.root / "new" / "b.png") == 2
    assert not place.leftovers()


@pytest.mark.parametrize("limit", ["daily_limit", "reserve", "folder"])
def test_a_lower_limit_counts_for_photos_that_were_claimed_by_the_one_before(place, sandbox, one_day, limit):
    """Whether they wait for a worker or for their turn: none of them goes out any more."""
    place.settings["workers"] = 1
    sandbox.set_credits(20)
    steps = []
    with place.daemon(failpoint=steps.append) as daemon:
        _eight_queued(place, sandbox, daemon, steps)
        if limit == "folder":
            place.folder["daily_limit"] = 1
        else:
            place.settings["credits"] = {"daily_limit": 1} if limit == "daily_limit" else {"reserve": 19}
        place.reload(daemon)
        sandbox.latency = 0
        place.wait_until(lambda: list(place.states().values()).count("done") == 1)
        place.wait_until(place.holds)
        place.wait_until(lambda: list(place.states().values()).count("queued") == 7)
        assert len(sandbox.requests) == 1
        place.settings["credits"] = {}
        place.folder.pop("daily_limit", None)
        place.reload(daemon)
        place.settled(8)
    assert sandbox.charged == 8


def test_a_photo_that_is_begun_while_the_config_is_taken_over_waits_for_its_limits(place, sandbox, monkeypatch):
    """It was permitted by the limits of before, and read by the config of now: it is not sent on either."""
    place.settings["workers"] = 1
    sandbox.set_credits(20)
    steps = []
    with place.daemon(failpoint=steps.append) as daemon:
        _eight_queued(place, sandbox, daemon, steps)
        take_over = daemon.intake.replace_folders

        def slowly(folders):
            sandbox.latency = 0
            place.wait_until(place.holds)
            take_over(folders)

        monkeypatch.setattr(daemon.intake, "replace_folders", slowly)
        place.settings["credits"] = {"reserve": 19}
        place.reload(daemon)
        assert place.holds()
        place.wait_until(lambda: list(place.states().values()).count("queued") == 7)
        assert len(sandbox.requests) == 1


def test_the_first_photo_of_a_folder_that_is_just_taken_out_is_left_alone(place, sandbox):
    """It came in after the reload: it waits, and goes on when its folder is back."""
    other, other_out = place.add_folder("other")
    steps = []
    with place.daemon(failpoint=steps.append) as daemon:
        folder = place.settings["folders"].pop()
        place.reload(daemon)
        place.drop("late.jpg", photo(6), other)
        status = (other / "late.jpg").stat()
        version = Version(status.st_size, status.st_mtime_ns)
        profile = daemon.config.folders[0].profile
        daemon.take_in([Arrival(str(other), "late.jpg", version, profile.options.fingerprint, profile.name)])
        for number in range(3):  # one after the other: many turns of the producer
            place.drop(f"{number}.jpg", photo(number))
            place.wait_until(lambda n=number: place.states().get(f"{n}.jpg") == "done")
        assert steps.count(Step.CLAIMED) == 3
        assert place.states()["late.jpg"] == "queued"
        place.settings["folders"].append(folder)
        place.reload(daemon)
        place.settled(4)
    assert number_in(other_out / "late.png") == 6


def test_holds_on_what_is_not_in_the_config_any_more_end(place, sandbox, impatient):
    """An outbox and an inbox that are gone, and that no folder has by now, are nobody's trouble."""
    other, _ = place.add_folder("other")
    with place.daemon() as daemon:
        place.drop("a.jpg", photo(1))
        place.settled(1)
        place.outbox.rename(place.root / "gone")
        place.drop("b.jpg", photo(2))
        place.wait_until(lambda: ("outbox", "missing") in place.holds())
        other.rmdir()
        place.wait_until(lambda: ("inbox", "inbox") in place.holds())
        place.folder["outbox"] = str(place.root / "new")
        place.settings["folders"].pop()
        place.reload(daemon)
        place.settled(2)
        place.wait_until(lambda: not place.holds())
    assert number_in(place.root / "new" / "b.png") == 2


def test_a_reload_on_a_full_disk_counts_all_the_same(place, sandbox, mount_at):
    """The state directory is full at that very moment: workers and folders are those of the new config."""
    state = mount_at(place.root / "state", "-t", "tmpfs", "-o", "size=4m,mode=700", "rembg-watch-test")
    place.add_folder("other")
    with place.daemon() as daemon:
        place.settings["workers"] = 2
        place.settings["folders"].pop()
        place.add_folder("new")
        with (state / "filler").open("wb", buffering=0) as filler, suppress(OSError):
            while filler.write(bytes(4096)):
                pass
        reloading = threading.Thread(target=place.reload, args=(daemon,))
        reloading.start()
        place.wait_until(lambda: daemon.database.blocked or not reloading.is_alive())
        (state / "filler").unlink()
        reloading.join(60)
        sandbox.latency = 3600
        for number in range(6):
            place.drop(f"{number}.jpg", photo(number), place.root / "new" if number % 2 else None)
        place.wait_until(lambda: len(place.states()) == 6 and sandbox.working == 2)
        sandbox.latency = 0
        place.settled(6)
        assert sandbox.max_in_flight == 2


def test_a_photo_in_the_line_is_not_sent_to_another_account_without_a_permit(place, sandbox, impatient):
    """It was permitted on the credits of the old account: the new one has none to spare, and is asked first."""
    place.settings["workers"] = 1
    place.settings["credits"] = {"reserve": 5}
    steps = []
    with Sandbox(credits=5) as poor, place.daemon(failpoint=steps.append) as daemon:
        sandbox.latency = 3600
        place.drop("a.jpg", photo(1))
        place.wait_until(lambda: sandbox.working == 1)
        place.drop("b.jpg", photo(2))
        place.wait_until(lambda: steps.count(Step.FOUND) == 2)
        place.settings["api"].update(key="other-key", url=poor.url, usage_url=poor.usage_url)
        place.reload(daemon)
        sandbox.latency = 0
        place.wait_until(lambda: place.states().get("a.jpg") == "done")
        place.wait_until(place.holds)
        place.wait_until(lambda: place.states().get("b.jpg") == "queued" and daemon.idle())
        assert poor.requests == []
        poor.top_up(2)  # the photo that was on its way may have been charged to either
        place.settled(2)
        assert poor.charged == 1


def test_a_reload_for_which_no_client_can_be_made_is_refused(place, sandbox, monkeypatch):
    """The CA bundle is being replaced at that moment: the daemon goes on with what it has, and says so."""
    with place.daemon() as daemon, monkeypatch.context() as patch:
        patch.setenv("REQUESTS_CA_BUNDLE", str(place.root / "gone.pem"))
        before = place.settings["api"].copy()
        place.settings["api"].update(url="https://127.0.0.1:1/rmbg", usage_url="https://127.0.0.1:1/usage")
        place.reload(daemon)
        assert "gone.pem" in daemon.refused
        place.drop("a.jpg", photo(1))
        place.settled(1)
        place.settings["api"] = before
        place.reload(daemon)
        assert daemon.refused == ""


def test_the_end_waits_for_a_photo_on_its_way_after_workers_became_fewer(place, sandbox, run_daemon):
    """Which of the workers ended with the reload does not matter: what is in flight is delivered, and paid once."""
    place.settings["workers"] = 4
    daemon = run_daemon(place.write())
    for workers in (1, 3, 1):
        place.settings["workers"] = workers
        place.write()
        reloads = len(daemon.events("reloaded"))
        os.kill(daemon.process.pid, signal.SIGHUP)
        place.wait_until(lambda n=reloads: len(daemon.events("reloaded")) > n)
    sandbox.latency = 3600
    place.drop("a.jpg", photo(1))
    place.wait_until(lambda: sandbox.working == 1)
    daemon.send(signal.SIGTERM)
    place.wait_until(lambda: daemon.events("stopping"))
    sandbox.latency = 0
    assert daemon.ended() == 0
    assert place.states() == {"a.jpg": "done"}
    assert place.ledger() == (1, 0)
