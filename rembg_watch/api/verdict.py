"""The verdict on one request that did not bring a picture: what it is about, and whether it may have been paid for.

    (status, headers, body, exception, stage, now) -> Verdict

Pure: no clock, no file, no network. The table follows the API's documented errors; what is not documented (402, 408,
413, 5xx, redirects, HTML pages, broken connections) is judged by its status and by how far the request had come.
"""

from __future__ import annotations

import re
import socket
import ssl
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from rembg_watch.api.error_body import ErrorBody, FieldError, clean, read_error_body
from rembg_watch.api.retry_after import parse_http_date, parse_retry_after
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


class About(StrEnum):
    """What an error concerns, and so how far the reaction reaches."""

    IMAGE = "image"
    """This one picture: its job fails."""
    PROFILE = "profile"
    """The options: every job of the profile would be refused."""
    ACCOUNT = "account"
    """The key or the account: everything would be refused."""
    CREDITS = "credits"
    """No credits, or the plan's day or month is used up: everything waits."""
    PACE = "pace"
    """Too fast: slow down; nobody's fault."""
    SERVICE = "service"
    """The service or the way to it: try again later."""
    UNKNOWN = "unknown"
    """Nothing that is known: never worth paying for again and again."""


class Stage(StrEnum):
    """How far the request was when it ended."""

    CONNECTING = "connecting"
    SENDING = "sending"
    """Connected; the body was not handed over whole. An answer may have come all the same (401, 413)."""
    WAITING = "waiting"
    """The body's last byte was handed over; no byte of the answer has come."""
    RECEIVING = "receiving"
    VERIFYING = "verifying"


class Charge(StrEnum):
    """What the request did to the credit balance, as far as can be known."""

    CHARGED = "charged"
    NOT_CHARGED = "not charged"
    POSSIBLY = "possibly charged"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one request came to.

    ``code`` is one stable word; ``message`` and ``hint`` are for people (one line, safe to print); ``retry_after`` is
    the server's wish in seconds, 0..86400, or None.
    """

    about: About
    code: str
    message: str
    hint: str
    charge: Charge
    status: int | None = None
    fields: tuple[FieldError, ...] = ()
    retry_after: float | None = None


class Fault(Exception):
    """A broken connection or transfer, in neutral words. ``code`` is a verdict's code, ``text`` the library's words."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


_HINTS = {
    "key": "Check api.key: it was copied whole, and it still exists in your RemBG.com account.",
    "email": "Open the mail that RemBG.com sent and confirm the address.",
    "key-and-token": "Send the API key only; something on the way adds a user token.",
    "forbidden": "Look into your RemBG.com account; the key is not allowed to do this.",
    "credits": "Buy credits or wait for the plan's renewal; sending goes on by itself.",
    "daily": "Wait for the next day or upgrade the plan; sending goes on by itself.",
    "monthly": "Buy credits or wait for the plan's renewal; sending goes on by itself.",
    "shrunk": "Buy credits or wait for the plan's renewal; shrunk pictures are what accounts without credits get.",
    "too-fast": "Nothing to do: the pace is lowered. Fewer workers, or api.max_per_second, keep below the limit.",
    "no-image": "Report this: the request carried no picture.",
    "no-name": "Report this: the request carried no file name.",
    "type": "Only webp, bmp, png and jpeg can be sent.",
    "corrupt": "Export or copy the photo again; the API can't read it.",
    "empty": "Copy the photo again; it has no content.",
    "too-big": "Save the photo smaller; the limit is 50 MB.",
    "too-wide": "Scale the photo down; the limit is 10000 px a side.",
    "too-tall": "Scale the photo down; the limit is 10000 px a side.",
    "image": "Look at the photo; the API does not take it as it is.",
    "options": "Correct these options in the profile.",
    "conflict": "Choose one of the two options.",
    "server-error": "Nothing to do: it is tried again later.",
    "unavailable": "Nothing to do: it is tried again later.",
    "proxy-page": "Something between here and the API answered with a web page: check api.url, proxy and firewall.",
    "proxy": "Check the proxy settings (HTTPS_PROXY, NO_PROXY).",
    "redirect": "Correct api.url; redirects are not followed, so the key was sent to no other host.",
    "wrong-url": "Check api.url; there is no such service at this address.",
    "timeout": "Nothing to do: it is tried again. If it stays, raise api.read_timeout or check the network.",
    "reset": "Nothing to do: it is tried again. If it stays, check the network, proxy and firewall.",
    "dns": "Check the name in api.url, and this machine's DNS.",
    "tls": "Check this machine's clock, and the CA bundle (REQUESTS_CA_BUNDLE) where a proxy opens TLS.",
    "refused": "Check api.url and the firewall; nothing accepts connections there.",
    "unreachable": "Check this machine's network.",
    "url": "Correct api.url.",
    "not-a-picture": "It is tried again later; if it stays, ask RemBG.com's support.",
    "cut-short": "Nothing to do: it is tried again later.",
    "encoding": "Something on the way compresses answers; it must leave pictures as they are.",
    "too-much": "It is not read further; if it stays, ask RemBG.com's support.",
    "nonsense": "It is asked again later; if it stays, ask RemBG.com's support.",
    "unknown": "Read the message; if it does not help, ask RemBG.com's support.",
    "wrong-format": "It is not delivered. Ask RemBG.com's support, or try another format in the profile.",
    "wrong-size": "It is not delivered. Ask RemBG.com's support, or try another size in the profile.",
    "picture": "",
}
CODES = frozenset(_HINTS)
"""Every word that a verdict's ``code`` can be."""


def hint_for(code: str) -> str:
    """What to do about a verdict with this ``code``."""
    return _HINTS.get(code, _HINTS["unknown"])


_OPTIONS = frozenset({"format", "w", "h", "exact_resize", "mask", "bg_color", "angle", "expand", "return_base64"})
_IMAGE_FIELDS = frozenset({"image", "file", "input", "inputimage", "image_file"})
_ACCOUNT_FIELDS = frozenset({"x-api-key", "api_key", "apikey", "key", "token", "authorization", "user"})

# The documented texts first, in words that survive small changes of theirs; below them, guesses by single words.
_TEXTS: tuple[tuple[re.Pattern[str], About, str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), about, code)
    for pattern, about, code in (
        (r"both api key and user token", About.ACCOUNT, "key-and-token"),
        (r"e-?mail.*(?:not |un)verified|verify your e-?mail", About.ACCOUNT, "email"),
        (
            r"(?:invalid|unknown|missing|wrong|expired|revoked|bad|no) (?:api[ _-]?key|credentials)",
            About.ACCOUNT,
            "key",
        ),
        (
            r"api[ _-]?key (?:is |was |has )?(?:been )?(?:not |in|un|expired|missing|required|revoked)",
            About.ACCOUNT,
            "key",
        ),
        (r"no image file|include an 'image'", About.IMAGE, "no-image"),
        (r"no file selected", About.IMAGE, "no-name"),
        (r"file type .*not supported|unsupported (?:file|image|media)", About.IMAGE, "type"),
        (
            r"not appear to be a valid image|invalid file signature|corrupt|cannot identify image",
            About.IMAGE,
            "corrupt",
        ),
        (r"file is empty|0 bytes", About.IMAGE, "empty"),
        (r"file size|file (?:is )?too (?:large|big)|entity too large", About.IMAGE, "too-big"),
        (r"image width", About.IMAGE, "too-wide"),
        (r"image height", About.IMAGE, "too-tall"),
        (r"cannot use '?\w+(?:=\w+)?'? together", About.PROFILE, "conflict"),
        (r"invalid (?:output )?format|invalid colou?r", About.PROFILE, "options"),
        (r"'(?:format|w|h|exact_resize|mask|bg_color|angle|expand|return_base64)(?:=\w+)?'", About.PROFILE, "options"),
        (r"(?:daily|per[ -]day|day's) (?:limit|quota)|limit (?:for )?(?:today|per day)", About.CREDITS, "daily"),
        (
            r"(?:monthly|per[ -]month|month's) (?:limit|quota)|limit (?:for )?(?:this|per) month",
            About.CREDITS,
            "monthly",
        ),
        (r"credits?\b|quota|insufficient (?:funds|balance)|payment|subscription", About.CREDITS, "credits"),
        (r"too (?:quickly|many requests|fast)|rate[ -]?limit|slow down", About.PACE, "too-fast"),
        (
            r"suspended|banned|disabled|blocked|forbidden|not allowed|unauthori[sz]ed|permission",
            About.ACCOUNT,
            "forbidden",
        ),
        (r"\b(?:bg_color|exact_resize|return_base64|angle|mask|expand|colou?r)\b", About.PROFILE, "options"),
        (r"\b(?:image|picture|photo|file|upload)\b", About.IMAGE, "image"),
    )
)


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
    return Verdict(about, code, clean(message, 600), _HINTS[code], charge)


def _sent(stage: Stage) -> Charge:
    """Nothing is paid before the last byte is out; from then on it may be."""
    return Charge.NOT_CHARGED if stage in (Stage.CONNECTING, Stage.SENDING) else Charge.POSSIBLY


def _broken(exception: BaseException, stage: Stage, status: int | None) -> Verdict:
    fault = exception if isinstance(exception, Fault) else fault_of(exception)
    code = fault.code if fault.code in _HINTS else "unknown"
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
        about, code = _by_words(said) or (About.SERVICE, "not-a-picture")
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
    # 303 is the one redirect that can follow a request that was carried out (RFC 9110, 15.4.4).
    charge = _sent(stage) if status == 303 else Charge.NOT_CHARGED
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
        words = _by_words(said)
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


def _by_words(said: ErrorBody) -> tuple[About, str] | None:
    """Judge by the fields it names, then by its words.

    Where both the picture and an option are wrong, the option decides: it concerns every photo of the profile, and once
    it is corrected, the picture's own fault comes back by itself, at no cost.
    """
    found = [judged for f in said.fields if (judged := _by_field(f))]
    for about in (About.ACCOUNT, About.CREDITS, About.PACE, About.PROFILE, About.IMAGE):
        for judged in found:
            if judged[0] is about:
                return judged
    return _by_text(said.text)


def _by_field(error: FieldError) -> tuple[About, str] | None:
    name = error.field.lower()
    by_text = _by_text(error.message)
    if name in _OPTIONS:
        return About.PROFILE, "conflict" if by_text == (About.PROFILE, "conflict") else "options"
    if name in _IMAGE_FIELDS:
        return by_text if by_text and by_text[0] is About.IMAGE else (About.IMAGE, "image")
    if name in _ACCOUNT_FIELDS:
        return by_text if by_text and by_text[0] is About.ACCOUNT else (About.ACCOUNT, "key")
    return by_text


def _by_text(text: str) -> tuple[About, str] | None:
    return next(((about, code) for pattern, about, code in _TEXTS if pattern.search(text)), None)


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
