"""The short way to a JPEG's size says what Pillow says, or nothing."""

from __future__ import annotations

import io
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rembg_watch.errors import PictureError
from rembg_watch.imagefile import Header, Kind, read_header
from rembg_watch.intake.jpeg import jpeg_header


def saved(mode="RGB", size=(37, 23), **settings):
    file = io.BytesIO()
    Image.new(mode, size, 77).save(file, "JPEG", **settings)
    return file.getvalue()


PLAIN = saved(exif=b"Exif\0\0" + bytes(range(200)), comment=b"a photo")


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize(
    "settings",
    [{}, {"progressive": True}, {"optimize": True, "subsampling": 0}, {"restart_marker_blocks": 1}, {"dpi": (72, 72)}],
)
def test_every_usual_jpeg_is_read(mode, settings):
    """Baseline and progressive, gray and colour: width and height are found without Pillow."""
    assert jpeg_header(saved(mode, **settings)) == Header(Kind.JPEG, 37, 23)


def test_a_scan_beyond_what_was_read_is_left_to_pillow():
    """A head that ends among the tables says nothing, wherever it ends."""
    scan = PLAIN.index(b"\xff\xda")
    assert all(jpeg_header(PLAIN[:end]) is None for end in range(scan))


@pytest.mark.parametrize(
    ("damage", "by"),
    [(b"\x08\x00\x17", b"\x0c\x00\x17"), (b"\x08\x00\x17", b"\x08\0\0"), (b"\xff\xc0", b"\xff\xd0")],
)
def test_what_is_not_as_usual_is_left_to_pillow(damage, by):
    """Twelve bits, a height that is to come later, a marker out of place: all this is nobody's usual photo."""
    assert jpeg_header(PLAIN.replace(damage, by)) is None


@given(st.integers(2, PLAIN.index(b"\xff\xda") + 12), st.integers(0, 255))
def test_pillow_agrees_whatever_is_changed(at, byte):
    """With any byte in front of the picture changed, both give the same size, or one of them none."""
    changed = PLAIN[:at] + bytes([byte]) + PLAIN[at + 1 :]
    with suppress(PictureError):  # a table that is damaged is for those who decode it
        assert jpeg_header(changed) in (None, read_header(io.BytesIO(changed)))
