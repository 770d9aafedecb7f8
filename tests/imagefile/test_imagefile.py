"""The proof that an answer is a picture: real encodings, really damaged."""

from __future__ import annotations

import pytest
from PIL import Image

from rembg_watch.errors import BrokenPicture, NotAPicture
from rembg_watch.imagefile import Header, Kind, check_whole


def picture(path, kind, size=(160, 120)):
    image = Image.effect_noise(size, 80).convert("RGB" if kind in {Kind.JPEG, Kind.BMP} else "RGBA")
    image.save(path, kind.value)
    return path


def checked(path):
    with path.open("rb") as file:
        return check_whole(file)


@pytest.mark.parametrize("kind", list(Kind))
def test_a_whole_picture_passes(tmp_path, kind):
    """Format and size are read from the bytes; the name says nothing."""
    assert checked(picture(tmp_path / "x.txt", kind)) == Header(kind, 160, 120)


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("part", [0.02, 0.3, 0.5, 0.9, 0.99])
def test_a_picture_that_is_cut_short_is_broken(tmp_path, kind, part):
    """Wherever the answer stopped, it is not delivered, and the message says why."""
    path = picture(tmp_path / "x", kind)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    with pytest.raises(BrokenPicture, match="cut short"):
        checked(path)


def test_a_picture_with_an_end_that_does_not_decode_is_damaged(tmp_path):
    """Head and tail are there, the middle is not. (PNG has checksums; in a lossy format any middle decodes.)"""
    path = picture(tmp_path / "x", Kind.PNG)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle - 2000 : middle + 2000] = bytes(4000)
    path.write_bytes(data)
    with pytest.raises(BrokenPicture, match="damaged"):
        checked(path)


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"<!doctype html><title>502</title>", b'{"error":"no"}', b"GIF89a" + bytes(99)]
)
def test_what_is_no_picture_is_not_one(tmp_path, data):
    """Pages, JSON, other formats and nothing at all."""
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(NotAPicture, match="not a picture"):
        checked(tmp_path / "x")


def test_bytes_behind_the_picture_do_no_harm(tmp_path):
    """A whole picture with something after it is a whole picture."""
    for kind in (Kind.PNG, Kind.JPEG):
        path = picture(tmp_path / "x", kind)
        path.write_bytes(path.read_bytes() + b"\r\n")
        assert checked(path).kind is kind
