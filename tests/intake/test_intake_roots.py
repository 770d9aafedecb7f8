"""Inboxes as places: they go away and come back, lie inside each other, and links lead out of them."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from rembg_watch.intake.inbox import Health
from rembg_watch.intake.roots import Roots, Rounds

BRISK = Rounds(health=0.1, calm=0.1, poll=0.3, made_folder=0.2, revive=0.2)
RARE = Rounds(health=60, calm=60)
"""Nobody looks at the roots by the clock: what is noticed was told."""


def health_of(intake):
    return intake.roots()[0].health


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


def test_what_lies_below_a_mount_is_not_taken_for_the_inbox(desk, mounted_inbox, running, monkeypatch, pic, until):
    """Unmounted after the mounts were read, and before its root is looked at: it is a loss, not another folder."""
    with running(mounted_inbox, rounds=RARE) as intake:
        look = Roots.look

        def late(roots, inbox):
            monkeypatch.setattr(Roots, "look", look)
            subprocess.run(["umount", "-l", str(mounted_inbox)], check=True)
            (mounted_inbox / "below.jpg").write_bytes(pic())
            look(roots, inbox)

        monkeypatch.setattr(Roots, "look", late)
        intake.rescan_now()
        until(lambda: health_of(intake) is Health.UNMOUNTED)
    assert desk.arrivals == []


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
