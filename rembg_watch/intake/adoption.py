"""Outputs that are in their place already, though no row knows them: after a lost job table nothing is paid twice.

Rather pay again than miss a file: an output is adopted only if it can be nobody else's. It must be newer than its
source, have the format and the size that the options make of it, and where two sources could have made it (``shoe.jpg``
and ``shoe.png``), it must carry the full name of the one that claims it.
"""

from __future__ import annotations

import os
import stat
import threading
from functools import lru_cache
from typing import TYPE_CHECKING

from rembg_watch import imagefile
from rembg_watch.api.options import Fit
from rembg_watch.delivery import candidates
from rembg_watch.delivery.files import open_source
from rembg_watch.errors import FileError, PictureError

if TYPE_CHECKING:
    from rembg_watch.api.options import Options
    from rembg_watch.config.model import Folder
    from rembg_watch.jobs.outputs import Outputs

_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
_REMEMBERED = 10_000


class Adoption:
    """Finds the output of a source that no row knows. Safe for threads."""

    def __init__(self, outputs: Outputs) -> None:
        self._outputs = outputs
        self._lock = threading.Lock()
        self._given: dict[str, tuple[str, str]] = {}

    def __call__(self, folder: Folder, relpath: str, mtime_ns: int) -> str | None:
        """Give the absolute path of the output that belongs to this source, changed at ``mtime_ns``, or None."""
        profile = folder.profile_for(relpath)
        if "{date}" in folder.output_name or "{hash8}" in folder.output_name:
            return None  # the name does not follow from the source's
        names = candidates(relpath, folder.output_name, profile.options.extension, profile.name, "", "")
        for name in reversed(names):  # the most particular one first
            path = os.path.join(folder.outbox, name)
            if not _is_newer(path, mtime_ns) or not self._is_free(path, folder, relpath):
                continue
            if name == names[0] and self._could_be_anothers(folder, relpath, profile.name):
                continue
            if _is_result(path, os.path.join(folder.inbox, relpath), profile.options):
                with self._lock:
                    if len(self._given) > _REMEMBERED:
                        self._given.clear()
                    self._given[path] = (str(folder.inbox), relpath)
                return path
        return None

    def _is_free(self, path: str, folder: Folder, relpath: str) -> bool:
        with self._lock:
            given = self._given.get(path)
        return given in (None, (str(folder.inbox), relpath)) and not self._outputs.at([path])

    def _could_be_anothers(self, folder: Folder, relpath: str, profile: str) -> bool:
        base = os.path.splitext(relpath)[0]
        for ending in _endings(folder.include):
            other = base + ending
            if other == relpath or not os.path.lexists(os.path.join(folder.inbox, other)) or not folder.accepts(other):
                continue
            extension = folder.profile_for(other).options.extension
            own_name = candidates(other, folder.output_name, extension, profile, "", "")[-2:]
            named = any(os.path.lexists(os.path.join(folder.outbox, name)) for name in own_name)
            if not named and not self._outputs.of(str(folder.inbox), other):
                return True
        return False


@lru_cache(maxsize=64)
def _endings(include: tuple[str, ...]) -> tuple[str, ...]:
    """Give the endings that photos may have, in their usual spellings: of the API's formats, and what is included."""
    low = dict.fromkeys((*_ENDINGS, *(os.path.splitext(pattern)[1].lower() for pattern in include)))
    return tuple(spelt for end in low for spelt in (end, end.upper(), f".{end[1:].capitalize()}") if end)


def _is_newer(path: str, mtime_ns: int) -> bool:
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_mtime_ns > mtime_ns


def _is_result(path: str, source: str, options: Options) -> bool:
    """Compare the two headers: a thumbnail or another program's picture is no result of ours."""
    try:
        header, of_source = _header(path), _header(source)
    except (FileError, PictureError):
        return False
    fits = options.fit((of_source.width, of_source.height), (header.width, header.height)) is Fit.RIGHT
    return fits and header.kind is options.format


def _header(path: str) -> imagefile.Header:
    file, _ = open_source(path)
    with file:
        return imagefile.read_header(file)
