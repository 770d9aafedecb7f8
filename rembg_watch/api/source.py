"""What can be given to the client as a photo, and the look at it before anything is sent."""

from __future__ import annotations

import base64
import binascii
import io
import os
import re
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from rembg_watch.errors import PictureError, Refused, SourceError
from rembg_watch.imagefile import HEAD_BYTES, MAX_BYTES, MAX_SIDE, Header, read_header, sniff

if TYPE_CHECKING:
    from collections.abc import Iterator

_DATA_URL = re.compile(r"\s*data:[^,]{0,200},", re.IGNORECASE)


class Base64(str):
    """Text that is a picture in base64, with or without a ``data:`` prefix: never taken for a path."""

    __slots__ = ()


Image = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO
"""A path, the picture's bytes, an open binary file, or base64 text."""


def from_base64(text: str) -> bytes:
    """Decode base64 as leniently as Node does: a ``data:`` prefix, line breaks, the URL alphabet, missing padding.

    Raises:
        Refused: it is no base64.

    """
    if prefix := _DATA_URL.match(text):
        text = text[prefix.end() :]
    bare = "".join(text.split()).translate({ord("-"): "+", ord("_"): "/"}).rstrip("=")
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise Refused(
            "this text is no base64", "Give a path, or the picture's bytes in base64.", code="base64"
        ) from None


def _is_base64_picture(text: str) -> bool:
    try:
        return sniff(from_base64(text[:400])[:HEAD_BYTES]) is not None
    except Refused:
        return False


@contextmanager
def opened(image: Image) -> Iterator[BinaryIO]:
    """Open ``image`` as a binary file that can be read from its start, whatever it was given as.

    A plain ``str`` is, in this order: base64 if it starts with ``data:``; a path if something exists there; base64 if
    it decodes to the beginning of a supported picture; else a path, which then is missing. To leave no doubt, give a
    ``pathlib.Path`` or a :class:`Base64`.

    Raises:
        SourceError: the file can't be read.
        Refused: the text is no base64.

    """
    if isinstance(image, bytes | bytearray | memoryview):
        yield io.BytesIO(image)
    elif isinstance(image, str) and _is_base64(image):
        yield io.BytesIO(from_base64(image))
    elif isinstance(image, str | os.PathLike):
        try:
            file = open(image, "rb", buffering=0)  # noqa: SIM115 - entered below; any path-like
        except (OSError, ValueError) as error:
            raise _unreadable(error) from error
        with file:
            yield file
    elif image.seekable():
        yield image
    else:  # a pipe: its length is asked for before it can be known
        with tempfile.SpooledTemporaryFile(max_size=1024 * 1024) as copy:
            while (block := image.read(256 * 1024)) and copy.tell() <= MAX_BYTES:
                copy.write(block)
            yield copy  # type: ignore[misc]


def _is_base64(text: str) -> bool:
    if isinstance(text, Base64) or _DATA_URL.match(text):
        return True
    try:
        exists = os.path.lexists(text)
    except ValueError:  # a NUL in it
        exists = False
    return not exists and _is_base64_picture(text)


def preflight(file: BinaryIO) -> tuple[int, Header]:
    """Refuse what the API would refuse, and give the size in bytes and the header of what it would not.

    Raises:
        SourceError: the file can't be read.
        Refused: code ``empty``, ``size``, ``type``, ``damaged`` or ``dimensions``.

    """
    try:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        head = file.read(HEAD_BYTES)
    except OSError as error:
        raise _unreadable(error) from error
    if size == 0:
        raise Refused("the photo is empty (0 bytes)", "Copy it again.", code="empty")
    if size > MAX_BYTES:
        raise Refused(f"the photo has {size / 2**20:.1f} MB", "The API's limit is 50 MB: save it smaller.", "size")
    if sniff(head) is None:
        raise Refused("this is no picture that can be sent", "Only webp, bmp, png and jpeg can.", code="type")
    try:
        header = read_header(file)
    except PictureError as error:
        raise Refused(error.message, error.hint, code="damaged") from error
    if max(header.width, header.height) > MAX_SIDE:
        raise Refused(
            f"the photo is {header.width} x {header.height} px",
            f"The API's limit is {MAX_SIDE} px a side: scale it down.",
            code="dimensions",
        )
    file.seek(0)
    return size, header


def _unreadable(error: Exception) -> SourceError:
    reason = getattr(error, "strerror", None) or error
    return SourceError(f"the photo can't be read: {reason}", "Check its path and its permissions.")
