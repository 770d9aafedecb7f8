"""Every error that rembg-watch raises, in one tree.

    RembgWatchError                  has a message, a hint (what to do) and an exit code
    |- ConfigError                   the config file is wrong; carries every problem             78
    |- StateError                    the state directory or its database can't be used           73
    |  `- AlreadyRunning             another daemon holds the state directory                    75
    |- FileError                     something local could not be read or written                73
    |  |- SourceError                the photo can't be read
    |  |  `- SourceChanged           the photo changed or went away on the way
    |  `- TargetError                an outbox, archive or failed folder can't be written
    |     `- TargetTaken             the name was taken by something else in the meantime
    |- PictureError                  the bytes are not a picture that we can use                  1
    |  |- NotAPicture                no signature of a supported format, or nothing behind it
    |  `- BrokenPicture              cut short or damaged
    |- Refused                       the API would refuse it, so it was not sent                  1
    `- ApiError                      the API, or the way to it, said no; carries the verdict     69
       |- ImageRejected              about this one picture                                       1
       |- OptionsRejected            about the options, so about every picture of the profile     1
       |- AccountRefused             about the key or the account                                77
       |- OutOfCredits               no credits are left, or the plan's day or month is used up   1
       |- TooFast                    slow down
       |- ServiceDown                the service, or the way to it, is down
       |- AnswerLost                 sent, but the answer did not arrive whole; possibly charged
       `- BadAnswer                  200, but not the picture that was asked for

Exceptions of libraries are turned into these where they arise: requests' in ``api/http.py``, sqlite3's in
``jobs/database.py``, Pillow's in ``imagefile.py``, and OSError's where a file is opened, always with one of the
``from_*`` functions of those modules, so that each library has one seam.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_OK = 0
EXIT_SOME_FAILED = 1
EXIT_USAGE = 2
EXIT_UNAVAILABLE = 69
EXIT_CANT_WRITE = 73
EXIT_ALREADY_RUNNING = 75
EXIT_KEY_REFUSED = 77
EXIT_CONFIG = 78


class Charge(StrEnum):
    """What a request did to the credit balance, as far as can be known."""

    CHARGED = "charged"
    NOT_CHARGED = "not charged"
    POSSIBLY = "possibly charged"


class RembgWatchError(Exception):
    """The root: ``message`` says what happened, ``hint`` what to do about it."""

    exit_code = EXIT_SOME_FAILED

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class ConfigError(RembgWatchError):
    """The config file is wrong. ``problems`` holds one line for each mistake, as ``FILE:LINE: key: what is wrong``."""

    exit_code = EXIT_CONFIG

    def __init__(self, problems: Sequence[str], hint: str = "Correct the config file and try again.") -> None:
        super().__init__("\n".join(problems), hint)
        self.problems = tuple(problems)


class StateError(RembgWatchError):
    """The state directory or the job database can't be used."""

    exit_code = EXIT_CANT_WRITE


class AlreadyRunning(StateError):
    """Another daemon holds the lock of the state directory."""

    exit_code = EXIT_ALREADY_RUNNING


class FileError(RembgWatchError):
    """Something local could not be read or written."""

    exit_code = EXIT_CANT_WRITE


class SourceError(FileError):
    """The photo can't be read."""


class SourceChanged(SourceError):
    """The photo changed or went away on the way; nothing was charged for what it is now."""


class TargetError(FileError):
    """An outbox, archive or failed folder can't be written.

    ``code`` is one word for the hold: ``full``, ``readonly``, ``missing``, ``denied`` or ``other``; or ``name``, where
    it is about this one file's name and not about the folder, or ``taken``.
    """

    def __init__(self, message: str, hint: str, code: str = "other") -> None:
        super().__init__(message, hint)
        self.code = code


class TargetTaken(TargetError):
    """Something else has the name that was to be placed without replacing anything; choose another one."""

    def __init__(self, message: str, hint: str = "Another name is chosen by itself.") -> None:
        super().__init__(message, hint, "taken")


class PictureError(RembgWatchError):
    """The bytes are not a picture that we can use."""


class NotAPicture(PictureError):
    """The bytes carry no signature of a supported format, or nothing usable behind it."""


class BrokenPicture(PictureError):
    """The picture is cut short or damaged."""


class Refused(RembgWatchError):
    """The API would refuse this file, so it was not sent. ``code`` is one word: ``empty``, ``type``, ``size``..."""

    def __init__(self, message: str, hint: str, code: str) -> None:
        super().__init__(message, hint)
        self.code = code


class ApiError(RembgWatchError):
    """The API, or the way to it, said no.

    ``verdict`` is the ``api.verdict.Verdict`` behind it: what it is about, its code, its charge, the fields it names.
    It has no type here because this module stands below all others.
    """

    exit_code = EXIT_UNAVAILABLE

    def __init__(self, message: str, hint: str, verdict: Any) -> None:
        super().__init__(message, hint)
        self.verdict = verdict


class ImageRejected(ApiError):
    """The API refused this one picture."""

    exit_code = EXIT_SOME_FAILED


class OptionsRejected(ApiError):
    """The API refused the options, and so every picture of the profile."""

    exit_code = EXIT_SOME_FAILED


class AccountRefused(ApiError):
    """The API refused the key or the account."""

    exit_code = EXIT_KEY_REFUSED


class OutOfCredits(ApiError):
    """No credits are left, or the plan's day or month is used up."""

    exit_code = EXIT_SOME_FAILED


class TooFast(ApiError):
    """The API asks to slow down."""


class ServiceDown(ApiError):
    """The service, or the way to it, is down; ``verdict.charge`` says whether the request may have been paid."""


class AnswerLost(ApiError):
    """The photo was sent whole, but the answer did not arrive whole: it was possibly charged."""


class BadAnswer(ApiError):
    """An answer came, but not the picture (or the numbers) that was asked for."""
