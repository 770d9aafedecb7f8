"""What is known when the way to the API breaks: at which stage, and so what it may have cost."""

from __future__ import annotations

import pytest
from api_raw_server import RawServer
from api_sending import JPEG, KEY, PNG, client, failure, good, send

from rembg_watch.api.client import RembgClient
from rembg_watch.api.verdict import Charge
from rembg_watch.errors import AccountRefused, AnswerLost, ImageRejected, ServiceDown


def test_refused_and_dns_cost_nothing():
    """Where no connection came up, nothing was charged."""
    with RawServer(good) as server:
        port = server.port
    for url, code in ((f"http://127.0.0.1:{port}/", "refused"), ("http://no-such-host.invalid/", "dns")):
        with RembgClient(KEY, url=url, usage_url=url) as one, pytest.raises(ServiceDown) as caught:
            send(one)
        assert (caught.value.verdict.code, caught.value.verdict.charge) == (code, Charge.NOT_CHARGED)


@pytest.mark.parametrize(
    "url", ["https://me:secret@[bad/", "https://me:secret@api.invalid:99999/", "ftp://api.invalid/", "rmbg"]
)
def test_addresses_that_can_not_be_used(url):
    """A wrong address is told as one, whenever it comes up, and does not tell a login in it."""
    with pytest.raises(ServiceDown) as caught, RembgClient(KEY, url=url, usage_url=url) as one:
        send(one)
    assert (caught.value.verdict.code, caught.value.verdict.charge) == ("url", Charge.NOT_CHARGED)
    assert "secret" not in str(caught.value)


def test_reset_while_sending_costs_nothing():
    """A connection that breaks before the photo's last byte is out was not charged."""

    def script(connection, number):
        connection.read_head()
        connection.socket.recv(65536)
        connection.reset()

    verdict = failure(script, JPEG + bytes(30_000_000), error=ServiceDown)
    assert (verdict.code, verdict.charge) == ("reset", Charge.NOT_CHARGED)


@pytest.mark.parametrize("way", ["reset", "close"])
def test_lost_answer_is_possibly_charged(way):
    """A connection that breaks after the whole photo was sent may have been charged, and is not tried again."""

    def script(connection, number):
        connection.read_request()
        getattr(connection, way)()

    with RawServer(script) as server, client(server) as one:
        with pytest.raises(AnswerLost) as caught:
            send(one)
        assert server.connections == 1
    assert (caught.value.verdict.code, caught.value.verdict.charge) == ("reset", Charge.POSSIBLY)


def test_no_answer_in_time():
    """A server that says nothing is given up after the read timeout; it may have charged."""

    def script(connection, number):
        connection.read_request()
        connection.server.ended.wait()

    verdict = failure(script, error=AnswerLost, read_timeout=0.3)
    assert (verdict.code, verdict.charge) == ("timeout", Charge.POSSIBLY)


def test_server_that_reads_nothing():
    """A server that does not read is given up too, and nothing was charged."""

    def script(connection, number):
        connection.server.ended.wait()

    verdict = failure(script, JPEG + bytes(30_000_000), error=ServiceDown, connect_timeout=0.5)
    assert (verdict.code, verdict.charge) == ("timeout", Charge.NOT_CHARGED)


@pytest.mark.parametrize(
    ("status", "error", "code"), [("413 Too Large", ImageRejected, "too-big"), ("401 No", AccountRefused, "key")]
)
def test_early_answer_is_read(status, error, code):
    """An answer that comes while the photo is still going out is read and judged; nothing was charged."""

    def script(connection, number):
        connection.read_head()
        connection.answer(b"", status=status)
        connection.close()

    verdict = failure(script, JPEG + bytes(40_000_000), error=error)
    assert (verdict.code, verdict.charge) == (code, Charge.NOT_CHARGED)


def test_early_answer_of_a_server_that_stops_reading():
    """Nothing more goes out, so the photo is given up: not charged. The next one goes over another connection."""

    def script(connection, number):
        if number == 1:
            connection.read_head()
            connection.answer(b"", status="429 Slow")
            connection.server.ended.wait()
        good(connection, number)

    with RawServer(script) as server, client(server, connect_timeout=1) as one:
        with pytest.raises(ServiceDown) as caught:
            send(one, JPEG + bytes(30_000_000))
        assert (caught.value.verdict.code, caught.value.verdict.charge) == ("timeout", Charge.NOT_CHARGED)
        assert send(one).status == 200
        assert server.connections == 2


def test_unasked_continue_is_no_answer():
    """A "100 Continue" that nobody asked for does not stop the photo."""

    def script(connection, number):
        connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        connection.read_request()
        connection.answer(PNG)

    with RawServer(script) as server, client(server) as one:
        assert send(one, JPEG + bytes(5_000_000)).status == 200
