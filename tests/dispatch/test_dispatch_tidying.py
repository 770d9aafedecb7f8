"""Sources that are tidied away later."""

from __future__ import annotations

from rembg_watch.jobs.model import State, Tidy


def test_sources_that_cant_be_tidied_dont_stand_before_the_others(bench):
    """The table is gone through page by page."""
    for number in range(5):
        bench.arrive(f"{number}.jpg", b"bytes")
        bench.store.end(bench.claim(), State.FAILED, bench.now, tidy=Tidy.MOVE_FAILED)
    first = bench.store.untidy(limit=3)
    second = bench.store.untidy(first[-1].id, limit=3)
    assert [job.path for job in (*first, *second)] == [f"{number}.jpg" for number in range(5)]
