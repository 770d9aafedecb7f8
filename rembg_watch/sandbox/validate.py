"""From form fields to what to do, or to every validation error at once. Pure.

Source of names, ranges and defaults: the public API documentation of RemBG.com. Where the vendor's own client does more
than that says (``w=0`` for unset, any letter case, named colours, ``return_base64``), the sandbox takes it too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from PIL import ImageColor

from rembg_watch.sandbox import texts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rembg_watch.sandbox.texts import Refusal

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
EXTENSIONS = (".webp", ".bmp", ".png", ".jpg", ".jpeg")

_HEX = re.compile(r"#(?:[0-9a-fA-F]{3,4}|[0-9a-fA-F]{6}|[0-9a-fA-F]{8})")
_INTEGER = re.compile(r"[+-]?[0-9]{1,1000}")
_FLAGS = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True, slots=True)
class Wish:
    """What to make of a picture. ``w`` and ``h`` are 0 where unset; ``bg_color`` is RGBA; ``angle`` is in degrees."""

    format: str = "WEBP"
    w: int = 0
    h: int = 0
    exact_resize: bool = False
    mask: bool = False
    bg_color: tuple[int, int, int, int] | None = None
    angle: float = 0.0
    expand: bool = True


def _side(fields: Mapping[str, str], name: str, wrong: list[Refusal]) -> int:
    text = fields.get(name, "0").strip()
    if not _INTEGER.fullmatch(text):
        wrong.append(texts.not_an_integer(name, text))
        return 0
    value = int(text)
    if value < 0:
        wrong.append(texts.at_least(name, value))
    elif value > texts.MAX_SIDE:
        wrong.append(texts.at_most(name, value))
    return value


def _flag(fields: Mapping[str, str], name: str, wrong: list[Refusal], *, default: bool = False) -> bool:
    text = fields.get(name, "").strip()
    if not text:
        return default
    if text.lower() not in _FLAGS:
        wrong.append(texts.not_a_flag(name, text))
    return _FLAGS.get(text.lower(), default)


def _angle(fields: Mapping[str, str], wrong: list[Refusal]) -> float:
    text = fields.get("angle", "0").strip()
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if value != value:  # noqa: PLR0124 -- only NaN differs from itself
        wrong.append(texts.not_a_number(text))
        return 0.0
    if not -360 <= value <= 360:
        wrong.append(texts.angle_range(value))
    return value


def _color(fields: Mapping[str, str], wrong: list[Refusal]) -> tuple[int, int, int, int] | None:
    text = fields.get("bg_color", "").strip()
    if not text:
        return None
    if not _HEX.fullmatch(text) and text.lower() not in ImageColor.colormap:
        wrong.append(texts.bad_color(text))
        return None
    red, green, blue, *alpha = ImageColor.getrgb(text)
    return red, green, blue, alpha[0] if alpha else 255


def parse_wish(fields: Mapping[str, str]) -> Wish | list[Refusal]:
    """Read the options from the form's text fields; give every mistake if there is one."""
    wrong: list[Refusal] = []
    w, h = _side(fields, "w", wrong), _side(fields, "h", wrong)
    angle = _angle(fields, wrong)
    name = fields.get("format", "").strip() or "WEBP"
    if name.upper() not in FORMATS:
        wrong.append(texts.bad_format(name))
    exact_resize, mask = _flag(fields, "exact_resize", wrong), _flag(fields, "mask", wrong)
    expand = _flag(fields, "expand", wrong, default=True)
    _flag(fields, "return_base64", wrong)
    bg_color = _color(fields, wrong)
    if mask and fields.get("bg_color", "").strip():
        wrong.append(texts.CONFLICT)
    return wrong or Wish(name.upper(), w, h, exact_resize, mask, bg_color, angle, expand)


def has_signature(head: bytes) -> bool:
    """Whether the first bytes (12 are enough) are those of a format the API takes."""
    return (
        head.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM"))
        or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
    )  # fmt: skip


def check_upload(filename: str, size: int, head: bytes) -> Refusal | None:
    """Judge an uploaded file by its name, its size in bytes and its first bytes; its pixels are judged later."""
    if not filename:
        return texts.NO_NAME
    extension = PurePosixPath(filename.replace("\\", "/")).suffix.lower()
    if extension not in EXTENSIONS:
        return texts.wrong_type(extension)
    if size == 0:
        return texts.EMPTY
    if size > texts.MAX_BYTES:
        return texts.too_big(size)
    return None if has_signature(head) else texts.CORRUPT


def check_sides(width: int, height: int) -> list[Refusal]:
    """Judge a picture by its width and height in pixels."""
    wrong = [texts.too_wide(width)] if width > texts.MAX_SIDE else []
    return [*wrong, texts.too_tall(height)] if height > texts.MAX_SIDE else wrong
