"""Photos that can be told apart after the cut-out: each has a colour and a size of its own."""

from __future__ import annotations

import io
from itertools import product

from PIL import Image, ImageDraw

COLORS = list(product((0, 42, 84, 126, 168, 210), repeat=3))
"""216 colours, far enough from each other and from the white backdrop to survive lossy formats."""
MODES = {"jpg": "JPEG", "jpeg": "JPEG", "png": "PNG", "webp": "WEBP", "bmp": "BMP"}


def size_of(number):
    """Give the photo's width and height: no two of 216 share them."""
    return 64 + 6 * (number % 12), 64 + 6 * (number // 12 % 18)


def photo(number, form="jpg", size=None, **save):
    """Give the bytes of photo ``number``: a disc of its colour in the middle half, on white."""
    picture = Image.new("RGB", size or size_of(number), "white")
    width, height = picture.size
    ImageDraw.Draw(picture).ellipse((width // 4, height // 4, width * 3 // 4, height * 3 // 4), COLORS[number % 216])
    out = io.BytesIO()
    mode = MODES[form.lower()]
    picture.save(out, mode, **({"quality": 95} if mode in {"JPEG", "WEBP"} else {}) | save)
    return out.getvalue()


def number_in(path):
    """Tell of which photo a cut-out in colour was made, by the colour of its middle."""
    with Image.open(path) as picture:
        picture.load()
        middle = picture.convert("RGB").getpixel((picture.width // 2, picture.height // 2))
    return min(range(216), key=lambda number: sum((a - b) ** 2 for a, b in zip(COLORS[number], middle, strict=True)))


def corner_of(path):
    """Give the top left pixel with its transparency, as (r, g, b, a)."""
    with Image.open(path) as picture:
        return picture.convert("RGBA").getpixel((0, 0))


def form_of(path):
    with Image.open(path) as picture:
        picture.load()
        return picture.format, picture.size
