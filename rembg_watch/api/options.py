"""The options of one background removal, by the API's own names.

What the API would answer 400 to is refused here, before a request is made. Source of the ranges and rules: the
public API documentation of RemBG.com.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import re
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from rembg_watch.imagefile import MAX_SIDE, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

SHRUNK_SIDE = 460
"""Accounts without credits are said to get a 200 with a picture shrunk to this many pixels."""

_HEX = re.compile(r"#(?:[0-9a-fA-F]{3,4}|[0-9a-fA-F]{6}|[0-9a-fA-F]{8})")


class Fit(StrEnum):
    """How the size of an answer compares with what the options imply."""

    RIGHT = "right"
    SHRUNK = "shrunk"
    """Much smaller than asked for: what an account without credits is said to get."""
    WRONG = "wrong"


def _kind(value: object) -> object:
    if isinstance(value, str):
        value = value.lower()
        return {"jpg": "jpeg"}.get(value, value)
    return value


def color_to_hex(value: str) -> str:
    """Turn a CSS colour name or a hex form into the lower-case hex that is sent to the API.

    Raises:
        ValueError: neither a hex form that the API takes nor a CSS name.

    """
    value = value.strip().lower()
    if _HEX.fullmatch(value):
        return value
    if value == "transparent":
        raise ValueError("'transparent' is what you get without bg_color: leave the key out")
    from PIL import ImageColor  # noqa: PLC0415 - only names need Pillow, and it takes its time

    name = ImageColor.colormap.get(value)
    if name is None:
        raise ValueError(f"'{value}' is no colour: use a CSS name or #RGB, #RGBA, #RRGGBB, #RRGGBBAA")
    if isinstance(name, str):
        return name.lower()
    return "#{:02x}{:02x}{:02x}".format(*name[:3])


Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]


class Options(BaseModel):
    """What to do with a picture. Every field has the API's name and default; unset ones are not sent."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Annotated[Kind, BeforeValidator(_kind)] = Field(
        default=Kind.WEBP, description="Output format: webp, png, jpeg or bmp."
    )
    w: Side | None = Field(default=None, description="Target width in pixels, 1..10000; the aspect ratio is kept.")
    h: Side | None = Field(
        default=None, description="Target height in pixels, 1..10000; with both, the largest that fits in w x h."
    )
    exact_resize: bool = Field(default=False, description="Force exactly w x h (needs both; may distort).")
    mask: bool = Field(default=False, description="Return only the alpha mask.")
    bg_color: str | None = Field(
        default=None,
        description="Solid background: #RGB, #RGBA, #RRGGBB, #RRGGBBAA or a CSS colour name (sent as hex).",
    )
    angle: float = Field(default=0.0, ge=-360, le=360, description="Rotation in degrees after processing, -360..360.")
    expand: bool = Field(default=True, description="Pad so that a rotated picture is not cropped.")

    @field_validator("bg_color")
    @classmethod
    def _hex(cls, value: str | None) -> str | None:
        return None if value is None else color_to_hex(value)

    @field_validator("w", "h", "angle", mode="before")
    @classmethod
    def _number(cls, value: object) -> object:
        if isinstance(value, bool):
            raise ValueError("must be a number, not true or false")
        return value

    @model_validator(mode="after")
    def _together(self) -> Options:
        if self.mask and self.bg_color is not None:
            raise ValueError("mask and bg_color can't be used together: choose one or the other")
        if self.exact_resize and (self.w is None or self.h is None):
            raise ValueError("exact_resize needs both w and h")
        return self

    def fields(self) -> dict[str, str]:
        """Give the form fields to send: the format always, everything else only where it differs from the default."""
        values: dict[str, str] = {"format": self.format.value}
        for name in ("w", "h", "bg_color"):
            if (value := getattr(self, name)) is not None:
                values[name] = str(value)
        for name in ("exact_resize", "mask"):
            if getattr(self, name):
                values[name] = "true"
        if self.angle:
            values["angle"] = f"{self.angle:g}" if self.angle == float(f"{self.angle:g}") else repr(self.angle)
        if not self.expand:
            values["expand"] = "false"
        return values

    @functools.cached_property
    def fingerprint(self) -> str:
        """16 hex digits that are equal for equal requests: two option sets that send the same form share it."""
        canonical = json.dumps(self.fields(), sort_keys=True).encode()
        return hashlib.blake2s(canonical, digest_size=8).hexdigest()

    @property
    def extension(self) -> str:
        """The file name extension of the result, without a dot."""
        return "jpg" if self.format is Kind.JPEG else self.format.value

    def fit(self, source: tuple[int, int], answer: tuple[int, int]) -> Fit:
        """Compare the ``answer``'s width and height with what these options make of the ``source``'s, in pixels.

        Tolerates rounding (3 px or 1 %), either order of resizing and rotating, and a camera's orientation flag, as the
        documentation says nothing of them.
        """
        much_smaller, shrunk = max(answer) <= SHRUNK_SIDE + 2, False
        for wanted, small in self._sizes(source):
            if _alike(answer, wanted):
                return Fit.RIGHT
            much_smaller = much_smaller and max(wanted) > max(SHRUNK_SIDE, max(answer) * 1.25)
            shrunk = shrunk or _alike(answer, small)
        return Fit.SHRUNK if much_smaller or shrunk else Fit.WRONG

    def longest(self, source: tuple[int, int]) -> int:
        """The longest side, in pixels, that an honest answer may have: a large photo that is turned has over 10000."""
        longest = max(side for wanted, _ in self._sizes(source) for side in wanted)
        return math.ceil(longest + max(3.0, longest * 0.01))

    def _sizes(self, source: tuple[int, int]) -> Iterator[tuple[tuple[float, float], tuple[float, float]]]:
        """Give each size that an honest answer may have, the likely ones first, and what it is when shrunk.

        A picture that was shrunk before it was rotated has more than ``SHRUNK_SIDE`` px.
        """
        for width, height in (source, source[::-1]):
            resized = self._resized(width, height)
            yield self._rotated(*resized), self._rotated(*_shrunk(resized))
            turned = self._resized(*self._rotated(width, height))
            yield turned, _shrunk(turned)

    def _resized(self, width: float, height: float) -> tuple[float, float]:
        if self.exact_resize and self.w and self.h:
            return self.w, self.h
        scales = [limit / side for limit, side in ((self.w, width), (self.h, height)) if limit]
        scale = min(scales, default=1.0)
        return max(1.0, width * scale), max(1.0, height * scale)

    def _rotated(self, width: float, height: float) -> tuple[float, float]:
        if not self.angle % 180 or not self.expand:
            return width, height
        turn = math.radians(self.angle)
        cos, sin = abs(math.cos(turn)), abs(math.sin(turn))
        return width * cos + height * sin, width * sin + height * cos


def _shrunk(size: tuple[float, float]) -> tuple[float, float]:
    scale = min(1.0, SHRUNK_SIDE / max(size))
    return size[0] * scale, size[1] * scale


def _alike(answer: tuple[int, int], wanted: tuple[float, float]) -> bool:
    return _near(answer[0], wanted[0]) and _near(answer[1], wanted[1])


def _near(answer: int, wanted: float) -> bool:
    return abs(answer - wanted) <= max(3.0, wanted * 0.01)
