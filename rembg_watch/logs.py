"""Logs for people on a terminal, and one JSON object a line everywhere else; never with the API key in them.

Under systemd each line begins with its priority (``<4>``), as sd-daemon(3) describes, so that ``journalctl -p`` works.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from typing import TYPE_CHECKING, Any, Literal, TextIO

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import EventDict, Processor, WrappedLogger

Format = Literal["auto", "console", "json"]

_PRIORITY = {"debug": 7, "info": 6, "warning": 4, "error": 3, "exception": 3, "critical": 2}
_secrets: list[str] = []
"""As they are, and as JSON and Python would write them."""


def hide(secret: str | None) -> None:
    """Let this text appear in no log line from now on."""
    if secret and len(secret) >= 4:
        forms = {secret, json.dumps(secret)[1:-1], repr(secret)[1:-1]}
        _secrets.extend(forms.difference(_secrets))  # a list, as other threads may be going through it


_encode = json.JSONEncoder(ensure_ascii=False, default=str).encode


def _as_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    return _encode(event)


def _hiding(render: Callable[..., Any]) -> Processor:
    """Replace secrets in what is about to be written: whatever held them, a trace or an object's own text included."""

    def hidden(logger: WrappedLogger, method: str, event: EventDict) -> str:
        text = str(render(logger, method, event))
        for secret in _secrets:
            text = text.replace(secret, "[key]")
        return text

    return hidden


class _Writer(structlog.WriteLogger):
    """Writes lines. One that can't be written, to a full disk or a reader that is gone, is lost and stops no work."""

    def msg(self, message: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            super().msg(message)

    log = debug = info = warn = warning = msg
    fatal = failure = err = error = critical = exception = msg


def coloured(stream: TextIO) -> bool:
    """Tell whether the stream shows colours, and its user wants them (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _under_journal(stream: TextIO) -> bool:
    """Tell whether the stream leads to the journal: systemd names its device and inode in the environment."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return (device, inode) == (str(status.st_dev), str(status.st_ino))


def _with_priority(render: Callable[..., Any]) -> Processor:
    def prefixed(logger: WrappedLogger, method: str, event: EventDict) -> str:
        level = str(event.get("level", method))
        text = str(render(logger, method, event))
        return "\n".join(f"<{_PRIORITY.get(level, 6)}>{line}" for line in text.splitlines())

    return prefixed


def configure(form: Format = "auto", level: str = "info", stream: TextIO | None = None) -> None:
    """Set up logging for this process. ``auto`` means console on a terminal, JSON elsewhere."""
    stream = stream or sys.stderr
    console = form == "console" or (form == "auto" and stream.isatty())
    render: Processor = _as_json
    if console:
        render = structlog.dev.ConsoleRenderer(colors=coloured(stream), pad_event_to=24)
    render = _hiding(render)
    if _under_journal(stream):
        render = _with_priority(render)
    writer = _Writer(stream)
    threshold = getattr(logging, level.upper())
    processors: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if console else "iso", utc=not console),
    ]
    if not console:
        processors.append(structlog.processors.format_exc_info)
    structlog.configure(
        processors=[*processors, render],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=lambda *_: writer,
        cache_logger_on_first_use=False,
    )
    # Libraries that log by the standard library (watchdog, urllib3) are heard from warnings on, in the same form.
    logging.basicConfig(level=max(threshold, logging.WARNING), handlers=[_ToStructlog()], force=True)


class _ToStructlog(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().log(record.levelno, record.getMessage(), logger=record.name)
