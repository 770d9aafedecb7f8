"""What the body of an error answer says: a JSON object of the API, somebody's HTML page, or nothing readable.

The documented shape is ``{"error": text, "status": int, "details": [{"field": ..., "message": ...}]}``; ``errors``
instead of ``details``, plain strings, and the shapes of common web frameworks are understood as well.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

MAX_TEXT = 300
"""How many characters of a server's text are shown to people."""
_MAX_FIELDS = 50
_HTML_START = re.compile(
    rb"\s*(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|html|head|body|title|center|h1)\b", re.IGNORECASE
)
_TITLE = re.compile(rb"<title[^>]*>(.{0,400}?)</title", re.IGNORECASE | re.DOTALL)
_TEXT_KEYS = ("error", "message", "detail", "msg", "title", "error_description", "reason")
_LIST_KEYS = ("details", "errors", "detail")
_FIELD_KEYS = ("field", "param", "parameter", "name", "loc", "path")


@dataclass(frozen=True, slots=True)
class FieldError:
    """One complaint of the server: the form field's name ("" where it gave none), and what is wrong with it."""

    field: str
    message: str


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """``text`` is what to show a person; ``status`` is the status that the JSON names, if any."""

    text: str = ""
    fields: tuple[FieldError, ...] = ()
    is_json: bool = False
    is_html: bool = False
    status: int | None = None


def clean(text: str, limit: int = MAX_TEXT) -> str:
    """Make a stranger's text safe for a terminal and a log: one line, printable characters only, cut at ``limit``."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: limit * 8]).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def read_error_body(content_type: str, body: bytes) -> ErrorBody:
    """Read ``body`` (at most 64 KiB of it are worth passing). Never raises."""
    try:
        parsed: Any = json.loads(body.decode("utf-8-sig", "replace"))
    except (ValueError, RecursionError):
        parsed = None
    if isinstance(parsed, dict):
        fields = _fields(parsed)
        text = _text(parsed) or "; ".join(f.message for f in fields)
        status = parsed.get("status")
        known = isinstance(status, int) and not isinstance(status, bool) and 100 <= status <= 599
        return ErrorBody(clean(text), fields, is_json=True, status=status if known else None)
    if isinstance(parsed, str):
        return ErrorBody(clean(parsed), is_json=True)
    if _HTML_START.match(body) or "html" in content_type.lower():
        title = _TITLE.search(body)
        return ErrorBody(clean(title[1].decode("utf-8", "replace")) if title else "", is_html=True)
    printable = body[:4096].decode("utf-8", "replace")
    readable = (
        sum(c.isprintable() or c.isspace() for c in printable) > 0.9 * len(printable) and "\ufffd" not in printable
    )
    return ErrorBody(clean(printable) if readable else "")


def _text(parsed: dict[str, Any]) -> str:
    for key in _TEXT_KEYS:
        value = parsed.get(key)
        if isinstance(value, str) and value.strip():
            return value
        if isinstance(value, dict) and (inner := value.get("message")) and isinstance(inner, str):
            return inner
    return ""


def _fields(parsed: dict[str, Any]) -> tuple[FieldError, ...]:
    found: list[FieldError] = []
    for key in _LIST_KEYS:
        value = parsed.get(key)
        if isinstance(value, dict):
            value = [{"field": name, "message": message} for name, message in value.items()]
        if isinstance(value, list):
            found += [error for item in value[:_MAX_FIELDS] if (error := _field(item))]
    return tuple(found[:_MAX_FIELDS])


def _field(item: object) -> FieldError | None:
    if isinstance(item, str):
        return FieldError("", clean(item)) if item.strip() else None
    if not isinstance(item, dict):
        return None
    name = next((item[key] for key in _FIELD_KEYS if item.get(key)), "")
    if isinstance(name, list):  # ["body", "w"], as FastAPI writes it
        name = name[-1]
    message = _text(item)
    if not message and isinstance(said := item.get("message"), list) and said:
        message = str(said[0])
    return FieldError(clean(str(name), 60), clean(message)) if message or name else None
