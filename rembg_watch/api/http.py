"""Send one HTTP request and read its response, by the public interface of ``requests``.

- An :class:`Http` serves one address. It reads the proxies and the CA bundle from the environment when it is made.
- A request owns its connection: an adapter with a pool of one. So each idle connection has its own age.
- A request is never retried or redirected, and carries no cookie. A response is never decompressed.
- The stage of a request follows from its body: urllib3 asks for the first block once the connection is open, and asks
  for one block more once the last is sent.
"""

from __future__ import annotations

import errno
import functools
import http.client
import os
import re
import secrets
import ssl
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import requests
from requests import exceptions as rq
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH, select_proxy
from urllib3 import exceptions as u3
from urllib3.connection import HTTPConnection
from urllib3.util.ssl_ import create_urllib3_context

from rembg_watch.api.error_body import clean
from rembg_watch.api.model import Fault, Progress, Stage
from rembg_watch.api.verdict import fault_of
from rembg_watch.errors import SourceChanged, SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import urllib3

    from rembg_watch.api.options import Options
    from rembg_watch.imagefile import Kind

    OnProgress = Callable[[Progress], object]

BLOCK = 512 * 1024
"""Bytes of a photo that are sent at once at most, on a line that takes them within a second."""
REPORTED_BLOCK = 64 * 1024
"""Bytes that are sent at once at most if a callback watches the progress. And bytes of a response in one block."""
BUFFERED = 1024 * 1024
"""Bytes that the kernel may have accepted although the line has not: they say nothing about its speed."""
SLOWEST = 16 * 1024
"""Bytes a second below which an upload is given up."""
MAX_IDLE = 4.0
"""Seconds after which an idle connection is replaced. Many servers close theirs after 5 s; a photo that is sent while
the server closes gets no response, and may have been charged."""
NO_REUSE = 60.0
"""Seconds without reuse after a kept connection broke: some servers close theirs after each response."""


@functools.lru_cache(maxsize=256)
def _form(options: Options, kind: Kind) -> tuple[str, bytes, bytes]:
    """Return the Content-Type of the form (RFC 7578), and the bytes before and after the photo."""
    boundary = secrets.token_hex(16)
    extension = "jpg" if kind == "jpeg" else kind.value
    part = f"--{boundary}\r\nContent-Disposition: form-data; name="
    head = [f'{part}"{name}"\r\n\r\n{value}\r\n' for name, value in options.fields().items()]
    head.append(f'{part}"image"; filename="image.{extension}"\r\nContent-Type: image/{kind.value}\r\n\r\n')
    return f"multipart/form-data; boundary={boundary}", "".join(head).encode(), f"\r\n--{boundary}--\r\n".encode()


class _BodyFailed(Exception):
    """Abort a request from inside its body. Not an OSError: urllib3 takes those for network errors."""


class Upload:
    """The body of a request: a form with ``size`` bytes of one photo. ``stage`` says how far the request is.

    ``timeouts`` are those of the request, for connecting and for reading, in seconds. A block must be sent within the
    first, the whole upload within twice the second plus one for each ``SLOWEST`` bytes. ``on_wire`` is called once the
    connection is open, before the first byte of the photo is sent.
    """

    def __init__(
        self,
        photo: bytes | bytearray | memoryview | BinaryIO,
        size: int,
        kind: Kind,
        options: Options,
        timeouts: tuple[float, float],
        *,
        on_progress: OnProgress | None = None,
        on_wire: Callable[[], object] | None = None,
    ) -> None:
        self.stage = Stage.CONNECTING
        self.sent_at = 0.0
        """When the last byte was sent, by the monotonic clock; 0 before."""
        self.failed: Exception | None = None
        """What reading the photo or a callback raised."""
        connect, read = timeouts
        self.content_type, self._head, self._tail = _form(options, kind)
        self._photo = photo
        self._size = size
        self._seconds = 2 * read + size / SLOWEST
        self._most = REPORTED_BLOCK if on_progress else BLOCK
        # urllib3 sends under the connect timeout: the slowest allowed line must get a block through in that time.
        self._block = min(self._most, max(1024, int(SLOWEST * connect)))
        self._on_progress = on_progress
        self._on_wire = on_wire

    def __len__(self) -> int:
        return len(self._head) + self._size + len(self._tail)

    def __iter__(self) -> Iterator[bytes | memoryview]:
        self.stage = Stage.SENDING
        try:
            if self._on_wire is not None:
                self._on_wire()
            self._report(0)
            began = time.monotonic()
            sent = 0
            for piece in self._pieces():
                head = b"" if sent else self._head
                sent += len(piece)
                tail = self._tail if sent == self._size else b""
                yield b"".join((head, piece, tail)) if head or tail else piece
                now = time.monotonic()
                if tail:
                    self.stage = Stage.WAITING
                    self.sent_at = now
                elif now - began > self._seconds:
                    raise Fault("timeout", f"the server takes less than {SLOWEST} bytes a second", self.stage)
                elif sent > BUFFERED and sent > self._most * (now - began):
                    self._block = self._most
                self._report(sent)
        except Exception as error:
            self.failed = error
            raise _BodyFailed from error

    def _pieces(self) -> Iterator[memoryview]:
        """Yield the photo in blocks: slices of the bytes, or one buffer that each block of the file is read into."""
        if isinstance(self._photo, bytes | bytearray | memoryview):
            photo = memoryview(self._photo)[: self._size]
            if len(photo) < self._size:
                raise _shorter()
            yield from self._slices(photo)
        else:
            self._photo.seek(0)
            buffer = memoryview(bytearray(min(self._most, self._size)))
            for start in range(0, max(1, self._size), max(1, len(buffer))):
                yield from self._slices(_filled(buffer[: self._size - start], self._photo))

    def _slices(self, data: memoryview) -> Iterator[memoryview]:
        """Yield ``data`` in blocks; the first one also where it is empty."""
        start = 0
        while start == 0 or start < len(data):
            piece = data[start : start + self._block]
            start += max(1, len(piece))
            yield piece

    def _report(self, sent: int) -> None:
        if self._on_progress is not None:
            self._on_progress(Progress(sent, self._size))


def _filled(buffer: memoryview, file: Any) -> memoryview:
    """Read ``file`` into the whole of ``buffer``. Raises SourceError, SourceChanged."""
    room = buffer
    while room:
        try:
            count = file.readinto(room)
        except OSError as error:
            reason = error.strerror or error
            raise SourceError(f"the photo can't be read: {reason}", "Check the file and its disk.") from error
        if not count:
            raise _shorter()
        room = room[count:]
    return buffer


def _shorter() -> SourceChanged:
    return SourceChanged("the photo became shorter while it was sent", "Nothing to do: it is looked at again.")


class Reply:
    """A response whose body has not been read."""

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        self.response = response
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self.length = response.length_remaining
        """The announced length in bytes, or None."""
        self.deadline = 0.0
        """When the body must be here, by the monotonic clock."""
        self.is_last = False
        """Whether nothing follows it on the connection, which is then free for the next request."""

    def blocks(self, most: int) -> Iterator[bytes]:
        """Yield the body in blocks of ``REPORTED_BLOCK`` bytes, the last one shorter.

        Raises:
            Fault: the body is compressed, longer than ``most`` bytes, cut short or too slow.
        """
        encoding = self.headers.get("content-encoding", "").strip().lower()
        if encoding not in ("", "identity"):
            raise Fault("encoding", encoding, Stage.RECEIVING)
        if self.length is not None and self.length > most:
            raise Fault("too-much", f"{self.length} bytes are announced", Stage.RECEIVING)
        count, ended = 0, False
        while not ended:
            parts, size = [], 0
            while size < REPORTED_BLOCK and not ended:
                parts.append(self._read(REPORTED_BLOCK - size))
                size += len(parts[-1])
                ended = not parts[-1] or count + size == self.length
                if not ended and time.monotonic() > self.deadline:
                    raise Fault("timeout", "the whole answer took too long", Stage.RECEIVING)
            count += size
            if count > most:
                raise Fault("too-much", f"more than {most} bytes", Stage.RECEIVING)
            if size:
                yield b"".join(parts)

    def _read(self, most: int) -> bytes:
        """Return what has arrived. ``read`` would wait for ``most`` bytes, so for hours if they only trickle in."""
        try:
            return self.response.read1(most, decode_content=False)
        except (*_CAUGHT, ValueError) as error:
            raise _fault(error, Stage.RECEIVING) from None


class _Connection(HTTPAdapter):
    """An adapter for one request at a time, so for one connection.

    It overrides methods that requests offers for that, to work out the pool, the proxy and the target only once.
    """

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self.used_at = 0.0
        self._tls = tls
        self._pool: Any = None
        self._url = self._target = ""
        super().__init__(pool_connections=1, pool_maxsize=1)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **kwargs: Any) -> None:  # noqa: FBT001, FBT002 - the signature of requests
        super().init_poolmanager(connections, maxsize, block, ssl_context=self._tls, **kwargs)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> urllib3.ProxyManager:
        if proxy.lower().startswith("socks"):
            raise Fault("proxy", "SOCKS proxies are not supported")
        # urllib3 joins small packets for proxies: a photo of two packets would wait 40 ms for the proxy to confirm.
        options = HTTPConnection.default_socket_options
        tls = {"ssl_context": self._tls, "proxy_ssl_context": self._tls}
        manager: urllib3.ProxyManager = super().proxy_manager_for(proxy, socket_options=options, **tls, **kwargs)
        return manager

    def get_connection_with_tls_context(
        self, request: requests.PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        if self._pool is None:
            try:
                self._pool = super().get_connection_with_tls_context(request, verify, proxies, cert)
            except (rq.RequestException, u3.HTTPError, ValueError, TypeError):
                if select_proxy(request.url or "", proxies) is None:
                    raise
                # The words of requests may show the login.
                raise Fault("proxy", "its address in the environment can't be used") from None
        return self._pool

    def request_url(self, request: requests.PreparedRequest, proxies: Any) -> str:
        if request.url != self._url:
            self._target = super().request_url(request, proxies)
            self._url = request.url or ""
        return self._target

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Leave the certificates to the TLS context. Loading the bundle takes 15 ms of CPU a connection."""

    def build_response(self, req: requests.PreparedRequest, resp: urllib3.BaseHTTPResponse) -> Any:
        return Reply(resp)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.close()
        super().close()


class _TlsSocket(ssl.SSLSocket):
    """A TLS socket that reports a closed connection like a plain one. Only then urllib3 reads an early response."""

    def sendall(self, data: Any, flags: int = 0) -> None:
        try:
            super().sendall(data, flags)
        except ssl.SSLEOFError as error:
            raise BrokenPipeError(errno.EPIPE, "the server closed the connection") from error


class Http:
    """The connections to one address, for many threads. ``headers`` are sent with each request. Raises Fault."""

    def __init__(self, url: str, headers: Mapping[str, str], *, connect_timeout: float, pool_size: int) -> None:
        self.connect_timeout = connect_timeout
        self._url = url
        self._headers = {"Accept-Encoding": "identity", **headers}
        try:
            environment = requests.Session().merge_environment_settings(url, {}, None, None, None)
        except ValueError as error:
            raise Fault("url", str(error)) from None
        self._proxies: dict[str, str] = dict(environment["proxies"])
        hops = (url, *self._proxies.values())
        self._tls = _context(environment["verify"]) if any(hop.lower().startswith("https:") for hop in hops) else None
        self._size = pool_size
        self._no_reuse_until = 0.0
        self._lock = threading.Lock()
        self._idle: list[_Connection] = []  # by the time of their last use

    def close(self) -> None:
        """Close the idle connections. Each of those in use is closed after its request."""
        with self._lock:
            self._size = 0
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    @contextmanager
    def send(
        self, method: str, upload: Upload | None = None, *, read_timeout: float, params: Mapping[str, str] | None = None
    ) -> Iterator[Reply]:
        """Send one request and yield its response as soon as the headers are here. ``read_timeout`` is in seconds.

        Raises:
            Fault: there is no response; ``fault.stage`` says how far the request was.
            Exception: what reading the photo or a callback raised, unchanged.
        """
        connection, reply = self._take(), None
        try:
            try:
                request = self._request(method, upload, params)
                timeouts = (self.connect_timeout, read_timeout)
                response = connection.send(request, stream=True, timeout=timeouts, proxies=self._proxies)
                reply = cast("Reply", response)  # by build_response
            except _BodyFailed:
                assert upload is not None
                assert upload.failed is not None
                raise upload.failed from upload.failed.__cause__
            except _CAUGHT as error:
                fault = _fault(error, upload.stage if upload is not None else Stage.WAITING)
                if fault.code == "reset" and connection.used_at:
                    self._no_reuse_until = time.monotonic() + NO_REUSE
                if upload is None and (fault.code in _UNSENT or isinstance(error, rq.ConnectTimeout)):
                    fault.stage = Stage.CONNECTING
                raise fault from None
            sent_at = upload.sent_at if upload is not None else 0.0
            reply.deadline = (sent_at or time.monotonic()) + 2 * read_timeout
            # A server that answered before it had the whole photo takes what comes next for the rest of the photo.
            reply.is_last = reply.status >= 200 and (upload is None or upload.stage is Stage.WAITING)
            if upload is not None and reply.status == 200:
                upload.stage = Stage.RECEIVING
            yield reply
        finally:
            if reply is not None and reply.is_last and reply.response.closed:
                self._keep(connection)
            else:
                if reply is not None:
                    reply.response.close()
                connection.close()

    def _request(
        self, method: str, upload: Upload | None, params: Mapping[str, str] | None
    ) -> requests.PreparedRequest:
        request = requests.PreparedRequest()
        request.method = method
        request.url = self._address if params is None else _prepared(self._url, params)
        headers = self._headers.copy()
        if upload is not None:
            headers["Content-Type"] = upload.content_type
            headers["Content-Length"] = str(len(upload))
            request.body = upload  # type: ignore[assignment]  # any iterable of bytes
        request.headers = headers  # type: ignore[assignment]  # a plain dict is faster, and enough for urllib3
        return request

    @functools.cached_property
    def _address(self) -> str:
        return _prepared(self._url, None)

    def _take(self) -> _Connection:
        """Return the connection that was used last, or a new one; close those that were idle for too long."""
        now, old = time.monotonic(), []
        with self._lock:
            while self._idle and now - self._idle[0].used_at >= MAX_IDLE:
                old.append(self._idle.pop(0))
            connection = self._idle.pop() if self._idle else None
        for one in old:
            one.close()
        return connection or _Connection(self._tls)

    def _keep(self, connection: _Connection) -> None:
        """Keep the connection for the next request."""
        connection.used_at = time.monotonic()
        with self._lock:
            if len(self._idle) < self._size and connection.used_at >= self._no_reuse_until:
                self._idle.append(connection)
                return
        connection.close()


def _prepared(url: str, params: Mapping[str, str] | None) -> str:
    return requests.Request("GET", url, params=params).prepare().url or ""


def _context(bundle: object) -> ssl.SSLContext:
    """Return the TLS context with the certificates of a file or folder, or with those of certifi. Raises Fault."""
    path = bundle if isinstance(bundle, str) else DEFAULT_CA_BUNDLE_PATH
    try:
        return _loaded(path, os.stat(path).st_mtime_ns)
    except OSError as error:
        reason = error.strerror or error
        raise Fault("tls", f"the CA bundle {path} can't be read: {reason}") from None


@functools.lru_cache(maxsize=2)
def _loaded(path: str, _changed: int) -> ssl.SSLContext:
    context = create_urllib3_context()
    context.sslsocket_class = _TlsSocket
    try:
        context.load_verify_locations(cafile=path)
    except IsADirectoryError:
        context.load_verify_locations(capath=path)
    return context


_CAUGHT = (rq.RequestException, u3.HTTPError, http.client.HTTPException, OSError, UnicodeError)
"""What the libraries raise for errors that are not ours."""
_CODES: tuple[tuple[str, tuple[type[BaseException], ...]], ...] = (
    ("proxy", (rq.ProxyError, u3.ProxyError)),
    ("tls", (rq.SSLError, u3.SSLError)),
    ("dns", (u3.NameResolutionError,)),
    ("refused", (u3.NewConnectionError,)),
    ("timeout", (rq.Timeout, u3.TimeoutError)),
    ("url", (rq.InvalidURL, rq.MissingSchema, u3.LocationValueError, http.client.InvalidURL)),
    ("cut-short", (http.client.IncompleteRead,)),
    ("reset", (http.client.RemoteDisconnected, ssl.SSLZeroReturnError, ssl.SSLEOFError)),
    ("nonsense", (http.client.HTTPException, u3.InvalidHeader)),
)
"""The code of an exception is that of the first row with its class. A class in no row only wraps another exception."""
_UNSENT = frozenset({"proxy", "tls", "dns", "refused", "unreachable", "url"})
"""Codes that mean, for a request without a body, that it was not sent."""
_LOGIN = re.compile(r"(?<=//)[^/@\s]+@")
"""The login in a URL that an exception shows."""


def _fault(error: BaseException, stage: Stage) -> Fault:
    """Return the Fault for an exception of requests, urllib3, http.client or the socket.

    The innermost exception decides, unless an outer one blames the proxy or TLS. A TLS connection that was cut off is a
    broken connection, not an untrusted one.
    """
    found = [(one, code) for one in _chain(error) if (code := _code(one)) is not None]
    if not found:
        return Fault("unknown", clean(f"{type(error).__name__}: {error}"), stage)
    codes = [code for _, code in found]
    innermost, code = found[-1]
    if "proxy" in codes:
        code = "proxy"
    elif "tls" in codes and code != "reset":
        code = "tls"
    text = clean(_LOGIN.sub("***@", str(getattr(innermost, "strerror", None) or innermost)))
    return Fault(code, text or type(innermost).__name__, stage)


def _code(error: BaseException) -> str | None:
    for code, classes in _CODES:
        if isinstance(error, classes):
            return code
    if isinstance(error, OSError) and not isinstance(error, rq.RequestException):
        return fault_of(error).code
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the exception and those inside it, outermost first. Each library wraps them in another way."""
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        inside = (getattr(one, "reason", None), *one.args, one.__cause__, one.__context__)
        one = next((i for i in inside if isinstance(i, BaseException) and id(i) not in seen), None)
