"""The rows of the result table: what was measured, the goals, and whether they are met."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Goal:
    """The value that must be reached, and the one that is aimed for, if any."""

    sign: str
    must: float
    aim: float | None = None

    def text(self, bound: float | None, unit: str) -> str:
        return "" if bound is None else f"{self.sign} {bound:g}{unit}"

    def met(self, value: float, bound: float | None) -> bool:
        return bound is not None and (value >= bound if self.sign == ">=" else value <= bound)


def at_least(must: float, aim: float | None = None) -> Goal:
    return Goal(">=", must, aim)


def at_most(must: float, aim: float | None = None) -> Goal:
    return Goal("<=", must, aim)


@dataclass(frozen=True)
class Row:
    """One line of the table; ``met`` is None where there is no goal, and ``figures`` are for programs."""

    bench: str
    what: str
    measured: str
    must: str = ""
    aim: str = ""
    met: bool | None = None
    aim_met: bool = False
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def cells(self) -> tuple[str, ...]:
        verdict = {True: "met, aim met" if self.aim_met else "met", False: "**not met**", None: ""}[self.met]
        return self.what, self.measured, self.must, self.aim, verdict


def spread(values: list[float], unit: str = "") -> str:
    """Format the median of the values, with the least and the greatest in brackets."""
    text = f"{_digits(middle(values))}{unit}"
    return text if len(values) == 1 else f"{text} ({_digits(min(values))} to {_digits(max(values))})"


def _digits(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def row(
    bench: str,
    what: str,
    values: float | list[float],
    unit: str,
    goal: Goal | None = None,
    note: str = "",
    **figures: Any,
) -> Row:
    """Make a row of the median of ``values``, which is compared with the goal. ``unit`` follows each number."""
    values = values if isinstance(values, list) else [values]
    value, measured = middle(values), spread(values, unit) + note
    figures = {"value": value, "values": values, **figures}
    if goal is None:
        return Row(bench, what, measured, figures=figures)
    return Row(
        *(bench, what, measured, goal.text(goal.must, unit), goal.text(goal.aim, unit)),
        *(goal.met(value, goal.must), goal.met(value, goal.aim), figures),
    )


def markdown(rows: list[Row]) -> str:
    """Format the table as Markdown."""
    cells = [("what", "measured", "must", "aim", ""), *(row.cells for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(5)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def as_json(rows: list[Row]) -> list[dict[str, Any]]:
    """Return the rows as plain values."""
    return [asdict(row) for row in rows]


def percentile(values: list[float], part: float) -> float:
    """Return the value below which ``part`` (0..1) of the others are."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def middle(values: list[float]) -> float:
    """Return the median."""
    return float(median(values))
