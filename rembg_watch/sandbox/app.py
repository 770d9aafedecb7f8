"""The two routes of the API: remove a background, and read the usage."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import time
from email.utils import formatdate
from math import ceil
from typing import TYPE_CHECKING, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from rembg_watch.sandbox import answers, texts
from rembg_watch.sandbox.answers import Good, Terms
from rembg_watch.sandbox.control import control_routes
from rembg_watch.sandbox.cutout import SHRUNK_SIDE, Unreadable, open_picture, render
from rembg_watch.sandbox.faults import Fault, Stage
from rembg_watch.sandbox.form import Form, read_form
from rembg_watch.sandbox.state import State, UsageCall, Visit
from rembg_watch.sandbox.texts import Refusal
from rembg_watch.sandbox.usage import usage_answer
from rembg_watch.sandbox.validate import Wish, check_sides, check_upload, parse_wish
from rembg_watch.sandbox.wire import wire_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Executor

    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

T = TypeVar("T")

RMBG_PATH = "/rmbg"
USAGE_PATH = "/api/membership-usage"
ELSEWHERE_PATH = "/_sandbox/elsewhere"

_NOTHING = Good(b"", "text/plain")
_OTHER_FORMAT = {"WEBP": "PNG", "PNG": "WEBP", "JPEG": "PNG", "BMP": "PNG"}


class ServerGoesDown(Exception):
    """The sandbox is being stopped while this request is in flight."""


def _headers(request: Request) -> dict[str, str]:
    return {name.lower(): value for name, value in request.headers.items()}


def _terms(state: State, request: Request, wait: float = 1.0) -> Terms:
    with state.lock:
        settings = dataclasses.replace(state.settings)
    after = settings.retry_after
    if after == "auto":
        after = ceil(wait)
    elif after == "date":
        after = formatdate(time.time() + ceil(wait), usegmt=True)
    elif isinstance(after, float | int):
        after = f"{after:g}"
    too_fast = {} if after is None else {"Retry-After": str(after)}
    default = str(request.url.replace(path=ELSEWHERE_PATH, query=""))
    return Terms(settings.redirect_to or default, settings.slow_seconds, too_fast)


class RemoveBackground:
    """``POST /rmbg``, read from top to bottom as one request goes."""

    def __init__(self, state: State, threads: Executor) -> None:
        self._state = state
        self._threads = threads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        if request.method != "POST":
            refusal = Refusal(405, "Method not allowed: use POST.")
            await answers.refuse(refusal, {"Allow": "POST"})(scope, receive, send)
            return
        visit = self._state.arrive(_headers(request))
        try:
            answer = await self._answer(request, visit)
            if not _lingers(visit.fault):
                visit.leave()
            await answer(scope, receive, send)
        finally:
            visit.settle(charge=False)
            visit.leave()

    async def _answer(self, request: Request, visit: Visit) -> ASGIApp:
        if visit.fault and visit.fault.stage is Stage.EARLY:
            visit.note(visit.fault.status)
            return answers.spoilt(visit.fault.kind, _NOTHING, _terms(self._state, request))
        try:
            form = await read_form(request.headers.get("content-type", ""), request.stream())
        except ClientDisconnect:
            visit.spare_fault()
            visit.note(0, error="the client went away before its body was read")
            return answers.reset
        with form:
            try:
                return await self._answer_form(request, visit, form)
            except ServerGoesDown:
                visit.note(0, form, error="the sandbox was stopped")
                return answers.reset

    async def _answer_form(self, request: Request, visit: Visit, form: Form) -> ASGIApp:
        state = self._state
        if visit.fault and visit.fault.stage is Stage.INSTEAD:
            visit.note(visit.fault.status, form)
            return answers.spoilt(visit.fault.kind, _NOTHING, _terms(state, request))
        refusal = visit.admit()
        if refusal is not None:
            headers = _terms(state, request, visit.retry_after).too_fast if refusal is texts.TOO_FAST else {}
            return self._refuse(visit, form, [refusal], headers)
        wish = await self._wish(form)
        if isinstance(wish, list):
            return self._refuse(visit, form, wish)
        refusal = visit.reserve()
        shrink = refusal is texts.MONTHLY and state.settings.out_of_credits == "shrunk"
        if refusal is not None and not shrink:
            return self._refuse(visit, form, [refusal])
        return await self._work(request, visit, form, wish, shrink=shrink)

    def _refuse(
        self, visit: Visit, form: Form, refusals: list[Refusal], headers: Mapping[str, str] | None = None
    ) -> ASGIApp:
        visit.spare_fault()
        body = texts.together(refusals, self._state.settings.errors_as)
        visit.note(refusals[0].status, form, error=str(body["error"]))
        return JSONResponse(body, refusals[0].status, {**answers.SAYS_SO, **(headers or {})})

    async def _wish(self, form: Form) -> Wish | list[Refusal]:
        """Check the image and the options, and collect what is wrong with either."""
        wrong: list[Refusal] = []
        if form.image is None:
            wrong.append(texts.NO_IMAGE)
        else:
            refusal = check_upload(form.image.filename, form.image.size, form.image.head())
            wrong += [refusal] if refusal else await self._in_thread(functools.partial(_check_pixels, form))
        wish = parse_wish(form.fields)
        if isinstance(wish, list):
            return wrong + wish
        return wrong or wish

    async def _work(self, request: Request, visit: Visit, form: Form, wish: Wish, *, shrink: bool) -> ASGIApp:
        fault = visit.fault
        received = time.monotonic()
        try:
            answer = await self._in_thread(functools.partial(_make, form, wish, fault, shrink=shrink))
        except Unreadable:
            visit.settle(charge=False)
            return self._refuse(visit, form, [texts.CORRUPT])
        await self._take_time(received, wire_of(request.scope).closing)
        charged = visit.settle(charge=fault is None or fault.charges)
        visit.note(fault.status if fault else 200, form, charged=charged)
        if fault is None:
            return answers.good(answer)
        if fault.kind == "gzip-bomb":
            return await self._in_thread(
                functools.partial(answers.spoilt, fault.kind, answer, _terms(self._state, request))
            )
        return answers.spoilt(fault.kind, answer, _terms(self._state, request))

    async def _take_time(self, received: float, closing: asyncio.Event) -> None:
        """Wait until the latency is over, as it is set by then. Raises ServerGoesDown."""
        loop, steered = asyncio.get_running_loop(), asyncio.Event()
        with self._state.heard(lambda: loop.call_soon_threadsafe(steered.set)):
            while not closing.is_set() and (left := received + self._state.settings.latency - time.monotonic()) > 0:
                steered.clear()
                await _any_of(closing, steered, seconds=left)
        if closing.is_set():
            raise ServerGoesDown

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _lingers(fault: Fault | None) -> bool:
    """Whether the request is still in flight while its answer goes out."""
    return fault is not None and fault.kind in ("stall", "stall-charged", "stall-body", "slow", "endless")


async def _any_of(*events: asyncio.Event, seconds: float) -> None:
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waiting:
            one.cancel()


def _check_pixels(form: Form) -> list[Refusal]:
    assert form.image is not None
    try:
        picture = open_picture(form.image.file)
    except Unreadable:
        return [texts.CORRUPT]
    return check_sides(*picture.size)


def _make(form: Form, wish: Wish, fault: Fault | None, *, shrink: bool) -> Good:
    assert form.image is not None
    kind = fault.kind if fault else ""
    if kind == "wrong-format":
        wish = dataclasses.replace(wish, format=_OTHER_FORMAT[wish.format])
    max_side = SHRUNK_SIDE if shrink or kind == "shrunk" else texts.MAX_SIDE
    scale = 0.5 if kind == "wrong-size" else 1.0
    body = render(open_picture(form.image.file), wish, max_side=max_side, scale=scale)
    return Good(body, f"image/{wish.format.lower()}")


class MembershipUsage:
    """``GET /api/membership-usage``."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        answer = self._answer(request)
        await answer(scope, receive, send)

    def _answer(self, request: Request) -> ASGIApp:
        state, query, headers = self._state, dict(request.query_params), _headers(request)
        now = time.time()
        fault, refusal = state.arrive_usage(headers)
        body: dict[str, object] | Refusal
        if fault and fault.stage is Stage.INSTEAD:
            body = {}
        elif refusal is not None:
            body, fault = refusal, None
        else:
            with state.lock:
                account = state.account
                if fault and fault.kind == "unsynced":
                    account = dataclasses.replace(account, synced=False)
                body = usage_answer(account, query, now)
        status = fault.status if fault else body.status if isinstance(body, Refusal) else 200
        with state.lock:
            state.usage_calls.append(UsageCall(now, status, fault.kind if fault else None, query, headers))
        if fault is None or fault.kind == "unsynced":
            if isinstance(body, Refusal):
                return answers.refuse(body)
            return JSONResponse(body, headers=answers.SAYS_SO)
        plain = bytes(JSONResponse(body.body() if isinstance(body, Refusal) else body).body)
        return answers.spoilt(fault.kind, Good(plain, "application/json"), _terms(state, request))


async def _refuse_http(_request: Request, error: Exception) -> Response:
    """Every error is JSON here, those of Starlette too."""
    assert isinstance(error, HTTPException)
    body = Refusal(error.status_code, error.detail).body()
    return JSONResponse(body, error.status_code, {**answers.SAYS_SO, **(error.headers or {})})


def make_app(state: State, threads: Executor) -> Starlette:
    """Put the routes together. ``threads`` is where pictures are worked on, so that the loop stays free."""
    return Starlette(
        routes=[
            Route(RMBG_PATH, RemoveBackground(state, threads)),
            Route(USAGE_PATH, MembershipUsage(state), methods=["GET"]),
            Mount("/_sandbox", routes=control_routes(state)),
        ],
        exception_handlers={HTTPException: _refuse_http},
    )
