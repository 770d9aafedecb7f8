"""When a server says "come back later": the three ways of writing it, as seconds.

Source: RFC 9110, section 10.2.3 (seconds or an HTTP date); the unit suffix is not in it, but is seen in the wild.
"""

from __future__ import annotations

import math
import re
from datetime import UTC
from email.utils import parsedate_to_datetime

MAX_RETRY_AFTER = 86_400.0
"""The longest wait that is believed, in seconds: a day."""

_NUMBER = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)\s*([a-z]*)", re.ASCII)
_UNITS = {
    "ms": 0.001,
    **dict.fromkeys(("", "s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86_400.0),
}


def parse_http_date(value: str) -> float | None:
    """Give the Unix seconds of an HTTP date, or None where the text is no date."""
    try:
        at = parsedate_to_datetime(value)
        if at.tzinfo is None:  # the form of C's asctime, which names no zone; RFC 9110, section 5.6.7: it is UTC
            at = at.replace(tzinfo=UTC)
        seconds = at.timestamp()
    except (ValueError, TypeError, OverflowError, IndexError, OSError):
        return None
    return seconds if math.isfinite(seconds) else None


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Give the seconds to wait that a ``Retry-After`` header asks for, 0..86400, or None where it says nothing usable.

    ``now`` is Unix seconds; only an HTTP date is compared with it. A date that is past means 0.
    """
    if value is None:
        return None
    text = value.strip().lower()
    if number := _NUMBER.fullmatch(text):
        unit = _UNITS.get(number[2])
        seconds = None if unit is None else float(number[1]) * unit
    else:
        at = parse_http_date(value.strip())
        seconds = None if at is None else at - now
    if seconds is None or math.isnan(seconds):
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)
