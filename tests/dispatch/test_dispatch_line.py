"""The line of requests lets so many through as may be in flight, and none when nothing may be sent."""

from __future__ import annotations

import threading

import pytest

from rembg_watch.dispatch.line import RequestLine


class Walkers:
    """Threads that go through a line, each staying until it is told to leave."""

    def __init__(self, line):
        self.line = line
        self.allowed = True
        self.inside = threading.Semaphore(0)
        self.refused = threading.Semaphore(0)
        self.exits: list[threading.Event] = []
        self.threads: list[threading.Thread] = []

    def come(self):
        leave = threading.Event()
        self.exits.append(leave)
        self.threads.append(threading.Thread(target=self._walk, args=(leave,)))
        self.threads[-1].start()

    def _walk(self, leave):
        try:
            with self.line.place(lambda: self.allowed):
                self.inside.release()
                leave.wait()
        except InterruptedError:
            self.refused.release()

    def close(self):
        self.line.close()
        for leave in self.exits:
            leave.set()
        for thread in self.threads:
            thread.join(60)


@pytest.fixture
def walkers():
    made = Walkers(RequestLine(None, 2))
    yield made
    made.close()


def test_no_more_are_in_flight_than_there_are_places(walkers):
    """``workers`` requests at most, whatever the number of threads that stand in line; a place that is left is taken."""
    for _ in range(4):
        walkers.come()
    assert walkers.inside.acquire(timeout=60)
    assert walkers.inside.acquire(timeout=60)
    assert not walkers.inside.acquire(timeout=0.1)
    for leave in walkers.exits:
        leave.set()
    assert walkers.inside.acquire(timeout=60)
    assert walkers.inside.acquire(timeout=60)


def test_a_new_config_opens_more_places(walkers):
    """More ``workers`` let those through who stand in line already."""
    for _ in range(3):
        walkers.come()
    assert walkers.inside.acquire(timeout=60)
    assert walkers.inside.acquire(timeout=60)
    walkers.line.reload(None, 3)
    assert walkers.inside.acquire(timeout=60)


def test_whether_to_send_is_asked_as_the_place_is_taken():
    """In one step: a hold or a reload that comes between the two would reach nobody."""
    line = RequestLine(None, 1)
    asked = []
    with line.place(lambda: asked.append(line._lock.locked()) or True):
        assert asked == [True]


@pytest.mark.parametrize("what", ["a hold", "the end"])
def test_who_stands_in_line_is_sent_away(walkers, what):
    """A hold that begins, and the daemon's end, reach those too who wait for a place: their photos are not sent."""
    for _ in range(4):
        walkers.come()
    assert walkers.inside.acquire(timeout=60)
    assert walkers.inside.acquire(timeout=60)
    if what == "a hold":
        walkers.allowed = False
    else:
        walkers.line.close()
    assert walkers.refused.acquire(timeout=60)
    assert walkers.refused.acquire(timeout=60)


def test_a_place_is_given_back_by_a_failure(walkers):
    """A request that ends in an error leaves its place like any other."""
    for _ in range(5):
        with pytest.raises(ZeroDivisionError), walkers.line.place(lambda: True):
            _ = 1 / 0
    walkers.come()
    assert walkers.inside.acquire(timeout=60)
