"""How things look: pages of lines and grids, for terminals with rich, for everything else as plain aligned text.

Whatever comes from a file name, the database or the API goes through :func:`name` or :func:`text` before it is
shown: nothing of it can drive a terminal or forge a line, and markup in it stays text.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from rembg_watch.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Group

STYLES = {"": "", "title": "bold", "held": "bold white on red", "bad": "red", "warn": "yellow", "good": "green"}
"""What a line can be, and how rich shows it."""
LEAST = 8
"""Cells that a column of text has at least: with less, words stand there letter below letter."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line; ``style`` is a key of ``STYLES``."""

    text: str = ""
    style: str = ""


@dataclass(frozen=True, slots=True)
class Grid:
    """A table. Columns whose title begins with ``>`` are aligned to the right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


Block = Line | Grid


def name(path: str) -> str:
    """Give a file name or path as it may be shown."""
    return printable(path)


def text(message: str | None) -> str:
    """Give a message as it may be shown: on one line, and without anything that drives a terminal."""
    if not message:
        return ""
    return "".join(c if c.isprintable() else " " if c in "\n\t" else printable(c) for c in message)


def count(number: int, noun: str) -> str:
    """Give ``1 job`` or ``2 jobs``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def duration(seconds: float) -> str:
    """Give a time span in its two leading digits' worth: ``7 s``, ``12 min``, ``3 h``, ``5 days``."""
    seconds = max(0.0, seconds)
    for unit, size, until in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172_800)):
        if seconds < until:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86400:.0f} days"


def ago(at: float | None, now: float) -> str:
    """Give how long ago something was."""
    return "-" if at is None else f"{duration(now - at)} ago"


def moment(at: float | None) -> str:
    """Give a time of day in local time; one that no calendar has, as Unix seconds."""
    if at is None:
        return "-"
    try:
        return datetime.fromtimestamp(at, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return f"{at:.0f}"


def size(count: int | None) -> str:
    """Give a number of bytes: ``812 B``, ``3.4 MB``."""
    if count is None:
        return "-"
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError


def emit(value: object, *, compact: bool = False) -> None:
    """Print JSON in ASCII; bytes of a name that are no UTF-8 stand as lone surrogates, DC80 to DCFF."""
    click.echo(json.dumps(value, separators=(",", ":")) if compact else json.dumps(value, indent=2))
    sys.stdout.flush()


def show(page: Iterable[Block]) -> None:
    """Print a page on stdout, in the way that suits it."""
    page = list(page)
    if sys.stdout.isatty():
        from rich.console import Console  # noqa: PLC0415 - as long as nothing is drawn, it costs a third of a command

        console = Console(highlight=False)
        console.print(rendered(page, console.width))
    else:
        encoding = sys.stdout.encoding or "utf-8"
        click.echo(plain(page).encode(encoding, "backslashreplace").decode(encoding))


def plain(page: Iterable[Block]) -> str:
    """Give a page as aligned text."""
    lines: list[str] = []
    for block in page:
        lines += [block.text] if isinstance(block, Line) else _aligned(block)
    return "\n".join(lines)


def rendered(page: Iterable[Block], width: int) -> Group:
    """Give a page for rich, and a terminal of so many cells: a table that has no room there becomes a list."""
    from rich.console import Group  # noqa: PLC0415 - as above
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    parts: list[Any] = []
    for block in page:
        if isinstance(block, Line):
            parts.append(Text(block.text, style=STYLES[block.style]))
            continue
        if _least(block) > width:
            parts += map(Text, _listed(block))
            continue
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        for column in block.columns:
            right = column.startswith(">")
            table.add_column(column.lstrip(">"), justify="right" if right else "left", no_wrap=right, overflow="fold")
        for row in block.rows:
            table.add_row(*map(Text, row))
        parts.append(table)
    return Group(*parts)


def _titles(grid: Grid) -> list[str]:
    return [column.lstrip(">") for column in grid.columns]


def _widths(grid: Grid) -> list[int]:
    rows = [_titles(grid), *grid.rows]
    return [max(_cells(row[i]) for row in rows) for i in range(len(grid.columns))]


def _least(grid: Grid) -> int:
    columns = zip(grid.columns, _widths(grid), strict=True)
    least = (width if column.startswith(">") else min(width, LEAST) for column, width in columns)
    return sum(least) + 2 * (len(grid.columns) - 1)


def _listed(grid: Grid) -> list[str]:
    lines: list[str] = []
    titles = _titles(grid)
    widest = max(map(_cells, titles))
    for row in grid.rows:
        lines += [""] if lines else []
        lines += [f"{title:<{widest}}  {cell}" for title, cell in zip(titles, row, strict=True) if cell]
    return lines


def _aligned(grid: Grid) -> list[str]:
    widths = _widths(grid)
    lines = []
    for row in ([title.upper() for title in _titles(grid)], *grid.rows):
        cells = []
        for cell, column, width in zip(row, grid.columns, widths, strict=True):
            gap = " " * (width - _cells(cell))
            cells.append(gap + cell if column.startswith(">") else cell + gap)
        lines.append("  ".join(cells).rstrip())
    return lines


def _cells(value: str) -> int:
    """How many columns a text takes: wide East Asian characters two, combining ones none."""
    if value.isascii():
        return len(value)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in value)
