"""What the client neither believes nor follows nor reads without end, and where the key never goes."""

from __future__ import annotations

import gzip
import io
import time
from itertools import pairwise

import pytest
from api_raw_server import RawServer, picture
from api_sending import KEY, PNG, client, failure, good, send

from rembg_watch.api.client import RembgClient
from rembg_watch.api.options import Options
from rembg_watch.api.picture import checked, picture_verdict
from rembg_watch.api.verdict import CODES, About, Charge
from rembg_watch.errors import AccountRefused, BadAnswer, BrokenPicture, NotAPicture, ServiceDown
from rembg_watch.imagefile import Header, Kind


def test_redirects_are_not_followed():
    """A redirect is an error that names the host; the key never reaches that host, and an endless body is not read."""
    with RawServer(good) as other:

        def script(connection, number):
            connection.read_request()
            connection.send(f"HTTP/1.1 307 Go\r\nLocation: http://127.0.0.1:{other.port}/\r\n\r\n".encode())
            while not connection.server.ended.is_set():
                connection.send(b"x" * 65536)

        verdict = failure(script, error=ServiceDown)
        assert verdict.code == "redirect"
        assert "127.0.0.1" in verdict.message
        assert other.connections == 0


def test_cookies_are_not_kept():
    """Nothing that a server sets comes back to it."""

    def script(connection, number):
        while True:
            connection.read_request()
            connection.answer(PNG, headers="Set-Cookie: a=b; Path=/\r\n")

    with RawServer(script) as server, client(server) as one:
        send(one)
        send(one)
        assert all(b"cookie" not in head.lower() for head in server.requests)


def test_compressed_answers_are_refused():
    """Compression was not asked for; a bomb is never unpacked, and nothing reaches the sink."""
    bomb = gzip.compress(bytes(50_000_000))

    def script(connection, number):
        assert b"Accept-Encoding: identity" in connection.read_request()
        connection.answer(bomb, headers="Content-Encoding: gzip\r\n")

    sink = io.BytesIO()
    verdict = failure(script, error=BadAnswer, sink=sink)
    assert (verdict.code, verdict.charge) == ("encoding", Charge.POSSIBLY)
    assert sink.getvalue() == b""


def test_endless_answers_are_capped():
    """An answer without end is cut off at `max_answer`, whether it announces its length or not."""

    def endless(connection, number):
        connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n" + PNG)
        while not connection.server.ended.is_set():
            connection.send(bytes(65536))

    def announced(connection, number):
        connection.read_request()
        connection.answer(PNG, length=10**15)
        connection.server.ended.wait()

    for script in (endless, announced):
        sink = io.BytesIO()
        verdict = failure(script, error=BadAnswer, sink=sink, max_answer=2_000_000)
        assert (verdict.code, verdict.charge) == ("too-much", Charge.POSSIBLY)
        assert len(sink.getvalue()) <= 2_000_000


def test_endless_error_pages_are_capped():
    """Of an error's body no more than 64 KiB are read."""

    def script(connection, number):
        connection.read_request()
        connection.send(b'HTTP/1.1 400 Bad\r\n\r\n{"error": "')
        while not connection.server.ended.is_set():
            connection.send(b"x" * 65536)

    assert failure(script).status == 400


def test_drips_are_bounded():
    """An answer in drips, each in time, is given up after twice the read timeout."""
    drips = []

    def script(connection, number):
        connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + PNG)
        connection.drip(bytes(5000), 0.05, drips)

    started = time.monotonic()
    verdict = failure(script, read_timeout=0.5)
    ended = time.monotonic()
    assert ended - started < 100, "the drips go on for four minutes"
    in_time = all(after - before < 0.4 for before, after in pairwise([started, *drips, ended]))
    assert ended - started > 0.9 or not in_time
    assert (verdict.code, verdict.charge) == ("timeout", Charge.POSSIBLY)


def test_answers_in_small_pieces():
    """A picture is told by its first bytes, and an error by its words, in however many pieces they arrive."""
    said = b'{"error": "invalid api key", "status": 401}'

    def in_pieces(head, body):
        def script(connection, number):
            connection.read_request()
            connection.send(f"HTTP/1.1 {head}\r\nContent-Length: {len(body)}\r\n\r\n".encode())
            for at in range(0, len(body), 7):
                connection.send(body[at : at + 7])
                connection.server.ended.wait(0.002)

        return script

    with RawServer(in_pieces("200 OK", PNG)) as server, client(server) as one:
        sink = io.BytesIO()
        assert send(one, sink=sink).bytes == len(PNG)
        assert sink.getvalue() == PNG
    for status in ("200 OK", "401 No"):
        assert failure(in_pieces(status, said), error=AccountRefused).code == "key"


def test_cut_short_answer_is_noticed():
    """An answer that ends before its announced length is an error, not a short picture."""

    def short(connection, number):
        connection.read_request()
        connection.answer(PNG, length=len(PNG) + 10)
        connection.close()

    def chunked(connection, number):
        connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n" + PNG[:40])
        connection.close()

    for script in (short, chunked):
        verdict = failure(script, error=BadAnswer)
        assert (verdict.code, verdict.charge) == ("cut-short", Charge.POSSIBLY)


@pytest.mark.parametrize("raw", [b"SSH-2.0-OpenSSH_9\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\0" * 100_000, b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 300 + b"\r\n"])  # fmt: skip
def test_garbled_answers(raw):
    """What is no HTTP is an error of the service, possibly charged."""

    def script(connection, number):
        connection.read_request()
        connection.send(raw)
        connection.close()

    verdict = failure(script)
    assert verdict.about is About.SERVICE
    assert verdict.charge is Charge.POSSIBLY


def test_key_that_is_echoed():
    """A server that repeats the key does not get it into a message."""

    def script(connection, number):
        connection.read_request()
        connection.answer(f'{{"error": "invalid api key {KEY}"}}'.encode(), status="401 No")

    assert "***" in failure(script, error=AccountRefused).message


def test_key_is_only_in_its_header():
    """The key travels in `x-api-key` and nowhere else, and no repr shows it."""
    with RawServer(good) as server, client(server) as one:
        assert KEY not in repr(one)
        send(one)
        lines = server.requests[0].split(b"\r\n")
        assert [line for line in lines if KEY.encode() in line] == [b"x-api-key: " + KEY.encode()]


@pytest.mark.parametrize("key", ["", "  ", "with space", "line\nbreak", "ключ", "\x7f"])
def test_impossible_keys(key):
    """A key that can't be one is refused before anything is sent, without being shown."""
    with pytest.raises(AccountRefused) as caught:
        RembgClient(key)
    assert not key.strip() or key not in str(caught.value)


def test_picture_verdicts():
    """An answer is right only in the format and size asked for; a tiny one means that the credits are out."""
    options, source = Options(format=Kind.PNG), (2000, 1000)
    assert picture_verdict(Header(Kind.PNG, 2000, 1000), None, options, source) is None
    assert picture_verdict(Header(Kind.PNG, 7, 7), None, options, None) is None

    def code(header, error=None):
        verdict = picture_verdict(header, error, options, source)
        assert verdict.charge is Charge.POSSIBLY
        assert verdict.code in CODES
        return verdict.about, verdict.code

    assert code(Header(Kind.WEBP, 2000, 1000)) == (About.UNKNOWN, "wrong-format")
    assert code(Header(Kind.PNG, 1000, 500)) == (About.UNKNOWN, "wrong-size")
    assert code(Header(Kind.PNG, 460, 230)) == (About.CREDITS, "shrunk")
    assert code(Header(Kind.WEBP, 460, 230)) == (About.CREDITS, "shrunk")
    assert code(None, NotAPicture("no", "")) == (About.SERVICE, "not-a-picture")
    assert code(None, BrokenPicture("half", "")) == (About.SERVICE, "cut-short")
    assert code(None) == (About.SERVICE, "not-a-picture")


def test_turned_pictures_may_be_larger_than_the_api_takes():
    """A photo of nearly 10000 px has more when it is turned: that is what was asked for and paid, so it counts."""
    options = Options(format="png", angle=3)
    turned = io.BytesIO(picture("PNG", (10_018, 1124), 0, "L"))
    assert checked(turned, options, (10_000, 600)) == Header(Kind.PNG, 10_018, 1124)
    with pytest.raises(BadAnswer):
        checked(io.BytesIO(picture("PNG", (10_200, 1124), 0, "L")), options, (10_000, 600))
