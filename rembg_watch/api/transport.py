"""The seam to requests and urllib3: the pool of connections for all threads, and what goes over them.

Where a request goes (by which proxy, under which certificates) is requests' business, and found out once for each
address. The requests themselves go straight into urllib3's pool: what a session does for each of them (cookies,
redirects, hooks) is not wanted here, and takes a third of the time of sending a small photo.

What it holds to: the key goes to the configured address only (no redirect is followed, no cookie kept); proxies and the
CA bundle are read from the environment once; nothing is decompressed; nothing is read without a bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_environ_proxies, select_proxy
from urllib3.connection import HTTPConnection
from urllib3.exceptions import ClosedPoolError
from urllib3.util.ssl_ import create_urllib3_context

from rembg_watch.api.exchange import POOLS, Exchange, begin
from rembg_watch.api.faults import CAUGHT, from_requests
from rembg_watch.api.upload import BodyFailed, Upload
from rembg_watch.api.verdict import Fault

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Mapping


class _Adapter(HTTPAdapter):
    """Reporting connections under one TLS context: loading the CA bundle costs 15 ms of CPU, so it is done once."""

    def __init__(self, context: ssl.SSLContext | None, pool_size: int) -> None:
        self._context = context
        super().__init__(pool_connections=4, pool_maxsize=pool_size)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **kwargs: Any) -> None:  # noqa: FBT001, FBT002 - the signature of requests
        super().init_poolmanager(connections, maxsize, block, ssl_context=self._context, **kwargs)
        self.poolmanager.pool_classes_by_scheme = POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> urllib3.ProxyManager:
        if proxy.lower().startswith("socks"):
            raise Fault("proxy", "SOCKS proxies are not supported")
        manager: urllib3.ProxyManager = super().proxy_manager_for(
            proxy,
            ssl_context=self._context,
            proxy_ssl_context=self._context,
            # urllib3 joins small packets for proxies: with two to a photo, each waits 40 ms for the proxy to confirm.
            socket_options=HTTPConnection.default_socket_options,
            **kwargs,
        )
        manager.pool_classes_by_scheme = POOLS
        return manager

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Leave the certificates to the context; requests would load the bundle for each connection."""


class Reply:
    """An answer whose body has not been read. Close it, best by ``with``."""

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self.length = response.length_remaining
        """The announced length in bytes, or None."""
        self._encoding = self.headers.get("content-encoding", "").strip().lower()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._response.close()
        self._response.release_conn()

    def blocks(self, size: int) -> Iterator[bytes]:
        """Give the whole body in blocks of ``size`` bytes, the last one shorter. Raises Fault as ``read`` does."""
        while block := self.read(size):
            yield block
            if self._response.length_remaining == 0:
                return  # where the length is known, no further look is needed to see the end

    def read(self, count: int) -> bytes:
        """Read ``count`` bytes, fewer only at the end, as they came.

        Raises:
            Fault: the answer is cut short (told by the read after the last byte) or compressed.
        """
        if self._encoding not in ("", "identity"):
            raise Fault("encoding", self._encoding)
        try:
            data: bytes = self._response.read(count, decode_content=False)
        except (*CAUGHT, ValueError) as error:
            raise from_requests(error) from None
        return data


@dataclass(frozen=True, slots=True)
class _Route:
    """Where the requests for one address go: the pool of connections, and what a request's first line names."""

    pool: Any
    target: str


class Transport:
    """One pool of connections for all threads. Timeouts are in seconds. ``headers`` go along with each request."""

    def __init__(self, urls: list[str], *, connect_timeout: float, pool_size: int, headers: Mapping[str, str]) -> None:
        self._connect_timeout = connect_timeout
        try:
            self._proxies = {url: get_environ_proxies(url) for url in urls}
        except ValueError as error:
            raise Fault("url", str(error)) from None
        self._headers = {"Accept": "*/*", "Accept-Encoding": "identity", **headers}
        bundle = requests.Session().merge_environment_settings(urls[0], {}, None, None, None)["verify"]
        hops = [*urls, *(proxy for proxies in self._proxies.values() for proxy in proxies.values())]
        tls = any(hop.lower().startswith("https:") for hop in hops)
        self._adapter = _Adapter(_context(bundle) if tls else None, pool_size)
        self._routes: dict[str, _Route] = {}

    def close(self) -> None:
        """Close what is kept open; requests under way in other threads go on to their end."""
        self._routes.clear()
        for manager in (self._adapter.poolmanager, *self._adapter.proxy_manager.values()):
            for key in manager.pools.keys():  # noqa: SIM118 - no mapping that can be iterated
                if (pool := manager.pools.get(key)) is not None:
                    pool.close()  # urllib3 itself leaves that to the garbage collector
        self._adapter.close()

    def send(
        self,
        method: str,
        url: str,
        exchange: Exchange,
        *,
        body: Upload | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send one request and give its answer as soon as the headers are there.

        A pooled connection that turns out to be dead is replaced once, where that is safe with money: before the body's
        last byte was out, or for a request that costs nothing (one without a body).

        Raises:
            Fault: no answer; ``exchange.stage`` says how far it was.
            Exception: what reading the photo, ``on_wire`` or ``on_progress`` raised, as it was.
        """
        while True:
            try:
                return self._send(method, url, exchange, body, params)
            except Fault as fault:
                dead = fault.code == "reset" and exchange.reused and not exchange.answered
                if not dead or (body is not None and exchange.sent):
                    raise
                exchange.start_again()

    def _send(
        self, method: str, url: str, exchange: Exchange, body: Upload | None, params: Mapping[str, str] | None
    ) -> Reply:
        headers = self._headers if body is None else {**self._headers, **body.headers}
        begin(exchange)
        try:
            route = self._route(url, params)
            response = route.pool.urlopen(
                method,
                route.target,
                body=body,
                headers=headers,
                retries=self._adapter.max_retries,
                redirect=False,
                assert_same_host=False,
                timeout=urllib3.Timeout(connect=self._connect_timeout, read=exchange.read_timeout),
                preload_content=False,
                decode_content=False,
            )
        except ClosedPoolError:  # close() came in between: nothing was begun, and the next pool is a new one
            self._routes.clear()
            return self._send(method, url, exchange, body, params)
        except BodyFailed as failed:
            raise failed.reason from failed.reason.__cause__
        except CAUGHT as error:
            raise from_requests(error) from None
        return Reply(response)

    def _route(self, url: str, params: Mapping[str, str] | None) -> _Route:
        if params is None and url in self._routes:
            return self._routes[url]
        request = requests.Request("GET", url, params=params).prepare()
        proxies = dict(self._proxies.get(url, {}))
        try:
            pool = self._adapter.get_connection_with_tls_context(request, verify=True, proxies=proxies)
        except (*CAUGHT, ValueError, TypeError):
            if select_proxy(url, proxies) is None:
                raise
            # Not in the library's words: they may show the login.
            raise Fault("proxy", "its address in the environment can't be used") from None
        route = _Route(pool, self._adapter.request_url(request, proxies))
        if params is None:
            self._routes[url] = route
        return route


def _context(bundle: object) -> ssl.SSLContext:
    """The TLS context for every connection: ``bundle`` is a file or a folder, or anything else for certifi's."""
    context = create_urllib3_context()
    path = bundle if isinstance(bundle, str) else DEFAULT_CA_BUNDLE_PATH
    try:
        context.load_verify_locations(cafile=path)
    except IsADirectoryError:
        context.load_verify_locations(capath=path)
    except OSError as error:
        raise Fault("tls", f"the CA bundle {path} can't be read: {error.strerror or error}") from None
    return context
