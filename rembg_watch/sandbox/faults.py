"""What can go wrong on purpose: the kinds, which of them cost a credit, and when each comes."""

from __future__ import annotations

import difflib
import random
from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Stage(StrEnum):
    """How far a request gets before the fault."""

    EARLY = "early"
    """Its body is never read."""
    INSTEAD = "instead"
    """Its body is read, and nothing else is done with it."""
    ANSWER = "answer"
    """The image is worked on; what goes wrong is the answer."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault. ``status`` is what the client sees, 0 where there is no answer."""

    kind: str
    stage: Stage
    status: int
    charges: bool
    meaning: str


def _table(*faults: Fault) -> dict[str, Fault]:
    return {fault.kind: fault for fault in faults}


_EARLY, _INSTEAD, _ANSWER = Stage.EARLY, Stage.INSTEAD, Stage.ANSWER

FAULTS = _table(
    Fault("500", _INSTEAD, 500, False, "server error"),
    Fault("500-charged", _ANSWER, 500, True, "server error, after the credit is gone"),
    Fault("502-html", _INSTEAD, 502, False, "a proxy's page"),
    Fault("503", _INSTEAD, 503, False, "unavailable"),
    Fault("504", _INSTEAD, 504, False, "a proxy's time-out page"),
    Fault("504-charged", _ANSWER, 504, True, "a proxy's time-out page, after the credit is gone"),
    Fault("429", _INSTEAD, 429, False, "too fast"),
    Fault("429-monthly", _INSTEAD, 429, False, "the monthly limit, whatever the balance"),
    Fault("429-daily", _INSTEAD, 429, False, "the daily limit"),
    Fault("402", _INSTEAD, 402, False, "payment required"),
    Fault("408", _INSTEAD, 408, False, "request time-out"),
    Fault("413", _INSTEAD, 413, False, "a proxy's too-large page"),
    Fault("413-early", _EARLY, 413, False, "the same before the body is read; then it hangs up"),
    Fault("401", _INSTEAD, 401, False, "bad key"),
    Fault("403", _INSTEAD, 403, False, "e-mail not verified"),
    Fault("html", _INSTEAD, 200, False, "a web page with 200"),
    Fault("json200", _INSTEAD, 200, False, "an error in JSON with 200"),
    Fault("redirect", _INSTEAD, 307, False, "to another address"),
    Fault("reset-before", _EARLY, 0, False, "connection reset before the body is read"),
    Fault("reset-after", _ANSWER, 0, True, "connection reset instead of the answer"),
    Fault("stall", _INSTEAD, 0, False, "no answer until the client goes away"),
    Fault("stall-charged", _ANSWER, 0, True, "the same, after the credit is gone"),
    Fault("truncate", _ANSWER, 200, True, "right Content-Length, hangs up in mid-body"),
    Fault("short", _ANSWER, 200, True, "a whole answer that holds half a picture"),
    Fault("garbage", _ANSWER, 200, True, "random bytes"),
    Fault("empty", _ANSWER, 200, True, "no body"),
    Fault("stall-body", _ANSWER, 200, True, "half the body, then nothing more"),
    Fault("slow", _ANSWER, 200, True, "a good picture, in drips"),
    Fault("endless", _ANSWER, 200, True, "a picture, and then bytes without end"),
    Fault("wrong-length", _ANSWER, 200, True, "Content-Length says half of what is sent"),
    Fault("gzip-bomb", _ANSWER, 200, True, "1 MB that unpacks to 1 GB"),
    Fault("wrong-format", _ANSWER, 200, True, "another format than asked for"),
    Fault("wrong-size", _ANSWER, 200, True, "half as large as asked for"),
    Fault("shrunk", _ANSWER, 200, False, "shrunk to 460 px, as for accounts without credits"),
)
"""The faults of ``POST /rmbg``."""

USAGE_FAULTS = _table(
    *(FAULTS[kind] for kind in ("500", "502-html", "503", "504", "429", "401", "403", "html", "redirect", "stall")),
    Fault("reset", _INSTEAD, 0, False, "connection reset instead of the answer"),
    Fault("unsynced", _ANSWER, 200, False, "the billing block fell back to the calendar month"),
    Fault("nonsense", _ANSWER, 200, False, "JSON with words for numbers"),
    Fault("list", _ANSWER, 200, False, "JSON, but a list"),
    Fault("truncate", _ANSWER, 200, False, "hangs up in mid-body"),
    Fault("short", _ANSWER, 200, False, "half the JSON"),
    Fault("garbage", _ANSWER, 200, False, "random bytes"),
    Fault("empty", _ANSWER, 200, False, "no body"),
    Fault("stall-body", _ANSWER, 200, False, "half the body, then nothing more"),
    Fault("slow", _ANSWER, 200, False, "a good answer, in drips"),
    Fault("endless", _ANSWER, 200, False, "bytes without end"),
    Fault("gzip-bomb", _ANSWER, 200, False, "1 MB that unpacks to 1 GB"),
)
"""The faults of the usage call."""


class UnknownFault(ValueError):
    """No such kind. The message lists all and says which one was probably meant."""

    def __init__(self, kind: str, table: Mapping[str, Fault]) -> None:
        close = difflib.get_close_matches(kind, table, 1)
        meant = f" (did you mean '{close[0]}'?)" if close else ""
        super().__init__(f"no fault is called '{kind}'{meant}; there are: {', '.join(table)}")
        self.kind = kind


class FaultPlan:
    """Forced faults first, in their order; then by their odds. The same ``seed`` gives the same faults."""

    def __init__(self, table: Mapping[str, Fault], odds: Mapping[str, float], seed: int | None) -> None:
        self._table = table
        self._forced: deque[Fault] = deque()
        self._odds: dict[str, float] = {}
        self._random = random.Random(seed)  # noqa: S311 -- dice, not secrets
        self.set_odds(odds)

    def find(self, kind: str) -> Fault:
        if kind not in self._table:
            raise UnknownFault(kind, self._table)
        return self._table[kind]

    @property
    def odds(self) -> dict[str, float]:
        return dict(self._odds)

    @property
    def forced(self) -> list[str]:
        return [fault.kind for fault in self._forced]

    def check(self, odds: Mapping[str, float]) -> None:
        """Raises UnknownFault or ValueError unless each of the odds is 0..1 and all together are at most 1."""
        for kind, chance in odds.items():
            self.find(kind)
            if not 0 <= chance <= 1:
                raise ValueError(f"the odds of '{kind}' are {chance:g}; they must be 0..1")
        if sum(odds.values()) > 1 + 1e-9:
            raise ValueError(f"the odds add up to {sum(odds.values()):g}; together they must be at most 1")

    def set_odds(self, odds: Mapping[str, float]) -> None:
        """Replace the odds; if they are wrong, raise what :meth:`check` raises and keep the old ones."""
        self.check(odds)
        self._odds = dict(odds)

    def force(self, *kinds: str) -> None:
        """Let the next requests have these faults, one each."""
        self._forced.extend([self.find(kind) for kind in kinds])

    def give_back(self, fault: Fault) -> None:
        """Put a forced fault back that could not happen, as its request was refused."""
        self._forced.appendleft(fault)

    def clear(self) -> None:
        self._forced.clear()
        self._odds.clear()

    def draw(self) -> tuple[Fault | None, bool]:
        """Give the fault of the next request, and whether it was forced."""
        if self._forced:
            return self._forced.popleft(), True
        dice = self._random.random()
        for kind, chance in self._odds.items():
            dice -= chance
            if dice < 0:
                return self._table[kind], False
        return None, False
