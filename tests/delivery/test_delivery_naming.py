"""What outputs are called: the pure part, for names nobody thought of."""

from __future__ import annotations

import os
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rembg_watch.delivery.naming import (
    Owner,
    Template,
    candidates,
    choose,
    numbered,
    shorten,
    validate_template,
    with_suffix,
)
from rembg_watch.printable import printable

ME = Owner("/in", "a/photo.jpg")
OTHER = Owner("/in", "a/photo.png")


def made(relpath, template="{stem}.{ext}", **other):
    values = {"ext": "webp", "profile": "shop", "date": "2025-03-01", "content_hash": "c0ffee00" * 8} | other
    return candidates(relpath, template, **values)


file_names = (
    st.binary(min_size=1, max_size=255)
    .filter(lambda name: b"/" not in name and b"\0" not in name and name not in {b".", b".."})
    .map(os.fsdecode)
)
templates = st.lists(
    st.sampled_from(
        ["{stem}", "{name}", "{ext}", "{profile}", "{date}", "{hash8}", ".", "-", " ", "é", "{{", "}}", "x" * 30]
    ),
    min_size=1,
    max_size=8,
).map("".join)


@given(
    st.lists(file_names, min_size=1, max_size=4),
    templates.filter(lambda text: validate_template(text) is None),
    st.text(max_size=300),
)
def test_every_candidate_is_a_name_that_a_folder_takes(parts, template, profile):
    """Whatever the source, the template and the profile are called: a plain visible name of at most 255 bytes, mirrored."""
    for path in made("/".join(parts), template, profile=profile):
        folder, _, name = path.rpartition("/")
        assert folder == "/".join(parts[:-1])
        raw = os.fsencode(name)
        assert 1 <= len(raw) <= 255
        assert "/" not in name
        assert "\0" not in name
        assert not name.startswith(".")
        assert os.fsdecode(raw) == name, "the name is what a listing of the folder would say"


@given(file_names, file_names)
def test_the_last_candidates_of_two_sources_differ(one, other):
    """The full name with a hash of the path tells any two sources apart, long names included."""
    if one != other:
        assert made(f"a/{one}")[-1] != made(f"a/{other}")[-1]


@given(file_names)
def test_shortening_keeps_what_fits_and_the_extension_of_what_does_not(name):
    """A name that fits is left alone; one that does not keeps its extension and stays unique by a hash."""
    assert shorten(name) == name
    path = made(name)[0]
    assert path.endswith(".webp")


@given(file_names, st.integers(2, 9999))
def test_numbered_names_fit_too(name, number):
    """A variation of the longest name is no longer than a name may be, and differs from it."""
    varied = numbered(name, number)
    assert len(os.fsencode(varied)) <= 255
    assert varied != name
    assert len(os.fsencode(with_suffix(name, ".error.json"))) <= 255


def test_the_order_of_preference():
    """First the template's name, then the full source name, then that with a hash of the path."""
    first, second, third = made("a/b/photo.png")
    assert first == "a/b/photo.webp"
    assert second == "a/b/photo.png.webp"
    assert third.startswith("a/b/photo.png-")
    assert third.endswith(".webp")


def test_all_fields():
    """Every field stands for what the documentation says."""
    assert made("x/shoe.red.jpg", "{profile}_{stem}_{name}_{date}_{hash8}.{ext}")[0] == (
        "x/shop_shoe.red_shoe.red.jpg_2025-03-01_c0ffee00.webp"
    )


def test_a_template_without_the_sources_name_still_tells_sources_apart():
    """Two copies of one picture have one hash: the second name has the source's name in it."""
    assert made("a.jpg", "{hash8}.{ext}")[:2] == ("c0ffee00.webp", "c0ffee00-a.jpg.webp")


def test_a_long_name_is_cut_between_characters():
    """Accents stay with their letters, and what the template adds to the stem stays whole."""
    name = unicodedata.normalize("NFD", "é" * 85) + ".jpg"
    path = made(name, "{stem}-{date}.{ext}")[0]
    assert path.endswith("-2025-03-01.webp")
    stem = path.partition("~")[0]
    assert stem == unicodedata.normalize("NFD", "é" * (len(stem) // 2))


def test_names_of_one_spelling_to_the_eye_are_two_names():
    """NFC and NFD are different files on Linux, and stay so."""
    assert made(unicodedata.normalize("NFC", "é.jpg"))[0] != made(unicodedata.normalize("NFD", "é.jpg"))[0]


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "a/../x", "a//x", "a/.", "a\0b", "a/"])
def test_a_path_that_leads_out_is_refused(path):
    """Nothing but a plain path below the root is mirrored."""
    with pytest.raises(ValueError, match="not a path below a root"):
        made(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{sten}.{ext}", "unknown field"),
        ("{stem", "not a template"),
        ("{stem!r}", "takes no format"),
        ("{stem:>9}", "takes no format"),
        ("{}", "unknown field"),
        ("{stem.__class__}", "unknown field"),
        ("a/{stem}", "not a path"),
        ("{stem}\0", "not a path"),
        (".{stem}", "hide"),
        ("{date}.{ext}", "same name"),
        ("", "same name"),
        ("x" * 101 + "{stem}", "no room"),
        ("\udc80{stem}", "Unicode"),
    ],
)
def test_what_is_wrong_with_a_template_is_said(text, says):
    """Each mistake has its sentence, and parsing refuses what the check refuses."""
    assert says in (validate_template(text) or "")
    with pytest.raises(ValueError, match=says):
        Template.parse(text)


def test_the_usual_templates_are_fine():
    """The default and its likes pass."""
    for text in ("{stem}.{ext}", "{name}.{ext}", "{stem}-{profile}-{date}.{ext}", "{hash8}.{ext}", "{{{stem}}}.{ext}"):
        assert validate_template(text) is None


@given(
    st.dictionaries(st.sampled_from(["a", "b", "c", "c-2", "c-3"]), st.sampled_from([ME, OTHER])),
    st.sets(st.sampled_from(["a", "b", "c", "c-2", "c-3"])),
)
def test_nobody_elses_file_is_ever_chosen(owners, there):
    """A path is chosen only if it is this source's own, or if no row and no file has it."""
    path = choose(("a", "b", "c"), owners.get, there.__contains__, ME)
    assert owners.get(path) == ME or (path not in owners and path not in there)
    if ME in [owners.get(each) for each in "abc"]:
        assert owners[path] == ME, "a changed source replaces its own output and does not move to another name"


def test_a_case_blind_outbox_keeps_two_spellings_apart():
    """No row owns a.webp, but the outbox says that it exists: it is A.webp, and the second source moves on."""
    there = {"a.webp"}
    owners = {"A.webp": Owner("/in", "A.jpg")}
    path = choose(made("a.jpg"), owners.get, lambda path: path.lower() in there, ("/in", "a.jpg"))
    assert path == "a.jpg.webp"


@given(st.binary(max_size=60).map(os.fsdecode) | st.text(st.characters(), max_size=40))
def test_nothing_unseen_is_printed(path):
    """What is shown is one line of visible characters, and valid Unicode."""
    shown = printable(path)
    assert shown.isprintable()
    shown.encode("utf-8")


@given(st.binary(max_size=8).map(os.fsdecode), st.binary(max_size=8).map(os.fsdecode))
def test_two_names_never_look_alike_for_an_escape(one, other):
    """The backslash is escaped as well, so that showing loses nothing."""
    assert (printable(one) == printable(other)) == (one == other)


def test_terminal_escapes_are_shown_and_not_obeyed():
    """Newlines, escapes, invalid bytes and marks that turn the text's direction come out as escapes."""
    assert printable("a\nb\x1b[2J\udcff\u202etxt\\") == "a\\nb\\x1b[2J\\xff\\u202etxt\\\\"
    assert printable("Schöne Grüße 写真.jpg") == "Schöne Grüße 写真.jpg"
