"""The key and the pictures of the tests of ``remove``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

KEY = "a-key-that-nobody-shows"


def draw(path: Path, size: tuple[int, int] = (240, 180), **how) -> Path:
    image = Image.new("RGB", size, "#f2f2f2")
    image.paste("crimson", (size[0] // 4, size[1] // 4, size[0] * 3 // 4, size[1] * 3 // 4))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **how)
    return path
