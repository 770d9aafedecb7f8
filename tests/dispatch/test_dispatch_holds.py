"""Holds, the account and the reactions, on a real table and the real usage call."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rembg_watch.api.verdict import About, Charge, Verdict
from rembg_watch.config.model import CreditsConfig
from rembg_watch.dispatch.account import AGAIN_SECONDS, BATCH_SECONDS
from rembg_watch.dispatch.claims import Claims
from rembg_watch.dispatch.crew import Crew
from rembg_watch.dispatch.holds import ALL, LATEST_CHECK, LATEST_PROFILE_CHECK, Holds, outbox_scope, profile_scope
from rembg_watch.dispatch.reactions import OUTBOX_CHECK, PROFILE_CHECK
from rembg_watch.dispatch.report import Ended, Report
from rembg_watch.errors import ApiError, TargetError
from rembg_watch.jobs.model import Hold, State, Tidy


def _verdict(about, code="unknown", **more):
    return Verdict(about, code, "what the server said", "what to do", Charge.NOT_CHARGED, **more)


def _kinds(bench):
    return {(hold.scope, hold.kind) for hold in bench.holds.all()}


def _react(bench, verdict=None, fingerprint="f", ended=Ended.VERDICT, **more):
    job = more.pop("job", None) or _job(bench)
    report = Report(ended, sent=True, verdict=verdict, fingerprint=fingerprint, sent_at=1.0, **more)
    bench.reactions.react(replace(job, fingerprint=fingerprint), str(bench.outbox), report)


def _job(bench):
    if not bench.steering.select(limit=1):
        bench.arrive("a.jpg", b"bytes")
    return bench.steering.select(limit=1)[0]


# -- holds


def test_a_hold_is_on_the_board_with_its_reason_and_keeps_its_beginning(bench):
    """A renewed hold tells its newest reason, and since when it stands."""
    bench.holds.hold(ALL, "credits", "none left", "buy some", now=100.0)
    bench.holds.hold(ALL, "credits", "still none", "buy some", now=200.0, check_in=5.0)
    assert bench.board.holds() == [Hold(ALL, "credits", "still none", "buy some", 100.0, 205.0)]
    assert bench.holds.next_check() == 205.0
    assert [hold.kind for hold, _ in bench.holds.due(205.0)] == ["credits"]
    assert bench.holds.due(204.9) == []
    assert bench.holds.release(ALL, "credits")
    assert not bench.holds.release(ALL, "credits")
    assert bench.board.holds() == []


def test_a_hold_that_comes_again_was_not_over(bench):
    """A probe that succeeds while the work does not neither resets since when it is held, nor makes it flap quickly."""
    outbox = outbox_scope("/out")
    for kind, scope in (("service", ALL), ("full", outbox)):
        bench.holds.hold(scope, kind, "trouble", "wait", now=100.0, check_in=2.0)
        bench.holds.release(scope, kind)
        bench.holds.hold(scope, kind, "trouble", "wait", now=110.0, check_in=2.0)
        bench.holds.release(scope, kind)
        bench.holds.hold(scope, kind, "trouble", "wait", now=120.0, check_in=2.0)
        bench.holds.hold(scope, kind, "trouble", "wait", now=120.0, check_in=2.0)  # another photo in flight
    assert {(hold.kind, hold.since, hold.next_check) for hold in bench.board.holds()} == {
        ("service", 100.0, 122.0),
        ("full", 100.0, 128.0),
    }


def test_a_hold_that_comes_after_work_went_well_is_a_new_one(bench):
    """A photo that was answered ends the trouble before: what comes then began then."""
    bench.holds.hold(ALL, "key", "refused", "renew it", now=100.0)
    bench.holds.release(ALL, "key")
    _react(bench, ended=Ended.DONE)
    bench.holds.hold(ALL, "key", "refused", "renew it", now=150.0)
    assert [hold.since for hold in bench.board.holds()] == [150.0]


def test_a_restart_keeps_pauses_and_held_profiles_and_looks_at_the_rest_anew(bench):
    """What a free look can tell is looked at; what a person or a paid try decides stands."""
    bench.board.hold(Hold(ALL, "pause", "stocktaking", "resume", 1.0))
    bench.board.hold(Hold(profile_scope("f"), "options", "w: too wide", "correct it", 2.0, 1e12))
    bench.board.hold(Hold(ALL, "credits", "none", "buy", 3.0, 4.0))
    bench.board.hold(Hold(outbox_scope("/out"), "full", "full", "free", 3.0, 4.0))
    again = Holds(bench.board)
    again.load(1000.0)
    assert {(hold.scope, hold.kind) for hold in again.all()} == {(ALL, "pause"), (profile_scope("f"), "options")}
    assert again.next_check() <= 1000.0 + LATEST_PROFILE_CHECK
    assert len(bench.board.holds()) == 2


def test_only_resume_ends_a_pause(bench):
    """No probe and no success releases what a person has paused."""
    bench.board.hold(Hold(ALL, "pause", "stocktaking", "resume", 1.0))
    bench.holds.reload_pause()
    assert bench.holds.has(ALL, "pause")
    assert not bench.holds.release(ALL)
    bench.reactions.probe()
    assert bench.holds.has(ALL, "pause")
    bench.board.release(ALL, "pause")
    bench.holds.reload_pause()
    assert not bench.holds.has(ALL)


def test_a_reload_looks_at_everything_that_costs_nothing(bench):
    """After a new config each free probe is due at once; the paid try of a profile keeps its time."""
    bench.holds.hold(ALL, "daily-limit", "reached", "tomorrow", now=100.0, check_in=5000.0)
    bench.holds.hold(profile_scope("f"), "options", "wrong", "correct", now=100.0, check_in=5000.0)
    bench.holds.look_now(200.0)
    assert [hold.kind for hold, _ in bench.holds.due(200.0)] == ["daily-limit"]


@given(st.lists(st.tuples(st.sampled_from(["hold", "release", "postpone", "shift"]), st.integers(0, 3)), max_size=30))
def test_the_board_always_shows_what_is_held(events):
    """Whatever happens in whatever order, people see the holds that are in force, and no others."""

    class Shown(dict):
        def hold(self, hold):
            self[hold.scope, hold.kind] = hold

        def release(self, scope, kind):
            return self.pop((scope, kind), None) is not None

        def holds(self):
            return list(self.values())

    board = Shown()
    holds = Holds(board)
    for now, (what, number) in enumerate(events):
        scope = f"outbox:/{number}"
        match what:
            case "hold":
                holds.hold(scope, "full", f"{now}", "r", now=float(now))
            case "release":
                holds.release(scope)
            case "postpone":
                holds.postpone(scope, "full", float(now), 7.0)
            case _:
                holds.shift(3.0, float(now))
        assert set(board) == {(hold.scope, hold.kind) for hold in holds.all()}
        assert {hold.message for hold in board.values()} == {hold.message for hold in holds.all()}


# -- reactions


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
    _react(bench, ended=Ended.TARGET, target=error)
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


# -- the account


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


def test_sources_that_cant_be_tidied_dont_stand_before_the_others(bench):
    """The table is gone through page by page."""
    for number in range(5):
        bench.arrive(f"{number}.jpg", b"bytes")
        bench.store.end(bench.claim(), State.FAILED, bench.now, tidy=Tidy.MOVE_FAILED)
    first = bench.store.untidy(limit=3)
    second = bench.store.untidy(first[-1].id, limit=3)
    assert [job.path for job in (*first, *second)] == [f"{number}.jpg" for number in range(5)]
