"""Read a picture's own bytes: its format, its size, whether its end is there, whether it decodes.

Names and Content-Types lie; signatures and trailers do not. This is the one seam to Pillow.

- :func:`read_header`, :func:`check_container` and the walks read bytes only, without Pillow.
- :func:`decode` decodes every pixel with Pillow; :func:`check_whole` does both.

Sources: PNG specification (chunks, IEND), JPEG T.81 annex B (markers), the WebP container specification (RIFF sizes),
RFC 6386 section 9.1 (VP8), the WebP lossless specification (VP8L), and BITMAPFILEHEADER of the Windows API.
"""

from __future__ import annotations

import functools
import io
import os
import re
import threading
import zlib
from contextlib import nullcontext
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, BinaryIO, NoReturn

from rembg_watch.errors import BrokenPicture, NotAPicture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from typing import TypeAlias

    from PIL import ImageFile

    ReadAt: TypeAlias = Callable[[int, int], bytes]

Source = bytes | BinaryIO
"""A picture's bytes in memory, or a file opened for reading. The position of the file does not matter."""

HEAD_BYTES = 32
"""How many bytes from the start :func:`sniff` and :func:`ending` need."""
TAIL_BYTES = 64
"""How many bytes from the end :func:`ending` needs."""
MAX_BYTES = 50 * 1024 * 1024
"""The API's limit for a file that is sent."""
MAX_SIDE = 10_000
"""The API's limit for width and height, in pixels."""
BIG_PIXELS = 16_000_000
"""Pictures with more pixels than this are decoded one at a time, so that memory stays bounded."""
_AHEAD = 4 * 1024
_BLOCK = 256 * 1024
_MOST_STEPS = 4096
"""Steps from segment to segment in a JPEG; photos with depth maps in their metadata have a few hundred."""
_EXPORT = "Export the picture as JPEG, PNG, WebP or BMP."


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
    """A picture's format and its size in pixels, as its first bytes announce them."""

    kind: Kind
    width: int
    height: int


def sniff(head: bytes) -> Kind | None:
    """Return the format that the first bytes (12 are enough) announce, or None for anything else."""
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return Kind.PNG
    if head[:3] == b"\xff\xd8\xff":
        return Kind.JPEG
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return Kind.WEBP
    if head[:2] == b"BM":
        return Kind.BMP
    return None


def reader(source: Source | int) -> ReadAt:
    """Return a function that reads a number of bytes at an offset; fewer are returned at the end of the source.

    An int is the descriptor of an open file. A file is read in blocks of 4 KiB at least: a walk asks for a few bytes at
    many places that are close together.
    """
    if isinstance(source, bytes):
        return lambda at, count: source[at : at + count]

    def read_file(at: int, count: int) -> bytes:
        if isinstance(source, int):
            return os.pread(source, count, at)
        source.seek(at)
        return source.read(count)

    start, block = 0, read_file(0, _AHEAD)

    def read(at: int, count: int) -> bytes:
        nonlocal start, block
        if count > _AHEAD:
            return read_file(at, count)
        if at < start or at + count > start + len(block):
            start, block = at, read_file(at, _AHEAD)
        return block[at - start : at - start + count]

    return read


def size_of(source: Source) -> int:
    """Return the number of bytes."""
    return len(source) if isinstance(source, bytes) else source.seek(0, io.SEEK_END)


def read_header(source: Source) -> Header:
    """Read the picture's format and size from its head, without decoding it.

    Raises:
        NotAPicture: no supported format.
        BrokenPicture: the head is cut short or damaged, or announces what no decoder takes.
    """
    return header_of(reader(source))


def header_of(read: ReadAt) -> Header:
    """Read the picture's format and size by a function of :func:`reader`. Raises as :func:`read_header` does."""
    head = read(0, 64)
    kind = sniff(head)
    if kind is None:
        begins = f"the file begins with {head[:16]!r}" if head else "the file is empty"
        raise NotAPicture(f"not a picture: {begins}", _EXPORT)
    width, height = _jpeg_size(read) if kind is Kind.JPEG else _SIZES[kind](head)
    if width <= 0 or height <= 0:
        _damaged(f"its header says {width} x {height} px")
    return Header(kind, width, height)


def _damaged(reason: object) -> NoReturn:
    raise BrokenPicture(f"the picture is damaged: {reason}", "Copy or export the picture again.")


def _not_taken(what: str) -> NoReturn:
    raise BrokenPicture(f"{what} is not taken", _EXPORT)


def _cut_short(kind: Kind, where: str) -> NoReturn:
    raise BrokenPicture(f"the {kind} picture is cut short {where}", "Copy the picture again.")


def _jpeg_size(read: ReadAt) -> tuple[int, int]:
    for marker, start, stop in jpeg_segments(read):
        if marker in _FRAMES:
            frame = read(start + 4, 6)
            if len(frame) < 6:
                break
            if stop - start != 10 + 3 * frame[5]:
                _damaged("its frame header has a wrong length")
            if frame[0] != 8 or frame[5] not in {1, 3, 4}:
                _not_taken(f"a JPEG of {frame[5]} colours with {frame[0]} bits each")
            return int.from_bytes(frame[3:5]), int.from_bytes(frame[1:3])
        if marker == _JPEG_LS:
            raise NotAPicture("not a picture that can be sent: the file is a JPEG-LS", _EXPORT)
        if 0x01 < marker < 0xC0:
            _damaged(f"0xff{marker:02x} is no marker of a JPEG")
        if marker in {_SOS, _EOI}:
            _damaged("its frame header is missing")
    _cut_short(Kind.JPEG, "before its frame header")


def _png_size(head: bytes) -> tuple[int, int]:
    if len(head) < 33:
        _cut_short(Kind.PNG, "in its header")
    if head[8:16] != b"\0\0\0\rIHDR" or zlib.crc32(head[12:29]) != int.from_bytes(head[29:33]):
        _damaged("its first chunk is not an intact IHDR")
    return int.from_bytes(head[16:20]), int.from_bytes(head[20:24])


def _webp_size(head: bytes) -> tuple[int, int]:
    chunk, size, tag = head[12:16], _little(head[16:20]), _little(head[20:23])
    if len(head) < (25 if chunk == b"VP8L" else 30):
        _cut_short(Kind.WEBP, "in its header")
    if size + 12 > _little(head[4:8]):
        _damaged("its first chunk is larger than the file announces")
    if chunk == b"VP8X" and size >= 10:
        return _little(head[24:27]) + 1, _little(head[27:30]) + 1
    if chunk == b"VP8L" and head[20] == 0x2F and head[24] < 0x20:  # the signature, and version 0
        bits = _little(head[21:25])
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    # A key frame of profile 0 to 3 that is shown, and whose first partition is within the chunk.
    if chunk == b"VP8 " and head[23:26] == b"\x9d\x01\x2a" and tag & 0x19 == 0x10 and tag >> 5 < size:
        return _little(head[26:28]) & 0x3FFF, _little(head[28:30]) & 0x3FFF
    _damaged("its header is none of WebP")


def _bmp_size(head: bytes) -> tuple[int, int]:
    if len(head) < 30:
        _cut_short(Kind.BMP, "in its header")
    version = _little(head[14:18])
    if version == 12:  # BITMAPCOREHEADER
        width, height, bits = _little(head[18:20]), _little(head[20:22]), _little(head[24:26])
    elif version in {40, 52, 56, 64, 108, 124}:  # BITMAPINFOHEADER and its extensions
        width, height = (int.from_bytes(head[at : at + 4], "little", signed=True) for at in (18, 22))
        height, bits = abs(height), _little(head[28:30])  # a negative height: the top row is the first
    else:
        _not_taken(f"a BMP with a header of {version} bytes")
    if bits not in {1, 4, 8, 16, 24, 32}:
        _not_taken(f"a BMP with {bits} bits a pixel")
    return width, height


_SIZES = {Kind.PNG: _png_size, Kind.WEBP: _webp_size, Kind.BMP: _bmp_size}


def _little(data: bytes) -> int:
    return int.from_bytes(data, "little")


_SOS, _EOI, _JPEG_LS = 0xDA, 0xD9, 0xF7
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""The markers of a frame header. The other three are DHT, JPG and DAC."""
_MARKER = re.compile(rb"\xff[\x01-\xfe]")
_MARKER_IN_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")


def jpeg_segments(read: ReadAt, at: int = 2) -> Iterator[tuple[int, int, int]]:
    """Yield marker, start and stop of the segments from ``at`` up to the next scan (SOS) or the end (EOI), inclusive.

    Fill bytes and junk in front of a marker are skipped, as decoders do. The walk ends early where the file does.
    """
    for _ in range(_MOST_STEPS):
        head = read(at, 4)
        if len(head) < 2:
            return
        marker = head[1]
        if head[0] != 0xFF or marker in {0x00, 0xFF}:
            junk = read(at, _AHEAD)
            found = _MARKER.search(junk)
            at += found.start() if found else len(junk) - 1  # the last byte may be the first half of a marker
            continue
        stop = at + 2
        if marker != 0x01 and not 0xD0 <= marker <= 0xD9:  # the others have no length
            if len(head) < 4:
                return
            stop += max(2, int.from_bytes(head[2:]))
        yield marker, at, stop
        if marker in {_SOS, _EOI}:
            return
        at = stop


def png_chunks(read: ReadAt, size: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start and stop of the chunks up to IEND, inclusive. The walk ends early where the file does."""
    at = 8
    while at + 12 <= size:
        head = read(at, 8)
        stop = at + 12 + int.from_bytes(head[:4])
        if len(head) < 8 or stop > size:
            return
        yield head[4:], at, stop
        if head[4:] == b"IEND":
            return
        at = stop


def ending(kind: Kind, head: bytes, tail: bytes, size: int) -> Ending:
    """Judge by ``head`` (at least 32 bytes), ``tail`` (the last 64 bytes or fewer) and the file's ``size`` in bytes.

    UNKNOWN means: look closer (:func:`walk_to_end` and a full decode), never: refuse.
    """
    match kind:
        case Kind.PNG:
            return Ending.COMPLETE if tail.endswith(b"\0\0\0\0IEND\xaeB`\x82") else Ending.UNKNOWN
        case Kind.JPEG:
            return Ending.COMPLETE if tail.endswith(b"\xff\xd9") else Ending.UNKNOWN
        case Kind.WEBP:
            announced = _little(head[4:8]) + 8
            if size < announced:
                return Ending.INCOMPLETE
            # A tail of zeros is a file that was given its size first and its bytes later.
            return Ending.COMPLETE if size <= announced + (announced & 1) and tail.strip(b"\0") else Ending.UNKNOWN
        case Kind.BMP:
            announced = _little(head[2:6])
            if announced < 26:  # some writers leave it 0
                return Ending.UNKNOWN
            if size < announced:
                return Ending.INCOMPLETE
            return Ending.COMPLETE if size == announced and tail.strip(b"\0") else Ending.UNKNOWN


def walk_to_end(source: Source, kind: Kind) -> bool:
    """Return whether the picture's end is in the source, by walking its structure from the start.

    Bytes after the picture are allowed. Always True for WebP and BMP, whose end is a number in the head.

    Raises:
        BrokenPicture: a checksum of a PNG is wrong.
    """
    match kind:
        case Kind.PNG:
            return _png_is_whole(source)
        case Kind.JPEG:
            # Read, not mapped: a writer that truncates a mapped file would kill the process (SIGBUS).
            return _jpeg_is_whole(reader(source)(0, size_of(source)))
        case _:
            return True


def _jpeg_is_whole(data: bytes) -> bool:
    at = 2
    while True:
        marker = 0
        for marker, _, stop in jpeg_segments(reader(data), at):  # noqa: B007 - the last one counts
            at = stop
        found = _MARKER_IN_SCAN.search(data, at) if marker == _SOS else None
        if found is None:
            return marker == _EOI
        at = found.start()


def _png_is_whole(source: Source) -> bool:
    """Check the critical chunks' checksums; return whether IEND is there."""
    read, name = reader(source), b""
    for name, start, stop in png_chunks(read, size_of(source)):
        critical = name[0] & 0x20 == 0
        if critical and _checksum(read, start + 4, stop - 4) != int.from_bytes(read(stop - 4, 4)):
            _damaged(f"the checksum of its chunk {name!r} at byte {start} is wrong")
    return name == b"IEND"


def _checksum(read: ReadAt, start: int, stop: int) -> int:
    crc = 0
    for at in range(start, stop, _BLOCK):
        crc = zlib.crc32(read(at, min(_BLOCK, stop - at)), crc)
    return crc


def check_container(source: Source) -> Header:
    """Check signature, header and end, and the checksums of a PNG; decode no pixel.

    Raises:
        NotAPicture: empty, a page of text, or anything else without a known signature.
        BrokenPicture: "cut short", where the end is missing, or "damaged", by its header or a checksum.
    """
    read, size = reader(source), size_of(source)
    header = header_of(read)
    kind, state = header.kind, Ending.UNKNOWN
    if kind is not Kind.PNG:
        state = ending(kind, read(0, HEAD_BYTES), read(max(0, size - TAIL_BYTES), TAIL_BYTES), size)
    if state is Ending.INCOMPLETE or (state is Ending.UNKNOWN and not walk_to_end(source, kind)):
        _cut_short(kind, f"after {size} bytes")
    return header


def check_whole(source: Source) -> Header:
    """Check signature, structure and every pixel; return the picture's format and its size in pixels.

    Only PNG carries checksums. Bytes that were altered in the middle of a lossy WebP or a JPEG still decode, to a
    picture with a fault; against that stand TLS and the Content-Length.

    Raises:
        NotAPicture: empty, a page of text, or anything else without a known signature.
        BrokenPicture: "cut short", where its end is missing, or "damaged", where it has an end but does not decode.
    """
    return decode(source, check_container(source))


_one_big_at_a_time = threading.Lock()


def decode(source: Source, header: Header | None = None, most: int = MAX_SIDE) -> Header:
    """Decode every pixel, as the proof that the picture is whole.

    JPEG is decoded at an eighth of its size: all of its data is read, with a 64th of the memory for pixels. Pictures of
    more than 16 million pixels are decoded one at a time in this process; a progressive JPEG needs 3 bytes a pixel at
    any scale.

    Args:
        source: the picture.
        header: its header, where it was read before.
        most: the longest side in pixels that is decoded: an answer may have more than a photo that is sent.

    Raises:
        NotAPicture: no supported format.
        BrokenPicture: it does not decode, or it is wider or higher than ``most`` px.
    """
    header = header or read_header(source)
    if max(header.width, header.height) > most:
        raise BrokenPicture(f"the picture is {header.width} x {header.height} px", f"The limit is {most} px a side.")
    big = header.width * header.height > BIG_PIXELS
    with _one_big_at_a_time if big else nullcontext():
        try:
            with _stream(source) as stream, _decoder(header.kind)(stream) as picture:
                if picture.size != (header.width, header.height):
                    raise ValueError(f"{header.width} x {header.height} px are announced, {picture.size} found")
                if header.kind is Kind.JPEG:
                    picture.draft(picture.mode, (max(1, header.width // 8), max(1, header.height // 8)))
                picture.load()
        except Exception as error:  # SyntaxError, struct.error, IndexError... Pillow raises whatever the bytes provoke
            raise BrokenPicture(f"the picture is damaged: {error}", "Copy or export the picture again.") from error
    return header


@functools.cache
def _decoder(kind: Kind) -> Callable[[BinaryIO], ImageFile.ImageFile]:
    # Imported when a picture is decoded: commands that only read the queue start faster without Pillow.
    from PIL import BmpImagePlugin, JpegImagePlugin, PngImagePlugin, WebPImagePlugin  # noqa: PLC0415

    # The plugins and not Image.open, which warns about pictures over 89 megapixels by a limit of the whole process.
    decoders: dict[Kind, Callable[[BinaryIO], ImageFile.ImageFile]] = {
        Kind.WEBP: WebPImagePlugin.WebPImageFile,
        Kind.PNG: PngImagePlugin.PngImageFile,
        Kind.JPEG: JpegImagePlugin.JpegImageFile,
        Kind.BMP: BmpImagePlugin.BmpImageFile,
    }
    return decoders[kind]


class _Blocks(io.BufferedReader):
    """A buffer before an unbuffered file, which stays open: Pillow reads single bytes, each one a system call."""

    def __exit__(self, *_: object) -> None:
        self.detach()


def _stream(source: Source) -> AbstractContextManager[BinaryIO]:
    if isinstance(source, bytes):
        return io.BytesIO(source)  # shares the bytes
    source.seek(0)
    return _Blocks(source, _BLOCK) if isinstance(source, io.RawIOBase) else nullcontext(source)
