"""Sizes read from the head without Pillow are those that Pillow reads."""

from __future__ import annotations

import io
import struct
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from rembg_watch.errors import BrokenPicture, NotAPicture, PictureError
from rembg_watch.imagefile import Header, Kind, read_header

SIZE = (37, 23)


def saved(kind, mode="RGB", size=SIZE, **settings):
    file = io.BytesIO()
    Image.new(mode, size, 1 if mode == "1" else 77).save(file, kind, **settings)
    return file.getvalue()


def jpeg(*segments):
    """A JPEG whose segments, given as marker and body, stand in front of its tables."""
    extra = b"".join(b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body for marker, body in segments)
    plain = saved("JPEG")
    return plain[:2] + extra + plain[2:]


def animation():
    file = io.BytesIO()
    frames = [Image.new("RGB", SIZE, color) for color in ("red", "blue", "green")]
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:])
    return file.getvalue()


THUMBNAIL = saved("JPEG", size=(160, 120))
VARIANTS = {
    **{f"jpeg {mode}": saved("JPEG", mode) for mode in ("L", "RGB", "CMYK", "YCbCr", "1")},
    "jpeg progressive": saved("JPEG", progressive=True),
    "jpeg restarts": saved("JPEG", optimize=True, subsampling=0, restart_marker_blocks=1),
    "jpeg with thumbnails": jpeg((0xE1, b"Exif\0\0" + THUMBNAIL), *[(0xE2, (b"FPXR\0" + THUMBNAIL).ljust(65533))] * 20),
    "jpeg comment": saved("JPEG", comment=b"a photo \xff\xc0\0\x11\x08\0\1\0\1", dpi=(72, 72)),
    **{f"png {mode}": saved("PNG", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")},
    **{f"webp {mode}": saved("WEBP", mode) for mode in ("RGB", "RGBA", "L", "P")},
    "webp lossless": saved("WEBP", lossless=True),
    "webp lossless alpha": saved("WEBP", "RGBA", lossless=True),
    "webp extended": saved("WEBP", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0", xmp=b"<x/>", icc_profile=b"icc"),
    "webp animated": animation(),
    **{f"bmp {mode}": saved("BMP", mode) for mode in ("1", "L", "P", "RGB", "RGBA")},
}
SAMPLES = st.sampled_from(sorted(VARIANTS.values()))


def by_pillow(data):
    with Image.open(io.BytesIO(data)) as image:
        return Header(Kind(image.format.lower()), *image.size)


def read(data):
    """Read bytes and files, buffered or not; all must agree."""

    def outcome(source):
        try:
            return read_header(source)
        except PictureError as error:
            return type(error), error.message, bool(error.hint)

    headers = {outcome(data), outcome(io.BytesIO(data)), outcome(io.BufferedReader(io.BytesIO(data)))}
    assert len(headers) == 1
    return headers.pop()


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_has_the_size_that_pillow_reads(name):
    """All formats in all modes; thumbnails and comments that look like frame headers are not taken for the picture."""
    assert read(VARIANTS[name]) == by_pillow(VARIANTS[name])
    assert (read(VARIANTS[name]).width, read(VARIANTS[name]).height) == SIZE


@pytest.mark.parametrize("side", [1, 255, 256, 257, 9999, 10000, 16383])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
def test_long_sides(kind, side):
    """Each byte of a side counts."""
    for size in ((side, 2), (2, side)):
        for settings in ({}, {"lossless": True}) if kind == "WEBP" else ({},):
            header = read(saved(kind, "L" if kind != "WEBP" else "RGB", size, **settings))
            assert (header.width, header.height) == size


def bmp(header, bits=24):
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 26) + header + bytes(99)


@pytest.mark.parametrize(
    ("header", "size"),
    [
        (struct.pack("<IHHHH", 12, 40000, 3, 1, 24), (40000, 3)),
        (struct.pack("<IiiHH", 40, 5, -7, 1, 32), (5, 7)),
        (struct.pack("<IiiHH", 124, 70000, 7, 1, 8), (70000, 7)),
    ],
)
def test_bmp_headers(header, size):
    """The short header of OS/2 with its 16 bit sides; the top row first; the longest header."""
    assert read(bmp(header)) == Header(Kind.BMP, *size)


def test_fill_bytes_and_junk_before_a_marker_are_skipped():
    """Decoders do the same, however much there is."""
    plain = saved("JPEG")
    for junk in (b"\xff" * 9, b"\0", b"junk\xff\0more", b"\0" * 100_000, b"\xff" * 100_000):
        data = plain[:2] + b"\xff\xfe\0\4ab" + junk + plain[2:]
        assert read(data) == Header(Kind.JPEG, *SIZE)


FRAME = saved("JPEG").index(b"\xff\xc0")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (saved("JPEG").replace(b"\x08\0\x17", b"\x0c\0\x17"), "12 bits"),
        (saved("JPEG").replace(b"\x08\0\x17", b"\x08\0\0"), "37 x 0 px"),
        (saved("JPEG").replace(b"\xff\xc0\0\x11", b"\xff\xc0\0\x12"), "wrong length"),
        (saved("JPEG").replace(b"\xff\xc0", b"\xff\x40"), "0xff40"),
        (saved("JPEG").replace(b"\xff\xc0", b"\xff\xfe"), "frame header is missing"),
        (saved("JPEG")[: FRAME + 8], "cut short"),
        (saved("PNG")[:32], "cut short"),
        (saved("PNG").replace(b"\0\0\0\x25", b"\0\0\0\x26"), "IHDR"),
        (saved("WEBP")[:28], "cut short"),
        (saved("WEBP").replace(b"\x9d\x01\x2a", b"\x9d\x01\x2b"), "header"),
        (saved("WEBP").replace(b"RIFF", b"RIFF\0\0\0\0")[:8] + saved("WEBP")[8:], "larger"),
        (bmp(struct.pack("<IiiHH", 40, 5, 0, 1, 32)), "5 x 0 px"),
        (bmp(struct.pack("<IiiHH", 40, -5, 7, 1, 32)), "-5 x 7 px"),
        (bmp(struct.pack("<IiiHH", 40, 5, 7, 1, 0)), "0 bits"),
        (bmp(struct.pack("<IiiHH", 41, 5, 7, 1, 24)), "41 bytes"),
        (b"BM" + bytes(20), "cut short"),
    ],
)
def test_heads_that_no_decoder_takes(data, says):
    """The message has the reason, as far as the head tells one."""
    error, message, hint = read(data)
    assert hint
    assert error is BrokenPicture
    assert says in message


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"<!doctype html>", b"GIF89a" + bytes(99), saved("JPEG").replace(b"\xff\xc0", b"\xff\xf7")]
)
def test_other_formats(data):
    """Pages, other pictures, nothing at all, and JPEG-LS, which begins as a JPEG does."""
    error, message, hint = read(data)
    assert hint
    assert error is NotAPicture
    assert "not a picture" in message


@pytest.mark.parametrize("name", VARIANTS)
def test_a_head_that_is_cut_anywhere_is_broken_or_has_the_right_size(name):
    """Whatever is left of the first bytes."""
    for stop in range(12, 400):
        header = read(VARIANTS[name][:stop])
        assert header == Header(by_pillow(VARIANTS[name]).kind, *SIZE) or header[0] is BrokenPicture


@given(
    st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x99\0\0\0WEBP", b"BM"]), st.binary(max_size=200)
)
def test_any_bytes_have_a_header_or_an_error_of_ours(signature, data):
    """Random bytes behind each signature."""
    read(signature + data)


@given(SAMPLES, st.data())
@example(VARIANTS["jpeg RGB"], None)
def test_pillow_agrees_whatever_is_changed(data, draw):
    """With a few bytes of the head changed, both read the same size, or one of them none."""
    changed = bytearray(data)
    for _ in range(draw.draw(st.integers(1, 3)) if draw else 0):
        changed[draw.draw(st.integers(0, min(len(data), 700) - 1))] = draw.draw(st.integers(0, 255))
    ours, theirs = read(bytes(changed)), None
    with suppress(Exception):  # Pillow raises whatever the bytes provoke
        theirs = by_pillow(bytes(changed))
    if isinstance(ours, Header) and theirs is not None:
        assert ours == theirs
