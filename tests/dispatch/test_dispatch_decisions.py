"""Retry, breaker, parked contents and jumps of the clock: pure decisions, for every input."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rembg_watch.api.verdict import CODES, About, Charge, Verdict
from rembg_watch.config.written import RetryConfig
from rembg_watch.dispatch import walltime
from rembg_watch.dispatch.breaker import FIRST_PAUSE, LONGEST_PAID_PAUSE, LONGEST_PAUSE, OPENS_AFTER, Breaker
from rembg_watch.dispatch.contents import Contents
from rembg_watch.dispatch.retry import MAX_PAID_TRIES, UNREACHABLE, Fail, Requeue, Wait, backoff, decide
from rembg_watch.dispatch.walltime import JUMP_SECONDS, ClockWatch, read_clocks

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


@given(verdicts, st.integers(0, 100), retries, st.floats(0, 1), st.booleans())
def test_each_verdict_has_its_consequence(verdict, attempts, retry, jitter, healthy):
    """Images fail, accounts and options and the pace requeue, the service waits; and nothing waits for ever."""
    decision = decide(verdict, attempts, retry, now=1000.0, jitter=jitter, healthy=healthy)
    match verdict.about:
        case About.IMAGE:
            assert decision == Fail()
        case About.PROFILE | About.ACCOUNT | About.CREDITS | About.PACE:
            assert decision == Requeue()
        case About.SERVICE if verdict.code in UNREACHABLE and verdict.charge is Charge.NOT_CHARGED:
            assert decision == Requeue()
        case _:
            assert not isinstance(decision, Requeue)
    if isinstance(decision, Wait):
        assert 1000.0 + (verdict.retry_after or 0.0) <= decision.not_before
        assert decision.not_before <= 1000.0 + max(retry.max_delay, verdict.retry_after or 0.0)
        assert decision.counted or not healthy
        assert attempts + decision.counted < retry.max_attempts


@given(verdicts, retries)
def test_a_job_of_a_working_service_ends(verdict, retry):
    """While the service works for others, a job that fails again and again ends after ``max_attempts``."""
    attempts = 0
    for _ in range(retry.max_attempts):
        decision = decide(verdict, attempts, retry, now=0.0, jitter=0.5, healthy=True)
        if not isinstance(decision, Wait):
            break
        attempts += decision.counted
    if verdict.about in (About.SERVICE, About.UNKNOWN) and verdict.code not in UNREACHABLE:
        assert isinstance(decision, Fail)


@given(verdicts, st.sampled_from([Charge.CHARGED, Charge.POSSIBLY]), retries, st.booleans())
def test_a_wrong_picture_is_paid_for_twice_at_most(verdict, charge, retry, healthy):
    """What may have cost a credit and is nothing that is known is tried twice at most, even when the service is ill."""
    verdict = replace(verdict, about=About.UNKNOWN, charge=charge)
    attempts = sent = 0
    while True:
        sent += 1
        decision = decide(verdict, attempts, retry, now=0.0, jitter=0.5, healthy=healthy)
        if isinstance(decision, Fail):
            break
        attempts += decision.counted
    assert sent <= MAX_PAID_TRIES


@given(verdicts, st.integers(0, 5), retries)
def test_a_dead_service_eats_no_attempts(verdict, attempts, retry):
    """While the breaker is open, faults of the service are not counted."""
    answered = (verdict.status == 200 or verdict.code == "redirect") and verdict.code != "proxy-page"
    if verdict.about is About.SERVICE and attempts < retry.max_attempts and not answered:
        decision = decide(verdict, attempts, retry, now=0.0, jitter=0.5, healthy=False)
        assert isinstance(decision, Requeue) or decision.counted is False


@given(verdicts, retries)
def test_answers_that_may_be_paid_for_are_not_asked_for_without_end(verdict, retry):
    """Garbage with a 200, or a redirect that may follow the work, is paid ``max_attempts`` times at most for a photo."""
    answered = (verdict.status == 200 or verdict.code == "redirect") and verdict.code != "proxy-page"
    if verdict.about is About.SERVICE and verdict.charge is not Charge.NOT_CHARGED and answered:
        attempts = 0
        while isinstance(decision := decide(verdict, attempts, retry, now=0.0, jitter=0.5, healthy=False), Wait):
            attempts += decision.counted
        assert attempts < retry.max_attempts


@given(st.integers(-5, 10**9), st.floats(0.001, 3600), st.floats(0.001, 86400), st.floats(0, 1))
def test_the_backoff_has_full_jitter_and_a_ceiling(attempts, base, most, jitter):
    """From 0 up to the doubled delay, never above the ceiling, for any count."""
    assert 0 <= backoff(attempts, base, most, jitter) <= most
    assert backoff(1, base, most, 1.0) == min(most, base)
    assert backoff(2, base, most, 1.0) == min(most, 2 * base)


@pytest.mark.parametrize(("paid", "longest"), [(False, LONGEST_PAUSE), (True, LONGEST_PAID_PAUSE)])
def test_the_breaker_pauses_longer_where_a_try_may_cost(paid, longest):
    """A service that takes the money and gives nothing is tried six times an hour at the end; a free one each minute."""
    breaker = Breaker()
    pauses = [breaker.fault(paid=paid) for _ in range(40)]
    assert pauses[: OPENS_AFTER - 1] == [None] * (OPENS_AFTER - 1)
    assert pauses[-1] == longest


@given(st.lists(st.sampled_from(["fault", "unreachable", "success"]), max_size=60))
def test_the_breaker_opens_after_faults_in_a_row_and_closes_with_one_success(events):
    """Five faults in a row open it, one of an unreachable service does at once; pauses grow to a minute."""
    breaker, row, openings = Breaker(), 0, 0
    for event in events:
        if event == "success":
            breaker.success()
            row = openings = 0
            assert breaker.closed
            continue
        row += 1
        pause = breaker.fault(unreachable=event == "unreachable")
        opens = openings > 0 or row >= OPENS_AFTER or event == "unreachable"
        assert (pause is not None) == opens
        if opens:
            openings += 1
            assert pause == min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (openings - 1))
        assert breaker.closed == (openings == 0)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), max_size=80))
def test_the_same_bytes_are_never_on_their_way_twice(events):
    """One job at a time has a content; all others that want it are parked, and every one of them comes back once."""
    contents, busy, parked = Contents(), {}, {}
    for number, (begins, key) in enumerate(events):
        if begins:
            mine = contents.begin((str(key), "options"), number)
            assert mine == (key not in busy)
            if mine:
                busy[key] = number
            else:
                parked.setdefault(key, []).append(number)
        elif key in busy:
            assert contents.end((str(key), "options")) == parked.pop(key, [])
            del busy[key]


def test_a_thread_that_stands_still_between_two_clocks_makes_no_jump(monkeypatch):
    """They are read again until both are of one moment."""
    steady = iter([100.0, 130.0, 131.0, 131.1])  # half a minute passes while the wall clock is read
    monkeypatch.setattr(walltime, "steady_clock", lambda: next(steady))
    wall = iter([5000.0, 5031.0])
    assert read_clocks(lambda: next(wall)) == (5031.0, 131.0)


@given(st.lists(st.tuples(st.floats(0, 1000), st.floats(-7200, 7200)), max_size=30))
def test_only_jumps_of_the_clock_are_told_and_their_sum_is_right(steps):
    """Small steps are passed over; what is told is how far the wall clock ran away from the steady one."""
    wall, steady = 5000.0, 100.0
    watch = ClockWatch(wall, steady)
    for passed, jump in steps:
        wall, steady = wall + passed + jump, steady + passed
        told = watch.look(wall, steady)
        if abs(jump) > JUMP_SECONDS + 1e-3:
            assert told == pytest.approx(jump, abs=1e-3)
        elif abs(jump) < JUMP_SECONDS - 1e-3:
            assert told == 0.0
