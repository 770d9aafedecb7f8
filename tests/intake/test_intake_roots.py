"""Inboxes that go away and come back, queues that overflow, limits that are reached, and a new config."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import structlog

from rembg_watch.intake.filesystems import MountTable
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


def test_a_root_that_goes_away_is_missing_not_empty(desk, inbox, running, pic, until):
    """A removed inbox is told as missing; when it is back it is watched again and what is in it is found."""
    with running(inbox, rounds=BRISK) as intake:
        shutil.rmtree(inbox)
        until(lambda: health_of(intake) is Health.MISSING)
        assert "create or mount it" in intake.roots()[0].message
        inbox.mkdir()
        (inbox / "early.jpg").write_bytes(pic())
        until(lambda: health_of(intake) is Health.OK)
        until(lambda: desk.of("early.jpg"))
        (inbox / "later.jpg").write_bytes(pic(seed=1))
        until(lambda: desk.of("later.jpg"))
        assert intake.found_by_rescan == 0


def test_a_root_that_goes_away_is_missed_at_once(inbox, running, until):
    """Deleted, or renamed with the folder above it: nobody has to look for it."""
    rounds = Rounds(health=0.1, calm=60)
    with running(inbox, rounds=rounds) as intake:
        shutil.rmtree(inbox)
        until(lambda: health_of(intake) is Health.MISSING)
        inbox.mkdir()
        until(lambda: health_of(intake) is Health.OK)
        inbox.parent.rename(inbox.parent.with_name("renamed"))
        until(lambda: health_of(intake) is Health.MISSING)


def test_a_watcher_that_dies_is_replaced_at_once(desk, inbox, running, pic, until):
    """The end of the thread that reads events is noticed without looking."""
    with running(inbox, rounds=Rounds(health=60, calm=60, revive=0)) as intake:
        dead = intake._patrol._roots._watcher._inotify
        dead.stop()
        (inbox / "photo.jpg").write_bytes(pic())
        until(lambda: desk.of("photo.jpg"))
        assert intake._patrol._roots._watcher._inotify is not dead


def test_a_root_that_is_replaced_is_watched_anew(desk, inbox, tmp_path, running, move_in, pic, until):
    """Renamed away and made again between two looks: the new folder is the inbox, the old one no longer is."""
    with running(inbox, rounds=BRISK) as intake:
        inbox.rename(tmp_path / "old")
        inbox.mkdir()
        (inbox / "sub").mkdir()
        move_in(pic(), inbox / "sub/new.jpg")
        until(lambda: desk.of("sub/new.jpg"))
        (tmp_path / "old" / "stray.jpg").write_bytes(pic(seed=1))
        move_in(pic(seed=2), inbox / "sub/next.jpg")
        until(lambda: desk.of("sub/next.jpg"))
        assert health_of(intake) is Health.OK
    assert sorted(desk.paths) == ["sub/new.jpg", "sub/next.jpg"]


def test_a_root_that_is_missing_at_the_start_comes_later(desk, inbox, running, pic, until):
    """The daemon starts without an inbox that is mounted late, and takes it when it comes."""
    inbox.rmdir()
    with running(inbox, rounds=BRISK) as intake:
        assert health_of(intake) is Health.MISSING
        inbox.mkdir()
        (inbox / "photo.jpg").write_bytes(pic())
        until(lambda: desk.of("photo.jpg"))


@pytest.fixture
def mounted_inbox(inbox):
    """An inbox that a filesystem of its own is mounted on."""
    if os.getuid() != 0:
        pytest.skip("only root can mount")
    if subprocess.run(["mount", "-t", "tmpfs", "none", str(inbox)], capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    yield inbox
    while os.path.ismount(inbox):
        subprocess.run(["umount", "-l", str(inbox)], check=True)


def test_mounts_over_and_under_an_inbox(desk, mounted_inbox, running, pic, until):
    """Mounted over: the new filesystem is taken. Unmounted again: told as unmounted and not scanned, until it is back."""
    inbox = mounted_inbox
    with running(inbox, rounds=BRISK) as intake:
        (inbox / "a.jpg").write_bytes(pic())
        until(lambda: desk.of("a.jpg"))
        subprocess.run(["umount", "-l", str(inbox)], check=True)
        until(lambda: health_of(intake) is Health.UNMOUNTED)
        (inbox / "under.jpg").write_bytes(pic(seed=1))
        subprocess.run(["mount", "-t", "tmpfs", "none", str(inbox)], check=True)
        until(lambda: health_of(intake) is Health.OK)
        (inbox / "b.jpg").write_bytes(pic(seed=2))
        until(lambda: desk.of("b.jpg"))
        subprocess.run(["mount", "-t", "tmpfs", "none", str(inbox)], check=True)
        (inbox / "c.jpg").write_bytes(pic(seed=3))
        until(lambda: desk.of("c.jpg"))
        (inbox / "d.jpg").write_bytes(pic(seed=4))
        until(lambda: desk.of("d.jpg"))
    assert sorted(desk.paths) == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]


def test_a_mount_that_goes_or_comes_is_noticed_at_once(mounted_inbox, running, until):
    """The kernel tells of it, however long ago the last look was."""
    with running(mounted_inbox, rounds=RARE) as intake:
        subprocess.run(["umount", "-l", str(mounted_inbox)], check=True)
        until(lambda: health_of(intake) is Health.UNMOUNTED)
        subprocess.run(["mount", "-t", "tmpfs", "none", str(mounted_inbox)], check=True)
        until(lambda: health_of(intake) is Health.OK)


def test_after_a_reload_an_unmount_is_still_a_loss(desk, mounted_inbox, folder_for, running, pic, until):
    """A reload while the disk is there changes nothing: without it the inbox is lost, not empty."""
    with running(mounted_inbox, rounds=BRISK) as intake:
        intake.replace_folders([folder_for(mounted_inbox, priority=5)])
        (mounted_inbox / "a.jpg").write_bytes(pic())
        until(lambda: desk.of("a.jpg") and desk.of("a.jpg").priority == 5)
        subprocess.run(["umount", "-l", str(mounted_inbox)], check=True)
        until(lambda: health_of(intake) is not Health.OK)
        assert health_of(intake) is Health.UNMOUNTED
        intake.replace_folders([folder_for(mounted_inbox)])
        until(lambda: health_of(intake) is Health.OK)


def test_after_an_overflow_everything_is_scanned(desk, inbox, running, pic, until):
    """When the kernel drops events for want of room, all files are found at once, without waiting for the rescan."""
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text(encoding="ascii"))
    if limit > 50_000:
        pytest.skip("the kernel's queue is too long to fill it here")
    with running(inbox) as intake:
        # The reader is held up until the kernel's queue is full, as a busy machine would do it.
        with intake._patrol._roots._watcher._inotify._lock:
            for number in range(limit // 3 + 500):
                os.close(os.open(inbox / f"{number}.txt", os.O_CREAT | os.O_WRONLY))
                os.unlink(inbox / f"{number}.txt")
            for number in range(5):
                (inbox / f"{number}.jpg").write_bytes(pic(seed=number))
        until(lambda: len(desk.arrivals) == 5, 20)
        assert intake.overflows >= 1
        assert intake.found_by_rescan == 0
        (inbox / "after.jpg").write_bytes(pic(seed=9))
        until(lambda: desk.of("after.jpg"))


def test_what_only_a_rescan_finds_is_counted_and_warned_of(desk, inbox, running, folder_for, pic, until):
    """If events are lost without a word the rescan finds the file, and says that it had to."""
    with running(folder_for(inbox, rescan=0.5), rounds=BRISK) as intake, structlog.testing.capture_logs() as logs:
        for group in intake._patrol._roots._watcher._groups.values():
            group._teller._post = lambda news: None
        (inbox / "photo.jpg").write_bytes(pic())
        until(lambda: desk.arrivals)
        assert intake.found_by_rescan == 1
        until(lambda: any(line["event"] == "intake.found_by_rescan" for line in logs))


def test_a_dead_watcher_is_replaced(desk, inbox, running, pic, until):
    """If watchdog's reader thread ends, it is started anew and everything is scanned."""
    with running(inbox, rounds=BRISK) as intake:
        dead = intake._patrol._roots._watcher._inotify
        dead.stop()
        (inbox / "photo.jpg").write_bytes(pic())
        until(lambda: desk.of("photo.jpg"))
        (inbox / "next.jpg").write_bytes(pic(seed=1))
        until(lambda: desk.of("next.jpg"))
        assert intake._patrol._roots._watcher._inotify is not dead


def test_scanning_alone_is_enough(desk, inbox, running, folder_for, pic, until):
    """With ``watch: scan`` no event is used, and every file is found all the same."""
    with running(folder_for(inbox, watch="scan", rescan=0.2), rounds=BRISK) as intake:
        assert intake.roots()[0].mode is Mode.SCAN
        assert not intake._patrol._roots._watcher.watched_inodes()
        (inbox / "a/b").mkdir(parents=True)
        (inbox / "a/b/photo.jpg").write_bytes(pic())
        until(lambda: desk.of("a/b/photo.jpg"))
        assert intake.found_by_rescan == 0


def test_the_watch_limit_is_told_and_got_round(tmp_path):
    """Beyond the watch limit: the message names the sysctl, and files in unwatched folders are found by polling."""
    inside = Path(__file__).with_name("intake_under_limit.py")
    command = ["unshare", "--user", "--map-root-user", sys.executable, str(inside), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(f"no user namespace with a limit of its own: {done.stderr.strip()}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "sysctl -w fs.inotify.max_user_watches=" in done.stdout


def test_a_new_config_is_taken_up(desk, tmp_path, running, folder_for, pic, until):
    """A reload adds and drops inboxes and changes settings without a restart."""
    first, second = tmp_path / "first", tmp_path / "second"
    for place in (first, second):
        place.mkdir()
    (first / "a.txt").write_bytes(pic())
    with running(first) as intake:
        until(lambda: intake.counts()["ignored"] == 1)
        (second / "b.jpg").write_bytes(pic(seed=1))
        intake.replace_folders([folder_for(first, include=("*.txt",)), folder_for(second)])
        until(lambda: len(desk.arrivals) == 2)
        intake.replace_folders([folder_for(second)])
        until(lambda: [root.inbox for root in intake.roots()] == [str(second)])
        (first / "c.txt").write_bytes(pic(seed=2))
        (second / "d.jpg").write_bytes(pic(seed=3))
        until(lambda: desk.of("d.jpg"))
        assert desk.of("c.txt") is None


def test_a_new_config_counts_at_once(desk, tmp_path, running, folder_for, move_in, pic, until):
    """What comes after a reload is taken by the new settings, whatever the thread that walks is busy with."""
    first, second = tmp_path.resolve() / "first", tmp_path.resolve() / "second"
    for place in (first, second):
        place.mkdir()
    busy, done = threading.Event(), threading.Event()

    def hold_up():
        if busy.is_set() and threading.current_thread().name == "intake-patrol":
            done.wait(60)

    # With a missing inbox every round of the walk is told.
    with running(first, second, tmp_path / "nowhere", on_turn=hold_up, rounds=BRISK) as intake:
        busy.set()
        until(lambda: intake.silence > 0.2)
        intake.replace_folders([folder_for(second, priority=7)])
        move_in(pic(), first / "a.jpg")
        move_in(pic(seed=1), second / "b.jpg")
        until(lambda: desk.of("b.jpg"))
        assert desk.of("b.jpg").priority == 7
        busy.clear()
        done.set()
        until(lambda: [root.inbox for root in intake.roots()] == [str(second)])
    assert desk.paths == ["b.jpg"]


def test_an_inbox_inside_another_keeps_its_files(desk, inbox, running, folder_for, pic, until):
    """A file in the inner of two inboxes belongs to the inner one alone, found by a scan or by an event."""
    (inbox / "inner").mkdir()
    (inbox / "inner/a.jpg").write_bytes(pic())
    with running(inbox, inbox / "inner") as intake:
        (inbox / "inner/b.jpg").write_bytes(pic(seed=1))
        (inbox / "c.jpg").write_bytes(pic(seed=2))
        until(lambda: len(desk.arrivals) == 3)
        until(lambda: not intake.counts()["settling"])
    assert sorted((arrival.folder, arrival.path) for arrival in desk.arrivals) == [
        (str(inbox), "c.jpg"),
        (str(inbox / "inner"), "a.jpg"),
        (str(inbox / "inner"), "b.jpg"),
    ]


def test_links_in_the_way_lead_nowhere(desk, inbox, elsewhere, running, pic, until):
    """A folder that is replaced by a link to another place does not bring that place's files in."""
    (elsewhere / "secret.jpg").write_bytes(pic())
    (inbox / "sub").mkdir()
    with running(inbox) as intake:
        (inbox / "sub").rmdir()
        (inbox / "sub").symlink_to(elsewhere)
        intake.offer(str(inbox), "sub/secret.jpg")
        intake.rescan_now()
        (inbox / "real.jpg").write_bytes(pic(seed=1))
        until(lambda: desk.of("real.jpg"))
        until(lambda: not intake.counts()["settling"])
    assert desk.paths == ["real.jpg"]


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


def test_idle_costs_nothing(tmp_path, running):
    """10,000 watched folders at rest: between rescans hardly a thread wakes."""
    inbox = tmp_path.resolve() / "many"
    for number in range(100):
        for inner in range(99):
            (inbox / f"{number:02}" / f"{inner:02}").mkdir(parents=True)
    others = set(threading.enumerate())
    with running(inbox, timings=Timings()) as intake, MountTable() as mounts:
        assert len(intake._patrol._roots._watcher.watched_inodes()) == 10_001
        decided, looked = count_calls(intake, "_turn"), count_calls(intake._patrol, "_round")
        for _ in range(20):
            time.sleep(1)  # lets watchdog's threads come to rest
            mounts.changed()
            decided.clear(), looked.clear()
            before = wakes(set(threading.enumerate()) - others)
            time.sleep(3)  # the measurement itself
            after = wakes(set(threading.enumerate()) - others)
            if not mounts.changed():  # where others mount something, each mount wakes the patrol
                break
        assert after - before <= 6
        assert not decided
        assert len(looked) <= 1
        assert intake.roots()[0].mode is Mode.EVENTS


def test_every_scan_watches_what_is_not_watched(desk, inbox, running, move_in, pic, until):
    """A folder whose watch was lost is heard again from the next scan on."""
    (inbox / "a/b").mkdir(parents=True)
    with running(inbox, rounds=RARE) as intake:
        watcher = intake._patrol._roots._watcher
        (group,) = watcher._groups.values()
        lost = os.fsencode(inbox / "a/b")
        group._remove_callbacks([group._active_callbacks_by_path[lost]])
        assert len(watcher.watched_inodes()) == 2
        intake.rescan_now()
        until(lambda: len(watcher.watched_inodes()) == 3)
        move_in(pic(), inbox / "a/b/photo.jpg")
        until(lambda: desk.of("a/b/photo.jpg"))
    assert intake.found_by_rescan == 0
