"""One life of the server: uvicorn in a thread of its own, from its socket to the end of its thread."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import uvicorn

from rembg_watch.sandbox.app import make_app
from rembg_watch.sandbox.wire import protocol

if TYPE_CHECKING:
    from rembg_watch.sandbox.state import State

HOST = "127.0.0.1"
_START_SECONDS = 20.0


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: threading.Event) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready.set()


def reserve(port: int) -> socket.socket:
    """Bind a port of this machine, 0 for a free one, and leave it to be listened at. Raises OSError if it is taken."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((HOST, port))
    except OSError:
        bound.close()
        raise
    return bound


class Run:
    """Serves from the moment it is made until :meth:`stop`. Raises OSError if the port is taken."""

    def __init__(self, state: State, port: int) -> None:
        self._state = state
        self._socket = reserve(port)
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
        """Cut every connection and wait for the thread to end."""
        if self._loop is not None and not self._loop.is_closed():
            with contextlib.suppress(RuntimeError):  # the loop has closed meanwhile
                self._loop.call_soon_threadsafe(self._go_down)
        self._thread.join()
        self._socket.close()

    def _go_down(self) -> None:
        assert self._server is not None
        assert self._closing is not None
        self._server.should_exit = True
        for server in self._server.servers:  # uvicorn does it too, but a tenth of a second later
            server.close()
        self._closing.set()
        for connection in list(self._server.server_state.connections):
            transport: Any = getattr(connection, "transport", None)
            if transport is not None:
                transport.abort()
