"""Changing the sandbox while it runs: each value is checked first, so that a wrong one changes nothing."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Any, get_args

from rembg_watch.sandbox.state import OutOfCredits, Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from rembg_watch.sandbox.state import State

_SETTINGS = frozenset(setting.name for setting in dataclasses.fields(Settings))


def _is_number(value: object, low: float, high: float = float("inf")) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def is_count(value: object) -> bool:
    """Whether it is an integer of 0 or more."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_odds(value: object) -> bool:
    return isinstance(value, dict) and all(_is_number(chance, 0, 1) for chance in value.values())


_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "latency": (lambda value: _is_number(value, 0, 3600), "0..3600 seconds"),
    "slow_seconds": (lambda value: _is_number(value, 0, 3600), "0..3600 seconds"),
    "key": (lambda value: value is None or isinstance(value, str), "a text, or nothing for any key"),
    "retry_after": (
        lambda value: value is None or isinstance(value, str) or _is_number(value, 0),
        "seconds, 'auto', 'date', another text, or nothing",
    ),
    "out_of_credits": (lambda value: value in get_args(OutOfCredits), "one of '429', '402', 'shrunk'"),
    "errors_as": (lambda value: value in ("details", "errors"), "'details' or 'errors'"),
    "anonymous_per_day": (is_count, "an integer of 0 or more"),
    "redirect_to": (lambda value: value is None or isinstance(value, str), "an address, or nothing"),
    "rate_limit": (lambda value: value is None or (_is_number(value, 0) and value > 0), "above 0, or nothing"),
    "burst": (lambda value: value is None or _is_number(value, 1), "1 or more, or nothing"),
    "faults": (_is_odds, "kinds of fault with their odds; each must be 0..1"),
    "usage_faults": (_is_odds, "kinds of fault with their odds; each must be 0..1"),
    "credits_left": (is_count, "an integer of 0 or more"),
    "synced": (lambda value: isinstance(value, bool), "true or false"),
}


def check(state: State, values: dict[str, Any]) -> None:
    """Look at every value before any is used.

    Raises:
        ValueError: a name that does not exist, a value out of range, a kind of fault that does not exist.
    """
    for name, value in values.items():
        if name not in _CHECKS:
            raise ValueError(f"nothing is called '{name}'; there are: {', '.join(_CHECKS)}")
        good, wanted = _CHECKS[name]
        if not good(value):
            raise ValueError(f"'{name}' is {value!r}; it must be {wanted}")
    state.faults.check(values.get("faults", {}))
    state.usage_faults.check(values.get("usage_faults", {}))


def steer(state: State, values: dict[str, Any]) -> None:
    """Change what is named in ``values``, all or nothing. Raises what :func:`check` raises."""
    with state.lock:
        check(state, values)
        if "rate_limit" in values or "burst" in values:
            rate = values.get("rate_limit", state.bucket.rate if state.bucket else None)
            state.set_rate_limit(rate, values.get("burst"))
        if "faults" in values:
            state.faults.set_odds(values["faults"])
        if "usage_faults" in values:
            state.usage_faults.set_odds(values["usage_faults"])
        if "credits_left" in values:
            state.account.set_left(values["credits_left"], time.time())
        if "synced" in values:
            state.account.synced = values["synced"]
        for name in _SETTINGS.intersection(values):
            setattr(state.settings, name, values[name])
        state.steered()
