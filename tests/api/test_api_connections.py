"""Connections to the API: kept, replaced where that is safe, and shared by threads."""

from __future__ import annotations

import contextlib
import io
import threading

import pytest
from api_raw_server import RawServer, picture, until
from api_sending import JPEG, PNG, client, good, send
from PIL import Image

from rembg_watch.api import exchange as wire
from rembg_watch.api.transport import Transport
from rembg_watch.errors import AnswerLost, BadAnswer


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
            connection.server.ended.wait()
        good(connection, number)

    with RawServer(script) as server, client(server) as one:
        with pytest.raises(BadAnswer):
            send(one)
        assert send(one).status == 200
        assert server.connections == 2


def test_close_closes():
    """`close` hangs up at once on what is kept open, and lets the request of another thread come to its end."""
    hung_up, under_way, closed = threading.Event(), threading.Event(), threading.Event()

    def script(connection, number):
        connection.read_request()
        if number == 1:
            under_way.set()
            assert closed.wait(60)
            connection.answer(PNG)
        else:
            connection.answer(PNG)
            with contextlib.suppress(ConnectionError):
                connection.read_head()
            hung_up.set()

    results = []
    with RawServer(script) as server, client(server) as one:
        thread = threading.Thread(target=lambda: results.append(send(one).status))
        thread.start()
        assert under_way.wait(60)
        send(one)
        one.close()
        assert hung_up.wait(60)
        closed.set()
        thread.join()
    assert results == [200]


def test_a_request_that_begins_as_the_client_is_closed_gets_its_answer(monkeypatch):
    """A reload closes the old client while a worker is on its way into it: its photo is sent, and nothing is its fault."""
    with RawServer(good) as server, client(server) as one:
        send(one)
        find = Transport._route

        def closed_behind(transport, url, params):
            monkeypatch.undo()
            route = find(transport, url, params)
            one.close()
            return route

        monkeypatch.setattr(Transport, "_route", closed_behind)
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
