"""``/_sandbox/``: look at the sandbox and steer it from another process. JSON in and out.

GET  /_sandbox/                     the whole state
GET  /_sandbox/requests             every POST /rmbg so far; /_sandbox/usage-calls likewise
POST /_sandbox/set                  any of: latency, rate_limit, faults, credits_left, ...; a wrong name lists all
POST /_sandbox/next                 {"kinds": [...]} and {"usage": [...]}: faults for the next requests
POST /_sandbox/top-up               {"credits": n}
POST /_sandbox/spend-elsewhere      {"credits": n}
POST /_sandbox/renew                {}: a new billing cycle begins
POST /_sandbox/forget               {}: empties the lists
"""

from __future__ import annotations

import dataclasses
import json
import time
from typing import TYPE_CHECKING, Any, cast

from starlette.responses import JSONResponse
from starlette.routing import Route

from rembg_watch.sandbox.steer import is_count, steer

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.responses import Response

    from rembg_watch.sandbox.state import State


def snapshot(state: State) -> dict[str, Any]:
    """Give the whole state, but for the lists and the key."""
    with state.lock:
        settings = dataclasses.asdict(state.settings)
        settings["key"] = "any" if settings["key"] is None else "set"
        return {
            **settings,
            "rate_limit": state.bucket.rate if state.bucket else None,
            "burst": state.bucket.burst if state.bucket else None,
            "faults": state.faults.odds,
            "next": state.faults.forced,
            "usage_faults": state.usage_faults.odds,
            "next_usage": state.usage_faults.forced,
            "credits_left": state.account.left(time.time()),
            "included": state.account.included,
            "prepaid": state.account.prepaid,
            "synced": state.account.synced,
            "charged": state.account.charged,
            "requests": len(state.requests),
            "usage_calls": len(state.usage_calls),
            "connections": state.connections,
            "in_flight": state.in_flight,
            "working": state.account.reserved,
            "max_in_flight": state.max_in_flight,
        }


def _credits(values: dict[str, Any]) -> int:
    number = values.get("credits")
    if not is_count(number):
        raise ValueError("'credits' must be an integer of 0 or more")
    return cast("int", number)


def _next(state: State, values: dict[str, Any]) -> None:
    kinds, usage = values.get("kinds", []), values.get("usage", [])
    if not isinstance(kinds, list) or not isinstance(usage, list):
        raise TypeError("'kinds' and 'usage' must be lists of kinds of fault")
    with state.lock:
        state.usage_faults.check(dict.fromkeys(usage, 0.0))
        state.faults.force(*kinds)
        state.usage_faults.force(*usage)


def _top_up(state: State, values: dict[str, Any]) -> None:
    with state.lock:
        state.account.prepaid += _credits(values)


def _spend(state: State, values: dict[str, Any]) -> None:
    with state.lock:
        state.account.spend(_credits(values), time.time())


def _renew(state: State, _values: dict[str, Any]) -> None:
    with state.lock:
        state.account.renew(time.time())


def _forget(state: State, _values: dict[str, Any]) -> None:
    state.forget()


def control_routes(state: State) -> list[Route]:
    def show(give: Callable[[], Any]) -> Callable[[Request], Any]:
        async def endpoint(_request: Request) -> Response:
            with state.lock:
                return JSONResponse(give())

        return endpoint

    def act(do: Callable[[State, dict[str, Any]], None]) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            try:
                values = json.loads(await request.body() or b"{}")
                if not isinstance(values, dict):
                    raise TypeError("a JSON object is needed")
                do(state, values)
            except (ValueError, TypeError) as error:
                return JSONResponse({"error": str(error), "status": 400}, 400)
            return JSONResponse(snapshot(state))

        return endpoint

    async def elsewhere(request: Request) -> Response:
        with state.lock:
            state.elsewhere.append({name.lower(): value for name, value in request.headers.items()})
        return JSONResponse({"error": "you followed a redirect", "status": 200})

    return [
        Route("/", show(lambda: snapshot(state)), methods=["GET"]),
        Route("/requests", show(lambda: [dataclasses.asdict(one) for one in state.requests]), methods=["GET"]),
        Route("/usage-calls", show(lambda: [dataclasses.asdict(one) for one in state.usage_calls]), methods=["GET"]),
        Route("/set", act(steer), methods=["POST"]),
        Route("/next", act(_next), methods=["POST"]),
        Route("/top-up", act(_top_up), methods=["POST"]),
        Route("/spend-elsewhere", act(_spend), methods=["POST"]),
        Route("/renew", act(_renew), methods=["POST"]),
        Route("/forget", act(_forget), methods=["POST"]),
        Route("/elsewhere", elsewhere, methods=["GET", "POST"]),
    ]
