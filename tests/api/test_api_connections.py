"""Connections to the API: kept, replaced where that is safe, shared by threads, and led through proxies."""

from __future__ import annotations

import io
import threading

import pytest
from api_raw_server import RawServer, picture, until
from api_sending import JPEG, KEY, PNG, client, good, send
from PIL import Image

from rembg_watch.api import exchange as wire
from rembg_watch.api.client import RembgClient
from rembg_watch.api.verdict import Charge
from rembg_watch.errors import AnswerLost, BadAnswer, ServiceDown


def test_connections_are_reused():
    """Ten photos go over one connection."""
    with RawServer(good) as server, client(server) as one:
        for _ in range(10):
            send(one)
        assert server.connections == 1


def test_idle_connections_are_not_used(monkeypatch):
    """A connection that the server may be about to close is replaced before a photo is risked on it."""
    with RawServer(good) as server, client(server) as one:
        send(one)
        monkeypatch.setattr(wire, "MAX_IDLE", 0.0)
        send(one)
        assert server.connections == 2


def test_dead_connection_is_replaced_where_nothing_was_sent():
    """A pooled connection that dies under the photo is replaced once, as the photo can't have been understood."""

    def script(connection, number):
        connection.read_request()
        connection.answer(PNG)
        if number == 1:
            connection.read_head()
            connection.socket.recv(10)
            connection.reset()
        else:
            good(connection, number)

    calls = []
    with RawServer(script) as server, client(server) as one:
        send(one)
        assert send(one, JPEG + bytes(30_000_000), on_wire=lambda: calls.append(1)).status == 200
        assert server.connections == 2
    assert calls == [1]


def test_dead_connection_is_not_replaced_where_all_was_sent():
    """Where the whole photo went into the dying connection nobody knows whether it was charged: no second try."""

    def script(connection, number):
        connection.read_request()
        connection.answer(PNG)
        connection.read_request()
        connection.reset()

    with RawServer(script) as server, client(server) as one:
        send(one)
        with pytest.raises(AnswerLost):
            send(one)
        assert server.connections == 1


@pytest.mark.parametrize("interim", ["102 Processing", "103 Early Hints"])
def test_interim_answers_are_no_answers(interim):
    """After an interim answer the final one is waited for: it is not left for the next photo of the connection."""

    def script(connection, number):
        for width in (10, 11):
            connection.read_request()
            connection.send(f"HTTP/1.1 {interim}\r\nLink: </x>\r\n\r\n".encode() * 2)
            connection.answer(picture("PNG", (width, 9)))

    with RawServer(script) as server, client(server) as one:
        for width in (10, 11):
            sink = io.BytesIO()
            send(one, sink=sink)
            assert Image.open(sink).size == (width, 9)
        assert server.connections == 1


def test_connection_that_changed_its_protocol_is_not_used_again():
    """A 101, which nobody asked for, ends the connection: what comes after it answers no photo."""

    def script(connection, number):
        if number == 1:
            connection.read_request()
            connection.send(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
            connection.server.ended.wait(20)
        good(connection, number)

    with RawServer(script) as server, client(server) as one:
        with pytest.raises(BadAnswer):
            send(one)
        assert send(one).status == 200
        assert server.connections == 2


def test_many_threads_share_one_client():
    """Eight threads send at once over at most eight connections, and each gets its own answer."""
    with RawServer(good) as server, client(server) as one:
        results = []
        threads = [
            threading.Thread(target=lambda: results.extend(send(one).bytes for _ in range(20))) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [len(PNG)] * 160
        assert server.connections <= 8
        until(lambda: len(server.requests) == 160)


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
