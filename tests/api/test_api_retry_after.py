"""When a server says "come back later": every form of it, by the right clock."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rembg_watch.api.verdict import Stage, judge, parse_retry_after

NOW = 1_800_000_000.0
"""Friday, 15 January 2027, 08:00 UTC."""


@pytest.fixture(autouse=True)
def far_from_greenwich(monkeypatch):
    """Dates of HTTP are UTC, wherever the machine stands."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("30", 30), (" 30 ", 30), ("0", 0), ("1.5", 1.5), ("30s", 30), ("2m", 120), ("2 minutes", 120), ("1h", 3600),
        ("500ms", 0.5), ("1d", 86_400), ("999999999", 86_400), ("9d", 86_400), ("-5", None), ("soon", None), ("", None),
        (None, None), ("1e9", None), ("nan", None), ("inf", None), ("3 parsecs", None), ("٣", None),
        (formatdate(NOW + 90, usegmt=True), 90), (formatdate(NOW - 90, usegmt=True), 0),
        ("Fri, 15 Jan 2027 08:01:00 GMT", 60), ("Friday, 15-Jan-27 08:01:00 GMT", 60), ("Fri Jan 15 08:01:00 2027", 60),
        (formatdate(NOW + 9e6, usegmt=True), 86_400), ("Mon, 99 Jan 99999999 00:00:00 GMT", None),
    ],
)  # fmt: skip
def test_retry_after(value, seconds):
    """Seconds, seconds with a unit, or a date; absurd wishes are cut to a day, and nonsense is none."""
    assert parse_retry_after(value, NOW) == (None if seconds is None else pytest.approx(seconds))


def test_retry_after_date_is_by_the_servers_clock():
    """A date is compared with the server's own Date, as our clock may be an hour off."""
    headers = {"retry-AFTER": formatdate(NOW + 30, usegmt=True), "Date": formatdate(NOW, usegmt=True)}
    assert judge(429, headers, b"", None, Stage.RECEIVING, NOW - 3600).retry_after == pytest.approx(30)


@given(st.text(max_size=40) | st.integers().map(str), st.floats())
def test_retry_after_never_raises(value, now):
    """Any text gives a number of seconds within a day, or None."""
    seconds = parse_retry_after(value, now)
    assert seconds is None or 0 <= seconds <= 86_400
