"""Photos for the runs: JPEGs of noise, made once and linked into each run's folders."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

_LEVELS = 250


def _noise(side: int) -> bytes:
    out = io.BytesIO()
    Image.frombytes("RGB", (side, side), os.urandom(3 * side * side)).save(out, "JPEG", quality=80)
    return out.getvalue()


def _comment(length: int) -> bytes:
    return b"\xff\xfe" + (length - 2).to_bytes(2) + bytes(length - 4)


def _jpeg(size: int) -> bytearray:
    """Return a JPEG of exactly ``size`` bytes; comments before the picture are the last 2%."""
    per_pixel = len(_noise(256)) / 256**2
    picture = _noise(int((0.98 * size / per_pixel) ** 0.5))
    missing, comments = size - len(picture), b""
    while missing > 65535:
        comments += _comment(32768)
        missing -= 32768
    return bytearray(picture[:2] + comments + _comment(missing) + picture[2:])


def make(folder: Path, count: int, size: int) -> list[Path]:
    """Make ``count`` photos of ``size`` bytes in ``folder``, unless they exist.

    Each is another picture, not only another file: a daemon that compares pictures without their comments must not find
    any two alike. They differ in the two highest frequencies of the first quantization table.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"photo-{number:05d}.jpg" for number in range(count)]
    missing = [(number, path) for number, path in enumerate(paths) if not path.exists()]
    if missing:
        jpeg = _jpeg(size)
        end = jpeg.index(b"\xff\xdb\x00\x43\x00") + 5 + 64
        for number, path in missing:
            jpeg[end - 2 : end] = 1 + number // _LEVELS, 1 + number % _LEVELS
            path.write_bytes(jpeg)
        os.sync()
    return paths


def stage(paths: list[Path], folder: Path) -> list[Path]:
    """Link photos into a folder from which they can be moved into an inbox by a rename."""
    folder.mkdir(parents=True)
    staged = [folder / path.name for path in paths]
    for path, link in zip(paths, staged, strict=True):
        link.hardlink_to(path)
    return staged


def drop(staged: list[Path], inbox: Path) -> None:
    """Move all photos into the inbox as fast as possible."""
    for path in staged:
        path.rename(inbox / path.name)
