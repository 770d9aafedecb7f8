"""Connections to the API: kept, replaced where that is safe, and shared by threads."""

from __future__ import annotations

import contextlib
import io
import threading
import time

import pytest
from api_raw_server import RawServer, picture, until
from api_sending import JPEG, PNG, client, good, send
from PIL import Image

from rembg_watch.api import http
from rembg_watch.api.verdict import About, Charge
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
        monkeypatch.setattr(http, "MAX_IDLE", 0.0)
        send(one)
        assert server.connections == 2


def test_each_connection_has_its_own_age(monkeypatch):
    """One of two connections that is in use again and again does not keep the other one young."""
    together = threading.Barrier(2, timeout=60)
    with RawServer(good) as server, client(server) as one:

        def both():
            other = threading.Thread(target=send, args=(one,), kwargs={"on_wire": together.wait})
            other.start()
            send(one, on_wire=together.wait)
            other.join()

        both()
        both()
        assert server.connections == 2
        monkeypatch.setattr(http, "MAX_IDLE", 0.5)
        end = time.monotonic() + 0.6
        while time.monotonic() < end:
            send(one)
        both()
        assert server.connections >= 3


def test_dead_connection_costs_nothing_where_not_all_was_sent():
    """A kept connection that dies under the photo ends the request, not charged; the next one has a new connection."""

    def script(connection, number):
        connection.read_request()
        connection.answer(PNG)
        if number == 1:
            connection.read_head()
            connection.socket.recv(10)
            connection.reset()
        else:
            good(connection, number)

    big = JPEG + bytes(30_000_000)
    with RawServer(script) as server, client(server) as one:
        send(one)
        with pytest.raises(ServiceDown) as caught:
            send(one, big)
        assert (caught.value.verdict.code, caught.value.verdict.charge) == ("reset", Charge.NOT_CHARGED)
        assert send(one, big).status == 200
        assert server.connections == 2


def test_server_that_closes_unannounced_is_found_out():
    """Once a kept connection broke, each photo gets a new one: what is sent into a dying one may have been charged."""

    def script(connection, number):
        connection.read_request()
        connection.answer(PNG)
        if number == 1:
            connection.read_request()
            connection.reset()
            return
        good(connection, number)

    with RawServer(script) as server, client(server) as one:
        send(one)
        with pytest.raises(AnswerLost):
            send(one)
        for _ in range(3):
            send(one)
        assert server.connections == 4


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
def test_answers_after_interim_ones_reach_no_other_photo(interim):
    """An interim answer is taken for the answer, which may have been charged; the final one is not left for the next."""

    def script(connection, number):
        connection.read_request()
        if number == 1:
            connection.send(f"HTTP/1.1 {interim}\r\nLink: </x>\r\n\r\n".encode())
            connection.server.ended.wait(0.05)
        connection.answer(picture("PNG", (10 + number, 9)))

    with RawServer(script) as server, client(server) as one:
        with pytest.raises(BadAnswer) as caught:
            send(one)
        assert (caught.value.verdict.about, caught.value.verdict.charge) == (About.UNKNOWN, Charge.POSSIBLY)
        sink = io.BytesIO()
        send(one, sink=sink)
        assert Image.open(sink).size == (12, 9)
        assert server.connections == 2


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


def test_a_request_under_way_as_the_client_is_closed_gets_its_answer():
    """A reload closes the old client while a worker is on its way into it: its photo is sent, and nothing is its fault."""
    with RawServer(good) as server, client(server) as one:
        send(one)
        assert send(one, on_wire=one.close).status == 200
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
