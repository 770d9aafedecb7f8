"""The sandbox as a context manager: where it is, what it saw, and how it is steered from Python."""

from __future__ import annotations

import dataclasses
import time
import weakref
from typing import TYPE_CHECKING, Any

from rembg_watch.sandbox.account import Account
from rembg_watch.sandbox.app import RMBG_PATH, USAGE_PATH
from rembg_watch.sandbox.control import snapshot
from rembg_watch.sandbox.run import HOST, Run, reserve
from rembg_watch.sandbox.state import OutOfCredits, Received, RetryAfter, Settings, State, UsageCall
from rembg_watch.sandbox.steer import check, is_count, steer

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import Literal, Self

_RENEWAL_SECONDS = 15 * 86_400


class Sandbox:
    """The RemBG.com API on ``127.0.0.1``, steered from Python and safe to steer from any thread.

        with Sandbox(credits=100, latency=0.2) as sandbox:
            requests.post(sandbox.url, headers={"x-api-key": "any"}, files={"image": open("shoe.jpg", "rb")})
            assert sandbox.charged == 1

    Args:
        credits: the plan's included credits for each billing cycle.
        prepaid: the prepaid balance beside them.
        latency: seconds from the last byte of an image to its answer, 0 for as fast as it goes. A change counts for
            the images that wait too: set to 0, it lets them all go.
        rate_limit: requests a second that are allowed; above it comes the short-term 429. None for no limit.
        burst: how many may come at once, by default one second's worth.
        retry_after: the ``Retry-After`` of a 429: seconds, ``"auto"``, ``"date"``, any other text as it is, or None.
        faults: kinds of :data:`~rembg_watch.sandbox.FAULTS` with their odds, 0..1.
        key: the only right key; None takes all but ``invalid`` (401) and ``unverified`` (403).
        port: 0 for a free one, which is kept over :meth:`stop` and :meth:`start`.
        seed: for the same faults in each run.
        out_of_credits: ``"429"``, ``"402"`` or ``"shrunk"``: what comes when no credit is left.
        errors_as: the name of the array of several validation errors.
        synced: whether the billing block of a usage answer is the true one, or fell back to the calendar month.
        renews_in: seconds until the next billing cycle.
        anonymous_per_day: images a UTC day without a key.
        slow_seconds: how long the fault ``slow`` takes.
        redirect_to: where the fault ``redirect`` points; by default to the sandbox itself, see :attr:`elsewhere`.
        membership: the plan's name.
        on_request: called with each :class:`Received`, from the server's thread.

    Raises:
        UnknownFault: a kind of fault that does not exist.
        ValueError: odds or a rate outside their range.
    """

    def __init__(
        self,
        *,
        credits: int = 1000,  # noqa: A002 -- the account's own word
        prepaid: int = 0,
        latency: float = 0.0,
        rate_limit: float | None = None,
        burst: float | None = None,
        retry_after: RetryAfter = None,
        faults: Mapping[str, float] | None = None,
        key: str | None = None,
        port: int = 0,
        seed: int | None = None,
        out_of_credits: OutOfCredits = "429",
        errors_as: Literal["details", "errors"] = "details",
        synced: bool = True,
        renews_in: float = _RENEWAL_SECONDS,
        anonymous_per_day: int = 3,
        slow_seconds: float = 1.0,
        redirect_to: str | None = None,
        membership: str = "Sandbox",
        on_request: Callable[[Received], None] | None = None,
    ) -> None:
        settings = Settings(
            latency, key, retry_after, out_of_credits, errors_as, anonymous_per_day, slow_seconds, redirect_to
        )
        account = Account(credits, prepaid, int(time.time() + renews_in), membership, synced)
        if not is_count(credits) or not is_count(prepaid):
            raise ValueError("credits and prepaid must be integers of 0 or more")
        self._state = State(settings, account, faults or {}, seed)
        check(self._state, {**dataclasses.asdict(settings), "rate_limit": rate_limit, "burst": burst})
        self._state.set_rate_limit(rate_limit, burst)
        self._state.on_request = on_request
        self._wanted_port = port
        self._run: Run | None = None
        self._port: socket.socket | None = None
        """Keeps the port from others while the sandbox is down."""

    # -- its life -----------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Serve. After :meth:`stop` on the same port, with the same account.

        Raises:
            OSError: the port is taken.
        """
        if self._port is None:
            self._port = reserve(self._wanted_port)
            weakref.finalize(self, self._port.close)
            self._wanted_port = self._port.getsockname()[1]
        if self._run is None:
            self._run = Run(self._state, self._wanted_port)
        return self

    def stop(self) -> None:
        """Go down at once, as a machine does: what is in flight is cut off and not charged. May be called twice."""
        run, self._run = self._run, None
        if run is not None:
            run.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    # -- where it is --------------------------------------------------------------------------------------------------

    @property
    def port(self) -> int:
        """The port; 0 before the first start if none was asked for."""
        return self._wanted_port

    @property
    def base_url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def url(self) -> str:
        return self.base_url + RMBG_PATH

    @property
    def usage_url(self) -> str:
        return self.base_url + USAGE_PATH

    # -- what it saw --------------------------------------------------------------------------------------------------

    @property
    def requests(self) -> list[Received]:
        """Every ``POST /rmbg`` so far, in the order of their answers."""
        with self._state.lock:
            return list(self._state.requests)

    @property
    def usage_calls(self) -> list[UsageCall]:
        with self._state.lock:
            return list(self._state.usage_calls)

    @property
    def elsewhere(self) -> list[Mapping[str, str]]:
        """The headers of each request that followed the fault ``redirect``: there should be none."""
        with self._state.lock:
            return list(self._state.elsewhere)

    @property
    def charged(self) -> int:
        """Images that cost a credit so far."""
        with self._state.lock:
            return self._state.account.charged

    @property
    def connections(self) -> int:
        """TCP connections made so far."""
        with self._state.lock:
            return self._state.connections

    @property
    def in_flight(self) -> int:
        """Requests that came and are not answered, in whatever state they are."""
        with self._state.lock:
            return self._state.in_flight

    @property
    def working(self) -> int:
        """Images that are here whole, each with a credit set aside, whether or not its client still waits."""
        with self._state.lock:
            return self._state.account.reserved

    @property
    def max_in_flight(self) -> int:
        with self._state.lock:
            return self._state.max_in_flight

    def snapshot(self) -> dict[str, Any]:
        """Give what ``GET /_sandbox/`` shows."""
        return snapshot(self._state)

    def forget(self) -> None:
        """Empty the lists of what was seen; the account stays."""
        self._state.forget()

    # -- the account --------------------------------------------------------------------------------------------------

    @property
    def credits_left(self) -> int:
        """Included and prepaid credits that are left now."""
        with self._state.lock:
            return self._state.account.left(time.time())

    def set_credits(self, left: int) -> None:
        """Change the plan so that exactly ``left`` included credits are left; the prepaid balance stays."""
        steer(self._state, {"credits_left": left})

    def top_up(self, number: int) -> None:
        """Buy prepaid credits."""
        with self._state.lock:
            self._state.account.prepaid += number

    def spend_elsewhere(self, number: int, use: Literal["app", "api"] = "app") -> int:
        """Let somebody else spend from the account, as far as it goes; give how many were spent."""
        with self._state.lock:
            return self._state.account.spend(number, time.time(), use)

    def renew(self) -> None:
        """Begin a new billing cycle now."""
        with self._state.lock:
            self._state.account.renew(time.time())

    def set_key(self, key: str | None) -> None:
        steer(self._state, {"key": key})

    def set_synced(self, synced: bool) -> None:  # noqa: FBT001 -- the one thing it sets
        steer(self._state, {"synced": synced})

    # -- what goes wrong ----------------------------------------------------------------------------------------------

    @property
    def latency(self) -> float:
        """Seconds from the last byte of an image to its answer."""
        with self._state.lock:
            return self._state.settings.latency

    @latency.setter
    def latency(self, seconds: float) -> None:
        steer(self._state, {"latency": seconds})

    def set_rate_limit(self, rate: float | None, burst: float | None = None) -> None:
        self._state.set_rate_limit(rate, burst)

    def set(self, **values: Any) -> None:
        """Change any of what ``POST /_sandbox/set`` takes, such as ``out_of_credits`` or ``retry_after``."""
        steer(self._state, values)

    def set_faults(self, faults: Mapping[str, float]) -> None:
        """Replace the odds of the faults of ``POST /rmbg``."""
        steer(self._state, {"faults": dict(faults)})

    def next(self, *kinds: str) -> None:
        """Force faults on the next requests, one each. A refused request leaves its fault to the one after it."""
        with self._state.lock:
            self._state.faults.force(*kinds)

    def set_usage_faults(self, faults: Mapping[str, float]) -> None:
        """Replace the odds of the faults of the usage call."""
        steer(self._state, {"usage_faults": dict(faults)})

    def next_usage(self, *kinds: str) -> None:
        """Force faults on the next usage calls, one each."""
        with self._state.lock:
            self._state.usage_faults.force(*kinds)

    def clear_faults(self) -> None:
        """Forget all forced faults and all odds."""
        with self._state.lock:
            self._state.faults.clear()
            self._state.usage_faults.clear()
