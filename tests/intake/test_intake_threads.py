"""The threads of intake: they survive what is unforeseen, tell of what they did, rest, and end."""

from __future__ import annotations

import re
import shutil
import threading
import time
from pathlib import Path

import pytest
import structlog

from rembg_watch import fsutil
from rembg_watch.intake import bell
from rembg_watch.intake.inbox import Health, Mode
from rembg_watch.intake.readiness import Timings
from rembg_watch.intake.roots import Rounds

BRISK = Rounds(health=0.1, calm=0.1, poll=0.3, made_folder=0.2, revive=0.2)
RARE = Rounds(health=60, calm=60)
"""Nobody looks at the roots by the clock: what is noticed was told."""


def health_of(intake):
    return intake.roots()[0].health


def count_calls(owner, name):
    """Note every call of a method that a loop makes anew each time; gives the list that grows."""
    real, calls = getattr(owner, name), []
    setattr(owner, name, lambda: (calls.append(1), real())[1])
    return calls


def wakes(threads):
    """Count how often these threads have slept and woken so far."""
    found = 0
    for thread in threads:
        status = Path(f"/proc/self/task/{thread.native_id}/status").read_text(encoding="ascii")
        found += int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status, re.MULTILINE)[1])
    return found


def test_an_error_in_the_loop_is_logged_and_survived(desk, inbox, running, pic, until):
    """An unforeseen error in the deciding thread is logged; the thread goes on and scans to be sure."""
    with running(inbox, rounds=BRISK) as intake, structlog.testing.capture_logs() as logs:
        real, failed = intake._open, []

        def broken(letter, deserted):
            if not failed:
                failed.append(letter)
                raise ValueError("something unforeseen")
            real(letter, deserted)

        intake._open = broken
        (inbox / "photo.jpg").write_bytes(pic())
        until(lambda: desk.of("photo.jpg"))
        assert any(line["event"] == "intake.loop_failed" for line in logs)
        assert intake.unwell() is None


def test_whoever_tells_of_it_is_called(desk, inbox, running, pic, until):
    """After a file was looked at, and after an inbox was lost: nobody has to ask again and again."""
    told = []
    with running(inbox, rounds=RARE, on_turn=lambda: told.append(len(desk.arrivals))) as intake:
        (inbox / "photo.jpg").write_bytes(pic())
        until(lambda: 1 in told)
        before = len(told)
        shutil.rmtree(inbox)
        until(lambda: health_of(intake) is Health.MISSING)
        until(lambda: len(told) > before)


def test_stop_ends_every_thread(inbox, running):
    """After stop no thread of ours or watchdog's is left."""
    before = set(threading.enumerate())
    with running(inbox) as intake:
        assert intake.unwell() is None
    assert set(threading.enumerate()) - before == set()


@pytest.mark.timeout(300)
def test_idle_costs_nothing(tmp_path, running, monkeypatch):
    """10,000 watched folders at rest: between rescans hardly a thread wakes."""
    mounts = tmp_path / "mountinfo"  # a list that stays as it is: each mount, by whomever, wakes the patrol
    mounts.write_bytes(Path(fsutil.MOUNTINFO).read_bytes())
    for module in (bell, fsutil):
        monkeypatch.setattr(module, "MOUNTINFO", str(mounts))
    inbox = tmp_path.resolve() / "many"
    for number in range(100):
        for inner in range(99):
            (inbox / f"{number:02}" / f"{inner:02}").mkdir(parents=True)
    others = set(threading.enumerate())
    with running(inbox, timings=Timings()) as intake:
        assert len(intake._patrol._roots._watcher.watched_inodes()) == 10_001
        decided, looked = count_calls(intake, "_turn"), count_calls(intake._patrol, "_round")
        for _ in range(30):  # on a busy machine rest may come late
            time.sleep(1)  # lets watchdog's threads come to rest
            decided.clear(), looked.clear()
            before = wakes(set(threading.enumerate()) - others)
            time.sleep(3)  # the measurement itself
            woken = wakes(set(threading.enumerate()) - others) - before
            if woken <= 6 and not decided and len(looked) <= 1:
                break
        else:
            pytest.fail(f"woken {woken} times, with {len(decided)} turns and {len(looked)} rounds")
        assert intake.roots()[0].mode is Mode.EVENTS
