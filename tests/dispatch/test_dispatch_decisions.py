"""What follows from each verdict: pure decisions, for every input."""

from __future__ import annotations

import threading
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from rembg_watch.api.verdict import CODES, About, Charge, Verdict
from rembg_watch.config.model import RetryConfig
from rembg_watch.dispatch.claims import Claims
from rembg_watch.dispatch.outcome import MAX_WRONG_PICTURES, UNREACHABLE, backoff, decide, is_spent
from rembg_watch.jobs.ledger import Wasted
from rembg_watch.jobs.model import Key, State

FRESH = Wasted(0, 0)
verdicts = st.builds(
    Verdict,
    about=st.sampled_from(About),
    code=st.sampled_from(sorted(CODES)),
    message=st.just("m"),
    hint=st.just("h"),
    charge=st.sampled_from(Charge),
    status=st.none() | st.integers(100, 599),
    retry_after=st.none() | st.floats(0, 86400),
)
retries = st.builds(
    RetryConfig, max_attempts=st.integers(1, 100), base_delay=st.floats(0.01, 3600), max_delay=st.floats(3600, 86400)
)


def was_answered(verdict):
    return (verdict.status == 200 or verdict.code == "redirect") and verdict.code != "proxy-page"


def attempts_until_failed(verdict, retry, *, healthy, wrong=False):
    """Repeat one verdict until the job fails; return how often it was sent. The ledger is kept as the queue keeps it."""
    attempts, wasted = 0, FRESH
    for sent in range(1, 1000):
        outcome = decide(verdict, attempts, wasted, retry, now=0.0, jitter=0.5, healthy=healthy)
        if outcome.state is State.FAILED:
            return sent
        attempts += outcome.counted
        if verdict.charge is not Charge.NOT_CHARGED:
            wasted = Wasted(wasted.complete + wrong, wasted.lost + (outcome.counted and not wrong))
    return None


@given(verdicts, st.integers(0, 100), retries, st.floats(0, 1), st.booleans())
def test_each_verdict_has_its_consequence(verdict, attempts, retry, jitter, healthy):
    """Images fail; account, options and pace leave the job queued; faults of the service wait, and not for ever."""
    outcome = decide(verdict, attempts, FRESH, retry, now=1000.0, jitter=jitter, healthy=healthy)
    match verdict.about:
        case About.IMAGE:
            assert (outcome.state, outcome.answered, outcome.fault) == (State.FAILED, True, False)
        case About.PACE:
            assert (outcome.state, outcome.accepted) == (State.QUEUED, False)
        case About.PROFILE | About.ACCOUNT | About.CREDITS:
            assert (outcome.state, outcome.counted, outcome.fault) == (State.QUEUED, False, False)
        case About.SERVICE if verdict.code in UNREACHABLE and verdict.charge is Charge.NOT_CHARGED:
            assert (outcome.state, outcome.counted, outcome.fault) == (State.QUEUED, False, True)
        case _:
            assert outcome.state in (State.WAITING, State.FAILED)
            assert outcome.fault
    if outcome.state is State.WAITING:
        assert 1000.0 + (verdict.retry_after or 0.0) <= outcome.not_before
        assert outcome.not_before <= 1000.0 + max(retry.max_delay, verdict.retry_after or 0.0)
        assert outcome.counted or not healthy
        assert attempts + outcome.counted < retry.max_attempts


@given(verdicts, retries)
def test_a_job_of_a_working_service_ends(verdict, retry):
    """While the service works for others, a job that fails again and again ends after ``max_attempts``."""
    if verdict.about in (About.SERVICE, About.UNKNOWN) and verdict.code not in UNREACHABLE:
        assert attempts_until_failed(verdict, retry, healthy=True) <= retry.max_attempts


@given(verdicts, st.sampled_from([Charge.CHARGED, Charge.POSSIBLY]), retries, st.booleans())
def test_a_wrong_picture_is_paid_for_twice_at_most(verdict, charge, retry, healthy):
    """A complete answer that is not the picture asked for is tried twice at most, even while the service is ill."""
    verdict = replace(verdict, about=About.UNKNOWN, charge=charge)
    assert attempts_until_failed(verdict, retry, healthy=healthy, wrong=True) <= MAX_WRONG_PICTURES


@given(verdicts, st.integers(0, 5), retries)
def test_a_dead_service_eats_no_attempts(verdict, attempts, retry):
    """While the service's hold is open, its faults are not counted, unless it took the photo and answered."""
    if verdict.about is About.SERVICE and attempts < retry.max_attempts and not was_answered(verdict):
        outcome = decide(verdict, attempts, FRESH, retry, now=0.0, jitter=0.5, healthy=False)
        assert outcome.state is not State.FAILED
        assert not outcome.counted


@given(verdicts, retries)
def test_answers_that_may_be_paid_for_are_not_asked_for_without_end(verdict, retry):
    """Garbage with a 200, or a redirect that may follow the work, is paid ``max_attempts`` times at most for a photo."""
    if verdict.about is About.SERVICE and verdict.charge is not Charge.NOT_CHARGED and was_answered(verdict):
        assert attempts_until_failed(verdict, retry, healthy=False) <= retry.max_attempts


@given(st.integers(0, 5), st.integers(0, 120), retries)
def test_what_other_jobs_paid_in_vain_counts_for_this_one(complete, lost, retry):
    """The count is of the picture and its options: a copy of the photo does not start over."""
    spent = is_spent(Wasted(complete, lost), retry)
    assert spent == (complete >= MAX_WRONG_PICTURES or lost >= retry.max_attempts)
    verdict = Verdict(About.UNKNOWN, "wrong-size", "m", "h", Charge.POSSIBLY, 200)
    outcome = decide(verdict, 0, Wasted(complete, 0), retry, now=0.0, jitter=0.5, healthy=True)
    assert (outcome.state is State.FAILED) == (retry.max_attempts == 1 or complete + 1 >= MAX_WRONG_PICTURES)


@given(st.integers(-5, 10**9), st.floats(0.001, 3600), st.floats(0.001, 86400), st.floats(0, 1))
def test_the_backoff_has_full_jitter_and_a_ceiling(attempts, base, most, jitter):
    """The delay is from 0 up to the doubled base, never above the ceiling, for any count."""
    assert 0 <= backoff(attempts, base, most, jitter) <= most
    assert backoff(1, base, most, 1.0) == min(most, base)
    assert backoff(2, base, most, 1.0) == min(most, 2 * base)


class Photo:
    """The part of a job that claims look at."""

    def __init__(self, number):
        self.id, self.folder = number, "/in"


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), max_size=80))
def test_the_same_picture_is_never_on_its_way_twice(events):
    """One job at a time has a key; all others with it are set aside, and each is free to be claimed at the key's end."""
    claims, busy, aside = Claims(threading.Event()), {}, {}
    for number, (begins, name) in enumerate(events):
        key = Key(str(name), "options")
        if begins:
            claims.add([Photo(number)])
            mine = claims.begin_key(key, Photo(number))
            assert mine == (name not in busy)
            if mine:
                busy[name] = number
            else:
                aside.setdefault(name, set()).add(number)
        elif name in busy:
            claims.end(Photo(busy.pop(name)))
            claims.end_key(key)
            aside.pop(name, None)
        waiting = set().union(*aside.values())
        assert set(claims.ids()) == {*busy.values(), *waiting}
        assert claims.unsent() == claims.unsent("/in") == len(busy)


def test_a_retry_after_is_a_least_delay():
    """The service's own wish is kept, though the backoff would be shorter."""
    verdict = Verdict(About.SERVICE, "unavailable", "m", "h", Charge.NOT_CHARGED, 503, retry_after=77.0)
    outcome = decide(verdict, 0, FRESH, RetryConfig(), now=10.0, jitter=0.0, healthy=True)
    assert outcome.not_before == 87.0
