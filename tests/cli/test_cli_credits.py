"""``credits`` against the real sandbox, and ``credits report`` from a real ledger."""

from __future__ import annotations

import time

import pytest

from rembg_watch.jobs.ledger import UsageCheck
from rembg_watch.jobs.model import How, Key, Output
from rembg_watch.jobs.queue import Received
from rembg_watch.sandbox import Sandbox


@pytest.fixture
def sandbox(place):
    with Sandbox(credits=1000, prepaid=50, key="k-12345678", membership="Premium-1000") as running:
        place.write_config(url=running.url.removesuffix("/rmbg"))
        yield running


def test_what_is_left(place, sandbox):
    """What is available by the rules of the contract, the window, and the use of both ways."""
    told = place.run("credits")
    assert told.code == 0
    assert told.out.startswith("1050 credits left\n")
    assert "Premium-1000, 1000 included, 50 prepaid" in told.out
    assert "renewal:" in told.out
    shape = place.run("credits", "--json").json
    assert (shape["available"], shape["prepaid_credits"], shape["billing_cycle"]["synced"]) == (1050, 50, True)


def test_cycles(place, sandbox):
    """Listed with the number that --period takes."""
    listed = place.run("credits", "--cycles", "--json").json["billing_cycles"]
    assert listed
    start = listed[0]["period_start"]
    assert str(start) in place.run("credits", "--cycles").out
    of_period = place.run("credits", "--period", start, "--json").json
    assert of_period["available"] is None
    assert of_period["billing_cycle"]["period_start"] == start
    assert "in the web editor" in place.run("credits", "--period", start).out


def test_month(place, sandbox):
    """A UTC calendar month, written 2026-03."""
    told = place.run("credits", "--month", "2020-03")
    assert told.code == 0
    assert "2020-03 (UTC): 0 images with API keys, 0 in the web editor" in told.out


@pytest.mark.parametrize(
    "args",
    [("--month", "2026-13"), ("--month", "3"), ("--month", "2026-03", "--cycles"), ("--period", "-1"),
     ("--period", "1", "--month", "2026-03"), ("--cycles", "report"), ("report", "--since", "yesterday"),
     ("report", "--by", "colour")],
)  # fmt: skip
def test_wrong_usage(place, args):
    """Exit 2, before anything is asked."""
    assert place.run("credits", *args).code == 2


def test_refused_key_is_exit_77(place, sandbox):
    """And the key is not in the message."""
    place.write_config(url=sandbox.url.removesuffix("/rmbg"), key="wrong-key-1234")
    told = place.run("credits")
    assert told.code == 77
    assert "wrong-key-1234" not in told.err + told.out


def test_unreachable_api_is_exit_69(place):
    """One line of what happened, one of what to do."""
    told = place.run("credits")
    assert told.code == 69
    assert len(told.err.splitlines()) == 2


def test_no_key_is_exit_78(place, monkeypatch):
    """It says where a key can come from."""
    monkeypatch.delenv("REMBG_API_KEY", raising=False)
    place.config.write_text(place.config.read_text().replace("key: k-12345678, ", ""))
    told = place.run("credits")
    assert told.code == 78
    assert "REMBG_API_KEY" in told.err
    assert place.run("status").code == 0  # looking needs none


def spend(place):
    day = 1_700_000_000.0 // 86400 * 86400
    place.deliver("a.jpg", now=day)
    place.deliver("b.jpg", inbox=place.bags, now=day + 86400)
    place.send("lost.jpg", inbox=place.bags, now=day + 86400)
    place.arrive("copy.jpg", now=day + 86400)
    (job,) = place.queries.select(limit=1)
    output = Output("/o/copy.webp", job.id, job.folder, job.path, "content", job.fingerprint, "result", 9, day)
    key = Key("content", job.fingerprint)
    place.queue.mark_received([Received(job, key, output.path, "result", 9, How.REUSED)], day + 86400)
    place.queue.mark_done([(job, output, How.REUSED, None)], day + 86400)
    return day


def test_report(place):
    """By folder, profile and day, with totals, and from -c before or after the word."""
    spend(place)
    lines = place.run("credits", "report").out.splitlines()
    assert lines[0].split() == ["FOLDER", "CHARGED", "POSSIBLY", "CHARGED", "SAVED"]
    assert lines[1].split() == [str(place.bags), "1", "1", "0"]
    assert lines[2].split() == [str(place.shoes), "1", "0", "1"]
    assert lines[3].split() == ["total", "2", "1", "1"]
    assert lines[4].startswith("possibly charged: sent, but the answer never came")
    by_profile = place.run("credits", "report", "--by", "profile", "--json").json
    assert [row["key"] for row in by_profile["rows"]] == ["clear", "white"]
    assert by_profile["total"] == {"charged": 2, "possibly": 1, "saved": 1}
    since = place.run("credits", "report", "--by", "day", "--since", "2023-11-15", "--json").json
    assert [row["key"] for row in since["rows"]] == ["2023-11-15"]
    assert place.run("credits", "report", "--since", "24h", "--json").json["rows"] == []


def test_report_reconciles_with_the_account(place):
    """What the account used that we did not, and what the web editor used."""
    day = spend(place)
    for at, api, app, charged in ((day, 100, 7, 0), (day + 90000, 130, 9, 2)):
        place.ledger.note_usage(UsageCheck(at, 500, api, app, day, None, charged, 1))
    told = place.run("credits", "report").out
    assert "used with API keys:   30, from here 2" in told
    assert "used in the editor:   2" in told
    assert "used by somebody else: 28" in told
    account = place.run("credits", "report", "--json").json["account"]
    assert (account["account"], account["ours"], account["others"], account["editor"]) == (30, 2, 28, 2)


def test_report_without_a_database(place):
    """Nothing was spent, and the shape is the same."""
    assert place.run("credits", "report").out == "Nothing was spent from here.\n"
    shape = place.run("credits", "report", "--json").json
    assert shape["rows"] == []
    spend(place)
    full = place.run("credits", "report", "--json").json
    assert (shape.keys(), shape["account"].keys()) == (full.keys(), full["account"].keys())
    assert place.run("credits", "--json", "report").json == full


def test_unsynced_billing_is_said(place, sandbox):
    """Where the billing block is not the true one, the number is by the calendar month, and that is told."""
    with Sandbox(credits=20, synced=False, key="k-12345678") as running:
        place.write_config(url=running.url.removesuffix("/rmbg"))
        assert "counted by the UTC calendar month" in place.run("credits").out


def test_since_is_back_from_now(place):
    """7d is seven times 24 hours."""
    since = place.run("credits", "report", "--since", "7d", "--json").json["since"]
    assert abs(time.time() - 7 * 86400 - since) < 60


def test_a_period_beyond_the_calendar_is_wrong_usage(place, sandbox):
    """No billing cycle begins after the year 9999; the API is not asked."""
    told = place.run("credits", "--period", 253_402_300_800)
    assert told.code == 2
    assert "--period" in told.err
    assert place.run("credits", "--period", 253_402_300_799).code == 0
