"""Photos for the race: real JPEGs of noise, each with bytes of its own, made once and dropped as hard links."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

_SEGMENT = 65533


def _noise(side: int) -> bytes:
    out = io.BytesIO()
    Image.frombytes("RGB", (side, side), os.urandom(3 * side * side)).save(out, "JPEG", quality=80)
    return out.getvalue()


def _comment(data: bytes) -> bytes:
    return b"\xff\xfe" + (len(data) + 2).to_bytes(2) + data


def _base(size: int) -> bytes:
    """Give a JPEG of exactly ``size`` bytes, less the 20 that :func:`stock` adds: nearly all of it is picture."""
    per_pixel = len(_noise(256)) / 256**2
    picture = _noise(int((0.98 * size / per_pixel) ** 0.5))
    missing = size - 20 - len(picture)
    padding = b""
    while missing - len(padding) > _SEGMENT + 6:
        padding += _comment(bytes(_SEGMENT - 2))
    padding += _comment(bytes(missing - len(padding) - 4))
    return padding + picture[2:]


def stock(folder: Path, count: int, size: int) -> list[Path]:
    """Make ``count`` photos of ``size`` bytes in ``folder``, unless they are there; no two have the same content."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"photo-{number:05d}.jpg" for number in range(count)]
    missing = [path for path in paths if not path.exists()]
    if missing:
        base = _base(size)
        for path in missing:
            with path.open("wb") as file:
                file.write(b"\xff\xd8" + _comment(os.urandom(8).hex().encode()))
                file.write(base)
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
    """Move all of them in, as fast as that goes."""
    for path in staged:
        path.rename(inbox / path.name)
