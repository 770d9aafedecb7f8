"""The upload form, read as a stream: one image, hashed and counted on its way into a temporary file."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Self, cast

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from rembg_watch.sandbox.texts import MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType

_MAX_TEXT = 64 * 1024
_MAX_IN_MEMORY = 8 * 1024 * 1024


@dataclass
class Upload:
    """The image part. ``size`` counts every byte that came; ``file`` holds no more than the API's limit of them."""

    filename: str
    file: BinaryIO
    size: int = 0
    sha256: str = ""
    whole: bool = False

    def head(self) -> bytes:
        self.file.seek(0)
        return self.file.read(32)


@dataclass
class Form:
    """What was sent: the text fields (the first of a name counts) and the image. Close it, or use it in a ``with``."""

    fields: dict[str, str] = field(default_factory=dict)
    image: Upload | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        if self.image is not None:
            self.image.file.close()


class _Reader:
    """Takes the parser's callbacks, part by part."""

    def __init__(self) -> None:
        self.form = Form()
        self.ended = False
        self._header: tuple[bytearray, bytearray] = (bytearray(), bytearray())
        self._disposition = ""
        self._name: str | None = None
        self._text = bytearray()
        self._upload: Upload | None = None
        self._digest = hashlib.sha256()

    def on_part_begin(self) -> None:
        self._disposition, self._name, self._upload = "", None, None
        self._text.clear()

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header[0].extend(data[start:end])

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1].extend(data[start:end])

    def on_header_end(self) -> None:
        name, value = (bytes(part) for part in self._header)
        if name.lower() == b"content-disposition":
            self._disposition = value.decode("latin-1")
        self._header = (bytearray(), bytearray())

    def on_headers_finished(self) -> None:
        options = parse_options_header(self._disposition)[1]
        if b"name" not in options:
            return
        self._name = _text(options[b"name"])
        if self._name == "image" and b"filename" in options and self.form.image is None:
            spool = tempfile.SpooledTemporaryFile(max_size=_MAX_IN_MEMORY)  # noqa: SIM115 -- closed with the form
            self._upload = self.form.image = Upload(_text(options[b"filename"]), cast("BinaryIO", spool))
            self._digest = hashlib.sha256()

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        upload = self._upload
        if upload is None:
            if len(self._text) < _MAX_TEXT:
                self._text.extend(data[start:end])
            return
        part = memoryview(data)[start:end]
        upload.size += len(part)
        self._digest.update(part)
        if upload.size <= MAX_BYTES:
            upload.file.write(part)

    def on_part_end(self) -> None:
        if self._upload is not None:
            self._upload.sha256, self._upload.whole = self._digest.hexdigest(), True
        elif self._name is not None:
            self.form.fields.setdefault(self._name, _text(bytes(self._text)))

    def on_end(self) -> None:
        self.ended = True


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")


async def read_form(content_type: str, stream: AsyncIterator[bytes]) -> Form:
    """Read the whole body. Anything that is no whole multipart form comes out as a form without an image.

    Whatever the stream raises, such as a client that went away, is passed on.
    """
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    reader = _Reader()
    parser: MultipartParser | None = None
    broken = kind != b"multipart/form-data" or not boundary
    try:
        parser = MultipartParser(boundary or b"-", {
            "on_part_begin": reader.on_part_begin,
            "on_header_field": reader.on_header_field,
            "on_header_value": reader.on_header_value,
            "on_header_end": reader.on_header_end,
            "on_headers_finished": reader.on_headers_finished,
            "on_part_data": reader.on_part_data,
            "on_part_end": reader.on_part_end,
            "on_end": reader.on_end,
        })  # fmt: skip
    except FormParserError:
        broken = True
    try:
        async for chunk in stream:
            # A broken form is read to its end all the same: an answer in mid-upload is a reset to most clients.
            if parser is not None and not broken:
                try:
                    parser.write(chunk)
                except FormParserError:
                    broken = True
    except BaseException:
        reader.form.close()
        raise
    if broken or not reader.ended:
        reader.form.close()
        return Form()
    return reader.form
