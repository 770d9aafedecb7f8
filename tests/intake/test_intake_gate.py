"""The table of candidates under load, and under a clock that jumps."""

from __future__ import annotations

import os
import time

import pytest

from rembg_watch.intake.gate import Gate
from rembg_watch.intake.inbox import Inbox
from rembg_watch.intake.readiness import How, Timings


class Clock:
    def __init__(self, now=1000.0):
        self.now = now

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def orders():
    return []


@pytest.fixture
def gate(desk, clock, orders):
    return Gate(desk.store, desk.take, orders.append, clock=clock, wall=time.time, timings=Timings())


def run(gate, clock, seconds):
    """Let time pass from question to question."""
    end = clock.now + seconds
    while (due := gate.next_due()) <= end:
        clock.now = max(clock.now, due)
        gate.step()
    clock.now = end


def test_the_way_of_a_file_that_was_moved_in(gate, clock, desk, inbox, folder_for, pic):
    """Nothing before 20 ms, handed over after them, and forgotten."""
    (inbox / "photo.jpg").write_bytes(pic())
    gate.offer(Inbox(folder_for(inbox)), "photo.jpg", How.MOVED)
    run(gate, clock, 0.019)
    assert desk.arrivals == []
    run(gate, clock, 0.002)
    assert desk.paths == ["photo.jpg"]
    assert len(gate) == 0


def test_a_change_during_the_wait_starts_it_again(gate, clock, desk, inbox, folder_for, pic):
    """A file that is rewritten while it waits waits anew from then on, as one that is being written."""
    path = inbox / "photo.jpg"
    path.write_bytes(pic())
    place = Inbox(folder_for(inbox))
    gate.offer(place, "photo.jpg", How.MOVED)
    run(gate, clock, 0.01)
    path.write_bytes(pic(seed=1, side=50))
    run(gate, clock, 0.3)
    assert desk.arrivals == []
    run(gate, clock, 0.5)
    assert [arrival.version.size for arrival in desk.arrivals] == [len(pic(seed=1, side=50))]


def test_a_rename_over_a_waiting_file_is_fast(gate, clock, desk, inbox, elsewhere, folder_for, pic):
    """A finished file that is renamed over one that is still waited for takes the fast way."""
    place = Inbox(folder_for(inbox))
    (inbox / "photo.jpg").write_bytes(pic()[:-100])
    gate.offer(place, "photo.jpg", How.WRITTEN)
    run(gate, clock, 3)
    (elsewhere / "x").write_bytes(pic())
    (elsewhere / "x").rename(inbox / "photo.jpg")
    gate.offer(place, "photo.jpg", How.MOVED)
    run(gate, clock, 0.03)
    assert desk.paths == ["photo.jpg"]


def test_two_minutes_make_a_half_file_incomplete(gate, clock, desk, inbox, folder_for, pic):
    """Settling with its reason from the first look on, incomplete from 120 s on, then hardly any question at all."""
    place = Inbox(folder_for(inbox))
    (inbox / "photo.webp").write_bytes(pic("WEBP")[:-100])
    gate.offer(place, "photo.webp", How.WRITTEN)
    run(gate, clock, 119)
    assert [file.state for file in gate.unready()] == ["settling"]
    assert "end is missing" in gate.unready()[0].reason
    run(gate, clock, 2)
    assert [file.state for file in gate.unready()] == ["incomplete"]
    assert gate.pending() == 0
    assert gate.next_due() >= clock.now + 500
    (inbox / "photo.webp").write_bytes(pic("WEBP"))
    gate.check_inbox(place)
    run(gate, clock, 1)
    assert desk.paths == ["photo.webp"]


def test_an_old_file_found_at_the_start_does_not_wait(gate, clock, desk, inbox, folder_for, pic):
    """A backlog is taken at once: its quiet time has passed long ago."""
    (inbox / "photo.jpg").write_bytes(pic())
    time.sleep(0.6)
    gate.offer(Inbox(folder_for(inbox)), "photo.jpg", How.FOUND)
    gate.step()
    assert desk.paths == ["photo.jpg"]


def test_a_wall_clock_that_jumps_hastens_nothing_doubtful(desk, clock, orders, inbox, folder_for, pic):
    """With the wall clock an hour ahead a doubtful file is still watched for five seconds of real time."""
    gate = Gate(desk.store, desk.take, orders.append, clock=clock, wall=lambda: time.time() + 3600, timings=Timings())
    (inbox / "photo.jpg").write_bytes(pic() + b"more to come")
    gate.offer(Inbox(folder_for(inbox)), "photo.jpg", How.FOUND)
    run(gate, clock, 4)
    assert not orders
    run(gate, clock, 1)
    assert len(orders) == 1
    gate.decoded(orders[0], None)
    run(gate, clock, 0)
    assert desk.paths == ["photo.jpg"]


def test_a_burst_costs_the_same_for_each_file(clock, orders, inbox, folder_for, pic):
    """Ten times the events take about ten times the time, also where each file is announced several times."""

    class Nothing:
        def known_versions(self, folder, directory):
            return {}

        def known_version(self, folder, path):
            return None

    place = Inbox(folder_for(inbox))
    data = pic("BMP", side=4)
    for number in range(10_000):
        (inbox / f"{number}.bmp").write_bytes(data)

    def burst(files):
        taken = []
        gate = Gate(Nothing(), taken.extend, orders.append, clock=clock, wall=time.time, timings=Timings())
        began = time.process_time()
        for _ in range(3):
            for number in range(files):
                gate.offer(place, f"{number}.bmp", How.WRITTEN)
        run(gate, clock, 1)
        assert len(taken) == files
        return time.process_time() - began

    # One fair comparison is enough: what grows with the square would fail in each, a busy machine only in some.
    assert any(burst(10_000) < 25 * burst(1000) for _ in range(5))


def test_a_hundred_thousand_hints_of_one_file_are_one_question(gate, clock, desk, inbox, folder_for, pic):
    """However often a file is announced, it is asked about once."""
    (inbox / "photo.jpg").write_bytes(pic())
    place = Inbox(folder_for(inbox))
    for _ in range(100_000):
        gate.offer(place, "photo.jpg", How.WRITTEN)
    assert gate.step() == 1
    assert len(gate) == 1


def test_a_file_that_goes_away_is_forgotten(gate, clock, orders, inbox, folder_for, pic):
    """Removed while it waits, or while it is decoded: nothing is left in the table."""
    place = Inbox(folder_for(inbox))
    (inbox / "a.jpg").write_bytes(pic())
    (inbox / "b.jpg").write_bytes(pic() + b"more")
    gate.offer(place, "a.jpg", How.WRITTEN)
    gate.offer(place, "b.jpg", How.WRITTEN)
    gate.step()
    os.unlink(inbox / "a.jpg")
    run(gate, clock, 5)
    assert [file.path for file in gate.unready()] == ["b.jpg"]
    os.unlink(inbox / "b.jpg")
    gate.undecided(orders[0])
    gate.step()
    assert len(gate) == 0


@pytest.mark.parametrize("reload", ["excluded", "another inbox's"])
def test_what_a_reload_takes_away_is_not_handed_over(gate, clock, desk, inbox, folder_for, pic, reload):
    """A file that waits is judged by the settings of now: excluded, or of another inbox by now, it is let go."""
    (inbox / "sub").mkdir()
    (inbox / "sub/photo.jpg").write_bytes(pic()[:-100])
    place = Inbox(folder_for(inbox))
    gate.offer(place, "sub/photo.jpg", How.WRITTEN)
    run(gate, clock, 3)
    assert len(gate) == 1
    if reload == "excluded":
        place.folder = folder_for(inbox, exclude=("photo*",))
    else:
        place.nested = frozenset({"sub"})
    (inbox / "sub/photo.jpg").write_bytes(pic())
    run(gate, clock, 60)
    assert desk.arrivals == []
    assert len(gate) == 0


def test_what_goes_wrong_at_one_file_holds_up_no_other(clock, desk, inbox, folder_for, pic):
    """Something unforeseen at a file: those beside it are handed over, it is told, and looked at again by itself."""
    orders = []

    def decode(order):
        orders.append(order)
        if len(orders) == 1:
            raise RuntimeError("something unforeseen")

    gate = Gate(desk.store, desk.take, decode, clock=clock, wall=time.time, timings=Timings())
    (inbox / "odd.jpg").write_bytes(pic() + b"more")
    (inbox / "photo.jpg").write_bytes(pic(seed=1) + b"more")
    place = Inbox(folder_for(inbox))
    for name in ("odd.jpg", "photo.jpg"):
        gate.offer(place, name, How.WRITTEN)
    run(gate, clock, 6)
    assert [order.key.path for order in orders] == ["odd.jpg", "photo.jpg"]
    assert next(file.reason for file in gate.unready()) == "it could not be looked at: something unforeseen"
    gate.decoded(orders[1], None)
    run(gate, clock, 60)
    assert desk.paths == ["photo.jpg"]
    assert orders[2].key.path == "odd.jpg"
    gate.decoded(orders[2], None)
    run(gate, clock, 1)
    assert desk.paths == ["photo.jpg", "odd.jpg"]
