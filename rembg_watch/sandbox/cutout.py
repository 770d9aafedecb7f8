"""The cut-out, and every option applied to it. A flood fill, not the model of RemBG.com.

What it does: the colours along the border are taken for the background; whatever differs little from them *and* hangs
together with the border becomes transparent, with a slightly blurred edge. That is right for a product on a plain
backdrop and for little else. Holes in the subject stay opaque. It stands in for the service where only the way of the
files matters.
"""

from __future__ import annotations

import io
import threading
from contextlib import nullcontext
from typing import TYPE_CHECKING, BinaryIO

from PIL import (
    BmpImagePlugin,
    Image,
    ImageChops,
    ImageFilter,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    WebPImagePlugin,
)

from rembg_watch.sandbox.texts import MAX_SIDE

if TYPE_CHECKING:
    from rembg_watch.sandbox.validate import Wish

SHRUNK_SIDE = 460
"""Accounts without credits are said to get pictures of at most this many pixels a side."""

_SMALL_SIDE = 384
_BORDER_COLORS = 6
_MIN_SHARE = 0.08
_BIG_PIXELS = 16_000_000
_one_big_at_a_time = threading.Lock()


class Unreadable(Exception):
    """The bytes have a right signature and are no picture all the same."""


def open_picture(file: BinaryIO) -> Image.Image:
    """Read a picture's head; its size is known then, its pixels are not.

    The plugins themselves are called, as ``Image.open`` warns about pictures over 89 megapixels, which the API takes.

    Raises:
        Unreadable: it is damaged.
    """
    file.seek(0)
    head = file.read(12)
    file.seek(0)
    try:
        if head[:4] == b"RIFF":
            return WebPImagePlugin.WebPImageFile(file)
        if head[:2] == b"BM":
            return BmpImagePlugin.BmpImageFile(file)
        if head[:2] == b"\xff\xd8":
            return JpegImagePlugin.JpegImageFile(file)
        return PngImagePlugin.PngImageFile(file)
    except Exception as error:  # Pillow raises whatever the bytes provoke
        raise Unreadable(str(error)) from error


def render(picture: Image.Image, wish: Wish, *, max_side: int = MAX_SIDE, scale: float = 1.0) -> bytes:
    """Cut out, resize, rotate, put on a background, encode: the bytes of the answer.

    ``max_side`` (pixels) and ``scale`` make the result smaller than asked for.

    Raises:
        Unreadable: the picture does not decode.
    """
    big = picture.width * picture.height > _BIG_PIXELS
    with _one_big_at_a_time if big else nullcontext():
        try:
            upright = ImageOps.exif_transpose(picture)
            source = upright.convert("RGBA") if upright.has_transparency_data else upright.convert("RGB")
        except Exception as error:  # as above
            raise Unreadable(str(error)) from error
        del upright
        size = _target(source.size, wish, max_side, scale)
        return _encode(_finish(source, wish, size), wish)


def _target(size: tuple[int, int], wish: Wish, max_side: int, scale: float) -> tuple[int, int]:
    width, height = size
    if wish.exact_resize and wish.w and wish.h:
        width, height = wish.w, wish.h
    else:
        scale *= min((limit / side for limit, side in ((wish.w, width), (wish.h, height)) if limit), default=1.0)
    scale = min(scale, max_side / (max(width, height)))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _finish(source: Image.Image, wish: Wish, size: tuple[int, int]) -> Image.Image:
    alpha = alpha_mask(source.convert("RGB"))
    if source.mode == "RGBA":
        alpha = ImageChops.multiply(alpha, source.getchannel("A"))
    if wish.mask:
        return _shaped(alpha, wish, size)
    cut = source.convert("RGB")
    cut.paste((0, 0, 0), mask=alpha.point(lambda value: 0 if value else 255))  # packs smaller
    cut.putalpha(alpha)
    cut = _shaped(cut, wish, size)
    if wish.bg_color is not None:
        cut = Image.alpha_composite(Image.new("RGBA", cut.size, wish.bg_color), cut)
    return cut


def _shaped(picture: Image.Image, wish: Wish, size: tuple[int, int]) -> Image.Image:
    if size != picture.size:
        picture = picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    if wish.angle % 360:
        picture = picture.rotate(wish.angle, Image.Resampling.BICUBIC, expand=wish.expand)
    return picture


def _encode(picture: Image.Image, wish: Wish) -> bytes:
    if wish.format in ("JPEG", "BMP") and picture.mode == "RGBA":
        white = Image.new("RGB", picture.size, "white")
        white.paste(picture, mask=picture.getchannel("A"))
        picture = white
    out = io.BytesIO()
    match wish.format:
        case "WEBP":
            picture.save(out, "WEBP", quality=85, alpha_quality=90, method=0)
        case "PNG":
            picture.save(out, "PNG", compress_level=1)
        case "JPEG":
            picture.save(out, "JPEG", quality=90)
        case _:
            picture.save(out, "BMP")
    return out.getvalue()


def alpha_mask(picture: Image.Image) -> Image.Image:
    """Give the alpha channel for an RGB picture: 0 for background, 255 for the subject."""
    small = picture.copy() if max(picture.size) <= _SMALL_SIDE else picture.reduce(-(-max(picture.size) // _SMALL_SIDE))
    colors = _border_colors(small)
    near = _threshold(_distance(small, colors))
    outside = _joined_to_border(_distance(small, colors).point(lambda value: 255 if value <= near else 0))
    # A little wider than found, so that the edge itself is judged at full size.
    outside = outside.filter(ImageFilter.MaxFilter(3)).resize(picture.size, Image.Resampling.BILINEAR)
    soft = _distance(picture, colors).point(
        lambda value: max(0, min(255, round((value - near * 0.75) * 255 / max(1, near * 0.75))))
    )
    alpha = ImageChops.lighter(soft, ImageChops.invert(outside.point(lambda value: 255 if value >= 64 else 0)))
    return alpha.filter(ImageFilter.GaussianBlur(0.8))


def _border(picture: Image.Image) -> list[Image.Image]:
    width, height = picture.size
    edge = max(1, min(width, height) // 64)
    boxes = [
        (0, 0, width, edge),
        (0, height - edge, width, height),
        (0, 0, edge, height),
        (width - edge, 0, width, height),
    ]
    return [picture.crop(box) for box in boxes]


def _border_colors(picture: Image.Image) -> list[tuple[int, int, int]]:
    """The colours that make up most of the border: one on a plain backdrop, a few on a gradient."""
    data = b"".join(part.tobytes() for part in _border(picture))
    strip = Image.frombytes("RGB", (len(data) // 3, 1), data)
    reduced = strip.quantize(_BORDER_COLORS, Image.Quantize.MEDIANCUT)
    palette = reduced.getpalette() or []
    counted = sorted(((int(count), int(index)) for index, count in enumerate(reduced.histogram())), reverse=True)
    kept = [index for count, index in counted if count >= strip.width * _MIN_SHARE] or [counted[0][1]]
    return [(palette[3 * i], palette[3 * i + 1], palette[3 * i + 2]) for i in kept]


def _distance(picture: Image.Image, colors: list[tuple[int, int, int]]) -> Image.Image:
    """How far each pixel is from the nearest of the colours: the largest difference of its channels, 0..255."""
    nearest: Image.Image | None = None
    for color in colors:
        red, green, blue = ImageChops.difference(picture, Image.new("RGB", picture.size, color)).split()
        farthest = ImageChops.lighter(ImageChops.lighter(red, green), blue)
        nearest = farthest if nearest is None else ImageChops.darker(nearest, farthest)
    assert nearest is not None
    return nearest


def _threshold(distance: Image.Image) -> int:
    """Up to which distance a pixel is background: what 90 % of the border stays within, and some more."""
    histogram = [0] * 256
    for part in _border(distance):
        histogram = [a + b for a, b in zip(histogram, part.histogram(), strict=True)]
    seen, wanted = 0, sum(histogram) * 0.9
    for value, count in enumerate(histogram):
        seen += count
        if seen >= wanted:
            return max(16, min(48, value + 10))
    return 16


def _runs(row: bytes) -> list[tuple[int, int]]:
    found, at = [], row.find(b"\xff")
    while at >= 0:
        stop = row.find(b"\x00", at)
        stop = len(row) if stop < 0 else stop
        found.append((at, stop))
        at = row.find(b"\xff", stop)
    return found


def _joined_to_border(mask: Image.Image) -> Image.Image:
    """Keep of a 0/255 mask only what hangs together with the border.

    Whole runs of a row are joined instead of single pixels, so that plain Python is quick enough.
    """
    width, height = mask.size
    data = mask.tobytes()
    parent = [0]  # 0 stands for the border

    def root(run: int) -> int:
        while parent[run] != run:
            parent[run] = parent[parent[run]]
            run = parent[run]
        return run

    above: list[tuple[int, int, int]] = []
    everything: list[tuple[int, int, int, int]] = []
    for y in range(height):
        row = []
        first = 0
        for start, stop in _runs(data[y * width : (y + 1) * width]):
            run = len(parent)
            parent.append(run)
            if y in (0, height - 1) or start == 0 or stop == width:
                parent[run] = 0
            while first < len(above) and above[first][1] <= start:
                first += 1
            touching = first
            while touching < len(above) and above[touching][0] < stop:
                one, other = root(run), root(above[touching][2])
                parent[max(one, other)] = min(one, other)
                touching += 1
            row.append((start, stop, run))
            everything.append((y * width, start, stop, run))
        above = row
    kept = bytearray(width * height)
    for offset, start, stop, run in everything:
        if root(run) == 0:
            kept[offset + start : offset + stop] = b"\xff" * (stop - start)
    return Image.frombytes("L", mask.size, bytes(kept))
