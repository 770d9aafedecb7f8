"""The sleep of the walking thread, and what ends it."""

from __future__ import annotations

import gc
import os
import threading
import time

from rembg_watch.intake.bell import Bell


def sleeps_on(bell):
    """Tell whether nothing ends its sleep; other tests on this machine may mount something once and again."""
    for _ in range(20):
        start = time.monotonic()
        if not bell.wait(0.1):
            return time.monotonic() - start >= 0.09
    return False


def test_a_ring_ends_the_wait():
    """From another thread, at once."""
    bell = Bell()
    ringer = threading.Timer(0.05, bell.ring)
    ringer.start()
    assert bell.wait(60)
    ringer.join()


def test_no_ring_is_lost_and_none_counts_twice():
    """What rang while nobody waited ends the next wait, but that one only."""
    bell = Bell()
    for _ in range(1000):
        bell.ring()
    assert bell.wait(60)
    assert sleeps_on(bell)


def test_it_sleeps_for_as_long_as_it_was_told():
    """Without a ring it is the time that ends the wait."""
    assert sleeps_on(Bell())


def test_it_rings_when_a_folder_or_one_above_it_goes_away(tmp_path):
    """Renamed or deleted; not for what happens in it."""
    folder = tmp_path.resolve() / "a/b/inbox"
    folder.mkdir(parents=True)
    bell = Bell()
    assert bell.heed(str(folder))
    (folder / "photo.jpg").write_bytes(b"")
    (folder / "sub").mkdir()
    (folder / "sub").rename(folder / "other")
    (folder / "other").rmdir()
    assert sleeps_on(bell)
    (tmp_path / "a").rename(tmp_path / "c")
    assert bell.wait(60)
    (tmp_path / "c/b/inbox/photo.jpg").unlink()
    (tmp_path / "c/b/inbox").rmdir()
    assert bell.wait(60)
    assert sleeps_on(bell)
    assert not bell.heed(str(folder))


def test_a_bell_leaves_nothing_open():
    """Its files are closed with the last reference to it: as long as anybody can ring it, a ring does no harm."""
    gc.collect()
    before = set(os.listdir("/proc/self/fd"))
    bell = Bell()
    ring = bell.ring
    del bell
    gc.collect()
    ring()
    assert len(os.listdir("/proc/self/fd")) > len(before)
    del ring
    gc.collect()
    assert set(os.listdir("/proc/self/fd")) <= before
