"""Identify a picture by its content, whatever metadata is written into its file.

The picture hash is the blake3 hash of the file as it would be without the metadata that changes no pixel:

- JPEG: without APP1 with Exif or XMP, APP13 (IPTC) and COM, up to the first scan;
- PNG: without tEXt, zTXt, iTXt, tIME and eXIf;
- WebP: without the EXIF and XMP chunks, their flags, and their share of the RIFF size.

The orientation stays part of the hash, because the service may turn the picture by it: that of Exif or, where Exif has
none, that of XMP. Color profiles and everything after the picture's end stay as well. Metadata that is not understood
stays in the hash, and a file whose structure is not understood is hashed whole: a picture may then be paid again, but
never gets the result of another one.

Sources: as in ``imagefile``; Exif 2.32 section 4.6 (TIFF header, IFD0), XMP specification part 3 (where packets are).
"""

from __future__ import annotations

import re
import struct
import zlib
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from blake3 import blake3

from rembg_watch.imagefile import Kind, Source, jpeg_segments, png_chunks, reader, size_of, sniff

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO

    from rembg_watch.imagefile import ReadAt

RULE = "p1"
"""The version of the rule. Each picture hash begins with it, so hashes by two rules are never equal."""
_BLOCK = 1024 * 1024
_MOST_CHUNKS = 20_000
"""A PNG of 50 MB in chunks of 4 KiB has 12,800."""
_MOST_METADATA = 1024 * 1024
"""Larger Exif and XMP blocks are not read; they stay in the hash."""


class _Edit(NamedTuple):
    """Replace the bytes from ``start`` to ``stop`` by ``text`` before hashing."""

    start: int
    stop: int
    text: bytes = b""


class _Block(NamedTuple):
    """A block of Exif or XMP: its place in the file, and its content, or None if that can't be read."""

    start: int
    stop: int
    content: bytes | None


class _Metadata(NamedTuple):
    """The metadata of a picture: what is left out in any case, and the blocks that may hold an orientation."""

    plain: list[_Edit]
    exif: list[_Block]
    xmp: list[_Block]


def hash_photo(photo: Source, read: ReadAt | None = None) -> tuple[str, int]:
    """Return the picture hash (:data:`RULE` and 64 hex digits), and the size in bytes; a file is read in blocks.

    ``read`` is a function that reads the photo, where there is one already.

    A plain WebP gets another picture hash if an editor extends it (VP8X) to add its first metadata.

    Raises:
        OSError: the file can't be read.
    """
    size = size_of(photo)
    edits, orientation = _differences(read or reader(photo), size)
    if isinstance(photo, bytes):
        return _hash((photo,), edits, orientation)
    photo.seek(0)
    return _hash(_blocks(photo, size), edits, orientation)


def _blocks(file: BinaryIO, size: int) -> Iterator[memoryview]:
    buffer = memoryview(bytearray(min(_BLOCK, max(1, size))))
    while count := file.readinto(buffer):  # type: ignore[attr-defined]  # every raw and buffered file has it
        yield buffer[:count]


def _hash(blocks: Iterable[bytes | memoryview], edits: list[_Edit], orientation: int) -> tuple[str, int]:
    picture, todo = blake3(), deque(edits)
    size = done = 0  # bytes read so far, and the offset up to which the hash has them
    for block in blocks:
        view, end = memoryview(block), size + len(block)
        while todo and todo[0].start < end:
            edit = todo.popleft()
            picture.update(view[done - size : edit.start - size])
            picture.update(edit.text)
            done = edit.stop
        picture.update(view[done - size :])
        size, done = end, max(done, end)
    digest = picture.digest()
    if orientation != 1:
        digest = blake3(digest + bytes([orientation]), derive_key_context="rembg-watch p1 orientation").digest()
    return RULE + digest.hex(), size


def _differences(read: ReadAt, size: int) -> tuple[list[_Edit], int]:
    """Return what to replace before hashing, in order, and the orientation (1: as stored)."""
    kind = sniff(read(0, 12))
    match kind:
        case Kind.JPEG:
            metadata = _jpeg_metadata(read)
        case Kind.PNG:
            metadata = _png_metadata(read, size)
        case Kind.WEBP:
            metadata = _webp_metadata(read, size)
        case _:
            metadata = None
    if metadata is None:
        return [], 1
    orientation = 1
    edits = metadata.plain
    # Exif comes last: if both have an orientation, decoders turn by that of Exif.
    for blocks, orientation_of in ((metadata.xmp, _xmp_orientation), (metadata.exif, _exif_orientation)):
        if len(blocks) == 1 and blocks[0].content is not None:
            found = orientation_of(blocks[0].content)
            if found is not None:
                edits.append(_Edit(blocks[0].start, blocks[0].stop))
                orientation = found or orientation
    if kind is Kind.WEBP and edits:
        edits += _webp_head(read, edits)
    return sorted(edits), orientation


def _content(read: ReadAt, start: int, stop: int) -> bytes | None:
    return read(start, stop - start) if stop - start <= _MOST_METADATA else None


_SOS, _APP1, _APP13, _COM = 0xDA, 0xE1, 0xED, 0xFE
_EXIF = b"Exif\0\0"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_MORE_XMP = b"http://ns.adobe.com/xmp/extension/\0"


def _jpeg_metadata(read: ReadAt) -> _Metadata | None:
    found, at = _Metadata([], [], []), 2
    for marker, start, stop in jpeg_segments(read):
        if start != at:  # fill bytes or junk
            return None
        if marker == _SOS:
            return found
        if marker in {_APP13, _COM}:
            found.plain.append(_Edit(start, stop))
        elif marker == _APP1:
            name = read(start + 4, min(len(_MORE_XMP), stop - start - 4))
            if name.startswith(_EXIF):
                found.exif.append(_Block(start, stop, _content(read, start + 4, stop)))
            elif name.startswith(_XMP):
                found.xmp.append(_Block(start, stop, _content(read, start + 4 + len(_XMP), stop)))
            elif name == _MORE_XMP:
                found.plain.append(_Edit(start, stop))
        at = stop
    return None


def _png_metadata(read: ReadAt, size: int) -> _Metadata | None:
    found = _Metadata([], [], [])
    for name, start, stop in islice(png_chunks(read, size), _MOST_CHUNKS):
        if name == b"IEND":
            return found
        if name == b"tIME":
            found.plain.append(_Edit(start, stop))
        elif name == b"eXIf":
            content = _content(read, start + 8, stop - 4)
            if content is not None and zlib.crc32(content, zlib.crc32(name)) != int.from_bytes(read(stop - 4, 4)):
                content = None  # decoders skip the chunk
            found.exif.append(_Block(start, stop, content))
        elif name in {b"tEXt", b"zTXt", b"iTXt"}:
            keyword = read(start + 8, min(80, stop - start - 12)).partition(b"\0")[0]
            if keyword == b"XML:com.adobe.xmp":
                text = _content(read, start + 8, stop - 4)
                found.xmp.append(_Block(start, stop, text and _png_xmp(name, text)))
            elif not keyword.startswith(b"Raw profile type "):  # ImageMagick's Exif or color profile
                found.plain.append(_Edit(start, stop))
    return None


def _png_xmp(name: bytes, content: bytes) -> bytes | None:
    """Return the XMP packet in a text chunk, or None if it is compressed."""
    _, _, text = content.partition(b"\0")
    if name == b"tEXt":
        return text
    if name == b"zTXt" or text[:1] != b"\0":
        return None
    return text[2:].split(b"\0", 2)[-1]  # after the language and the translated keyword


_EXIF_FLAG, _XMP_FLAG = 0x08, 0x04


def _webp_metadata(read: ReadAt, size: int) -> _Metadata | None:
    found, at = _Metadata([], [], []), 12
    announced = _little(read(4, 4)) + 8
    if read(12, 8) != b"VP8X\x0a\0\0\0" or announced > size:
        return None
    for name, start, stop in islice(_webp_chunks(read, announced), _MOST_CHUNKS):
        if name == b"EXIF":
            found.exif.append(_Block(start, stop, _content(read, start + 8, stop)))
        elif name == b"XMP ":
            found.xmp.append(_Block(start, stop, _content(read, start + 8, stop)))
        at = stop
    flags = (_EXIF_FLAG if found.exif else 0) | (_XMP_FLAG if found.xmp else 0)
    consistent = at == announced and read(20, 1)[0] & (_EXIF_FLAG | _XMP_FLAG) == flags
    return found if consistent else None


def _webp_chunks(read: ReadAt, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start and stop (with the padding) of each chunk. The walk ends early where a chunk is cut off."""
    at = 12
    while at + 8 <= end:
        head = read(at, 8)
        stop = at + 8 + _little(head[4:])
        stop += stop & 1
        if len(head) < 8 or stop > end:
            return
        yield head[:4], at, stop
        at = stop


def _webp_head(read: ReadAt, cuts: list[_Edit]) -> list[_Edit]:
    """Return the RIFF size and the flags that the file would have without ``cuts``."""
    size, flags = _little(read(4, 4)), read(20, 1)[0]
    for start, stop, _ in cuts:
        size -= stop - start
        flags &= ~(_EXIF_FLAG if read(start, 4) == b"EXIF" else _XMP_FLAG)
    return [_Edit(4, 8, size.to_bytes(4, "little")), _Edit(20, 21, bytes([flags]))]


def _little(data: bytes) -> int:
    return int.from_bytes(data, "little")


_FIELD_BYTES = dict(enumerate((1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4), start=1))
"""Bytes of one value by the type of a TIFF field."""
_ORIENTATION, _SHORT = 0x0112, 3


def _exif_orientation(content: bytes) -> int | None:
    """Return the orientation in IFD0 (1 to 8), 0 if there is none, or None if the block is not understood.

    All fields must be in order: decoders give up at different ones.
    """
    tiff = content.removeprefix(_EXIF)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None or len(tiff) < 10:
        return None
    (at,) = struct.unpack_from(order + "I", tiff, 4)
    count = int.from_bytes(tiff[at : at + 2], "little" if order == "<" else "big")
    table = tiff[at + 2 : at + 2 + 12 * count]
    if at < 8 or len(tiff) < at + 2 or len(table) < 12 * count:
        return None
    orientation = 0
    for tag, kind, values, place in struct.iter_unpack(order + "HHII", table):
        size = _FIELD_BYTES.get(kind, 0) * values
        if size == 0 or (size > 4 and place + size > len(tiff)):
            return None
        if tag == _ORIENTATION:
            value = place & 0xFFFF if order == "<" else place >> 16
            if orientation or (kind, values) != (_SHORT, 1) or not 1 <= value <= 8:
                return None
            orientation = value
    return orientation


def _xmp_orientation(content: bytes) -> int | None:
    """Return the orientation in an XMP packet (1 to 8), 0 if there is none, or None if it is not understood."""
    text = content.rstrip(b"\0")
    if b"\0" in text:  # UTF-16, or no text
        return None
    if b":Orientation" not in text:
        return 0
    found = set(re.findall(rb"tiff:Orientation(?:=[\"']|>)([1-8])[\"'<]", text))
    return int(found.pop()) if len(found) == 1 else None
