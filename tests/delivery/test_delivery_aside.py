"""Photos that may not be tidied away: newer ones, open ones, links, and those of an inbox that is not there."""

from __future__ import annotations

import os

import pytest
from delivery_inbox import RECORD, photo, tree

from rembg_watch import delivery
from rembg_watch.delivery import aside
from rembg_watch.errors import SourceChanged, SourceError


def test_a_newer_version_is_left_alone(inbox, target):
    """Size or mtime differ: neither archived nor deleted nor moved."""
    source, (size, mtime_ns) = photo(inbox)
    for other in ((size + 1, mtime_ns), (size, mtime_ns + 1)):
        for act in (
            lambda version: delivery.delete(source, version, inbox=str(inbox)),
            lambda version: delivery.archive(source, str(inbox), str(target), "a/photo.jpg", version),
            lambda version: delivery.move_failed(source, str(inbox), str(target), "a/photo.jpg", version, RECORD),
        ):
            with pytest.raises(SourceChanged):
                act(other)
    assert tree(inbox) == {"a/photo.jpg": b"original"}
    assert tree(target) == {}


def test_a_photo_that_somebody_is_writing_stays(inbox, target):
    """The kernel tells of an open writer; what it writes afterwards is not lost."""
    source, version = photo(inbox)
    with open(source, "r+b") as writer:
        for act in (
            lambda: delivery.delete(source, version, inbox=str(inbox)),
            lambda: delivery.archive(source, str(inbox), str(target), "a/photo.jpg", version),
        ):
            with pytest.raises(SourceError):
                act()
        writer.write(b"NEW")
    assert tree(inbox) == {"a/photo.jpg": b"NEWginal"}
    assert tree(target) == {}


@pytest.mark.parametrize("act", ["delete", "archive", "move_failed"])
def test_a_photo_that_was_only_open_is_tidied_away_later(inbox, target, act):
    """Whoever has it open need not change it: it is no newer version, which would stay for good, but one to wait for."""
    source, version = photo(inbox)
    tidy = {
        "delete": lambda: delivery.delete(source, version, inbox=str(inbox)),
        "archive": lambda: delivery.archive(source, str(inbox), str(target), "a/photo.jpg", version),
        "move_failed": lambda: delivery.move_failed(source, str(inbox), str(target), "a/photo.jpg", version, RECORD),
    }[act]
    with open(source, "r+b"), pytest.raises(SourceError, match="open for writing") as raised:
        tidy()
    assert not isinstance(raised.value, SourceChanged)
    assert tree(inbox) == {"a/photo.jpg": b"original"}
    assert tree(target) == {}
    tidy()
    assert tree(inbox) == {}


def test_an_inbox_that_is_not_mounted_is_not_a_deleted_photo(tmp_path, inbox):
    """The root is missing, so nothing is known about the photo: not gone, and not a changed version."""
    source, version = photo(inbox)
    inbox.rename(tmp_path / "away")
    (tmp_path / "target").mkdir()
    for act in (
        lambda: delivery.delete(source, version, inbox=str(inbox)),
        lambda: delivery.archive(source, str(inbox), str(tmp_path / "target"), "a/photo.jpg", version),
    ):
        with pytest.raises(SourceError, match=r"the inbox .* is not there") as caught:
            act()
        assert not isinstance(caught.value, SourceChanged)


def test_a_link_on_the_way_to_a_photo_is_not_followed(tmp_path, inbox):
    """A sub-folder of the inbox swapped for a link does not make the daemon delete or move files elsewhere."""
    (tmp_path / "target").mkdir()
    elsewhere = tmp_path / "elsewhere"
    _, version = photo(elsewhere, "photo.jpg")
    (inbox / "a").symlink_to(elsewhere, target_is_directory=True)
    source = str(inbox / "a/photo.jpg")
    with pytest.raises(SourceError, match="link"):
        delivery.delete(source, version, inbox=str(inbox))
    with pytest.raises(SourceError, match="link"):
        delivery.archive(source, str(inbox), str(tmp_path / "target"), "a/photo.jpg", version)
    assert tree(elsewhere) == {"photo.jpg": b"original"}


def test_a_link_or_a_fifo_in_the_inbox_is_left_alone(tmp_path, inbox):
    """Only regular files are moved or removed."""
    (tmp_path / "target").mkdir()
    real, version = photo(tmp_path, "real.jpg")
    (inbox / "link.jpg").symlink_to(real)
    os.mkfifo(inbox / "fifo.jpg")
    for name in ("link.jpg", "fifo.jpg"):
        with pytest.raises(SourceError):
            delivery.delete(str(inbox / name), version, inbox=str(inbox))
        with pytest.raises(SourceError):
            delivery.archive(str(inbox / name), str(inbox), str(tmp_path / "target"), name, version)
    assert sorted(os.listdir(inbox)) == ["fifo.jpg", "link.jpg"]


def test_a_version_that_arrived_while_the_old_one_was_aside_stays_beside_it(inbox):
    """Both are put where intake finds them; none is lost."""
    source, version = photo(inbox, "photo.jpg")
    private = inbox / aside.aside_name("photo.jpg")
    private.mkdir()
    os.rename(source, private / "photo.jpg")
    os.truncate(private / "photo.jpg", 3)
    (inbox / "photo.jpg").write_bytes(b"newer")
    with pytest.raises(SourceChanged):
        delivery.delete(source, version, inbox=str(inbox))
    assert tree(inbox) == {"photo.jpg": b"newer", "photo-2.jpg": b"ori"}


def test_without_leases_identity_still_guards(inbox, monkeypatch):
    """Where the kernel tells nothing of writers, size and mtime still decide."""
    monkeypatch.setattr(aside, "is_being_written", lambda _: False)
    source, version = photo(inbox)
    with open(source, "ab") as writer:
        writer.write(b"more")
    with pytest.raises(SourceChanged):
        delivery.delete(source, version, inbox=str(inbox))
    assert tree(inbox) == {"a/photo.jpg": b"originalmore"}
