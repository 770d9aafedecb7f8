"""The proof that an answer is a picture: real encodings, really damaged."""

from __future__ import annotations

import io
import threading
import zlib

import pytest
from PIL import Image

from rembg_watch import imagefile
from rembg_watch.errors import BrokenPicture, NotAPicture, PictureError
from rembg_watch.imagefile import Header, Kind, check_container, check_whole, decode


def picture(path, kind, size=(160, 120)):
    image = Image.effect_noise(size, 80).convert("RGB" if kind in {Kind.JPEG, Kind.BMP} else "RGBA")
    image.save(path, kind.value)
    return path


def outcome(check, source):
    try:
        return check(source)
    except PictureError as error:
        return error


def checked(path, check=check_whole):
    """Check a file, buffered or not, and its bytes in memory; all must agree."""
    with path.open("rb") as file, path.open("rb", buffering=0) as raw:
        outcomes = [outcome(check, source) for source in (file, raw, path.read_bytes())]
        assert not file.closed
        assert raw.read(1) is not None
    assert len({str(one) for one in outcomes}) == 1
    if isinstance(outcomes[0], PictureError):
        raise outcomes[0]
    return outcomes[0]


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
    for check in (check_whole, check_container):
        with pytest.raises(BrokenPicture, match="cut short"):
            checked(path, check)


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
    for kind in (Kind.PNG, Kind.JPEG, Kind.WEBP):
        path = picture(tmp_path / "x", kind)
        path.write_bytes(path.read_bytes() + b"\r\n")
        assert checked(path).kind is kind
        assert checked(path, check_container).kind is kind


def test_junk_between_segments_hides_no_end(tmp_path):
    """Decoders skip to the next marker; so does the walk to the end."""
    path = picture(tmp_path / "x", Kind.JPEG)
    data = path.read_bytes()
    path.write_bytes(data[:2] + b"\xff\xfe\0\4ab" + b"junk" + data[2:] + b"\n")
    assert checked(path) == Header(Kind.JPEG, 160, 120)


def test_checksums_of_a_png_count_only_where_pixels_hang_on_them(tmp_path):
    """A wrong one is damage in a chunk that decoders need, and ignored in another."""
    path = picture(tmp_path / "x", Kind.PNG)
    data = path.read_bytes()
    text = b"tEXta\0b"
    path.write_bytes(data[:33] + b"\0\0\0\3" + text + bytes(4) + data[33:])
    assert checked(path, check_container) == Header(Kind.PNG, 160, 120)
    at = data.index(b"IDAT") - 4
    stop = at + 8 + int.from_bytes(data[at : at + 4])
    assert zlib.crc32(data[at + 4 : stop]) == int.from_bytes(data[stop : stop + 4])
    path.write_bytes(data[:stop] + bytes(4) + data[stop + 4 :])
    for check in (check_whole, check_container):
        with pytest.raises(BrokenPicture, match="damaged: the checksum"):
            checked(path, check)


@pytest.mark.parametrize("kind", list(Kind))
def test_a_picture_that_is_too_large_is_not_decoded(tmp_path, kind):
    """The limit is looked at before anything is decoded."""
    path = picture(tmp_path / "x", kind)
    with pytest.raises(BrokenPicture, match="160 x 120 px"):
        checked(path, lambda source: decode(source, most=159))
    assert checked(path, lambda source: decode(source, most=160)) == Header(kind, 160, 120)


def test_two_sizes_in_one_picture_are_damage():
    """The first frame header of a JPEG counts here; Pillow takes the last."""
    file = io.BytesIO()
    Image.new("L", (16, 16)).save(file, "JPEG")
    data = file.getvalue()
    at = data.index(b"\xff\xc0")
    frame = data[at : at + 13]
    twice = data[:at] + frame + frame.replace(b"\0\x10\0\x10", b"\x27\x10\x27\x10") + data[at + 13 :]
    with pytest.raises(BrokenPicture, match="16 x 16 px are announced"):
        decode(twice)


@pytest.mark.parametrize("kind", list(Kind))
def test_big_pictures_are_decoded_one_at_a_time(tmp_path, kind, monkeypatch):
    """A big picture waits while another one is decoded, a small one does not."""
    data = picture(tmp_path / "x", kind).read_bytes()
    with imagefile._one_big_at_a_time:
        assert check_whole(data) == Header(kind, 160, 120)
        monkeypatch.setattr(imagefile, "BIG_PIXELS", 160 * 120 - 1)
        done = threading.Event()
        thread = threading.Thread(target=lambda: (check_whole(data), done.set()))
        thread.start()
        assert not done.wait(0.2)
    thread.join(20)
    assert done.is_set()


def test_bytes_in_memory_are_not_copied():
    """The decoder reads the very bytes that were given."""
    data = bytes(1000)
    assert imagefile._stream(data).read() is data
    assert imagefile.reader(data)(0, 1000) is data
