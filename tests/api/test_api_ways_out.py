"""Everything that can come out: files, open files, base64, progress, and the picture in each option."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from api_raw_server import picture
from PIL import Image

from rembg_watch.api.options import Options
from rembg_watch.errors import ApiError, TargetError

JPEG = picture("JPEG", (80, 60), "white")


def test_temporary_file_and_its_cleanup(client):
    """Without a target the result is a temporary file, which stays until it is cleaned up."""
    removal = client.remove(JPEG, Options(format="png"))
    assert removal.path.suffix == ".png"
    assert removal.bytes == removal.path.read_bytes()
    assert Image.open(io.BytesIO(removal.bytes)).size == (80, 60)
    removal.cleanup()
    removal.cleanup()
    assert not removal.path.exists()


def test_named_file_is_whole_or_absent(client, sandbox, tmp_path):
    """A named target is replaced in one step; a failure leaves the old one, and no temporary file."""
    target = tmp_path / "out.png"
    target.write_bytes(b"old")
    sandbox.next("truncate", "garbage", "wrong-format")
    for _ in range(3):
        with pytest.raises(ApiError):
            client.remove(JPEG, Options(format="png"), to=target)
        assert [path.name for path in tmp_path.iterdir()] == ["out.png"]
        assert target.read_bytes() == b"old"
    with client.remove(JPEG, Options(format="png"), to=str(target)) as removal:
        assert removal.path == target
    assert [path.name for path in tmp_path.iterdir()] == ["out.png"]
    assert target.read_bytes().startswith(b"\x89PNG")
    mask = os.umask(0)
    os.umask(mask)
    assert target.stat().st_mode & 0o777 == 0o666 & ~mask


def test_open_file_and_base64(client):
    """An open file gets the verified bytes; base64 is a data: URL with the true type, and leaves no file."""
    out = io.BytesIO()
    removal = client.remove(JPEG, to=out)
    assert removal.path is None
    assert out.getvalue()[8:12] == b"WEBP"
    with pytest.raises(ValueError, match="open file"):
        _ = removal.bytes
    removal = client.remove(JPEG, Options(format="png"), as_base64=True)
    assert removal.path is None
    assert removal.base64.startswith("data:image/png;base64,")
    assert removal.bytes.startswith(b"\x89PNG")


def test_target_that_can_not_be_written_costs_nothing(client, sandbox, tmp_path):
    """A target that can't be written is found before the photo is sent."""
    for target, code in ((tmp_path / "none" / "x.png", "missing"), (tmp_path, "other")):
        with pytest.raises(TargetError) as caught:
            client.remove(JPEG, to=target)
        assert caught.value.code == code
    assert sandbox.requests == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_disk_full_while_receiving(client, monkeypatch, tmp_path):
    """A disk that fills up under the answer is an error of the target, and leaves no file."""
    opened = os.open

    def full(path, flags, *mode, **options):
        return opened("/dev/full" if str(path).endswith(".part") else path, flags & ~os.O_EXCL, *mode, **options)

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(TargetError) as caught:
        client.remove(picture("JPEG", (600, 400)), Options(format="bmp"), to=tmp_path / "x.bmp")
    assert caught.value.code == "full"
    assert list(tmp_path.iterdir()) == []


def test_progress_is_reported_repeatedly(client):
    """Both callbacks are called again and again, from the start to the end, with loaded, total and fraction."""
    noise = io.BytesIO()
    Image.frombytes("RGB", (400, 300), os.urandom(360_000)).save(noise, "PNG")
    up, down = [], []
    with client.remove(noise, Options(format="bmp"), on_upload=up.append, on_download=down.append) as removal:
        assert down[-1].loaded == removal.size
    for steps in (up, down):
        assert len(steps) >= 3
        assert [s.loaded for s in steps] == sorted(s.loaded for s in steps)
        assert steps[-1].fraction == 1.0
    assert up[-1].total == len(noise.getvalue())


@pytest.mark.parametrize(
    ("options", "size"),
    [
        (Options(format="PNG"), (80, 60)),
        (Options(format="jpg", bg_color="red"), (80, 60)),
        (Options(format="bmp", w=40), (40, 30)),
        (Options(h=30), (40, 30)),
        (Options(w=50, h=50, exact_resize=True), (50, 50)),
        (Options(mask=True), (80, 60)),
        (Options(angle=90), (60, 80)),
        (Options(angle=90, expand=False), (80, 60)),
        (Options(angle=-45.5), None),
    ],
)
def test_every_option(client, sandbox, options, size):
    """Every option is sent under the API's own name and passes the look at the answer."""
    with client.remove(JPEG, options) as removal:
        assert removal.kind is options.format
        assert size is None or (removal.width, removal.height) == size
    assert sandbox.requests[-1].fields == options.fields()
