"""Which folders are told as not watched, and the advice that goes with them."""

from __future__ import annotations

import os
import subprocess

import pytest
import structlog

from rembg_watch.intake.coverage import Coverage, limit_advice
from rembg_watch.intake.inbox import Inbox, Mode
from rembg_watch.intake.scanner import Summary


@pytest.fixture
def coverage_of(folder_for):
    """Make the coverage of an inbox that the kernel watches no folder of."""

    def make(inbox):
        return Coverage(Inbox(folder_for(inbox)), set, settle=1.0, poll=5.0)

    return make


def summary_of(*folders):
    return Summary(folders=len(folders) + 1, inodes={folder.stat().st_ino: folder.name for folder in folders})


def compare(coverage, summary, pause=lambda _: None):
    with structlog.testing.capture_logs() as logs:
        coverage.compare(summary, 100.0, pause)
    return [line["event"] for line in logs]


def test_what_is_there_and_not_watched_is_told(inbox, coverage_of):
    """With the setting to raise; from then on it is scanned by itself."""
    (inbox / "sub").mkdir()
    coverage = coverage_of(inbox)
    assert compare(coverage, summary_of(inbox / "sub")) == ["intake.watch_limit"]
    assert "1 of 2 folders" in coverage.inbox.message
    assert "fs.inotify.max_user_watches" in coverage.inbox.message
    assert list(coverage.unwatched.values()) == ["sub"]
    assert coverage.next_poll == 100.0


def test_a_folder_that_went_is_not_missed(inbox, coverage_of):
    """Removed since it was listed, or since the first look: no watch is wanted for it, and no limit was reached."""
    for name in ("gone", "going"):
        (inbox / name).mkdir()
    coverage, summary = coverage_of(inbox), summary_of(inbox / "gone", inbox / "going")
    (inbox / "gone").rmdir()
    assert compare(coverage, summary, lambda _: (inbox / "going").rmdir()) == []
    assert coverage.inbox.mode is Mode.EVENTS
    coverage.add(summary.inodes, 100.0)
    coverage.compare_fresh(101.0)
    assert coverage.inbox.mode is Mode.EVENTS


def test_what_cannot_be_read_is_not_laid_to_the_limit(open_inbox, coverage_of):
    """A folder that this user may not read has no watch: its rights are to be changed, not the kernel's settings."""
    (open_inbox / "closed").mkdir(mode=0)
    coverage = coverage_of(open_inbox)
    os.seteuid(65534)
    try:
        assert compare(coverage, summary_of(open_inbox / "closed")) == []
    finally:
        os.seteuid(0)
    assert coverage.inbox.mode is Mode.BOTH
    assert coverage.inbox.message == "can't read the folder closed: let this user read the whole inbox"


def test_a_mount_below_an_inbox_counts_as_watched(desk, inbox, running, pic, until):
    """A folder that something is mounted on has another number in the listing than the one that is watched."""
    (inbox / "disk").mkdir()
    mounting = ["mount", "-t", "tmpfs", "none", str(inbox / "disk")]
    if os.getuid() != 0 or subprocess.run(mounting, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        with running(inbox) as intake:
            assert intake.roots()[0].mode is Mode.EVENTS
            (inbox / "disk/photo.jpg").write_bytes(pic())
            until(lambda: desk.of("disk/photo.jpg"))
    finally:
        subprocess.run(["umount", "-l", str(inbox / "disk")], check=True)


def test_the_advice_names_the_setting():
    """Whoever runs into the watch limit is told the sysctl and a value that is enough."""
    advice = limit_advice(39_000, 40_000)
    assert "39000 of 40000" in advice
    assert "sysctl -w fs.inotify.max_user_watches=131072" in advice
