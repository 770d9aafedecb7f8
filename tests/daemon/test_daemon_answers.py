"""Wrong answers, one after the other, from a real server: each has the right consequence, and the ledger is right."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from daemon_photos import number_in, photo

from rembg_watch.api.client import RembgClient
from rembg_watch.api.options import Options
from rembg_watch.config.model import Profile
from rembg_watch.errors import ApiError

BIG = (900, 700)

RETRIED = {
    # fault: (charged by the server, charge in the ledger beside the good one)
    "500": (1, 1),
    "500-charged": (2, 1),
    "502-html": (1, 1),
    "503": (1, 0),
    "504": (1, 1),
    "408": (1, 0),
    "html": (1, 1),
    "json200": (1, 1),
    "garbage": (2, 1),
    "empty": (2, 1),
    "truncate": (2, 1),
    "short": (2, 1),
    "wrong-length": (2, 1),
    "wrong-format": (2, 1),
    "wrong-size": (2, 1),
    "gzip-bomb": (2, 1),
    "reset-before": (1, None),
    "reset-after": (2, 1),
    "stall": (1, 1),
    "stall-charged": (2, 1),
    "stall-body": (2, 1),
    "endless": (2, None),
    "slow": (1, 0),
    "429": (1, 0),
}


@pytest.mark.parametrize("fault", RETRIED)
def test_a_fault_of_the_service_is_tried_again(place, sandbox, impatient, monkeypatch, fault):
    """The photo is delivered by a later attempt; what the server charged lies within the ledger's bounds."""
    server, possibly = RETRIED[fault]
    if "stall" in fault:
        _give_up_once(monkeypatch)
    sandbox.set(slow_seconds=0.4)
    sandbox.next(fault)
    with place.daemon():
        place.drop("a.jpg", photo(100, size=BIG))
        place.settled(1)
    assert place.states() == {"a.jpg": "done"}
    assert number_in(place.outbox / "a.png") == 100
    place.wait_until(lambda: sandbox.charged == server)  # what nobody waits for any more may be counted late
    charged, maybe = place.ledger()
    assert charged == 1
    assert possibly is None or maybe == possibly
    assert charged <= sandbox.charged <= charged + maybe
    assert place.outputs() == ["a.png"]
    assert not place.leftovers()


def _give_up_once(monkeypatch):
    """Let the first photo be given up soon, as no answer comes, and the next ones be waited for on the slowest machine."""
    send, seconds = RembgClient.send, iter([2.0])

    def impatiently(client, *arguments, **options):
        client._read_timeout = next(seconds, 60.0)
        return send(client, *arguments, **options)

    monkeypatch.setattr(RembgClient, "send", impatiently)


@pytest.mark.parametrize("fault", ["413", "413-early"])
def test_what_is_about_the_image_fails_it_at_once(place, sandbox, impatient, fault):
    """A refused photo fails with the server's reason, costs nothing, and holds up nobody else."""
    sandbox.next(fault)
    place.settings["workers"] = 1
    with place.daemon():
        place.drop("a.jpg", photo(101))
        place.settled(1)
        place.drop("b.jpg", photo(102))
        place.settled(2)
    assert place.states() == {"a.jpg": "failed", "b.jpg": "done"}
    assert place.jobs()["a.jpg"].code == "too-big"
    assert place.ledger() == (1, 0)
    assert not place.holds()


@pytest.mark.parametrize(
    ("fault", "kind"),
    [("402", "credits"), ("429-monthly", "credits"), ("429-daily", "credits"), ("401", "key"), ("403", "key")],
)
def test_what_is_about_the_account_holds_everything(place, sandbox, impatient, fault, kind):
    """Nothing fails and no attempt is used up; when the free probe finds the account well, work goes on by itself."""
    place.settings["workers"] = 1
    place.settings["retry"]["max_attempts"] = 1
    sandbox.next(fault)
    sandbox._state.on_request = lambda _received: sandbox.set_usage_faults({"503": 1.0})
    with place.daemon():
        place.drop("a.jpg", photo(103))
        hold = place.wait_until(lambda: place.holds().get(("all", kind)))
        assert hold.message
        assert hold.release
        assert hold.next_check
        sandbox._state.on_request = None
        sandbox.clear_faults()
        place.settled(1)
        place.wait_until(lambda: not place.holds())
    assert place.states() == {"a.jpg": "done"}
    assert place.jobs()["a.jpg"].attempts == 0
    assert len(sandbox.requests) == 2
    assert place.ledger() == (1, 0)


def test_a_shrunk_picture_means_out_of_credits_and_is_not_delivered(place, sandbox, impatient):
    """A 200 with a picture of 460 px is held as "out of credits"; after a top-up the photo is sent again, whole."""
    sandbox.set(out_of_credits="shrunk")
    with place.daemon():
        sandbox.next("shrunk")
        place.drop("a.jpg", photo(104, size=BIG))
        place.settled(1)
    requests = sandbox.requests
    assert [request.fault for request in requests] == ["shrunk", None]
    assert place.ledger() == (1, 1)
    assert number_in(place.outbox / "a.png") == 104


def test_a_redirect_is_not_followed_and_the_key_stays_here(place, sandbox, impatient):
    """A redirect holds everything; the address it names never hears of us."""
    sandbox.next("redirect")
    with place.daemon():
        place.drop("a.jpg", photo(105))
        place.settled(1)
    assert sandbox.elsewhere == []
    assert place.jobs()["a.jpg"].attempts == 0
    assert place.ledger() == (1, 0)


def with_refused_options(config):
    """Put in what the config would refuse, so that the server has to."""
    options = Options.model_construct(**{**Options(format="png").model_dump(), "bg_color": "#12345", "w": 20000})
    wrong = Profile("wrong", options)
    first = replace(config.folders[0], profile=wrong)
    return replace(config, folders=(first, *config.folders[1:]), profiles={**config.profiles, wrong.name: wrong})


def test_a_profile_that_is_refused_is_held_alone(place, sandbox, impatient):
    """Options that the API refuses hold their profile with field and message; others go on; a new config ends it."""
    other, other_out = place.add_folder("other", profile={"format": "webp"})
    place.settings["workers"] = 1

    with place.daemon(with_refused_options) as daemon:
        for number in range(3):
            place.drop(f"a{number}.jpg", photo(106 + number))
        hold = place.wait_until(lambda: place.holds().get(("profile", "options")))
        assert "bg_color" in hold.message
        assert "Invalid color" in hold.message
        assert "'w' must be at most 10000" in hold.message
        place.drop("b.jpg", photo(110), other)
        place.wait_until((other_out / "b.webp").exists)
        assert {state for path, state in place.states().items() if path != "b.jpg"} <= {"queued", "running"}
        seen = len(sandbox.requests)
        place.wait_until(lambda: len(sandbox.requests) > seen)  # one photo is tried at each check
        place.folder["profile"] = {"format": "png", "bg_color": "#123456"}
        place.reload(daemon)
        place.settled(4)
        place.wait_until(lambda: not place.holds())
    assert set(place.states().values()) == {"done"}
    assert place.ledger() == (4, 0)


def test_a_refusal_that_comes_after_the_reload_holds_nothing(place, sandbox, monkeypatch):
    """The request went out with options that the config has no more: the photo goes out anew with those of today."""
    reloaded = threading.Event()
    send = RembgClient.send

    def until_the_reload(*arguments, **options):
        try:
            return send(*arguments, **options)
        except ApiError:
            assert reloaded.wait(60)
            raise

    monkeypatch.setattr(RembgClient, "send", until_the_reload)
    with place.daemon(with_refused_options) as daemon:
        place.drop("a.jpg", photo(107))
        place.wait_until(lambda: sandbox.requests)
        place.reload(daemon)
        reloaded.set()
        place.settled(1)
        place.wait_until(lambda: not place.holds())
    assert place.states() == {"a.jpg": "done"}
    assert len(sandbox.requests) == 2
    assert place.ledger() == (1, 0)


def test_attempts_end_when_the_service_works_for_others(place, sandbox, impatient):
    """A photo on which the service fails again and again fails in the end, with the reason, while others pass."""
    place.settings["retry"]["max_attempts"] = 3
    place.settings["workers"] = 1
    with place.daemon():
        sandbox.next("500", "500", "500")
        place.drop("a.jpg", photo(111))
        place.settled(1)
        place.drop("b.jpg", photo(112))
        place.settled(2)
    assert place.states() == {"a.jpg": "failed", "b.jpg": "done"}
    job = place.jobs()["a.jpg"]
    assert job.code == "server-error"
    assert len(sandbox.requests) == 4
    assert place.ledger() == (1, 3)


def test_a_wrong_picture_is_paid_for_twice_at_most(place, sandbox, impatient):
    """An answer in another format than asked for is not delivered, and not paid for again and again."""
    sandbox.set_faults({"wrong-format": 1.0})
    with place.daemon():
        place.drop("a.jpg", photo(113))
        place.settled(1)
    assert place.states() == {"a.jpg": "failed"}
    assert len(sandbox.requests) == 2
    assert place.outputs() == []


def test_a_dead_service_eats_no_attempts(place, sandbox, impatient):
    """While the API is down everything is held; when it is back all photos are delivered, none failed."""
    place.settings["retry"]["max_attempts"] = 2
    for number in range(8):
        place.drop(f"a{number}.jpg", photo(114 + number))
    with place.daemon():
        place.settled(8)
        sandbox.stop()
        for number in range(8):
            place.drop(f"b{number}.jpg", photo(124 + number))
        place.wait_until(place.holds)
        place.wait_until(lambda: len(place.states()) == 16)
        sandbox.start()
        place.settled(16)
    assert set(place.states().values()) == {"done"}


def test_the_rate_limit_is_borne_without_failures(place, sandbox):
    """A service that allows 20 requests a second gets all photos done; none fails, each is paid once."""
    sandbox.set_rate_limit(20, burst=5)
    place.settings["workers"] = 16
    place.settings["retry"]["max_attempts"] = 1
    for number in range(60):
        place.drop(f"{number}.jpg", photo(number))
    with place.daemon():
        place.settled(60)
    assert set(place.states().values()) == {"done"}
    assert sandbox.charged == 60
    assert place.ledger() == (60, 0)
