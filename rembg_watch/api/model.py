"""The words in which the outcome of a request is told."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from rembg_watch.errors import Charge as Charge  # noqa: PLC0414, TC001 - part of a verdict

if TYPE_CHECKING:
    from rembg_watch.api.error_body import FieldError


class About(StrEnum):
    """What an error concerns, and so how far the reaction reaches."""

    IMAGE = "image"
    """This one picture: its job fails."""
    PROFILE = "profile"
    """The options: every job of the profile would be refused."""
    ACCOUNT = "account"
    """The key or the account: everything would be refused."""
    CREDITS = "credits"
    """No credits, or the plan's day or month is used up: everything waits."""
    PACE = "pace"
    """Too fast: slow down; nobody's fault."""
    SERVICE = "service"
    """The service or the way to it: try again later."""
    UNKNOWN = "unknown"
    """Nothing that is known: never worth paying for again and again."""


class Stage(StrEnum):
    """How far the request was when it ended."""

    CONNECTING = "connecting"
    SENDING = "sending"
    """Connected; the body was not handed over whole. An answer may have come all the same (401, 413)."""
    WAITING = "waiting"
    """The body's last byte was handed over; no byte of the answer has come."""
    RECEIVING = "receiving"
    VERIFYING = "verifying"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one request came to.

    ``code`` is one stable word; ``message`` and ``hint`` are for people (one line, safe to print); ``retry_after`` is
    the server's wish in seconds, 0..86400, or None.
    """

    about: About
    code: str
    message: str
    hint: str
    charge: Charge
    status: int | None = None
    fields: tuple[FieldError, ...] = ()
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a photo or a response: ``loaded`` of ``total`` bytes. ``total`` is None if unknown."""

    loaded: int
    total: int | None

    @property
    def fraction(self) -> float | None:
        """0.0 to 1.0, or None if the total is unknown."""
        if self.total is None:
            return None
        return self.loaded / self.total if self.total else 1.0


class Fault(Exception):
    """A broken connection or transfer. ``code`` is that of a verdict, ``text`` says what the library said."""

    def __init__(self, code: str, text: str, stage: Stage = Stage.CONNECTING) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.stage = stage
