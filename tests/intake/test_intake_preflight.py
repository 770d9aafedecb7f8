"""What the API would refuse, by name and number."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from rembg_watch.imagefile import Header, Kind
from rembg_watch.intake.preflight import MAX_BYTES, refuse_dimensions, refuse_size, refuse_type, what_it_is


def saved(kind):
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, kind)
    return file.getvalue()[:32]


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (saved("GIF"), "GIF"),
        (saved("TIFF"), "TIFF"),
        (saved("PDF"), "PDF"),
        (saved("ICO"), "icon"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "AVIF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0", "HEIF"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "film"),
        (b"8BPS\0\x01", "Photoshop"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"PK\x03\x04\x14", "ZIP"),
        (b"<?xml version='1.0'?><svg>", "SVG"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"just a few words, no photo", "text"),
        (b"\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c", "no picture"),
    ],
)
def test_other_files_are_named(head, name):
    """A file that is no picture for the API is refused as what it really is."""
    assert name in what_it_is(head)
    refusal = refuse_type(head)
    assert refusal.code == "type"
    assert name in refusal.message
    assert refusal.hint


def test_the_size_limit_is_50_mib():
    """50 * 1024 * 1024 bytes pass, one more does not, and the message has the number."""
    assert refuse_size(MAX_BYTES) is None
    refusal = refuse_size(MAX_BYTES + 1)
    assert refusal.code == "size"
    assert str(MAX_BYTES + 1) in refusal.message
    assert "55.2 MB" in refuse_size(int(55.2 * 1024 * 1024)).message


def test_the_side_limit_is_10000_px():
    """10000 px a side pass, one more in either direction does not, and the message has both sides."""
    assert refuse_dimensions(Header(Kind.PNG, 10000, 10000)) is None
    for header in (Header(Kind.PNG, 10001, 5), Header(Kind.PNG, 5, 10001)):
        refusal = refuse_dimensions(header)
        assert refusal.code == "dimensions"
        assert f"{header.width} x {header.height} px" in refusal.message
