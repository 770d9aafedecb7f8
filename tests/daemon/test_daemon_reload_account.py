"""A new key or address while work is under way: each account is asked, spent and held for itself."""

from __future__ import annotations

import threading

import pytest
from daemon_photos import photo

from rembg_watch.api.client import RembgClient
from rembg_watch.errors import ApiError
from rembg_watch.sandbox import Sandbox


@pytest.mark.parametrize("asked", ["503", "401"])
def test_another_account_is_not_spent_on_the_reading_of_the_one_before(place, sandbox, impatient, asked):
    """The new one's credits can't be read: not one photo is sent, however rich the old one was."""
    place.settings["credits"] = {"reserve": 5}
    with Sandbox(credits=5) as poor, place.daemon() as daemon:
        place.drop("a.jpg", photo(1))
        place.settled(1)
        poor.set_usage_faults({asked: 1.0})
        place.settings["api"].update(key="other-key", url=poor.url, usage_url=poor.usage_url)
        place.reload(daemon)
        place.drop("b.jpg", photo(2))
        place.wait_until(place.holds)
        place.wait_until(lambda: place.states().get("b.jpg") == "queued" and daemon.idle())
        assert poor.requests == []
        poor.clear_faults()
        poor.top_up(1)
        place.settled(2)
        assert poor.charged == 1


def test_a_key_that_was_corrected_while_the_wrong_one_was_asked_is_not_held(place, sandbox, monkeypatch):
    """Two changes in quick succession: what is told of the first key does not count against the second."""
    sandbox.set_key("test-key-0001")
    asks, corrected = threading.Event(), threading.Event()
    ask = RembgClient.membership_usage

    def ask_slowly(client, **options):
        asks.set()
        assert corrected.wait(60)
        return ask(client, **options)

    with place.daemon() as daemon:
        place.wait_until(lambda: place.cli_json("status")["credits"])
        monkeypatch.setattr(RembgClient, "membership_usage", ask_slowly)
        place.settings["api"]["key"] = "mistyped"
        place.reload(daemon)
        assert asks.wait(60)
        place.settings["api"]["key"] = "test-key-0001"
        place.reload(daemon)
        corrected.set()
        place.drop("a.jpg", photo(3))
        place.settled(1)
        assert not daemon.holds.all()
        keys = [call.headers["x-api-key"] for call in sandbox.usage_calls]
        assert keys == ["test-key-0001", "mistyped", "test-key-0001"]


def test_a_key_that_was_refused_after_it_was_corrected_holds_nobody_up(place, sandbox, monkeypatch):
    """The photo went out with the key of before: with the new one, it is looked at again at once, and sent."""
    refused, corrected = threading.Event(), threading.Event()
    send = RembgClient.send

    def send_slowly(*arguments, **options):
        try:
            return send(*arguments, **options)
        except ApiError:
            refused.set()
            assert corrected.wait(60)
            raise

    monkeypatch.setattr(RembgClient, "send", send_slowly)
    with place.daemon() as daemon:
        sandbox.next("401")
        place.drop("a.jpg", photo(1))
        assert refused.wait(60)
        place.settings["api"]["key"] = "another-key"
        place.reload(daemon)
        corrected.set()
        place.settled(1)
        place.wait_until(lambda: not place.holds())
    assert len(sandbox.requests) == 2
