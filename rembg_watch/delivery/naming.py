"""What an output is called. Pure: it reads no folder, it only decides.

Names are text as ``os.fsdecode`` gives it: a byte that is no UTF-8 is kept as a lone surrogate and comes out as the
same byte. The length that counts is that of the bytes, at most 255 on the usual filesystems.
"""

from __future__ import annotations

import os
import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from string import Formatter
from typing import TYPE_CHECKING, NamedTuple

from blake3 import blake3

from rembg_watch.errors import TargetError
from rembg_watch.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FIELDS = ("stem", "name", "ext", "profile", "date", "hash8")
"""What a template may name."""
MAX_BYTES = 255
"""NAME_MAX of ext4, XFS, btrfs, tmpfs and of most that is mounted from elsewhere."""
MAX_LITERAL_BYTES = 100
"""How much fixed text a template may hold, so that there is always room for a part of the source's name."""
_LONGEST_SUFFIX = 16
_MAX_NUMBER = 10_000
_UNWELCOME = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|\ud800-\udfff]')


class Owner(NamedTuple):
    """Whose output a path is: the inbox, and the source's path relative to it."""

    folder: str
    source: str


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _length(text: str) -> int:
    return len(text) if text.isascii() else len(_bytes(text))


def _short_hash(text: str) -> str:
    return blake3(_bytes(text)).hexdigest(length=4)


def _cut(text: str, limit: int) -> str:
    """Give the longest start of ``text`` of at most ``limit`` bytes that splits no character and no accent from it."""
    if _length(text) <= limit:
        return text
    used = end = 0
    for character in text:
        used += _length(character)
        if used > limit:
            break
        end += 1
    while end > 0 and unicodedata.combining(text[end]):
        end -= 1
    return text[:end]


def _split(name: str) -> tuple[str, str]:
    """Split into stem and suffix (with its dot); a suffix too long to be one belongs to the stem."""
    stem, suffix = os.path.splitext(name)
    return (stem, suffix) if _length(suffix) <= _LONGEST_SUFFIX else (name, "")


def shorten(name: str, limit: int = MAX_BYTES) -> str:
    """Fit ``name`` into ``limit`` bytes: cut in the stem, with a hash of the whole name to stay unique."""
    if _length(name) <= limit:
        return name
    stem, suffix = _split(name)
    mark = "~" + _short_hash(name)
    return _cut(stem, limit - len(mark) - _length(suffix)) + mark + suffix


def numbered(path: str, number: int) -> str:
    """Give a variation of a path: ``a/photo.webp`` and 2 make ``a/photo-2.webp``; 1 is the path itself."""
    if number == 1:
        return path
    folder, name = os.path.split(path)
    stem, suffix = _split(name)
    mark = f"-{number}"
    room = MAX_BYTES - len(mark) - _length(suffix)
    if _length(stem) > room:
        stem = shorten(stem, room)
    return os.path.join(folder, stem + mark + suffix)


def with_suffix(name: str, suffix: str) -> str:
    """Put ``suffix`` behind a name, cutting the name where both together would be too long."""
    return shorten(name, MAX_BYTES - _length(suffix)) + suffix


def _parse(text: str) -> list[tuple[str, str | None]]:
    pieces: list[tuple[str, str | None]] = []
    for literal, field, spec, conversion in Formatter().parse(text):
        if spec or conversion:
            raise ValueError(f"{{{field}}} takes no format")
        pieces.append((literal, field))
    return pieces


def validate_template(text: str) -> str | None:
    """Say what is wrong with a name template, or None."""
    try:
        pieces = _parse(text)
    except ValueError as error:
        return f"not a template: {error}"
    known = " ".join(f"{{{field}}}" for field in FIELDS)
    fields = [field for _, field in pieces if field is not None]
    for field in fields:
        if field not in FIELDS:
            return f"unknown field {{{printable(field)}}}; known are {known}"
    literals = "".join(literal for literal, _ in pieces)
    if "/" in literals or "\0" in literals:
        return "a name, not a path: no '/' and no NUL; outputs mirror the inbox's folders by themselves"
    if any("\ud800" <= character <= "\udfff" for character in literals):
        return "text that is not valid Unicode"
    if text.startswith("."):
        return "a leading dot would hide every output"
    if not {"stem", "name", "hash8"}.intersection(fields):
        return "every picture would get the same name; use {stem}, {name} or {hash8}"
    if _length(literals) > MAX_LITERAL_BYTES:
        return f"more than {MAX_LITERAL_BYTES} bytes of fixed text leave no room for the picture's own name"
    return None


@dataclass(frozen=True, slots=True)
class Template:
    """An ``output_name`` that is valid."""

    text: str
    times: int
    """How often the source's own name is part of the output's."""

    @classmethod
    def parse(cls, text: str) -> Template:
        """Parse, or raise ValueError with what :func:`validate_template` says."""
        problem = validate_template(text)
        if problem is not None:
            raise ValueError(problem)
        return cls(text, sum(field in {"stem", "name"} for _, field in _parse(text)))

    def render(self, values: dict[str, str]) -> str:
        """Make the name out of ``values`` (one for each of FIELDS), at most 255 bytes long and never hidden."""
        name = self.text.format_map(values)
        if _length(name) > MAX_BYTES:
            name = shorten(self._shortened(values, name) if self.times else name)
        if not name.isascii():
            # Two halves of a character from two fields may have met: name it as a listing of the folder would.
            name = _bytes(name).decode("utf-8", "surrogateescape")
        return shorten("_" + name) if name.startswith(".") or not name else name

    def _shortened(self, values: dict[str, str], name: str) -> str:
        """What is cut is the source's name, not the date or the profile that the template adds to it."""
        less = -(-(_length(name) - MAX_BYTES) // self.times)
        mark = "~" + _short_hash(name)
        short = dict(values)
        for field in ("stem", "name"):
            stem, suffix = (values[field], "") if field == "stem" else _split(values[field])
            room = _length(values[field]) - less - len(mark) - _length(suffix)
            short[field] = _cut(stem, max(room, 0)) + mark + suffix
        return self.text.format_map(short)


@lru_cache(maxsize=256)
def _template(text: str) -> Template:
    return Template.parse(text)


def split_relpath(relpath: str) -> tuple[str, ...]:
    """Split a relative path into its parts; ValueError for what could lead out of its root."""
    parts = tuple(relpath.split("/"))
    if "\0" in relpath or not {"", ".", ".."}.isdisjoint(parts):
        raise ValueError(f"not a path below a root: {printable(relpath)!r}")
    return parts


def candidates(
    relpath: str, template: Template | str, ext: str, profile: str, date: str, content_hash: str
) -> tuple[str, ...]:
    """Give the output paths for a source, relative to the outbox, in order of preference.

    1. what the template says: ``a/photo.webp``
    2. the same with the source's full name: ``a/photo.png.webp``
    3. the full name and a hash of the source's path: ``a/photo.png-1f0c9a7e.webp``

    Args:
        relpath: the source, relative to its inbox.
        template: the ``output_name``, parsed or not.
        ext: the output's extension without a dot.
        profile: the profile's name; characters that a filesystem may refuse become ``-``.
        date: the UTC date, ``YYYY-MM-DD``.
        content_hash: the source's content hash in hex.

    Raises:
        ValueError: the template is wrong, or ``relpath`` leads out of the inbox.
    """
    if isinstance(template, str):
        template = _template(template)
    name = split_relpath(relpath)[-1]
    folder = relpath.removesuffix(name)
    unique = f"{name}-{_short_hash(relpath)}"
    values = {
        "stem": _split(name)[0] or name,
        "name": name,
        "ext": ext,
        "profile": _UNWELCOME.sub("-", profile),
        "date": date,
        "hash8": content_hash[:8],
    }
    if template.times:
        names = [
            template.render(values),
            template.render({**values, "stem": name}),
            template.render({**values, "stem": unique, "name": unique}),
        ]
    else:
        plain = template.render(values)
        stem, suffix = _split(plain)
        names = [plain, *(shorten(f"{stem}-{extra}{suffix}") for extra in (name, unique))]
    return tuple(dict.fromkeys([folder + each for each in names]))


def choose(
    candidates: Sequence[str],
    owner_of: Callable[[str], Owner | None],
    exists: Callable[[str], bool],
    me: Owner | tuple[str, str],
) -> str:
    """Pick the path for an output: one that is this source's own already, else the first that is free.

    Never one that belongs to another source, and never a file that no row knows: somebody put it there. On an outbox
    that ignores case (SMB, exFAT, a casefolded ext4 folder) ``A.webp`` *exists* when asked for ``a.webp``, though no
    row owns that spelling, so that ``A.jpg`` and ``a.jpg`` never meet. When every candidate is taken, the last one
    is numbered. Between this decision and the placing somebody may still take the name: placing notices
    (``TargetTaken``), and the caller chooses again.

    Args:
        candidates: from :func:`candidates`, or any other list in order of preference.
        owner_of: whose output a path is, by the job table.
        exists: whether anything at all (a file, a folder, a dangling link) has that path in the outbox.
        me: the inbox and the source's path relative to it.
    """
    owners = [owner_of(path) for path in candidates]
    if me in owners:
        return candidates[owners.index(me)]
    for path, owner in zip(candidates, owners, strict=True):
        if owner is None and not exists(path):
            return path
    for number in range(2, _MAX_NUMBER):
        path = numbered(candidates[-1], number)
        owner = owner_of(path)
        if owner == me or (owner is None and not exists(path)):
            return path
    raise TargetError(
        f"no free name is left beside {printable(candidates[-1])}",
        "Clear up the outbox; thousands of files there have this name.",
    )
