"""Credits: they go down by one an image, never below nothing, whoever spends them."""

from __future__ import annotations

import io
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rembg_watch.sandbox import Sandbox
from rembg_watch.sandbox.access import TokenBucket
from rembg_watch.sandbox.account import CYCLE_SECONDS, Account

MONTHLY = "You've reached your monthly limit. Consider purchasing more credits."


def test_one_image_costs_one_credit_until_none_is_left(post):
    """The monthly 429 comes when included and prepaid credits are used up; a top-up ends it."""
    with Sandbox(credits=1, prepaid=1) as sandbox:
        assert [post(sandbox).status_code for _ in range(3)] == [200, 200, 429]
        assert post(sandbox).json() == {"error": MONTHLY, "status": 429}
        assert (sandbox.charged, sandbox.credits_left) == (2, 0)
        sandbox.top_up(1)
        assert post(sandbox).status_code == 200
        assert [one.charged for one in sandbox.requests] == [True, True, False, False, True]


def test_402_in_place_of_the_monthly_429(post):
    with Sandbox(credits=0, out_of_credits="402") as sandbox:
        assert post(sandbox).status_code == 402


def test_a_shrunk_picture_in_place_of_the_monthly_429(post, draw):
    """Without credits comes a 200 with at most 460 px a side, which is free."""
    with Sandbox(credits=0, out_of_credits="shrunk") as sandbox:
        answer = post(sandbox, image=draw((1200, 900)))
        assert answer.status_code == 200
        assert Image.open(io.BytesIO(answer.content)).size == (460, 345)
        assert sandbox.charged == 0


def test_never_more_images_than_credits(post):
    """Thirty at once against ten credits: ten are done."""
    with Sandbox(credits=10, latency=0.05) as sandbox, ThreadPoolExecutor(30) as pool:
        statuses = list(pool.map(lambda _: post(sandbox).status_code, range(30)))
        assert sorted(statuses) == [200] * 10 + [429] * 20
        assert sandbox.charged == 10
        assert sandbox.credits_left == 0


def test_somebody_else_spends(post):
    """Use in the web editor leaves fewer credits for us, and is never more than there is."""
    with Sandbox(credits=5, prepaid=2) as sandbox:
        assert sandbox.spend_elsewhere(6) == 6
        assert sandbox.credits_left == 1
        assert sandbox.spend_elsewhere(6) == 1
        assert post(sandbox).status_code == 429
        assert sandbox.charged == 0


def test_a_new_cycle_brings_the_included_credits_back(post):
    with Sandbox(credits=2) as sandbox:
        assert post(sandbox).status_code == 200
        sandbox.renew()
        assert sandbox.credits_left == 2
        assert post(sandbox).status_code == 200
        assert sandbox.credits_left == 1


def _used_up_for_two_seconds():
    sandbox = Sandbox(credits=1, renews_in=2)
    sandbox.spend_elsewhere(1)
    # On a machine that stood still meanwhile, it was spent from the next cycle.
    return sandbox if time.time() < sandbox._state.account.renewal else _used_up_for_two_seconds()


def test_the_cycle_renews_by_itself(post, until):
    """At ``renews_in`` the next billing cycle begins."""
    with _used_up_for_two_seconds() as sandbox:
        until(lambda: sandbox.credits_left == 1)
        assert post(sandbox).status_code == 200


def test_set_credits(post):
    """What is left can be set, after some were used."""
    with Sandbox(credits=9) as sandbox:
        post(sandbox)
        sandbox.set_credits(3)
        assert sandbox.credits_left == 3


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("image"), st.booleans()),
        st.tuples(st.just("spend"), st.integers(0, 9)),
        st.tuples(st.just("top"), st.integers(0, 9)),
        st.tuples(st.just("renew"), st.just(0)),
        st.tuples(st.just("wait"), st.integers(0, 2 * CYCLE_SECONDS)),
    ),
    max_size=30,
)


@given(included=st.integers(0, 12), prepaid=st.integers(0, 5), steps=STEPS)
def test_the_balance_is_never_negative_and_always_explained(included, prepaid, steps):
    """Whatever happens: left = included, less used in this cycle, plus prepaid; and a reservation is always covered."""
    now = 1_700_000_000
    account = Account(included, prepaid, now + 1000)
    for what, value in steps:
        now += 1
        left = account.left(now)
        if what == "image":
            assert account.reserve(now) == (left > 0)
            if left > 0:
                account.settle(now, charge=value)
                assert account.left(now) == left - value
        elif what == "spend":
            spent = account.spend(value, now)
            assert spent == min(value, left)
            assert account.left(now) == left - spent
        elif what == "top":
            account.prepaid += value
            assert account.left(now) == left + value
        elif what == "renew":
            account.renew(now)
            assert account.included_left(now) == included
        else:
            now += value
        used = sum(account.used(*account.cycle(now)).values())
        assert account.left(now) == max(0, included - used) + account.prepaid
        assert account.prepaid >= 0
        first, last = account.cycle(now)
        assert first <= now <= last


@given(
    rate=st.floats(0.1, 1000),
    burst=st.floats(1, 50),
    gaps=st.lists(st.floats(0, 1), min_size=1, max_size=100),
)
def test_a_bucket_gives_no_more_than_its_rate(rate, burst, gaps):
    """Over any time, at most the burst and the rate's worth; and the wait it names is long enough."""
    bucket, now, taken = TokenBucket(rate, burst), 0.0, 0
    for gap in gaps:
        now += gap
        wait = bucket.take(now)
        taken += not wait
        if wait:
            assert bucket.take(now + wait + 1e-6) == 0
            now, taken = now + wait + 1e-6, taken + 1
    assert taken <= burst + rate * now + 1e-6


def test_a_rate_must_be_above_nothing():
    with pytest.raises(ValueError, match="rate_limit"):
        Sandbox(rate_limit=0)
