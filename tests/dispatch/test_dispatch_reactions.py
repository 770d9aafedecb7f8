"""What the end of one job means for all others, and the probes that end a hold."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import pytest

from rembg_watch.api.verdict import About, Charge, Verdict
from rembg_watch.dispatch.claims import Claims
from rembg_watch.dispatch.crew import Crew
from rembg_watch.dispatch.holds import ALL, LATEST_CHECK, LATEST_PROFILE_CHECK, outbox_scope
from rembg_watch.dispatch.reactions import OUTBOX_CHECK, PROFILE_CHECK
from rembg_watch.dispatch.report import Ended, Report
from rembg_watch.errors import TargetError
from rembg_watch.jobs.model import State


def _verdict(about, code="unknown", **more):
    return Verdict(about, code, "what the server said", "what to do", Charge.NOT_CHARGED, **more)


def _kinds(bench):
    return {(hold.scope, hold.kind) for hold in bench.holds.all()}


def _react(bench, verdict=None, fingerprint="f", ended=Ended.VERDICT, **more):
    job = more.pop("job", None) or _job(bench)
    report = Report(ended, sent=True, verdict=verdict, fingerprint=fingerprint, sent_at=1.0, **more)
    bench.reactions.react(replace(job, fingerprint=fingerprint), report)


def _job(bench):
    if not bench.steering.select(limit=1):
        bench.arrive("a.jpg", b"bytes")
    return bench.steering.select(limit=1)[0]


@pytest.mark.parametrize(
    ("about", "code", "held"),
    [
        (About.IMAGE, "corrupt", set()),
        (About.PACE, "too-fast", set()),
        (About.PROFILE, "options", {("profile:f", "options")}),
        (About.ACCOUNT, "key", {(ALL, "key")}),
        (About.CREDITS, "monthly", {(ALL, "credits")}),
        (About.SERVICE, "server-error", set()),
        (About.SERVICE, "dns", {(ALL, "service")}),
        (About.UNKNOWN, "unknown", set()),
    ],
)
def test_each_verdict_reaches_as_far_as_it_concerns(bench, about, code, held):
    """One picture: nobody else; options: their profile; the account or a dead service: everything."""
    _react(bench, _verdict(about, code))
    assert _kinds(bench) == held


def test_five_faults_in_a_row_hold_everything_until_a_probe(bench):
    """The breaker opens; after the free probe one photo goes first, and its success lets all others go."""
    for _ in range(5):
        _react(bench, _verdict(About.SERVICE, "server-error"))
    assert _kinds(bench) == {(ALL, "service")}
    assert not bench.reactions.healthy()
    bench.now += 6.0
    bench.reactions.probe()
    assert _kinds(bench) == set()
    assert bench.reactions.on_trial
    assert not bench.reactions.healthy()
    _react(bench, ended=Ended.DONE)
    assert not bench.reactions.on_trial
    assert bench.reactions.healthy()


def test_a_probe_that_fails_postpones(bench):
    """While the usage call fails everything stays held, and is looked at again half a minute later."""
    _react(bench, _verdict(About.CREDITS, "credits"))
    bench.sandbox.next_usage("503")
    bench.now += LATEST_CHECK + 1
    bench.reactions.probe()
    assert _kinds(bench) == {(ALL, "credits")}
    assert bench.holds.next_check() == bench.now + LATEST_CHECK
    bench.sandbox.set_credits(0)
    bench.now += LATEST_CHECK + 1
    bench.reactions.probe()
    assert _kinds(bench) == {(ALL, "credits")}
    bench.sandbox.top_up(1)
    bench.now += LATEST_CHECK + 1
    bench.reactions.probe()
    assert _kinds(bench) == set()


def test_a_refused_profile_is_tried_less_and_less_often(bench):
    """One photo at each check; each refusal doubles the time to the next; answers under way do not count."""
    refusal = _verdict(About.PROFILE, "options")
    _react(bench, refusal)
    _react(bench, refusal)  # was under way when the hold began
    assert bench.holds.next_check() == bench.now + PROFILE_CHECK
    expected = PROFILE_CHECK
    for _ in range(8):
        bench.now = bench.holds.next_check()
        bench.reactions.probe()
        assert bench.reactions.trials == {"f": None}
        bench.reactions.trials["f"] = _job(bench).id
        _react(bench, refusal)
        assert bench.reactions.trials == {}
        expected = min(expected * 2, LATEST_PROFILE_CHECK)
        assert bench.holds.next_check() == bench.now + expected
    bench.now = bench.holds.next_check()
    bench.reactions.probe()
    _react(bench, ended=Ended.DONE)
    assert _kinds(bench) == set()


def test_an_outbox_is_looked_at_soon_and_then_less_often(bench):
    """From two seconds up to half a minute; whatever is wrong by then is what is told."""
    bench.outbox.rmdir()
    error = TargetError("the disk is full", "make room", "full")
    _react(bench, ended=Ended.TARGET, target=error, outbox=str(bench.outbox))
    assert _kinds(bench) == {(outbox_scope(str(bench.outbox)), "full")}
    assert bench.holds.next_check() == bench.now + OUTBOX_CHECK
    for step in range(1, 7):
        bench.now = bench.holds.next_check()
        bench.reactions.probe()
        assert _kinds(bench) == {(outbox_scope(str(bench.outbox)), "missing")}
        assert bench.holds.next_check() == pytest.approx(bench.now + min(LATEST_CHECK, OUTBOX_CHECK * 2**step))
    bench.outbox.mkdir()
    bench.now = bench.holds.next_check()
    bench.reactions.probe()
    assert _kinds(bench) == set()


def test_a_held_profile_is_tried_with_one_photo_a_check(bench):
    """However many photos wait and workers are idle: none but the one is claimed until it is back."""
    for number in range(5):
        bench.arrive(f"{number}.jpg", b"bytes")
    fingerprint = bench.profile.options.fingerprint
    crew = Crew(lambda job: None, lambda job, report: None, lambda: None, bench.clock)
    claims = Claims(
        lambda: bench.config,
        bench.store,
        bench.ledger,
        bench.account,
        bench.holds,
        bench.reactions,
        crew,
        None,
        deque(),
        bench.clock,
    )
    refusal = _verdict(About.PROFILE, "options")
    _react(bench, refusal, fingerprint)
    assert claims.next_batch() == []
    for _ in range(2):
        bench.now = bench.holds.next_check()
        bench.reactions.probe()
        (tried,) = claims.next_batch()
        assert bench.reactions.trials == {fingerprint: tried.id}
        assert claims.next_batch() == []
        bench.store.end(tried, State.QUEUED, bench.now)
        _react(bench, refusal, fingerprint, job=tried)
        assert claims.next_batch() == []


def test_a_long_wait_that_the_service_asks_for_is_shown(bench):
    """An hour of Retry-After is a hold with its time; no probe of something else ends it sooner; a short one is none."""
    _react(bench, replace(_verdict(About.PACE, "too-fast"), retry_after=10.0))
    assert _kinds(bench) == set()
    _react(bench, replace(_verdict(About.PACE, "too-fast"), retry_after=3600.0))
    assert _kinds(bench) == {(ALL, "pace")}
    bench.holds.hold(ALL, "service", "down", "nothing", now=bench.now, check_in=5.0)
    bench.now += 6
    bench.reactions.probe()
    assert _kinds(bench) == {(ALL, "pace")}
    bench.now += 3600
    bench.reactions.probe()
    assert _kinds(bench) == set()
    assert bench.reactions.on_trial


def test_a_hold_that_comes_after_work_went_well_is_a_new_one(bench):
    """A photo that was answered ends the trouble before: what comes then began then."""
    bench.holds.hold(ALL, "key", "refused", "renew it", now=100.0)
    bench.holds.release(ALL, "key")
    _react(bench, ended=Ended.DONE)
    bench.holds.hold(ALL, "key", "refused", "renew it", now=150.0)
    assert [hold.since for hold in bench.board.holds()] == [150.0]
