"""Who is asking, and whether they ask too often. Pure: the time is handed in."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from rembg_watch.sandbox.texts import BAD_KEY, KEY_AND_TOKEN, UNVERIFIED, Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

INVALID_KEY = "invalid"
UNVERIFIED_KEY = "unverified"


class Caller(StrEnum):
    """On whose account an image goes."""

    API = "api"
    APP = "app"
    ANONYMOUS = "anonymous"


def identify(headers: Mapping[str, str], key: str | None) -> Caller | Refusal:
    """Tell who is asking by the lower-cased headers.

    ``key`` is the only right one; None takes every key but the words ``invalid`` (401) and ``unverified`` (403). A user
    token is what the web editor sends, here as ``Authorization`` or ``x-user-token``.
    """
    given = headers.get("x-api-key")
    token = headers.get("authorization") or headers.get("x-user-token")
    if given and token:
        return KEY_AND_TOKEN
    if given is not None:
        if given == UNVERIFIED_KEY:
            return UNVERIFIED
        wrong = given in ("", INVALID_KEY) if key is None else given != key
        return BAD_KEY if wrong else Caller.API
    return Caller.APP if token else Caller.ANONYMOUS


@dataclass
class TokenBucket:
    """``rate`` requests a second in the long run, ``burst`` (at least 1) at once."""

    rate: float
    burst: float
    _tokens: float = -1.0
    _at: float = 0.0

    def take(self, now: float) -> float:
        """Take one token and give 0.0, or give the seconds until there is one. ``now`` must not run backwards."""
        if self._tokens < 0:
            self._tokens, self._at = self.burst, now
        self._tokens = min(self.burst, self._tokens + (now - self._at) * self.rate)
        self._at = now
        if self._tokens >= 1:
            self._tokens -= 1
            return 0.0
        return (1 - self._tokens) / self.rate
