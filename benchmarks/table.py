"""The rows of the result: what was measured, what the goal is, and whether it is met."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Row:
    """One line of the table. ``met`` is None where there is no goal; ``figures`` are for programs."""

    bench: str
    what: str
    measured: str
    goal: str = ""
    met: bool | None = None
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        return {True: "met", False: "**not met**", None: ""}[self.met]


def at_least(bench: str, what: str, value: float, goal: float, unit: str, note: str = "", **figures: Any) -> Row:
    """Make a row whose goal is a lower bound. ``unit`` stands right behind both numbers."""
    text = f"{value:.3g}{unit}{note}"
    return Row(bench, what, text, f">= {goal:g}{unit}", value >= goal, {"value": value, **figures})


def at_most(bench: str, what: str, value: float, goal: float, unit: str, note: str = "", **figures: Any) -> Row:
    """Make a row whose goal is an upper bound. ``unit`` stands right behind both numbers."""
    text = f"{value:.3g}{unit}{note}"
    return Row(bench, what, text, f"<= {goal:g}{unit}", value <= goal, {"value": value, **figures})


def markdown(rows: list[Row]) -> str:
    """Draw the table."""
    cells = [("what", "measured", "goal", ""), *((row.what, row.measured, row.goal, row.verdict) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(4)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def as_json(rows: list[Row]) -> list[dict[str, Any]]:
    """Give the rows as plain values."""
    return [asdict(row) for row in rows]


def percentile(values: list[float], part: float) -> float:
    """Give the value below which ``part`` (0..1) of the others lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def middle(values: list[float]) -> float:
    """Give the median."""
    return float(median(values))
