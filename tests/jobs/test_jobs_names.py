"""Names of files as database text."""

from __future__ import annotations

import os
import unicodedata

from hypothesis import example, given
from hypothesis import strategies as st

from rembg_watch.jobs import names

raw_names = st.binary(min_size=1, max_size=255).filter(lambda raw: b"\0" not in raw and b"/" not in raw)
raw_paths = st.lists(raw_names, min_size=1, max_size=5).map(b"/".join)


@given(raw_paths)
@example(b"plain.jpg")
@example(b"caf\xc3\xa9\\x41.jpg")
@example(b"\\xff")
@example(b"\xff\\xff\\\\")
@example(b"line\nfeed\x1b[31m.jpg")
def test_every_name_comes_back_exactly(raw):
    """Whatever bytes a file system allows in a path go through the database and come back the same."""
    path = os.fsdecode(raw)
    assert names.from_text(names.to_text(path)) == path
    assert names.join(*names.split(path)) == path


@given(raw_paths)
def test_database_text_is_valid_utf8(raw):
    """SQLite and every tool that reads the database can hold the text: no lone surrogate is left in it."""
    names.to_text(os.fsdecode(raw)).encode("utf-8")


@given(raw_paths, raw_paths)
def test_two_names_never_share_a_text(one, other):
    """Two different files are never taken for one."""
    if one != other:
        assert names.to_text(os.fsdecode(one)) != names.to_text(os.fsdecode(other))


def test_composed_and_decomposed_names_stay_two_files():
    """A Mac's spelling of a name and Linux's are two files on disk, and so two names here."""
    assert names.to_text("é.jpg") != names.to_text(unicodedata.normalize("NFD", "é.jpg"))


def test_split_at_the_top_of_an_inbox():
    """A file directly in the inbox lies in the folder with the empty name."""
    assert names.split("shoe.jpg") == ("", "shoe.jpg")
    assert names.split("a/b/shoe.jpg") == ("a/b", "shoe.jpg")
