"""A small photo studio made of Pillow: smooth shapes, shaded surfaces and soft shadows on a plain backdrop.

Everything is in pixels of the finished picture. Shapes are masks, drawn four times as large and reduced, so that
their edges are smooth; surfaces are colour ramps that are painted through them.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from PIL import Image, ImageChops, ImageColor, ImageDraw, ImageFilter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Point = tuple[float, float]
    Box = tuple[float, float, float, float]
    Stops = Sequence[tuple[float, str]]

FINER = 4
"""How much larger than the picture a shape is drawn."""


def curve(points: Sequence[Point], *, closed: bool = True, steps: int = 14) -> list[Point]:
    """Give a smooth line through ``points`` (a Catmull-Rom spline), as many short straight ones."""
    count = len(points)
    spans = count if closed else count - 1

    def at(index: int) -> Point:
        return points[index % count] if closed else points[min(max(index, 0), count - 1)]

    line: list[Point] = []
    for span in range(spans):
        a, b, c, d = (at(span + k) for k in (-1, 0, 1, 2))
        for step in range(steps):
            t = step / steps
            x, y = (
                0.5 * (2 * q + (r - p) * t + (2 * p - 5 * q + 4 * r - s) * t**2 + (3 * q - p - 3 * r + s) * t**3)
                for p, q, r, s in zip(a, b, c, d, strict=True)
            )
            line.append((x, y))
    return line if closed else [*line, points[-1]]


def _ramp(length: int, start: float, stop: float, stops: Stops) -> Image.Image:
    """Give one row of ``length`` pixels whose colours run through ``stops`` between ``start`` and ``stop``."""
    colours = [(place, ImageColor.getrgb(colour)[:3]) for place, colour in stops]
    row = Image.new("RGB", (length, 1))
    pixels = row.load()
    assert pixels is not None
    for x in range(length):
        place = min(max((x + 0.5 - start) / (stop - start), colours[0][0]), colours[-1][0])
        for (p, from_), (q, to) in pairwise(colours):
            if place <= q:
                part = (place - p) / (q - p)
                pixels[x, 0] = tuple(round(a + (b - a) * part) for a, b in zip(from_, to, strict=True))
                break
    return row


class Picture:
    """A picture in the making: a backdrop to begin with, then one painted shape after the other."""

    def __init__(self, width: int, height: int, above: str, below: str) -> None:
        self.size = (width, height)
        self.image = self.down(0, height, [(0, above), (1, below)])

    def across(self, left: float, right: float, stops: Stops) -> Image.Image:
        """Make a surface whose colour changes from left to right, like light around a cylinder."""
        return _ramp(self.size[0], left, right, stops).resize(self.size, Image.Resampling.NEAREST)

    def down(self, top: float, bottom: float, stops: Stops) -> Image.Image:
        """Make a surface whose colour changes from top to bottom."""
        column = _ramp(self.size[1], top, bottom, stops).transpose(Image.Transpose.ROTATE_270)
        return column.resize(self.size, Image.Resampling.NEAREST)

    def plain(self, colour: str) -> Image.Image:
        """Make a surface of one colour."""
        return Image.new("RGB", self.size, colour)

    def _shape(self, box: Box, draw: Callable[[ImageDraw.ImageDraw, Callable[[Point], Point]], None]) -> Image.Image:
        left, top = int(box[0]) - 2, int(box[1]) - 2
        width, height = int(box[2]) + 3 - left, int(box[3]) + 3 - top
        large = Image.new("L", (width * FINER, height * FINER))
        draw(ImageDraw.Draw(large), lambda p: ((p[0] - left) * FINER, (p[1] - top) * FINER))
        mask = Image.new("L", self.size)
        mask.paste(large.reduce(FINER), (left, top))
        return mask

    def polygon(self, points: Sequence[Point]) -> Image.Image:
        """Make the shape with these corners."""
        xs, ys = [x for x, _ in points], [y for _, y in points]
        return self._shape(
            (min(xs), min(ys), max(xs), max(ys)), lambda pen, at: pen.polygon([at(p) for p in points], fill=255)
        )

    def blob(self, *points: Point) -> Image.Image:
        """Make the shape whose smooth outline goes through ``points``."""
        return self.polygon(curve(points))

    def ellipse(self, left: float, top: float, right: float, bottom: float) -> Image.Image:
        """Make the ellipse that fills this box."""
        box = (left, top, right, bottom)
        return self._shape(box, lambda pen, at: pen.ellipse([at((left, top)), at((right, bottom))], fill=255))

    def rounded(self, left: float, top: float, right: float, bottom: float, radius: float) -> Image.Image:
        """Make a box with round corners."""
        return self._shape(
            (left, top, right, bottom),
            lambda pen, at: pen.rounded_rectangle([at((left, top)), at((right, bottom))], radius * FINER, fill=255),
        )

    def stroke(self, width: float, *points: Point) -> Image.Image:
        """Make a smooth line of this width through ``points``, with round ends."""
        line = curve(points, closed=False) if len(points) > 2 else list(points)
        half = width / 2
        xs, ys = [x for x, _ in line], [y for _, y in line]

        def draw(pen: ImageDraw.ImageDraw, at: Callable[[Point], Point]) -> None:
            pen.line([at(p) for p in line], fill=255, width=round(width * FINER))
            for x, y in line:  # Pillow's own joints leave notches in wide bows
                pen.ellipse([at((x - half, y - half)), at((x + half, y + half))], fill=255)

        return self._shape((min(xs) - half, min(ys) - half, max(xs) + half, max(ys) + half), draw)

    def paint(self, shape: Image.Image, surface: Image.Image | str, strength: float = 1.0) -> None:
        """Paint ``surface`` (or one colour) through ``shape``; ``strength`` below 1 lets through what is there."""
        mask = shape if strength == 1 else shape.point([round(value * strength) for value in range(256)])
        self.image.paste(self.plain(surface) if isinstance(surface, str) else surface, (0, 0), mask)

    def shadow(self, left: float, top: float, right: float, bottom: float, strength: float = 0.16) -> None:
        """Let something throw a soft shadow on the ground, in this box."""
        self.paint(soft(self.ellipse(left, top, right, bottom), (bottom - top) / 2), "#5a6070", strength)

    def gloss(
        self, shape: Image.Image, within: Image.Image, strength: float, blur: float, colour: str = "white"
    ) -> None:
        """Lay a soft light (or, with a dark ``colour``, a soft shade) on what ``within`` covers."""
        self.paint(ImageChops.multiply(soft(shape, blur), within), colour, strength)


def soft(shape: Image.Image, blur: float) -> Image.Image:
    """Give the shape with edges that fade over about ``blur`` pixels."""
    return shape.filter(ImageFilter.GaussianBlur(blur))


def joined(*shapes: Image.Image) -> Image.Image:
    """Give the shape that covers what any of ``shapes`` covers."""
    whole = shapes[0]
    for shape in shapes[1:]:
        whole = ImageChops.lighter(whole, shape)
    return whole


def without(shape: Image.Image, hole: Image.Image) -> Image.Image:
    """Give the shape with a hole in it."""
    return ImageChops.subtract(shape, hole)


def mirrored(*points: Point, about: float) -> list[Point]:
    """Give an outline from its right half, listed from top to bottom."""
    return [*points, *((2 * about - x, y) for x, y in reversed(points))]


def roundness(dark: str, middle: str, light: str) -> Stops:
    """Give the light around something round: from the left, with a reflection at the far edge."""
    return [(0, dark), (0.12, middle), (0.3, light), (0.42, middle), (0.85, dark), (0.95, dark), (1, middle)]
