"""The exceptions of requests, urllib3 and http.client in neutral words."""

from __future__ import annotations

import errno
import http.client
import re
import ssl
from typing import TYPE_CHECKING

from requests import exceptions as rq
from urllib3 import exceptions as u3

from rembg_watch.api.error_body import clean
from rembg_watch.api.verdict import Fault, fault_of

if TYPE_CHECKING:
    from collections.abc import Iterator

FAULTS: dict[type[BaseException], str | None] = {
    # None: says nothing by itself; what it wraps decides.
    rq.RequestException: None,
    rq.InvalidJSONError: "nonsense",
    rq.JSONDecodeError: "nonsense",
    rq.HTTPError: "nonsense",
    rq.ConnectionError: None,
    rq.ProxyError: "proxy",
    rq.SSLError: "tls",
    rq.Timeout: "timeout",
    rq.ConnectTimeout: "timeout",
    rq.ReadTimeout: "timeout",
    rq.URLRequired: "url",
    rq.TooManyRedirects: "redirect",
    rq.MissingSchema: "url",
    rq.InvalidSchema: "url",
    rq.InvalidURL: "url",
    rq.InvalidHeader: "url",
    rq.InvalidProxyURL: "proxy",
    rq.ChunkedEncodingError: "cut-short",
    rq.ContentDecodingError: "encoding",
    rq.StreamConsumedError: "unknown",
    rq.RetryError: None,
    rq.UnrewindableBodyError: "unknown",
    u3.HTTPError: None,
    u3.PoolError: None,
    u3.RequestError: None,
    u3.SSLError: "tls",
    u3.ProxyError: "proxy",
    u3.DecodeError: "encoding",
    u3.ProtocolError: None,
    u3.MaxRetryError: None,
    u3.HostChangedError: "redirect",
    u3.TimeoutStateError: "unknown",
    u3.TimeoutError: "timeout",
    u3.ReadTimeoutError: "timeout",
    u3.ConnectTimeoutError: "timeout",
    u3.NewConnectionError: "refused",
    u3.NameResolutionError: "dns",
    u3.EmptyPoolError: "timeout",
    u3.FullPoolError: "unknown",
    u3.ClosedPoolError: "reset",
    u3.LocationValueError: "url",
    u3.LocationParseError: "url",
    u3.URLSchemeUnknown: "url",
    u3.ResponseError: "nonsense",
    u3.ResponseNotChunked: "nonsense",
    u3.BodyNotHttplibCompatible: "unknown",
    u3.IncompleteRead: "cut-short",
    u3.InvalidChunkLength: "cut-short",
    u3.InvalidHeader: "nonsense",
    u3.ProxySchemeUnknown: "proxy",
    u3.ProxySchemeUnsupported: "proxy",
    u3.HeaderParsingError: "nonsense",
    u3.UnrewindableBodyError: "unknown",
    http.client.HTTPException: "nonsense",
    http.client.NotConnected: "reset",
    http.client.InvalidURL: "url",
    http.client.UnknownProtocol: "nonsense",
    http.client.UnknownTransferEncoding: "nonsense",
    http.client.UnimplementedFileMode: "unknown",
    http.client.IncompleteRead: "cut-short",
    http.client.ImproperConnectionState: "unknown",
    http.client.CannotSendRequest: "unknown",
    http.client.CannotSendHeader: "unknown",
    http.client.ResponseNotReady: "unknown",
    http.client.BadStatusLine: "nonsense",
    http.client.LineTooLong: "nonsense",
    http.client.RemoteDisconnected: "reset",
    ssl.SSLZeroReturnError: "reset",
    ssl.SSLEOFError: "reset",
}
"""Every exception of requests, urllib3 and http.client, and its code."""

_DECIDES = frozenset({"proxy", "tls"})
"""Codes that tell more than what is wrapped in them."""
_LOGIN = re.compile(r"(?<=//)[^/@\s]+@")
"""In an address that an exception shows."""
CAUGHT = (rq.RequestException, u3.HTTPError, http.client.HTTPException, OSError, UnicodeError)
"""What they raise when it is not our own side that failed."""


def from_requests(error: BaseException) -> Fault:
    """Turn an exception of requests, urllib3, http.client or the socket below them into a :class:`Fault`."""
    found: list[tuple[BaseException, str]] = []
    for one in _chain(error):
        code = next((FAULTS[cls] for cls in type(one).__mro__ if cls in FAULTS), None)
        if code is None and isinstance(one, OSError) and not isinstance(one, rq.RequestException):
            code = _refine(one)
        if code is not None:
            found.append((one, code))
    if not found:
        return Fault("unknown", clean(f"{type(error).__name__}: {error}"))
    deepest, code = found[-1]
    code = next((c for _, c in found if c in _DECIDES and not _is_broken_tls(found)), code)
    text = clean(_LOGIN.sub("***@", str(getattr(deepest, "strerror", None) or deepest)))
    return Fault(code, text or type(deepest).__name__)


def _is_broken_tls(found: list[tuple[BaseException, str]]) -> bool:
    """A TLS connection that was cut off is a broken connection, not an untrusted one."""
    return found[-1][1] == "reset" and not any(code == "proxy" for _, code in found)


def _refine(error: OSError) -> str:
    if error.errno in (errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED):
        return "reset"
    return fault_of(error).code


def _chain(error: BaseException) -> Iterator[BaseException]:
    """From the outermost exception to the one at the bottom, by whatever way the libraries wrap it."""
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        inside = (getattr(one, "reason", None), *one.args, one.__cause__, one.__context__)
        one = next((i for i in inside if isinstance(i, BaseException) and id(i) not in seen), None)
