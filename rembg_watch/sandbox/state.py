"""All that the running sandbox knows, behind one lock: settings, account, faults, and what was asked so far."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from rembg_watch.sandbox.access import Caller, TokenBucket, identify
from rembg_watch.sandbox.faults import FAULTS, USAGE_FAULTS, FaultPlan
from rembg_watch.sandbox.texts import BAD_KEY, DAILY, MONTHLY, PAYMENT, TOO_FAST, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from rembg_watch.sandbox.account import Account
    from rembg_watch.sandbox.faults import Fault
    from rembg_watch.sandbox.form import Form

RetryAfter = float | str | None
"""For the ``Retry-After`` of a 429: seconds, ``auto`` (until the next is allowed), ``date``, or any text as it is."""
OutOfCredits = Literal["429", "402", "shrunk"]
"""What an account without credits gets: the monthly 429, a 402, or a 200 with a picture shrunk to 460 px."""


@dataclass(frozen=True, slots=True)
class Received:
    """One ``POST /rmbg``, noted before its answer goes out.

    ``at`` is Unix time, ``seconds`` from its first byte to the answer, ``status`` what was answered (0: nothing),
    ``fault`` the kind of the fault that struck, ``charged`` whether it cost a credit, ``error`` the text of a refusal.
    ``sha256``, ``filename`` and ``size`` (bytes) are the image's, empty and 0 where it was not read.
    """

    at: float
    status: int
    fault: str | None
    charged: bool
    sha256: str
    filename: str
    size: int
    fields: Mapping[str, str]
    seconds: float
    headers: Mapping[str, str]
    error: str = ""


@dataclass(frozen=True, slots=True)
class UsageCall:
    """One ``GET /api/membership-usage``; the fields mean what they mean in :class:`Received`."""

    at: float
    status: int
    fault: str | None
    query: Mapping[str, str]
    headers: Mapping[str, str]


@dataclass
class Settings:
    """What can be changed while the sandbox runs. Times are in seconds, rates in requests a second."""

    latency: float = 0.0
    key: str | None = None
    retry_after: RetryAfter = None
    out_of_credits: OutOfCredits = "429"
    errors_as: Literal["details", "errors"] = "details"
    anonymous_per_day: int = 3
    slow_seconds: float = 1.0
    redirect_to: str | None = None


@dataclass
class Visit:
    """One request on its way through. ``retry_after`` is set where it came too fast."""

    state: State
    headers: Mapping[str, str]
    fault: Fault | None
    forced: bool
    at: float = field(default_factory=time.time)
    started: float = field(default_factory=time.monotonic)
    caller: Caller | None = None
    retry_after: float = 0.0
    _reserved: bool = False
    _left: bool = False

    def admit(self) -> Refusal | None:
        """Look at the key and the pace."""
        state = self.state
        with state.lock:
            caller = identify(self.headers, state.settings.key)
            if isinstance(caller, Refusal):
                return caller
            self.caller = caller
            if state.bucket is not None:
                self.retry_after = state.bucket.take(time.monotonic())
                if self.retry_after:
                    return TOO_FAST
        return None

    def reserve(self) -> Refusal | None:
        """Set a credit aside, or count an anonymous image; where neither is left, give the reason."""
        state = self.state
        with state.lock:
            if self.caller is Caller.ANONYMOUS:
                today = datetime.fromtimestamp(self.at, UTC).date().isoformat()
                if state.anonymous.get(today, 0) >= state.settings.anonymous_per_day:
                    return DAILY
                state.anonymous[today] = state.anonymous.get(today, 0) + 1
                return None
            self._reserved = state.account.reserve(self.at)
            if self._reserved:
                return None
            return PAYMENT if state.settings.out_of_credits == "402" else MONTHLY

    def settle(self, *, charge: bool) -> bool:
        """Spend what was set aside, or give it back; tell whether a credit is gone."""
        with self.state.lock:
            if not self._reserved:
                return False
            self._reserved = False
            use = "app" if self.caller is Caller.APP else "api"
            self.state.account.settle(time.time(), charge=charge, use=use)
            return charge

    def spare_fault(self) -> None:
        """The request is refused before its fault could strike: a forced one is kept for the next request."""
        with self.state.lock:
            if self.forced and self.fault is not None:
                self.state.faults.give_back(self.fault)
        self.fault = None

    def note(self, status: int, form: Form | None = None, *, charged: bool = False, error: str = "") -> None:
        """Write the request down. Called once, before the answer goes out, so that who has the answer can look."""
        image = form.image if form else None
        received = Received(
            at=self.at,
            status=status,
            fault=self.fault.kind if self.fault else None,
            charged=charged,
            sha256=image.sha256 if image else "",
            filename=image.filename if image else "",
            size=image.size if image else 0,
            fields=dict(form.fields) if form else {},
            seconds=time.monotonic() - self.started,
            headers=self.headers,
            error=error,
        )
        state = self.state
        with state.lock:
            state.requests.append(received)
        if state.on_request is not None:
            state.on_request(received)

    def leave(self) -> None:
        """Count the request as no longer in flight. May be called twice."""
        with self.state.lock:
            if not self._left:
                self._left = True
                self.state.in_flight -= 1


class State:
    """Shared by the server's loop, its worker threads and whoever steers; every access is under ``lock``."""

    def __init__(self, settings: Settings, account: Account, faults: Mapping[str, float], seed: int | None) -> None:
        self.lock = threading.RLock()
        self.settings = settings
        self.account = account
        self.faults = FaultPlan(FAULTS, faults, seed)
        self.usage_faults = FaultPlan(USAGE_FAULTS, {}, seed)
        self.bucket: TokenBucket | None = None
        self.anonymous: dict[str, int] = {}
        self.requests: list[Received] = []
        self.usage_calls: list[UsageCall] = []
        self.elsewhere: list[Mapping[str, str]] = []
        self.in_flight = 0
        self.max_in_flight = 0
        self.connections = 0
        self.on_request: Callable[[Received], None] | None = None
        self._waiting: list[Callable[[], object]] = []

    @contextlib.contextmanager
    def heard(self, alarm: Callable[[], object]) -> Iterator[None]:
        """Call ``alarm``, from any thread, whenever a setting changes."""
        with self.lock:
            self._waiting.append(alarm)
        try:
            yield
        finally:
            with self.lock:
                self._waiting.remove(alarm)

    def steered(self) -> None:
        """Tell those who wait that a setting has changed."""
        with self.lock:
            for alarm in self._waiting:
                alarm()

    def set_rate_limit(self, rate: float | None, burst: float | None = None) -> None:
        """Allow ``rate`` requests a second in the long run, ``burst`` (default: one second's worth) at once."""
        if rate is not None and not rate > 0:
            raise ValueError(f"the rate limit is {rate:g}; it must be above 0")
        with self.lock:
            self.bucket = None if rate is None else TokenBucket(rate, max(1.0, rate if burst is None else burst))

    def arrive(self, headers: Mapping[str, str]) -> Visit:
        with self.lock:
            self.in_flight += 1
            self.max_in_flight = max(self.max_in_flight, self.in_flight)
            fault, forced = self.faults.draw()
        return Visit(self, headers, fault, forced)

    def arrive_usage(self, headers: Mapping[str, str]) -> tuple[Fault | None, Refusal | None]:
        """Give the fault of a usage call, and the refusal unless its key is right; a user token does not do.

        The call is free and has no pace.
        """
        with self.lock:
            fault, _ = self.usage_faults.draw()
            caller = identify(headers, self.settings.key)
        if isinstance(caller, Refusal):
            return fault, caller
        return fault, None if caller is Caller.API else BAD_KEY

    def forget(self) -> None:
        """Empty the lists of what was asked; the account stays."""
        with self.lock:
            self.requests.clear()
            self.usage_calls.clear()
            self.elsewhere.clear()
            self.max_in_flight = self.in_flight
            self.connections = 0
