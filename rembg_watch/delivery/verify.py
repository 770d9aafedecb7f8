"""The proof that an answer is a whole picture, before it counts. Which picture it should be, the caller judges."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, BinaryIO

from rembg_watch import imagefile
from rembg_watch.errors import BrokenPicture, NotAPicture
from rembg_watch.imagefile import HEAD_BYTES, TAIL_BYTES, Ending, Kind

if TYPE_CHECKING:
    from rembg_watch.imagefile import Header


def check_picture(file: BinaryIO) -> Header:
    """Check signature, structure and every pixel of a real file; give its format and its size in pixels.

    Only PNG carries checksums. Bytes that were altered in the middle of a lossy WebP or a JPEG still decode, to a
    picture with a fault; against that stand TLS and the Content-Length.

    Raises:
        NotAPicture: empty, a page of text, or anything else without a known signature.
        BrokenPicture: "cut short", where its end is missing, or "damaged", where it has an end but does not decode.
    """
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        raise NotAPicture("not a picture: it is empty", "Nothing arrived; it is asked for again.")
    file.seek(0)
    head = file.read(HEAD_BYTES)
    kind = imagefile.sniff(head)
    if kind is None:
        raise NotAPicture(f"not a picture: it begins with {head[:16]!r}", "Only webp, png, jpeg and bmp are known.")
    if not _has_end(file, kind, head, size):
        raise BrokenPicture(f"the {kind.value} picture is cut short after {size} bytes", "It is asked for again.")
    return imagefile.decode(file)


def _has_end(file: BinaryIO, kind: Kind, head: bytes, size: int) -> bool:
    if len(head) < HEAD_BYTES:
        return False
    file.seek(max(0, size - TAIL_BYTES))
    judged = imagefile.ending(kind, head, file.read(TAIL_BYTES), size)
    if judged is Ending.UNKNOWN:
        return imagefile.walk_to_end(file, kind)
    return judged is Ending.COMPLETE
