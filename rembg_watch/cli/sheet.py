"""The contact sheet of ``demo``: before and after of every photo on one page, on a checkerboard where it is clear."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont, ImageOps

from rembg_watch.cli.studio import soft
from rembg_watch.printable import printable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

COLUMNS = 2
MAX_CARDS = 40
"""More photos than this do not fit on one sheet; the rest is counted in the heading."""

_TILE = 300
_GAP = 14
_MARGIN = 40
_CARD = (2 * _TILE + 3 * _GAP, _TILE + 2 * _GAP + 58)
_HEAD = 104
_PAGE, _INK, _PALE, _LINE = "#eef0f4", "#1d2430", "#6b7585", "#dfe3ea"
_ROUND = 12


@dataclass(frozen=True)
class Card:
    """One photo on the sheet: where both pictures lie, and the two lines under them."""

    before: Path
    after: Path
    title: str
    caption: str


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    try:  # more scripts than Pillow's own, and on most machines
        return ImageFont.truetype("DejaVuSans.ttf", size)
    except OSError:
        return ImageFont.load_default(size)


def _checkerboard(size: tuple[int, int]) -> Image.Image:
    board = Image.new("RGB", size, "#ffffff")
    pen = ImageDraw.Draw(board)
    step = 12
    for y in range(0, size[1], step):
        for x in range(step * (y // step % 2), size[0], 2 * step):
            pen.rectangle((x, y, x + step - 1, y + step - 1), fill="#dcdfe4")
    return board


def _corners(size: tuple[int, int], radius: int) -> Image.Image:
    large = Image.new("L", (size[0] * 4, size[1] * 4))
    ImageDraw.Draw(large).rounded_rectangle((0, 0, size[0] * 4 - 1, size[1] * 4 - 1), radius * 4, fill=255)
    return large.reduce(4)


def _tile(path: Path, checks: Image.Image) -> Image.Image:
    """Give the picture fitted into a tile, on a checkerboard where it is clear; one that can't be shown stays empty."""
    tile = Image.new("RGB", (_TILE, _TILE), "#f6f7f9")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the API takes pictures of 100 megapixels
            with Image.open(path) as opened:
                opened.draft("RGB", (_TILE * 2, _TILE * 2))
                picture = ImageOps.exif_transpose(opened).convert("RGBA")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return tile
    picture.thumbnail((_TILE, _TILE), Image.Resampling.LANCZOS, reducing_gap=3.0)
    at = ((_TILE - picture.width) // 2, (_TILE - picture.height) // 2)
    tile.paste(checks.crop((0, 0, *picture.size)), at)
    tile.paste(picture, at, picture)
    return tile


def _fitted(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """Shorten a text in its middle until it is at most ``width`` pixels wide."""
    text = printable(text)
    keep = len(text)
    short = text
    while font.getlength(short) > width and keep > 2:
        keep -= 1
        short = f"{text[: keep // 2]}…{text[-(keep - keep // 2) :]}"
    return short


def _card(card: Card, checks: Image.Image, corners: Image.Image) -> Image.Image:
    face = Image.new("RGB", _CARD, "white")
    face.paste(_tile(card.before, checks), (_GAP, _GAP), corners)
    face.paste(_tile(card.after, checks), (2 * _GAP + _TILE, _GAP), corners)
    pen = ImageDraw.Draw(face)
    for left in (_GAP, 2 * _GAP + _TILE):
        pen.rounded_rectangle((left, _GAP, left + _TILE - 1, _GAP + _TILE - 1), _ROUND - 2, outline=_LINE)
    width = 2 * _TILE
    title, caption = _font(18), _font(14)
    pen.text((_GAP + 2, _GAP + _TILE + 10), _fitted(card.title, title, width), fill=_INK, font=title)
    pen.text((_GAP + 2, _GAP + _TILE + 36), _fitted(card.caption, caption, width), fill=_PALE, font=caption)
    return face


def contact_sheet(cards: Sequence[Card], heading: str, note: str) -> Image.Image:
    """Lay the cards out on one page, with a heading and a smaller note under it."""
    shown = cards[:MAX_CARDS]
    if len(shown) < len(cards):
        note = f"{note} · {len(cards) - len(shown)} more are not on this sheet"
    rows = -(-len(shown) // COLUMNS)
    width = 2 * _MARGIN + COLUMNS * _CARD[0] + (COLUMNS - 1) * _GAP * 2
    height = _HEAD + _MARGIN + rows * _CARD[1] + max(0, rows - 1) * _GAP * 2
    page = Image.new("RGB", (width, height), _PAGE)
    pen = ImageDraw.Draw(page)
    pen.text((_MARGIN, 28), heading, fill=_INK, font=_font(30))
    pen.text((_MARGIN, 68), _fitted(note, _font(15), width - 2 * _MARGIN), fill=_PALE, font=_font(15))

    checks, corners, outline = _checkerboard((_TILE, _TILE)), _corners((_TILE, _TILE), _ROUND), _corners(_CARD, 16)
    shade = Image.new("L", (_CARD[0] + 48, _CARD[1] + 48))
    shade.paste(outline, (24, 24))
    shade = soft(shade, 9).point([value // 7 for value in range(256)])
    for number, card in enumerate(shown):
        x = _MARGIN + number % COLUMNS * (_CARD[0] + 2 * _GAP)
        y = _HEAD + number // COLUMNS * (_CARD[1] + 2 * _GAP)
        page.paste(Image.new("RGB", shade.size, "#2b3344"), (x - 24, y - 19), shade)
        page.paste(_card(card, checks, corners), (x, y), outline)
    return page
