"""The verdict on one request that did not bring a picture: what it is about, and whether it may have been paid for.

    (status, headers, body, exception, stage, now) -> Verdict

Pure: no clock, no file, no network. The table follows the API's documented errors; what is not documented (402, 408,
413, 5xx, redirects, HTML pages, broken connections) is judged by its status and by how far the request had come.
"""

from __future__ import annotations

import socket
import ssl
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from rembg_watch.api.error_body import ErrorBody, FieldError, clean, read_error_body
from rembg_watch.api.hints import CODES, HINTS, hint_for
from rembg_watch.api.model import About, Charge, Fault, Stage, Verdict
from rembg_watch.api.retry_after import parse_http_date, parse_retry_after
from rembg_watch.api.wording import by_words
from rembg_watch.errors import (
    AccountRefused,
    AnswerLost,
    ApiError,
    BadAnswer,
    ImageRejected,
    OptionsRejected,
    OutOfCredits,
    ServiceDown,
    TooFast,
)
from rembg_watch.imagefile import sniff

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "CODES",
    "About",
    "Charge",
    "Fault",
    "FieldError",
    "Stage",
    "Verdict",
    "error_for",
    "fault_of",
    "hint_for",
    "judge",
    "parse_retry_after",
]


def judge(
    status: int | None,
    headers: Mapping[str, str],
    body: bytes,
    exception: BaseException | None,
    stage: Stage,
    now: float,
) -> Verdict:
    """Judge one request by all that is known of it. Never raises, whatever comes in.

    Args:
        status: the HTTP status, or None where no answer came.
        headers: the answer's headers; case does not matter.
        body: the answer's first bytes, at most 64 KiB of them.
        exception: what ended it: a :class:`Fault`, or any OSError; None where an answer came whole.
        stage: how far the request was. SENDING together with a status is an answer that came before the body was out.
        now: Unix seconds, for a ``Retry-After`` that is a date.
    """
    low = {str(name).lower(): str(value) for name, value in headers.items()}
    said = read_error_body(low.get("content-type", ""), body)
    if exception is not None and (status is None or status == 200 or stage is not Stage.RECEIVING):
        # A broken error page still tells its status; a broken picture does not.
        verdict = _broken(exception, stage, status)
    elif status is None:
        verdict = _make(About.UNKNOWN, "unknown", "no answer came", _sent(stage))
    elif status == 200:
        verdict = _ok(said, body)
    elif 300 <= status < 400 and low.get("location"):
        verdict = _redirect(status, low["location"], stage)
    else:
        verdict = _refusal(status, said, stage)
    clock = parse_http_date(low.get("date", "")) or now  # a date is meant by the server's clock, not by ours
    return replace(
        verdict, status=status, fields=said.fields, retry_after=parse_retry_after(low.get("retry-after"), clock)
    )


def _make(about: About, code: str, message: str, charge: Charge) -> Verdict:
    return Verdict(about, code, clean(message, 600), HINTS[code], charge)


def _sent(stage: Stage) -> Charge:
    """Nothing is paid before the last byte is out; from then on it may be."""
    return Charge.NOT_CHARGED if stage in (Stage.CONNECTING, Stage.SENDING) else Charge.POSSIBLY


def _broken(exception: BaseException, stage: Stage, status: int | None) -> Verdict:
    fault = exception if isinstance(exception, Fault) else fault_of(exception)
    code = fault.code if fault.code in HINTS else "unknown"
    where = {
        Stage.CONNECTING: "while connecting to the API",
        Stage.SENDING: "while sending the photo",
        Stage.WAITING: "while waiting for the answer",
    }.get(stage, "while the answer was coming in")
    about = About.UNKNOWN if code == "unknown" else About.SERVICE
    charge = Charge.POSSIBLY if status == 200 else _sent(stage)
    text = fault.text or type(exception).__name__
    return _make(about, code, f"{_FAULTS.get(code, 'failed')} {where}: {text}", charge)


_FAULTS = {
    "timeout": "timed out",
    "reset": "the connection broke",
    "dns": "the host name was not found",
    "tls": "no trusted TLS connection",
    "refused": "the connection was refused",
    "unreachable": "the network is unreachable",
    "proxy": "the proxy failed",
    "url": "the address can't be used",
    "cut-short": "the answer was cut short",
    "encoding": "the answer is compressed, which was not asked for,",
    "too-much": "the answer is longer than any picture",
}


def fault_of(exception: BaseException) -> Fault:
    """Turn an exception of the standard library into a :class:`Fault`; ``unknown`` for what is no network error."""
    text = clean(str(getattr(exception, "strerror", None) or exception))
    match exception:
        case Fault():
            return exception
        case socket.gaierror():
            code = "dns"
        case TimeoutError():
            code = "timeout"
        case ssl.SSLError():
            code = "tls"
        case ConnectionRefusedError():
            code = "refused"
        case ConnectionError():
            code = "reset"
        case OSError():
            code = "unreachable"
        case _:
            code = "unknown"
    return Fault(code, text)


def _ok(said: ErrorBody, body: bytes) -> Verdict:
    """A 200: the picture, or what came in its place."""
    if sniff(body[:12]) is not None:
        return _make(About.UNKNOWN, "picture", "the answer is a picture", Charge.CHARGED)
    if said.is_html:
        return _make(
            About.SERVICE,
            "proxy-page",
            f"a web page instead of an answer, status 200{_quoted(said.text)}",
            Charge.POSSIBLY,
        )
    if said.is_json and (said.text or said.fields):
        about, code = by_words(said) or (About.SERVICE, "not-a-picture")
        return _make(about, code, f"status 200 with an error in it: {said.text}", Charge.POSSIBLY)
    what = "nothing" if not body else f"{len(body)} bytes that are no picture"
    return _make(About.SERVICE, "not-a-picture", f"status 200 with {what}{_quoted(said.text)}", Charge.POSSIBLY)


def _quoted(text: str) -> str:
    return f": “{text}”" if text else ""


def _redirect(status: int, location: str, stage: Stage) -> Verdict:
    try:
        host = urlsplit(location).hostname or ""
    except ValueError:
        host = ""
    target = f"the host {clean(host, 100)}" if host else f"the path {clean(location, 100)}"
    # 303 can follow a request that was carried out, to where its result is (RFC 9110, 15.4.4); so is 302 used, out of
    # habit (15.4.3). The others only say that the same request belongs elsewhere.
    charge = _sent(stage) if status in (302, 303) else Charge.NOT_CHARGED
    return _make(About.SERVICE, "redirect", f"the API's address redirects ({status}) to {target}", charge)


_BY_STATUS: dict[int, tuple[About, str, str]] = {
    401: (About.ACCOUNT, "key", "the API key was refused"),
    402: (About.CREDITS, "credits", "payment is required"),
    403: (About.ACCOUNT, "forbidden", "access is forbidden"),
    404: (About.SERVICE, "wrong-url", "nothing is found at the API's address"),
    405: (About.SERVICE, "wrong-url", "the API's address does not take photos"),
    407: (About.SERVICE, "proxy", "the proxy wants a login"),
    408: (About.SERVICE, "timeout", "the server gave up waiting for the photo"),
    410: (About.SERVICE, "wrong-url", "nothing is at the API's address any more"),
    413: (About.IMAGE, "too-big", "the photo is too big for the server"),
    415: (About.IMAGE, "type", "the server does not take this type of file"),
    421: (About.SERVICE, "wrong-url", "the server is not responsible for the API's address"),
    425: (About.SERVICE, "unavailable", "the server asks to try again"),
    429: (About.PACE, "too-fast", "too many requests"),
    503: (About.SERVICE, "unavailable", "the service is unavailable"),
}
_BY_STATUS_WHOEVER_SPEAKS = frozenset({402, 407, 408, 413, 421, 425, 429, 503})
"""Statuses that mean the same from the API and from a proxy in front of it, with any body."""


def _refusal(status: int, said: ErrorBody, stage: Stage) -> Verdict:
    """Every answer that is neither 200 nor a redirect."""
    if said.is_html and status not in _BY_STATUS_WHOEVER_SPEAKS:
        return _make(
            About.SERVICE,
            "proxy-page",
            f"a web page instead of an answer, status {status}{_quoted(said.text)}",
            _sent(stage),
        )
    about, code, usual = _BY_STATUS.get(status, (About.UNKNOWN, "unknown", f"an answer with the status {status}"))
    if status >= 500 and status != 503:
        text = said.text or "the service failed"
        return _make(About.SERVICE, "server-error", f"{text} (status {status})", _sent(stage))
    if status in (400, 403, 422, 429) or (400 <= status < 500 and about is About.UNKNOWN):
        words = by_words(said)
        # 429 is about pace or credits, 403 never about a picture, whatever words a text happens to have.
        allowed = {
            429: (About.PACE, About.CREDITS),
            403: (About.ACCOUNT, About.CREDITS, About.PACE),
        }.get(status, tuple(About))
        if words and words[0] in allowed:
            about, code = words
    clean_refusal = 400 <= status < 500 and (
        said.is_json or status in _BY_STATUS_WHOEVER_SPEAKS or about is not About.UNKNOWN
    )
    charge = Charge.NOT_CHARGED if clean_refusal or status == 503 else _sent(stage)
    return _make(about, code, _sentence(said) or f"{usual} (status {status})", charge)


def _sentence(said: ErrorBody) -> str:
    """The server's own words, with every field it names."""
    details = "; ".join(
        f.message if not f.field or f.field in f.message else f"{f.field}: {f.message}" for f in said.fields
    )
    if not details or details == said.text:
        return said.text
    return f"{said.text}: {details}" if said.text else details


_CLASSES: dict[About, type[ApiError]] = {
    About.IMAGE: ImageRejected,
    About.PROFILE: OptionsRejected,
    About.ACCOUNT: AccountRefused,
    About.CREDITS: OutOfCredits,
    About.PACE: TooFast,
}


def error_for(verdict: Verdict) -> ApiError:
    """Give the exception that carries ``verdict``: its class says what it is about."""
    if (wanted := _CLASSES.get(verdict.about)) is not None:
        return wanted(verdict.message, verdict.hint, verdict)
    if verdict.status == 200 or verdict.code == "nonsense":
        return BadAnswer(verdict.message, verdict.hint, verdict)
    if verdict.status is None and verdict.charge is Charge.POSSIBLY:
        return AnswerLost(verdict.message, verdict.hint, verdict)
    if verdict.about is About.SERVICE:
        return ServiceDown(verdict.message, verdict.hint, verdict)
    return BadAnswer(verdict.message, verdict.hint, verdict)
