"""The holds: what stands, since when, what ends it, and that the board tells it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rembg_watch.dispatch.holds import ALL, LATEST_PROFILE_CHECK, Holds, inbox_scope, outbox_scope, profile_scope
from rembg_watch.errors import StateError
from rembg_watch.jobs.model import Hold


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


def test_a_hold_that_ends_as_it_begins_does_not_stay_on_the_board(bench, in_thread, wait_until, monkeypatch):
    """One worker finds the service down, another one finds it well: what people see is what holds."""
    tell = bench.board.hold

    def tell_late(hold):
        ending = in_thread(lambda: bench.holds.release(ALL, "service"))
        # The other one is through, or it waits for us.
        wait_until(lambda: not ending.is_alive() or bench.holds._changing.locked())
        tell(hold)

    monkeypatch.setattr(bench.board, "hold", tell_late)
    bench.holds.hold(ALL, "service", "down", "wait", now=100.0)
    wait_until(lambda: not bench.holds.all())
    wait_until(lambda: not bench.holds._changing.locked())
    assert bench.board.holds() == []


def test_what_the_board_could_not_be_told_of_is_told_later(bench, monkeypatch):
    """The job database can't be written as holds begin and end: what people see is right as soon as it can be again."""
    bench.holds.hold(ALL, "service", "down", "wait", now=100.0)
    bench.holds.hold(ALL, "usage", "unread", "wait", now=101.0)

    def full(*_):
        raise StateError("full", "Make room.")

    with monkeypatch.context() as patch:
        patch.setattr(bench.database, "write", full)
        with pytest.raises(StateError):
            bench.holds.release(ALL)
        with pytest.raises(StateError):
            bench.holds.hold(inbox_scope("/in"), "inbox", "gone", "wait", now=102.0, check_in=None)
        with pytest.raises(StateError):
            bench.holds.tell()
    bench.holds.tell()
    assert bench.board.holds() == bench.holds.all() != []
