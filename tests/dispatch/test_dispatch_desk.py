"""As many photos are worked at here as there are processors; what is paid for comes before what is new."""

from __future__ import annotations

import threading
import time

import pytest

from rembg_watch.dispatch import desk
from rembg_watch.dispatch.desk import Desk


@pytest.fixture
def sitter():
    """Start threads that sit down at a desk, each until it is told to get up."""
    threads, calls = [], []

    class Sitter:
        def __init__(self, place):
            self.sits, self.may_go = threading.Event(), threading.Event()
            calls.append(self.may_go)
            self.thread = threading.Thread(target=self._run, args=(place,))
            threads.append(self.thread)
            self.thread.start()

        def _run(self, place):
            with place.seat():
                self.sits.set()
                self.may_go.wait()

        def leave(self):
            self.may_go.set()
            self.thread.join(60)

    yield Sitter
    for call in calls:
        call.set()
    for thread in threads:
        thread.join(60)


def test_the_next_one_waits_for_a_seat(sitter, monkeypatch):
    """With all seats taken a new photo is not begun before somebody leaves."""
    monkeypatch.setattr(desk, "LAPSE", 60.0)
    place = Desk(2)
    first, second = sitter(place), sitter(place)
    assert first.sits.wait(60)
    assert second.sits.wait(60)
    third = sitter(place)
    assert not third.sits.wait(0.1)
    first.leave()
    assert third.sits.wait(60)


def test_who_hangs_keeps_nobody_from_working(sitter):
    """A seat that somebody has for long, at a disk that hangs say, is not counted any more."""
    place = Desk(1)
    hung = sitter(place)
    assert hung.sits.wait(60)
    for _ in range(3):
        other = sitter(place)
        assert other.sits.wait(60)
        other.leave()
    assert hung.thread.is_alive()


def test_who_is_away_gives_way_and_comes_back_at_once(sitter, monkeypatch):
    """While the service works, others begin; with the answer, work goes on though all seats are taken by then."""
    monkeypatch.setattr(desk, "LAPSE", 60.0)
    place = Desk(1)
    with place.seat():
        with place.away():
            other = sitter(place)
            assert other.sits.wait(60)
        third = sitter(place)
        other.leave()
        assert not third.sits.wait(0.1), "the one who came back has the seat"
    assert third.sits.wait(60)


def test_short_absences_let_nobody_in(sitter, monkeypatch):
    """Where the service answers at once, the seat is kept: two half-done photos take longer than one after the other."""
    monkeypatch.setattr(desk, "LAPSE", 60.0)
    monkeypatch.setattr(desk, "SHORT", 60.0)
    place = Desk(1)
    with place.seat():
        with place.away():
            pass
        with place.away():
            other = sitter(place)
            assert not other.sits.wait(0.1)
    assert other.sits.wait(60)


def test_a_long_absence_is_learned_from(monkeypatch):
    """After one answer that took its time, the next absence gives the seat away again."""
    monkeypatch.setattr(desk, "LAPSE", 60.0)
    monkeypatch.setattr(desk, "SHORT", 0.0)
    place = Desk(1)
    entered = []

    def come():
        with place.seat():
            entered.append(time.monotonic())

    with place.seat():
        with place.away():
            pass
        with place.away():
            thread = threading.Thread(target=come)
            thread.start()
            thread.join(60)
    assert entered
