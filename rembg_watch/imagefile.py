"""What a picture's own bytes say about it: its format, its size, and whether its end is there.

Names and Content-Types lie; signatures and trailers do not. This is the one seam to Pillow.

Sources: PNG specification (chunks, IEND), JPEG T.81 annex B (markers), the WebP container specification (RIFF sizes),
and the BITMAPFILEHEADER of the Windows API.
"""

from __future__ import annotations

import functools
import io
import re
import struct
import threading
import zlib
from contextlib import nullcontext
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, BinaryIO

from rembg_watch.errors import BrokenPicture, NotAPicture

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from PIL import ImageFile

HEAD_BYTES = 32
"""How many bytes from the start :func:`sniff` and :func:`ending` want to see."""
TAIL_BYTES = 64
"""How many bytes from the end :func:`ending` wants to see."""
MAX_BYTES = 50 * 1024 * 1024
"""The API's limit for a file that is sent."""
MAX_SIDE = 10_000
"""The API's limit for width and height, in pixels."""
_BLOCK = 32 * 1024
BIG_PIXELS = 16_000_000
"""Pictures with more pixels than this are decoded one at a time, so that memory stays bounded."""


class Kind(StrEnum):
    """The formats of the RemBG.com API, by the names it uses."""

    WEBP = "webp"
    PNG = "png"
    JPEG = "jpeg"
    BMP = "bmp"


class Ending(StrEnum):
    """Whether a picture's end is there, judged by its trailer alone."""

    COMPLETE = "complete"
    INCOMPLETE = "incomplete"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Header:
    """What a picture says of itself: its format and its size in pixels."""

    kind: Kind
    width: int
    height: int


def sniff(head: bytes) -> Kind | None:
    """Give the format that the first bytes (12 are enough) announce, or None for anything else."""
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return Kind.PNG
    if head[:3] == b"\xff\xd8\xff":
        return Kind.JPEG
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return Kind.WEBP
    if head[:2] == b"BM":
        return Kind.BMP
    return None


_IEND = b"\x00\x00\x00\x00IEND\xaeB`\x82"


def ending(kind: Kind, head: bytes, tail: bytes, size: int) -> Ending:
    """Judge by ``head`` (at least 32 bytes), ``tail`` (the last 64 bytes or fewer) and the file's ``size`` in bytes.

    UNKNOWN means: look closer (:func:`walk_to_end` and a full decode), never: refuse.
    """
    match kind:
        case Kind.PNG:
            return Ending.COMPLETE if tail.endswith(_IEND) else Ending.UNKNOWN
        case Kind.JPEG:
            return Ending.COMPLETE if tail.endswith(b"\xff\xd9") else Ending.UNKNOWN
        case Kind.WEBP:
            announced = struct.unpack_from("<I", head, 4)[0] + 8
            if size < announced:
                return Ending.INCOMPLETE
            # A tail of zeros is a file that was given its size first and its bytes later.
            return Ending.COMPLETE if size <= announced + (announced & 1) and tail.strip(b"\0") else Ending.UNKNOWN
        case Kind.BMP:
            announced = struct.unpack_from("<I", head, 2)[0]
            if announced < 26:  # some writers leave it 0
                return Ending.UNKNOWN
            if size < announced:
                return Ending.INCOMPLETE
            return Ending.COMPLETE if size == announced and tail.strip(b"\0") else Ending.UNKNOWN


_JPEG_MARKER_IN_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")


def _jpeg_end(view: memoryview, size: int) -> int | None:
    """Where the first picture ends in a JPEG file: the offset behind its EOI marker, or None."""
    at = 2
    while at + 4 <= size:
        if view[at] != 0xFF:
            return None
        marker = view[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
        elif marker == 0xD9:
            return at + 2
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:
            at += 2
        else:
            at += 2 + int.from_bytes(view[at + 2 : at + 4])
            if marker == 0xDA:
                found = _JPEG_MARKER_IN_SCAN.search(view, at)
                if found is None:
                    return None
                at = found.start()
    return at + 2 if at + 2 <= size and bytes(view[at : at + 2]) == b"\xff\xd9" else None


def _png_end(view: memoryview, size: int) -> int | None:
    """Where a PNG ends: the offset behind its IEND chunk, or None if a chunk is missing or its CRC is wrong."""
    at = 8
    while at + 12 <= size:
        length = int.from_bytes(view[at : at + 4])
        stop = at + 12 + length
        if stop > size or zlib.crc32(view[at + 4 : stop - 4]) != int.from_bytes(view[stop - 4 : stop]):
            return None
        if bytes(view[at + 4 : at + 8]) == b"IEND":
            return stop
        at = stop
    return None


def walk_to_end(file: BinaryIO, kind: Kind) -> bool:
    """Tell whether the picture's end is anywhere in the file, by walking its structure from the start.

    For files that :func:`ending` can't judge: trailing bytes after the picture are fine, a missing end is not. The
    file's position does not matter.
    """
    if kind in (Kind.WEBP, Kind.BMP):  # their end is a number in the head; only a decode can tell more
        return file.seek(0, 2) > 0
    file.seek(0)
    # Read, not mapped: a mapped file that somebody cuts short takes the whole process with it (SIGBUS).
    data = memoryview(file.read())
    return (_jpeg_end(data, len(data)) if kind is Kind.JPEG else _png_end(data, len(data))) is not None


def check_whole(file: BinaryIO, most: int = MAX_SIDE) -> Header:
    """Check signature, structure and every pixel; give the picture's format and its size in pixels.

    ``most`` is the longest side in pixels that is decoded: an answer may have more than a photo that is sent.

    Only PNG carries checksums. Bytes that were altered in the middle of a lossy WebP or a JPEG still decode, to a
    picture with a fault; against that stand TLS and the Content-Length.

    Raises:
        NotAPicture: empty, a page of text, or anything else without a known signature.
        BrokenPicture: "cut short", where its end is missing, or "damaged", where it has an end but does not decode.
    """
    with _in_blocks(file) as blocks:
        size = blocks.seek(0, 2)
        if size == 0:
            raise NotAPicture("not a picture: it is empty", "Nothing arrived; it is asked for again.")
        blocks.seek(0)
        head = blocks.read(HEAD_BYTES)
        kind = sniff(head)
        if kind is None:
            raise NotAPicture(f"not a picture: it begins with {head[:16]!r}", "Only webp, png, jpeg and bmp are known.")
        if not _has_end(blocks, kind, head, size):
            raise BrokenPicture(f"the {kind.value} picture is cut short after {size} bytes", "It is asked for again.")
        return decode(blocks, most)


def _has_end(file: BinaryIO, kind: Kind, head: bytes, size: int) -> bool:
    if len(head) < HEAD_BYTES:
        return False
    file.seek(max(0, size - TAIL_BYTES))
    judged = ending(kind, head, file.read(TAIL_BYTES), size)
    return judged is Ending.COMPLETE or (judged is Ending.UNKNOWN and walk_to_end(file, kind))


@functools.cache
def _readers() -> dict[Kind, Callable[[BinaryIO], ImageFile.ImageFile]]:
    # Imported when a picture is read: commands that only look at the queue start faster without it.
    from PIL import BmpImagePlugin, JpegImagePlugin, PngImagePlugin, WebPImagePlugin  # noqa: PLC0415

    # The plugins themselves and not Image.open: that one warns about pictures over 89 megapixels, which the API takes,
    # and its limit is a global of the whole process.
    return {
        Kind.WEBP: WebPImagePlugin.WebPImageFile,
        Kind.PNG: PngImagePlugin.PngImageFile,
        Kind.JPEG: JpegImagePlugin.JpegImageFile,
        Kind.BMP: BmpImagePlugin.BmpImageFile,
    }


_one_big_at_a_time = threading.Lock()


class _Blocks(io.BufferedReader):
    """A view of an unbuffered file that leaves it open."""

    def __exit__(self, *_: object) -> None:
        self.detach()


def _in_blocks(file: BinaryIO) -> AbstractContextManager[BinaryIO]:
    """Read an unbuffered file in blocks: Pillow asks for single bytes, and each would be a system call."""
    return _Blocks(file, _BLOCK) if isinstance(file, io.RawIOBase) else nullcontext(file)


def _open(file: BinaryIO) -> tuple[Kind, ImageFile.ImageFile]:
    file.seek(0)
    kind = sniff(file.read(HEAD_BYTES))
    if kind is None:
        raise NotAPicture("not a picture: no known signature", "Only webp, bmp, png and jpeg can be sent.")
    file.seek(0)
    try:
        return kind, _readers()[kind](file)
    except Exception as error:  # SyntaxError, struct.error, IndexError... Pillow raises whatever the bytes provoke
        raise BrokenPicture(f"the picture is damaged: {error}", "Export or copy it again.") from error


def read_header(file: BinaryIO) -> Header:
    """Read the picture's format and size from its head, without decoding it.

    Raises:
        NotAPicture: no supported format.
        BrokenPicture: the head itself is damaged.

    """
    with _in_blocks(file) as blocks:
        kind, picture = _open(blocks)
        with picture:
            return Header(kind, *picture.size)


def decode(file: BinaryIO, most: int = MAX_SIDE) -> Header:
    """Decode every pixel, as the proof that the picture is whole.

    JPEG is decoded at an eighth of its size (all of its data is read, with a 64th of the memory); other pictures of
    more than 16 million pixels are decoded one at a time in this process.

    Raises:
        NotAPicture: no supported format.
        BrokenPicture: it does not decode, or it is wider or higher than ``most`` px.

    """
    kind, picture = _open(file)
    with picture:
        header = Header(kind, *picture.size)
        if max(picture.size) > most:
            raise BrokenPicture(
                f"the picture is {header.width} x {header.height} px", f"The limit is {most} px a side."
            )
        big = kind is not Kind.JPEG and header.width * header.height > BIG_PIXELS
        with _one_big_at_a_time if big else nullcontext():
            try:
                if kind is Kind.JPEG:
                    picture.draft(picture.mode, (max(1, header.width // 8), max(1, header.height // 8)))
                picture.load()
            except Exception as error:  # as above
                raise BrokenPicture(f"the picture is damaged: {error}", "Export or copy it again.") from error
    return header
