"""Below HTTP: the connection itself, so that an answer can break it off."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from starlette.types import Receive, Scope, Send


@dataclass(frozen=True)
class Wire:
    """One request's connection; ``closing`` is set when the whole server goes down."""

    transport: asyncio.Transport
    closing: asyncio.Event

    def reset(self) -> None:
        """Break off with a TCP reset, and forget what was not sent yet."""
        connection = self.transport.get_extra_info("socket")
        if connection is not None and connection.fileno() >= 0:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def write_and_close(self, data: bytes) -> None:
        """Send bytes as they are, past all rules of HTTP, then hang up."""
        self.transport.write(data)
        self.transport.close()

    def close(self) -> None:
        """Send what is waiting, then hang up."""
        self.transport.close()


def wire_of(scope: Scope) -> Wire:
    return cast("Wire", scope["sandbox.wire"])


async def gone(receive: Receive) -> None:
    """Wait until the client has hung up, or was hung up on."""
    while (await receive())["type"] != "http.disconnect":
        pass


def protocol(closing: asyncio.Event, on_connection: Callable[[], None]) -> type[asyncio.Protocol]:
    """Make uvicorn's HTTP protocol, but with each request's :class:`Wire` in its scope."""

    class SandboxProtocol(H11Protocol):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            inner = self.app

            async def app(scope: Any, receive: Receive, send: Send) -> None:
                scope["sandbox.wire"] = Wire(self.transport, closing)
                await inner(scope, cast("Any", receive), cast("Any", send))

            self.app = cast("Any", app)

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            on_connection()
            super().connection_made(transport)

    return SandboxProtocol
