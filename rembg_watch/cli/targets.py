"""Where ``remove`` puts each result. Pure but for the one question whether OUT is a folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rembg_watch.delivery.naming import numbered, with_suffix
from rembg_watch.imagefile import Kind
from rembg_watch.printable import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

STREAM = "-"
"""The name for stdin and stdout."""

_KINDS = {".webp": Kind.WEBP, ".png": Kind.PNG, ".jpg": Kind.JPEG, ".jpeg": Kind.JPEG, ".bmp": Kind.BMP}


@dataclass(frozen=True)
class Order:
    """One picture to do: its source, and where its result goes; None stands for stdin and stdout."""

    source: Path | None
    target: Path | None


def is_folder(out: str, count: int) -> bool:
    """Say whether OUT names a folder: there is one, it ends with a slash, or several pictures must go there."""
    return count > 1 or out.endswith("/") or os.path.isdir(out)


def kind_of(out: str | None, count: int) -> Kind | None:
    """Give the format that OUT's own ending asks for, or None where it says nothing."""
    if out is None or out == STREAM or is_folder(out, count):
        return None
    return _KINDS.get(Path(out).suffix.lower())


def orders(sources: Sequence[str], out: str | None, extension: str) -> list[Order]:
    """Decide for every source where its result goes: never onto any of the sources, never two to one place.

    Raises:
        click.UsageError: what was typed can't be meant.
    """
    if out == "":
        raise click.UsageError("-o names nothing: it is empty")
    if sources.count(STREAM) > 1 or (out == STREAM and len(sources) > 1):
        raise click.UsageError("one picture at a time goes through '-'")
    if out is not None and len(sources) > 1 and Path(out).suffix.lower() in _KINDS and not is_folder(out, 1):
        raise click.UsageError(f"{printable(out)} is one picture, but there are {len(sources)}: name a folder with -o")
    taken = {_whole(source) for source in sources if source != STREAM}
    found = []
    once: dict[str, str] = {}
    for source in sources:
        once.setdefault(source if source == STREAM else os.path.abspath(source), source)
    for source in once.values():
        path = None if source == STREAM else Path(source)
        if out == STREAM or (out is None and path is None):
            found.append(Order(path, None))
            continue
        if out is not None and not is_folder(out, len(sources)):
            if _whole(out) in taken:
                raise click.UsageError(f"{printable(out)} is a source itself; a source is never overwritten")
            found.append(Order(path, Path(out)))
            continue
        folder = Path(out) if out is not None else Path(source).parent
        target = _free(folder, Path(source).name if path else "stdin", extension, taken)
        taken.add(_whole(target))
        found.append(Order(path, target))
    return found


def _free(folder: Path, name: str, extension: str, taken: set[str]) -> Path:
    stem = Path(name).stem
    ending = f".{extension}"
    for bare in (stem, f"{stem}-cutout"):
        candidate = folder / with_suffix(bare, ending)
        if _whole(candidate) not in taken:
            return candidate
    whole, number = str(folder / with_suffix(name, ending)), 1
    while _whole(numbered(whole, number)) in taken:
        number += 1
    return Path(numbered(whole, number))


def _whole(path: str | Path) -> str:
    return os.path.realpath(path)
