"""Photos after their job: archived, deleted or moved, whatever gets in between."""

from __future__ import annotations

import json
import os
import stat

import pytest
from delivery_inbox import RECORD, photo, tree

from rembg_watch import delivery
from rembg_watch.delivery import aside, placing
from rembg_watch.errors import SourceChanged, SourceError, TargetError

# The children that these tests fork do nothing but file work; another test's idle threads are no danger to that.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def test_an_archived_photo_is_mirrored_and_keeps_its_looks(inbox, target):
    """Bytes, mtime and mode are those of the original, which is gone; its folder stays."""
    source, version = photo(inbox)
    path = delivery.archive(source, str(inbox), str(target), "a/photo.jpg", version)
    assert path == str(target / "a/photo.jpg")
    status = os.stat(path)
    assert (status.st_size, status.st_mtime_ns, stat.S_IMODE(status.st_mode)) == (*version, 0o640)
    assert tree(target) == {"a/photo.jpg": b"original"}
    assert tree(inbox) == {}
    assert (inbox / "a").is_dir()


def test_archiving_again_finds_it_archived(inbox, target):
    """The call is the same after a crash, and gives the same answer."""
    source, version = photo(inbox)
    first = delivery.archive(source, str(inbox), str(target), "a/photo.jpg", version)
    assert delivery.archive(source, str(inbox), str(target), "a/photo.jpg", version) == first
    os.rmdir(inbox / "a")
    assert delivery.archive(source, str(inbox), str(target), "a/photo.jpg", version) == first
    with pytest.raises(SourceChanged):
        delivery.archive(str(inbox / "never.jpg"), str(inbox), str(target), "never.jpg", version)


def test_nothing_in_the_archive_is_overwritten(inbox, target):
    """The next photo of that name gets a number."""
    for number, data in enumerate([b"one", b"two", b"six"], 1):
        source, version = photo(inbox, data=data, mtime_ns=number * 10**12)
        delivery.archive(source, str(inbox), str(target), "a/photo.jpg", version)
    assert tree(target) == {"a/photo.jpg": b"one", "a/photo-2.jpg": b"two", "a/photo-3.jpg": b"six"}


@pytest.mark.parametrize(
    "name", ["x" * 251 + ".jpg", "two\nlines.jpg", os.fsdecode(b"caf\xe9.jpg"), "-rf", "\u00e9" * 127]
)
def test_every_name_can_be_archived_deleted_and_moved(inbox, target, name):
    """Longest names, newlines and invalid bytes included; the record beside a failed one fits as well."""
    source, version = photo(inbox, name)
    path = delivery.archive(source, str(inbox), str(target), name, version)
    assert os.path.basename(path) == name
    source, version = photo(inbox, name, b"second", 10**18)
    path = delivery.move_failed(source, str(inbox), str(target), name, version, RECORD)
    assert os.path.basename(path) != name
    assert len(os.listdir(target)) == 3
    source, version = photo(inbox, name)
    assert delivery.delete(source, version, inbox=str(inbox))
    assert os.listdir(inbox) == []


def test_deleting_twice_is_as_good_as_once(inbox):
    """True for the one that did it, False afterwards; without its folder, too."""
    source, version = photo(inbox)
    assert delivery.delete(source, version, inbox=str(inbox)) is True
    assert delivery.delete(source, version) is False
    os.rmdir(inbox / "a")
    assert delivery.delete(source, version, inbox=str(inbox)) is False


def test_a_failed_photo_has_the_reason_beside_it(inbox, target):
    """NAME.error.json holds the record as it was given; moving again writes it again."""
    source, version = photo(inbox)
    for _ in range(2):
        path = delivery.move_failed(source, str(inbox), str(target), "a/photo.jpg", version, RECORD)
    assert path == str(target / "a/photo.jpg")
    assert json.loads((target / "a/photo.jpg.error.json").read_text()) == RECORD
    assert sorted(tree(target)) == ["a/photo.jpg", "a/photo.jpg.error.json"]


def test_a_full_archive_is_a_hold_and_the_original_stays(inbox, tmpfs):
    """Nothing of the copy is left, nothing of the original is lost."""
    root = tmpfs(64)
    source, version = photo(inbox, data=b"x" * 200_000)
    with pytest.raises(TargetError) as caught:
        delivery.archive(source, str(inbox), str(root), "a/photo.jpg", version)
    assert caught.value.code == "full"
    assert tree(root) == {}
    assert len(tree(inbox)["a/photo.jpg"]) == 200_000


def test_a_missing_archive_is_a_hold(tmp_path, inbox):
    """It is not made silently."""
    source, version = photo(inbox)
    with pytest.raises(TargetError) as caught:
        delivery.archive(source, str(inbox), str(tmp_path / "gone"), "a/photo.jpg", version)
    assert caught.value.code == "missing"
    assert not (tmp_path / "gone").exists()


def test_it_is_said_which_side_is_read_only(tmp_path, inbox, read_only):
    """A read-only inbox is the source's fault, a read-only archive the target's; the copy is made once only."""
    (tmp_path / "target").mkdir()
    source, version = photo(inbox)
    locked_in, locked_out = read_only(inbox), read_only(tmp_path / "target")
    for _ in range(2):
        with pytest.raises(SourceError):
            delivery.archive(
                str(locked_in / "a/photo.jpg"), str(locked_in), str(tmp_path / "target"), "a/photo.jpg", version
            )
    assert tree(tmp_path / "target") == {"a/photo.jpg": b"original"}
    with pytest.raises(SourceError):
        delivery.delete(str(locked_in / "a/photo.jpg"), version, inbox=str(locked_in))
    with pytest.raises(TargetError) as caught:
        delivery.archive(source, str(inbox), str(locked_out), "b/photo.jpg", version)
    assert caught.value.code == "readonly"
    assert tree(inbox) == {"a/photo.jpg": b"original"}


def test_the_sweep_puts_back_what_a_crash_left_aside(inbox):
    """A photo set aside by a daemon that died is no hidden file for ever."""
    source, _ = photo(inbox, "a/photo.jpg")
    private = inbox / "a" / aside.aside_name("photo.jpg")
    private.mkdir()
    os.rename(source, private / "photo.jpg")
    assert delivery.sweep_temps(str(inbox)) == [source]
    assert tree(inbox) == {"a/photo.jpg": b"original"}
    assert os.listdir(inbox / "a") == ["photo.jpg"]


@pytest.mark.timeout(600)  # hundreds of fsyncs
@pytest.mark.parametrize("means", ["flag", "link"])
@pytest.mark.parametrize("kind", ["archive", "failed", "delete"])
def test_killed_at_any_step_the_next_run_finishes_without_loss(tmp_path, target, killed_at, kind, means):
    """SIGKILL before each single step: the photo is whole in one place at least, and running again ends as if unbroken."""
    for step in range(500):
        inbox, there = tmp_path / f"in{step}", target / f"t{step}"
        there.mkdir(parents=True)
        source, version = photo(inbox)
        where = (source, str(inbox), str(there), "a/photo.jpg", version)
        call = {
            "archive": lambda where=where: delivery.archive(*where),
            "failed": lambda where=where: delivery.move_failed(*where, {"code": "x"}),
            "delete": lambda where=where: delivery.delete(where[0], where[4], inbox=where[1]),
        }[kind]
        was_killed = killed_at(step, call, means)
        arrived = tree(there).get("a/photo.jpg")
        if kind != "delete":
            assert b"original" in [*tree(inbox).values(), arrived], f"killed at step {step}: the photo is lost"
            assert arrived in {None, b"original"}, f"killed at step {step}: half there"
        call()
        delivery.sweep_temps(str(there))
        expected = {"archive": ["a/photo.jpg"], "failed": ["a/photo.jpg", "a/photo.jpg.error.json"], "delete": []}[kind]
        assert sorted(tree(there)) == expected, f"killed at step {step}"
        assert os.listdir(inbox / "a") == [], f"killed at step {step}"
        if not was_killed:
            break
    assert step > 5
    assert not was_killed


def test_moving_by_link_is_as_safe(inbox, tmp_path, monkeypatch):
    """On a filesystem without RENAME_NOREPLACE the archive's files are not overwritten either."""
    monkeypatch.setattr(placing, "_renameat2", None)
    (tmp_path / "target").mkdir()
    for number in (1, 2):
        source, version = photo(inbox, data=str(number).encode(), mtime_ns=number * 10**12)
        delivery.archive(source, str(inbox), str(tmp_path / "target"), "photo.jpg", version)
    assert tree(tmp_path / "target") == {"photo.jpg": b"1", "photo-2.jpg": b"2"}
    assert tree(inbox) == {}
