"""A paid answer serves other photos of the same bytes at every moment of its way, also while it is being delivered."""

from __future__ import annotations

import pytest
from dispatch_killed import keep

from rembg_watch.dispatch.report import Ended
from rembg_watch.dispatch.steps import Step


def both_claimed(bench, pic):
    """Have a job whose paid answer is to be delivered, and one of the same bytes under another name."""
    keep(bench, pic)
    kept = bench.claim()
    bench.arrive("b.jpg", pic())
    return kept, bench.claim()


def run_both(bench, first, second, step):
    """Run the second job as the first one reaches a step; gives how each of them ended."""
    ended = []

    def meanwhile(now):
        if now is step:
            bench.at = lambda _step: None
            ended.append(bench.worker.run(second).ended)

    bench.at = meanwhile
    return bench.worker.run(first).ended, *ended


def test_a_kept_answer_that_is_claimed_serves(bench, pic):
    """It was claimed to be delivered, and no worker has begun: a copy of its photo is not paid for."""
    keep(bench, pic)
    kept = bench.claim()
    assert kept.result_hash is not None
    assert bench.work("b.jpg", pic()).ended is Ended.DONE
    assert bench.worker.run(kept).ended is Ended.DONE
    assert bench.sandbox.charged == 1


@pytest.mark.parametrize("step", [Step.PLACED, Step.PLACE_SYNCED])
def test_a_copy_waits_while_a_kept_answer_is_delivered(bench, pic, step):
    """It has left its old place and is not written down in the new one: the copy waits for that."""
    kept, copy = both_claimed(bench, pic)
    assert run_both(bench, kept, copy, step) == (Ended.DONE, Ended.PARKED)
    assert bench.seen.unparked == [copy]
    assert bench.worker.run(copy).ended is Ended.DONE
    assert bench.sandbox.charged == 1
    assert (bench.outbox / "b.png").read_bytes() == (bench.outbox / "a.png").read_bytes()


def test_a_kept_answer_waits_while_it_is_copied(bench, pic):
    """It is not taken away from under a copy: that would be paid for."""
    kept, copy = both_claimed(bench, pic)
    assert run_both(bench, copy, kept, Step.MARKED_COPY) == (Ended.DONE, Ended.PARKED)
    assert bench.worker.run(kept).ended is Ended.DONE
    assert bench.sandbox.charged == 1
