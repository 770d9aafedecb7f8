"""Which files a folder takes, and which profile they get."""

from __future__ import annotations

import fnmatch
import unicodedata
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rembg_watch.api.options import Options
from rembg_watch.config.matching import any_of, by_folder, nearest
from rembg_watch.config.model import Folder, Profile

DEFAULT = Profile("default", Options())
parts = st.text(alphabet="abé", min_size=1, max_size=2)
folders = st.lists(parts, min_size=1, max_size=4).map("/".join)


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("*.jpg", "a.JPG", True),
        ("*.jpg", "x/y/a.jpg", True),
        ("*.JPG", "a.jpg", True),
        ("*.jpg", "a.jpg.png", False),
        ("*.jpg", "a.jpg/b.png", False),
        ("img_??.png", "x/IMG_01.png", True),
        ("img_??.png", "img_/1.png", False),
        ("raw/*", "raw/a.jpg", True),
        ("raw/*", "raw/b/a.jpg", True),
        ("raw/*", "x/raw/a.jpg", False),
        ("raw/", "raw/b/a.jpg", True),
        ("./raw/", "raw/a.jpg", True),
        ("raw/", "raw.jpg", False),
        ("**/raw/*", "raw/a.jpg", True),
        ("**/raw/*", "x/y/raw/a.jpg", True),
        ("**/*.jpg", "a.jpg", True),
        ("/*.jpg", "a.jpg", True),
        ("[ab].png", "b.png", True),
        ("*", "x/any thing\n", True),
    ],
)
def test_patterns(pattern, path, matches):
    """A pattern is for the name, one with a slash for the path; case does not matter."""
    assert any_of([pattern])(path) is matches


@given(
    st.lists(st.text(alphabet="ab*?.[]!", min_size=1, max_size=6), max_size=4),
    st.text(alphabet="ab.A/\n[]", max_size=8),
)
def test_name_patterns_agree_with_fnmatch(patterns, path):
    """The fast way gives what fnmatch gives for the name."""
    name = path.rpartition("/")[2].lower()
    assert any_of(patterns)(path) is any(fnmatch.fnmatchcase(name, pattern.lower()) for pattern in patterns)


@given(st.lists(st.text(min_size=1, max_size=8), max_size=4), st.text(max_size=12))
def test_no_pattern_crashes(patterns, path):
    """Any pattern gives an answer for any path."""
    assert any_of(patterns)(path) in {True, False}


@given(st.dictionaries(folders, st.integers(), max_size=6), folders, parts)
def test_the_longest_subfolder_wins(table, folder, name):
    """As the plain definition says: of all subfolders that the file lies below, the longest."""
    holders = [path for path in table if f"{folder}/".startswith(f"{path}/")]
    expected = table[max(holders, key=len)] if holders else None
    found = nearest(by_folder({PurePosixPath(path): value for path, value in table.items()}), f"{folder}/{name}", None)
    assert found == expected


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_subfolder_matches_however_its_accents_are_written(form):
    """A Mac writes é as two characters, an editor as one."""
    special = Profile("special", Options())
    folder = Folder(Path("/i"), Path("/o"), DEFAULT, subfolders=((PurePosixPath("café"), special),))
    assert folder.profile_for(unicodedata.normalize(form, "café/x.jpg")) is special


def test_include_and_exclude():
    """What exclude names is not taken, whatever include says; by default every supported format is."""
    folder = Folder(Path("/i"), Path("/o"), DEFAULT, exclude=("drafts/", "*_old.*"))
    assert folder.accepts("a/b.JPEG")
    assert not folder.accepts("a/b.gif")
    assert not folder.accepts("drafts/b.jpg")
    assert not folder.accepts("a/b_OLD.jpg")


def test_folders_compare_by_what_they_say():
    """A reload that changes nothing gives equal folders, used or not."""
    one, two = Folder(Path("/i"), Path("/o"), DEFAULT), Folder(Path("/i"), Path("/o"), DEFAULT)
    assert one.accepts("a.jpg")
    assert one == two
