"""The readings of the account, and what is under way while one is made."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rembg_watch.config.model import CreditsConfig
from rembg_watch.dispatch.account import AGAIN_SECONDS, BATCH_SECONDS
from rembg_watch.errors import ApiError


def test_a_reading_is_good_for_one_batch_and_for_a_minute(bench):
    """One usage call for each batch; a balance that is older than a minute is read again."""
    bench.config = replace(bench.config, credits=CreditsConfig(batch_size=10))
    account = bench.account
    assert account.needs_reading()
    assert account.grant().count == 0
    assert account.read() == 10_000
    assert account.grant().count == 10
    account.give(4)
    assert account.grant().count == 6
    account.give(6)
    assert account.needs_reading()
    account.read()
    assert not account.needs_reading()
    bench.now += BATCH_SECONDS + 1
    assert account.needs_reading()


def test_a_failed_reading_leaves_the_last_one_and_is_not_repeated_at_once(bench):
    """The last good balance serves, less what was given since, until it is stale."""
    account = bench.account
    bench.sandbox.set_credits(30)
    account.read()
    account.give(25)
    bench.sandbox.next_usage("html")
    with pytest.raises(ApiError):
        account.read()
    assert not account.needs_reading()
    assert account.grant().count == 5
    bench.now += AGAIN_SECONDS + 1
    assert account.needs_reading()
    bench.now += bench.config.credits.max_staleness
    assert account.grant().count == 0
    assert account.grant().kind == "usage"


def test_what_is_under_way_counts_against_the_next_reading(bench):
    """Permits that are out when the usage call starts may be in its answer or not: they count as not."""
    account = bench.account
    bench.sandbox.set_credits(10)
    account.read()
    account.give(4)
    account.sent()
    account.read()
    assert account.left() == 6
    assert account.is_cautious()
    account.end(spent=True, was_sent=True)
    account.end(spent=False, was_sent=False)
    assert account.left() == 7
    assert account.outstanding() == 2
