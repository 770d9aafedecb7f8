"""The way through proxies: which are used, with what login and certificates, and what they can do wrong."""

from __future__ import annotations

import base64
import contextlib
import socket
import threading

import pytest
from api_raw_server import RawServer
from api_sending import KEY, PNG, good, send

from rembg_watch.api.client import RembgClient
from rembg_watch.api.verdict import Charge
from rembg_watch.errors import ServiceDown


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    """The environment of the machine that runs the tests has no say."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def tunnel(target, head):
    """A proxy's part of a tunnel to the local port `target`; `head` is what the proxy asks to see."""

    def script(connection, number):
        asked = connection.read_head()
        connection.server.requests.append(asked)
        assert head in asked
        with socket.create_connection(("127.0.0.1", target)) as upstream:
            connection.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=pump, args=(upstream, connection.socket))
            back.start()
            pump(connection.socket, upstream)
            back.join()

    return script


def pump(source, sink):
    """Carry bytes one way until either side hangs up."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)


def test_proxies_come_from_the_environment(monkeypatch):
    """The proxy that the environment names is used, and NO_PROXY is heeded; both are read when the client is made."""
    with RawServer(good) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("no_proxy", "")
        with RembgClient(KEY, url="http://api.invalid/rmbg", usage_url="http://api.invalid/usage") as one:
            monkeypatch.delenv("http_proxy")
            send(one)
        assert proxy.requests[0].startswith(b"POST http://api.invalid/rmbg HTTP/1.1")
        monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1")
        with RembgClient(KEY, url="http://api.invalid/", usage_url="http://api.invalid/") as one:
            with pytest.raises(ServiceDown) as caught:
                send(one)
            assert caught.value.verdict.code == "proxy"


def test_tunnels_of_proxies(monkeypatch):
    """A proxy that refuses the tunnel is named as such, and nothing was charged: the photo never left."""

    def script(connection, number):
        connection.server.requests.append(connection.read_head())
        connection.send(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")

    with RawServer(script) as proxy:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("no_proxy", "")
        one = RembgClient(KEY, url="https://api.invalid/", usage_url="https://api.invalid/")
        with one, pytest.raises(ServiceDown) as caught:
            send(one)
        verdict = caught.value.verdict
        assert (verdict.code, verdict.charge) == ("proxy", Charge.NOT_CHARGED)
        assert proxy.requests[0].startswith(b"CONNECT api.invalid:443")
        assert KEY.encode() not in proxy.requests[0]


def test_proxies_get_their_login(monkeypatch):
    """The login in a proxy's address goes to the proxy, with a photo as with a tunnel's request."""
    login = b"Proxy-Authorization: Basic " + base64.b64encode(b"user:p@ss")
    with RawServer(good) as proxy:
        monkeypatch.setenv("http_proxy", f"http://user:p%40ss@127.0.0.1:{proxy.port}")
        with RembgClient(KEY, url="http://api.invalid/rmbg", usage_url="http://api.invalid/usage") as one:
            send(one)
        assert login in proxy.requests[0]
        assert b"Host: api.invalid\r\n" in proxy.requests[0]


@pytest.mark.parametrize(
    "address",
    ["http://me:secret@127.0.0.1:99999", "http://me:sec/ret@127.0.0.1:1", "http://me:secret@", "me:secret@127.0.0.1:1"],
)
def test_addresses_of_proxies_that_can_not_be_used(monkeypatch, address):
    """A mistake in a proxy's address is told as one, and does not tell the login in it."""
    monkeypatch.setenv("http_proxy", address)
    one = RembgClient(KEY, url="http://api.invalid/", usage_url="http://api.invalid/")
    with one, pytest.raises(ServiceDown) as caught:
        send(one)
    assert (caught.value.verdict.code, caught.value.verdict.charge) == ("proxy", Charge.NOT_CHARGED)
    assert "sec" not in str(caught.value)


@pytest.mark.parametrize("api", ["http", "https"])
def test_proxies_that_speak_tls(monkeypatch, over_tls, certificate, api):
    """A proxy whose own connection is TLS is trusted by the same bundle, also where the API behind it needs none."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate / "cert.pem"))
    with RawServer(over_tls(good)) as server:
        proxied = tunnel(server.port, b"CONNECT localhost") if api == "https" else good
        with RawServer(over_tls(proxied)) as proxy:
            monkeypatch.setenv(f"{api}_proxy", f"https://127.0.0.1:{proxy.port}")
            url = f"{api}://localhost:{server.port}/rmbg"
            with RembgClient(KEY, url=url, usage_url=url) as one:
                for _ in range(2):
                    assert send(one).bytes == len(PNG)
            assert proxy.connections == 1
            assert server.connections == (api == "https")


def test_small_packets_are_not_held_back(monkeypatch):
    """On the way through a proxy too a photo leaves as soon as it is given: Nagle's algorithm is off."""
    seen = []

    def setsockopt(self, *arguments):
        seen.append(arguments)
        return socket.SocketType.setsockopt(self, *arguments)

    with RawServer(good) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setattr(socket.socket, "setsockopt", setsockopt, raising=False)
        with RembgClient(KEY, url="http://api.invalid/rmbg", usage_url="http://api.invalid/usage") as one:
            send(one)
        assert (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1) in seen
