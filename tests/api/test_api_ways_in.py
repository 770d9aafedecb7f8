"""Everything that can be given as a photo, and what is refused before it is sent."""

from __future__ import annotations

import base64
import io
import os
from pathlib import Path

import pytest
from api_raw_server import picture

from rembg_watch.api.source import Base64
from rembg_watch.errors import Refused, SourceError
from rembg_watch.imagefile import Kind

JPEG = picture("JPEG", (80, 60), "white")


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def wrapped(data: bytes) -> str:
    line = text(data)
    return "\n".join(line[at : at + 76] for at in range(0, len(line), 76))


@pytest.mark.parametrize(
    "given",
    [
        bytes,
        bytearray,
        memoryview,
        io.BytesIO,
        text,
        wrapped,
        lambda data: "data:image/jpeg;base64," + text(data),
        lambda data: Base64(text(data).rstrip("=").replace("+", "-").replace("/", "_")),
    ],
)
def test_what_can_be_given(client, sandbox, given):
    """Bytes, open files and base64 in all its forms arrive as the same bytes, named by what they are."""
    image = given(JPEG)
    if isinstance(image, io.BytesIO):
        image.seek(7)
    with client.remove(image) as removal:
        assert (removal.kind, removal.width, removal.height) == (Kind.WEBP, 80, 60)
    received = sandbox.requests[-1]
    assert (received.size, received.filename, received.fields["format"]) == (len(JPEG), "image.jpg", "webp")


@pytest.mark.parametrize("as_text", [True, False])
def test_paths_and_pipes(client, sandbox, tmp_path, as_text):
    """A path is taken as text or as a Path; a pipe, which has no length, is gathered first."""
    path = tmp_path / "shoe photo ü.jpg"
    path.write_bytes(JPEG)
    with client.remove(str(path) if as_text else path):
        assert sandbox.requests[-1].size == len(JPEG)
    read, write = os.pipe()
    with os.fdopen(read, "rb") as pipe, os.fdopen(write, "wb") as feeder:
        feeder.write(JPEG)
        feeder.close()
        with client.remove(pipe):
            assert sandbox.requests[-1].size == len(JPEG)


def test_existing_path_wins_over_base64(client, sandbox, tmp_path, monkeypatch):
    """A text that names a file is that file, even where it would be base64 as well."""
    monkeypatch.chdir(tmp_path)
    other = picture("BMP", (9, 9))
    name = text(JPEG)[:40].replace("/", "_")
    Path(name).write_bytes(other)
    with client.remove(name):
        assert sandbox.requests[-1].size == len(other)


@pytest.mark.parametrize("image", ["no-such-file.jpg", "", "nul\0byte", "x" * 5000, Path("/proc/self/mem")])
def test_what_can_not_be_read(client, sandbox, image):
    """A missing or unreadable file is an error of the file; nothing is sent."""
    with pytest.raises((SourceError, Refused)):
        client.remove(image)
    assert sandbox.requests == []


@pytest.mark.parametrize(
    ("image", "code"),
    [
        (b"", "empty"),
        (b"GIF89a" + bytes(50), "type"),
        (JPEG[:20], "damaged"),
        (JPEG + bytes(50 * 1024 * 1024), "size"),
        (picture("PNG", (10_001, 1)), "dimensions"),
        (Base64("not base64!"), "base64"),
        ("data:image/png;base64,", "empty"),
    ],
)
def test_what_the_api_would_refuse_is_not_sent(client, sandbox, image, code):
    """Refused here, where it costs neither time nor money, with one word for the reason."""
    with pytest.raises(Refused) as caught:
        client.remove(image)
    assert caught.value.code == code
    assert sandbox.requests == []
