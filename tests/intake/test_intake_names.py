"""Which names are never taken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rembg_watch.intake.names import ignored_name, ignored_path

UNFINISHED = [".part", ".partial", ".filepart", ".crdownload", ".download", ".tmp", ".temp"]


@pytest.mark.parametrize("ending", [*UNFINISHED, *map(str.upper, UNFINISHED), "~"])
def test_unfinished_names_are_ignored(ending):
    """A name with the ending of a transfer in progress is not taken, in any case, and the reason says so."""
    assert ignored_name(f"photo.jpg{ending}")


@pytest.mark.parametrize(
    "name",
    [
        *(".hidden.jpg", "._photo.jpg", ".DS_Store", "~photo.jpg", ".syncthing.photo.jpg.tmp", "Thumbs.db"),
        *("THUMBS.DB", "desktop.ini", "@eaDir", "__MACOSX", ".part", "~", ".photo.jpg.Xy12Ab", ".nfs0001"),
    ],
)
def test_what_systems_leave_behind_is_ignored(name):
    """Hidden files and what Windows, macOS and NASes leave behind are not taken."""
    assert ignored_name(name)


@pytest.mark.parametrize(
    "name", ["photo.jpg", "a part.jpg", "part", "tmp.jpg", "photo.tmp.jpg", "MACOSX", "@eaDir2", "a~b.jpg", "\n.jpg"]
)
def test_photos_are_taken(name):
    """Names that only resemble ignored ones are taken."""
    assert ignored_name(name) is None


def test_every_part_of_a_path_is_judged():
    """What lies in an ignored folder is ignored with it, and the reason names the folder."""
    assert "@eaDir" in ignored_path("a/@eaDir/photo.jpg")
    assert ignored_path("a/.cache/b/photo.jpg")
    assert ignored_path("a/b/photo.jpg") is None


@given(st.text(min_size=1).filter(lambda name: "/" not in name))
def test_any_name_has_an_answer(name):
    """No name, however odd, breaks the question; every name with a dot in front is ignored."""
    reason = ignored_name(name)
    assert reason is None or reason
    assert ignored_name("." + name)
    assert ignored_name(name + "~")
    assert ignored_name(name + ".part")
