"""A JPEG's width and height from its first bytes: Pillow takes ten times as long to read them. Pure.

Source: T.81, annex B (markers and the frame header).
"""

from __future__ import annotations

from rembg_watch.imagefile import Header, Kind

_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""The markers of a frame header; the others in this range are for tables, and one is reserved."""
_SCAN = 0xDA
_ALONE = range(0xD0, 0xDA)
"""Markers that no length follows."""


def jpeg_header(head: bytes) -> Header | None:
    """Give what the frame header in ``head``, the first bytes of a JPEG, says.

    None where it is not as usual, or the first scan does not begin within ``head``: then Pillow has to tell.
    """
    at, width, height = 2, 0, 0
    while at + 10 <= len(head) and head[at] == 0xFF:
        marker = head[at + 1]
        if marker == _SCAN:
            return Header(Kind.JPEG, width, height) if width and height else None
        if marker < 0xC0 or marker in _ALONE or marker == 0xFF:
            return None
        if marker in _FRAMES:
            if head[at + 4] != 8 or head[at + 9] not in (1, 3, 4):  # bits and components that Pillow knows
                return None
            height, width = int.from_bytes(head[at + 5 : at + 7]), int.from_bytes(head[at + 7 : at + 9])
        at += 2 + int.from_bytes(head[at + 2 : at + 4])
    return None
