"""Answers, good and spoilt. Each is an ASGI application, so that it may break every rule on its way out."""

from __future__ import annotations

import asyncio
import functools
import gzip
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from rembg_watch.sandbox import texts
from rembg_watch.sandbox.wire import gone, wire_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.types import ASGIApp, Receive, Scope, Send

    from rembg_watch.sandbox.texts import Refusal

X_SANDBOX = "rembg-watch sandbox; cut out by a border-colour flood fill, not by RemBG.com"
SAYS_SO = {"X-Sandbox": X_SANDBOX}

_PHRASES = {
    408: "Request Time-out",
    413: "Request Entity Too Large",
    502: "Bad Gateway",
    503: "Service Temporarily Unavailable",
    504: "Gateway Time-out",
}
_DRIPS = 20
_BOMB_MEMBERS = 64
_BOMB_MEMBER_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Good:
    """What the answer would have been."""

    body: bytes
    media_type: str


@dataclass(frozen=True)
class Terms:
    """How to spoil: where a redirect goes, how long ``slow`` takes (seconds), and the headers of a 429."""

    redirect_to: str
    slow_seconds: float
    too_fast: Mapping[str, str]


def refuse(refusal: Refusal, headers: Mapping[str, str] | None = None) -> ASGIApp:
    return JSONResponse(refusal.body(), refusal.status, {**SAYS_SO, **(headers or {})})


def good(answer: Good) -> ASGIApp:
    return Response(answer.body, media_type=answer.media_type, headers=SAYS_SO)


def _page(status: int) -> ASGIApp:
    title = f"{status} {_PHRASES[status]}"
    page = f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n"
    return HTMLResponse(page + "<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n", status)


def _head(answer: Good, length: int | None) -> dict[str, object]:
    headers = [(b"content-type", answer.media_type.encode())]
    if length is not None:
        headers.append((b"content-length", str(length).encode()))
    return {"type": "http.response.start", "status": 200, "headers": headers}


def _part(body: bytes, *, more: bool = True) -> dict[str, object]:
    return {"type": "http.response.body", "body": body, "more_body": more}


async def _hang(scope: Scope, receive: Receive) -> None:
    """Say nothing more until the client has had enough, or the server goes down."""
    waiting = [asyncio.ensure_future(gone(receive)), asyncio.ensure_future(wire_of(scope).closing.wait())]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    await reset(scope, receive)


async def reset(scope: Scope, receive: Receive, _send: Send | None = None) -> None:
    """Answer with a TCP reset."""
    wire_of(scope).reset()
    await gone(receive)


async def stall(scope: Scope, receive: Receive, _send: Send) -> None:
    await _hang(scope, receive)


async def early_413(scope: Scope, receive: Receive, _send: Send) -> None:
    wire_of(scope).write_and_close(
        b"HTTP/1.1 413 Request Entity Too Large\r\ncontent-type: text/html\r\ncontent-length: 19\r\n"
        b"connection: close\r\n\r\n<h1>413 Large</h1>\n"
    )
    await gone(receive)


def _truncate(answer: Good, _terms: Terms) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(_head(answer, len(answer.body)))
        await send(_part(answer.body[: len(answer.body) // 2]))
        wire_of(scope).close()
        await gone(receive)

    return app


def _stall_body(answer: Good, _terms: Terms) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(_head(answer, len(answer.body)))
        await send(_part(answer.body[: len(answer.body) // 2]))
        await _hang(scope, receive)

    return app


def _slow(answer: Good, terms: Terms) -> ASGIApp:
    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await send(_head(answer, len(answer.body)))
        step = max(1, -(-len(answer.body) // _DRIPS))
        away = asyncio.ensure_future(gone(receive))
        for at in range(0, len(answer.body), step):
            await send(_part(answer.body[at : at + step]))
            await asyncio.wait([away], timeout=terms.slow_seconds / _DRIPS)
        away.cancel()
        await asyncio.gather(away, return_exceptions=True)
        await send(_part(b"", more=False))

    return app


def _endless(answer: Good, _terms: Terms) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(_head(answer, None))
        await send(_part(answer.body))
        noise = os.urandom(65_536)
        away = asyncio.ensure_future(gone(receive))
        while not away.done() and not wire_of(scope).closing.is_set():
            await send(_part(noise))
            await asyncio.sleep(0)
        if not away.done():
            wire_of(scope).reset()
        await away

    return app


def _wrong_length(answer: Good, _terms: Terms) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, _send: Send) -> None:
        length = len(answer.body) // 2
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {answer.media_type}\r\ncontent-length: {length}\r\n\r\n"
        wire_of(scope).write_and_close(head.encode() + answer.body)
        await gone(receive)

    return app


@functools.cache
def _bomb_member() -> bytes:
    return gzip.compress(bytes(_BOMB_MEMBER_BYTES), 9)


def _gzip_bomb(answer: Good, _terms: Terms) -> ASGIApp:
    body = _bomb_member() * _BOMB_MEMBERS
    return Response(body, media_type=answer.media_type, headers={"Content-Encoding": "gzip"})


def _fixed(app: ASGIApp) -> Callable[[Good, Terms], ASGIApp]:
    return lambda _answer, _terms: app


def _too_fast(_answer: Good, terms: Terms) -> ASGIApp:
    return refuse(texts.TOO_FAST, terms.too_fast)


_HTML = "<!doctype html><html><head><title>Welcome</title></head><body><h1>We'll be back soon</h1></body></html>"
_SPOILERS: dict[str, Callable[[Good, Terms], ASGIApp]] = {
    "500": _fixed(refuse(texts.Refusal(500, "Internal server error"))),
    "502-html": _fixed(_page(502)),
    "503": _fixed(_page(503)),
    "504": _fixed(_page(504)),
    "429": _too_fast,
    "429-monthly": _fixed(refuse(texts.MONTHLY)),
    "429-daily": _fixed(refuse(texts.DAILY)),
    "402": _fixed(refuse(texts.PAYMENT)),
    "408": _fixed(_page(408)),
    "413": _fixed(_page(413)),
    "413-early": _fixed(early_413),
    "401": _fixed(refuse(texts.BAD_KEY)),
    "403": _fixed(refuse(texts.UNVERIFIED)),
    "html": _fixed(HTMLResponse(_HTML)),
    "json200": _fixed(JSONResponse({"error": "Something went wrong", "status": 200})),
    "redirect": lambda _answer, terms: RedirectResponse(terms.redirect_to),
    "reset": _fixed(reset),
    "reset-before": _fixed(reset),
    "reset-after": _fixed(reset),
    "stall": _fixed(stall),
    "truncate": _truncate,
    "short": lambda answer, _: good(Good(answer.body[: len(answer.body) // 2], answer.media_type)),
    "garbage": lambda answer, _: good(Good(os.urandom(max(64, len(answer.body))), answer.media_type)),
    "empty": lambda answer, _: good(Good(b"", answer.media_type)),
    "stall-body": _stall_body,
    "slow": _slow,
    "endless": _endless,
    "wrong-length": _wrong_length,
    "gzip-bomb": _gzip_bomb,
    "nonsense": _fixed(
        JSONResponse(
            {
                "membership": None,
                "credits": "plenty",
                "prepaidCredits": -1,
                "app_usage": [],
                "api_usage": {"n": 1},
                "billingCycle": {"periodStartUnix": "yesterday", "remainingIncludedCredits": True},
            }
        )
    ),
    "list": _fixed(JSONResponse([1, 2, 3])),
}


def spoilt(kind: str, answer: Good, terms: Terms) -> ASGIApp:
    """Give the answer for a kind of fault. Kinds that are about the picture itself have been seen to before."""
    spoiler = _SPOILERS.get(kind.removesuffix("-charged"))
    return spoiler(answer, terms) if spoiler else good(answer)
