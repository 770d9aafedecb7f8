"""``/_sandbox/``: look at the sandbox and steer it from another process. JSON in and out.

GET  /_sandbox/                     the whole state
GET  /_sandbox/requests             every POST /rmbg so far; /_sandbox/usage-calls likewise
POST /_sandbox/set                  any of: latency, rate_limit, burst, faults, usage_faults, key, credits_left, ...
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
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse
from starlette.routing import Route

from rembg_watch.sandbox.state import Settings, State

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.responses import Response

_SETTINGS = [setting.name for setting in dataclasses.fields(Settings)]
_STEERED = [*_SETTINGS, "rate_limit", "burst", "faults", "usage_faults", "credits_left", "synced"]


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
            "max_in_flight": state.max_in_flight,
        }


def _number(values: dict[str, Any], name: str) -> int:
    value = values.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"'{name}' must be an integer of 0 or more")
    return value


def steer(state: State, values: dict[str, Any]) -> None:
    """Change what is named in ``values``. Raises ValueError or TypeError, and then part of it may be done."""
    for name in values:
        if name not in _STEERED:
            raise ValueError(f"nothing is called '{name}'; there are: {', '.join(_STEERED)}")
    with state.lock:
        if "rate_limit" in values:
            state.set_rate_limit(values["rate_limit"], values.get("burst"))
        if "faults" in values:
            state.faults.set_odds(values["faults"])
        if "usage_faults" in values:
            state.usage_faults.set_odds(values["usage_faults"])
        if "credits_left" in values:
            state.account.set_left(_number(values, "credits_left"), time.time())
        if "synced" in values:
            state.account.synced = bool(values["synced"])
        if "latency" in values and not 0 <= float(values["latency"]) < 3600:
            raise ValueError("'latency' must be 0..3600 seconds")
        for name in set(values) & set(_SETTINGS):
            setattr(state.settings, name, values[name])


def _next(state: State, values: dict[str, Any]) -> None:
    with state.lock:
        state.faults.force(*values.get("kinds", []))
        state.usage_faults.force(*values.get("usage", []))


def _top_up(state: State, values: dict[str, Any]) -> None:
    with state.lock:
        state.account.prepaid += _number(values, "credits")


def _spend(state: State, values: dict[str, Any]) -> None:
    with state.lock:
        state.account.spend(_number(values, "credits"), time.time())


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
                    raise TypeError("a JSON object is needed")  # noqa: TRY301 -- one place answers for all
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
