"""The workers: more of them, fewer of them, and the end, whoever of them is at work."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest

from rembg_watch.dispatch.crew import Crew
from rembg_watch.dispatch.report import Ended, Report


class Works:
    """Workers that are at their jobs until the test lets them go on."""

    def __init__(self):
        self.gates = {}
        self.crew = Crew(self._run, lambda *_: None, lambda: None, time.time)

    def _run(self, _job):
        # By thread, not by name: one that begins anew may have the name of one that has not ended yet.
        gate = self.gates[threading.current_thread()] = threading.Event()
        assert gate.wait(60)
        return Report(Ended.DONE)

    def give(self, *numbers):
        jobs = [SimpleNamespace(id=number, folder="/in") for number in numbers]
        self.crew.enter(jobs)
        for job in jobs:
            self.crew.put(job)


@pytest.fixture
def works():
    made = Works()
    yield made
    for gate in made.gates.values():
        gate.set()


@pytest.mark.parametrize("first", [1, 2])
def test_the_end_waits_for_every_worker_that_is_left(works, wait_until, in_thread, first):
    """Of two workers one is to end: whichever it is, the photo of the other one is waited for at the end."""
    crew = works.crew
    crew.resize(2)
    works.give(1, 2)
    wait_until(lambda: len(works.gates) == 2)
    crew.resize(1)
    (one,) = (thread for thread in works.gates if thread.name == f"worker-{first}")
    works.gates.pop(one).set()  # and is the one that ends
    wait_until(lambda: len(crew._workers()) == 1)
    left = []
    ending = in_thread(lambda: left.append(crew.stop(60)))
    wait_until(lambda: crew._stopping)
    (gate,) = works.gates.values()
    gate.set()
    ending.join(60)
    assert left == [[]]


def test_fewer_and_more_again_are_as_many_as_asked_for(works, wait_until):
    """Two changes in quick succession, the first of which is still to take effect, come to the second one."""
    crew = works.crew
    crew.resize(3)
    works.give(1, 2, 3)
    wait_until(lambda: len(works.gates) == 3)
    crew.resize(1)
    crew.resize(2)
    for gate in works.gates.values():
        gate.set()
    wait_until(lambda: len(crew._workers()) == 2)
    works.gates.clear()
    works.give(4, 5)
    wait_until(lambda: len(works.gates) == 2)
