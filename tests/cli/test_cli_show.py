"""How things look."""

from __future__ import annotations

import io
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from rembg_watch.cli import show
from rembg_watch.cli.options import short_names


@given(st.text())
def test_messages_are_one_safe_line(message):
    """Whatever an API or a database says, a terminal gets printable characters only."""
    assert show.text(message).isprintable()


@given(st.binary(max_size=60))
def test_names_are_one_safe_line(raw):
    """Whatever bytes a name has."""
    assert show.name(os.fsdecode(raw)).isprintable()


@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)), max_size=5))
def test_columns_are_aligned(rows):
    """Every second column starts in the same cell, wide characters included."""
    rows = [(show.name(a) + "|", show.name(b) + "|") for a, b in rows]
    lines = show.plain([show.Grid(("one", "two"), rows)]).split("\n")
    starts = {show._cells(line[: line.index("|") + 1]) <= 60 for line in lines[1:]}
    assert starts <= {True}
    assert len(lines) == len(rows) + 1


def test_wide_and_combining_characters_take_their_cells():
    """A Chinese name is twice as wide as its letters, a decomposed accent takes no place."""
    page = show.plain([show.Grid(("name", ">n"), [("鞋子", "1"), ("e\u0301e", "22"), ("shoe", "3")])])
    assert page.split("\n") == ["NAME   N", "鞋子   1", "e\u0301e    22", "shoe   3"]


@pytest.mark.parametrize(("width", "table"), [(24, False), (25, True)])
def test_a_table_without_room_is_a_list(width, table):
    """On a narrow terminal no name stands there letter below letter, and no number is broken."""
    page = [
        show.Grid(("folder", ">done", "watch", ">n"), [("shoes of leather", "10000", "ok", "7"), ("b", "1", "", "8")])
    ]
    drawn = io.StringIO()
    Console(width=width, file=drawn).print(show.rendered(page, width))
    lines = [line.rstrip() for line in drawn.getvalue().splitlines()]
    if table:
        assert lines[:3] == ["folder     done  watch  n", "shoes of  10000  ok     7", "leather"]
    else:
        assert lines == [
            "folder  shoes of leather",
            "done    10000",
            "watch   ok",
            "n       7",
            "",
            "folder  b",
            "done    1",
            "n       8",
        ]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-5, "0 s"), (0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2 h"), (172_800, "2 days")],
)
def test_durations(seconds, words):
    """A clock that was set back is no negative age."""
    assert show.duration(seconds) == words


@pytest.mark.parametrize(
    ("number", "words"),
    [(None, "-"), (0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (2_500_000, "2.5 MB"), (450_000_000, "450 MB")],
)
def test_sizes(number, words):
    """In powers of ten, as file managers show them."""
    assert show.size(number) == words


paths = st.lists(st.sampled_from(["a", "b", "in"]), min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))


@given(st.sets(paths, min_size=1, max_size=6))
def test_short_names_tell_inboxes_apart(inboxes):
    """No two of them share one, and each is the end of its path."""
    short = short_names(inboxes)
    assert len(set(short.values())) == len(inboxes)
    assert all(inbox.endswith(name) for inbox, name in short.items())
