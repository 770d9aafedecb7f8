"""The result of one removal, and where it is put: a temporary file, a file of yours, an open file, or base64."""

from __future__ import annotations

import base64
import errno
import os
import secrets
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self

from rembg_watch.errors import TargetError

if TYPE_CHECKING:
    from rembg_watch.imagefile import Kind


@dataclass(frozen=True, slots=True)
class Removal:
    """A cut-out that was verified: it decodes, in the format and size that were asked for.

    ``width`` and ``height`` are pixels, ``size`` is bytes, ``seconds`` is how long the API call took. ``path`` is where
    the file is (None where it went into an open file or into ``base64``).

    Used in a ``with``, a temporary file is removed at its end; else it stays until :meth:`cleanup`. A file of your own
    is never removed.
    """

    kind: Kind
    width: int
    height: int
    size: int
    seconds: float
    path: Path | None = None
    base64: str | None = None
    """A ``data:`` URL of the picture, where it was asked for."""
    is_temporary: bool = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cleanup()

    @property
    def bytes(self) -> bytes:
        """The picture's bytes, read anew at each use. Raises ValueError where they went into your open file."""
        if self.base64 is not None:
            return base64.b64decode(self.base64.partition(",")[2])
        if self.path is None:
            raise ValueError("the picture was written into the open file that was given")
        return self.path.read_bytes()

    def cleanup(self) -> None:
        """Remove the temporary file; does nothing for any other result, or when called again."""
        if self.is_temporary and self.path is not None:
            self.path.unlink(missing_ok=True)


class Landing:
    """The file that an answer is received in before it counts.

    It is opened before the request is made, so that a target that can't be written costs nothing.
    """

    def __init__(self, target: Path | None, extension: str) -> None:
        self._target = target
        try:
            if target is None:
                number, name = tempfile.mkstemp(prefix="rembg-", suffix=f".{extension}")
                self.path = Path(name)
            else:
                if target.is_dir():
                    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
                self.path = target.parent / f".rembg-{secrets.token_hex(8)}.part"
                number = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise target_error(error) from error
        self.file: BinaryIO = os.fdopen(number, "w+b")

    def write(self, data: bytes) -> None:
        """Take a block of the answer. Raises TargetError."""
        try:
            self.file.write(data)
        except OSError as error:
            raise target_error(error) from error

    def keep(self) -> Path:
        """Make the file what it shall be, durably and in one step."""
        try:
            self.file.flush()
            if self._target is None:
                self.file.close()
                return self.path
            os.fsync(self.file.fileno())
            self.file.close()
            self.path.replace(self._target)
            _sync_folder(self._target.parent)
        except OSError as error:
            raise target_error(error) from error
        return self._target

    def copy_into(self, out: BinaryIO) -> None:
        """Copy the picture into an open file of the caller's; what that raises is raised."""
        self.file.seek(0)
        shutil.copyfileobj(self.file, out, 256 * 1024)

    def drop(self) -> None:
        """Remove what was not kept."""
        with suppress(OSError):
            self.file.close()
        self.path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(number)
    finally:
        os.close(number)


_CODES = {
    errno.ENOSPC: "full",
    errno.EDQUOT: "full",
    errno.EROFS: "readonly",
    errno.ENOENT: "missing",
    errno.EACCES: "denied",
    errno.EPERM: "denied",
}


def target_error(error: OSError) -> TargetError:
    """Turn what the file system said into the error of our tree."""
    code = _CODES.get(error.errno or 0, "other")
    reason = error.strerror or str(error)
    return TargetError(f"the result can't be written: {reason}", "Check the folder, its space and permissions.", code)
