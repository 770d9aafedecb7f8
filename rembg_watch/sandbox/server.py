"""uvicorn in a thread of its own: the sandbox as a context manager."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import uvicorn

from rembg_watch.sandbox.account import Account
from rembg_watch.sandbox.app import RMBG_PATH, USAGE_PATH, make_app
from rembg_watch.sandbox.control import snapshot, steer
from rembg_watch.sandbox.state import OutOfCredits, Received, RetryAfter, Settings, State, UsageCall
from rembg_watch.sandbox.wire import protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import Literal, Self

HOST = "127.0.0.1"
_START_SECONDS = 20.0
_RENEWAL_SECONDS = 15 * 86_400


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: threading.Event) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready.set()


class _Run:
    """One life of the server, from its socket to the end of its thread."""

    def __init__(self, state: State, port: int) -> None:
        self._state = state
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind((HOST, port))
        except OSError:
            self._socket.close()
            raise
        self.port: int = self._socket.getsockname()[1]
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing: asyncio.Event | None = None
        self._server: _Server | None = None
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="sandbox", daemon=True)
        self._thread.start()
        if not self._ready.wait(_START_SECONDS) or self._failure is not None:
            raise RuntimeError("the sandbox did not start") from self._failure

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 -- handed to the thread that waits for the start
            self._failure = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop, self._closing = asyncio.get_running_loop(), asyncio.Event()
        with ThreadPoolExecutor(max(2, os.cpu_count() or 2), "sandbox-cutout") as threads:
            config = uvicorn.Config(
                make_app(self._state, threads),
                http=protocol(self._closing, self._connected),
                ws="none",
                loop="asyncio",
                lifespan="off",
                log_config=None,
                log_level="critical",
                access_log=False,
                server_header=False,
                timeout_keep_alive=75,
                backlog=512,
            )
            self._server = _Server(config, self._ready)
            await self._server.serve([self._socket])

    def _connected(self) -> None:
        with self._state.lock:
            self._state.connections += 1

    def stop(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            with contextlib.suppress(RuntimeError):  # the loop has closed meanwhile
                self._loop.call_soon_threadsafe(self._go_down)
        self._thread.join()
        self._socket.close()

    def _go_down(self) -> None:
        assert self._server is not None
        assert self._closing is not None
        self._server.should_exit = True
        self._closing.set()
        for connection in list(self._server.server_state.connections):
            transport: Any = getattr(connection, "transport", None)
            if transport is not None:
                transport.abort()


class Sandbox:
    """The RemBG.com API on ``127.0.0.1``, steered from Python and safe to steer from any thread.

        with Sandbox(credits=100, latency=0.2) as sandbox:
            requests.post(sandbox.url, headers={"x-api-key": "any"}, files={"image": open("shoe.jpg", "rb")})
            assert sandbox.charged == 1

    Args:
        credits: the plan's included credits for each billing cycle.
        prepaid: the prepaid balance beside them.
        latency: seconds from the last byte of an image to its answer, 0 for as fast as it goes.
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
        self._state = State(settings, account, faults or {}, seed)
        self._state.set_rate_limit(rate_limit, burst)
        self._state.on_request = on_request
        self._wanted_port = port
        self._run: _Run | None = None

    # -- its life -----------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Serve. After :meth:`stop` on the same port, with the same account.

        Raises:
            OSError: the port is taken.
        """
        if self._run is None:
            self._run = _Run(self._state, self._wanted_port)
            self._wanted_port = self._run.port
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
        with self._state.lock:
            return self._state.in_flight

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
