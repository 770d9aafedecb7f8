"""The way to the API over real sockets: what it bounds, what it refuses, and what it knows when it breaks."""

from __future__ import annotations

import gzip
import http.client
import inspect
import io
import os
import threading
import time
import tracemalloc

import pytest
import requests.exceptions
import urllib3.exceptions
from api_raw_server import RawServer, picture, until

from rembg_watch.api import exchange as wire
from rembg_watch.api.client import RembgClient
from rembg_watch.api.options import Options
from rembg_watch.api.transport import FAULTS, from_requests
from rembg_watch.api.verdict import CODES, About, Charge
from rembg_watch.errors import (
    AccountRefused,
    AnswerLost,
    ApiError,
    BadAnswer,
    ImageRejected,
    ServiceDown,
    SourceChanged,
    SourceError,
    TooFast,
)
from rembg_watch.imagefile import Kind

KEY = "secret-key-0123456789"
JPEG = picture()
PNG = picture("PNG")


def client(server, **kwargs):
    kwargs.setdefault("read_timeout", 5.0)
    kwargs.setdefault("connect_timeout", 5.0)
    return RembgClient(KEY, url=server.url, usage_url=server.url, **kwargs)


def send(one, photo=JPEG, sink=None, **kwargs):
    sink = io.BytesIO() if sink is None else sink
    return one.send(io.BytesIO(photo), len(photo), Kind.JPEG, Options(format=Kind.PNG), sink, **kwargs)


def failure(script, photo=JPEG, *, error=ApiError, sink=None, **kwargs):
    """What sending to a server that does `script` on each connection ends with."""
    with RawServer(script) as server, client(server, **kwargs) as one, pytest.raises(error) as caught:
        send(one, photo, sink)
    assert KEY not in str(caught.value)
    assert KEY not in repr(caught.value)
    return caught.value.verdict


def good(connection, number):
    while True:
        connection.read_request()
        connection.answer(PNG)


# -- every exception has its word ---------------------------------------------------------------------------------


@pytest.mark.parametrize("module", [requests.exceptions, urllib3.exceptions, http.client])
def test_every_exception_is_mapped(module):
    """A new exception class of requests, urllib3 or http.client must be given a code before it comes up."""
    classes = {
        one
        for _, one in inspect.getmembers(module, inspect.isclass)
        if issubclass(one, Exception)
        and not issubclass(one, Warning)
        and one.__module__.startswith(("requests", "urllib3", "http"))
    }
    assert classes
    assert {one.__qualname__ for one in classes - FAULTS.keys()} == set()
    assert {code for code in FAULTS.values() if code} <= CODES


def test_the_bottom_of_a_chain_decides():
    """What is wrapped tells more than what wraps it; only a proxy's and a certificate's trouble is told by the wrapper."""
    rq, u3 = requests.exceptions, urllib3.exceptions
    inner = ConnectionResetError(104, "Connection reset by peer")
    assert from_requests(rq.ConnectionError(u3.ProtocolError("aborted", inner))).code == "reset"
    assert from_requests(rq.ProxyError(u3.ProxyError("no", OSError("Tunnel connection failed: 407")))).code == "proxy"
    assert from_requests(rq.SSLError(u3.SSLError("bad certificate"))).code == "tls"
    assert from_requests(rq.ConnectionError(TimeoutError("slow"))).code == "timeout"
    assert from_requests(rq.RequestException("?")).code == "unknown"
    loop = rq.ConnectionError("a")
    loop.__cause__ = rq.Timeout("b")
    loop.__cause__.__cause__ = loop
    assert from_requests(loop).code == "timeout"


# -- the stages, and so the charge -----------------------------------------------------------------------------------


def test_refused_and_dns_cost_nothing():
    """Where no connection came up, nothing was charged."""
    with RawServer(good) as server:
        port = server.port
    for url, code in ((f"http://127.0.0.1:{port}/", "refused"), ("http://no-such-host.invalid/", "dns")):
        with RembgClient(KEY, url=url, usage_url=url) as one, pytest.raises(ServiceDown) as caught:
            send(one)
        assert (caught.value.verdict.code, caught.value.verdict.charge) == (code, Charge.NOT_CHARGED)


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
        connection.server.ended.wait(20)

    verdict = failure(script, error=AnswerLost, read_timeout=0.3)
    assert (verdict.code, verdict.charge) == ("timeout", Charge.POSSIBLY)


def test_server_that_reads_nothing():
    """A server that does not read is given up too, and nothing was charged."""

    def script(connection, number):
        connection.server.ended.wait(20)

    verdict = failure(script, JPEG + bytes(30_000_000), error=ServiceDown, read_timeout=0.5)
    assert (verdict.code, verdict.charge) == ("timeout", Charge.NOT_CHARGED)


@pytest.mark.parametrize("hangs_up", [True, False])
@pytest.mark.parametrize(
    ("status", "error", "code"), [("413 Too Large", ImageRejected, "too-big"), ("401 No", AccountRefused, "key")]
)
def test_early_answer_is_read(status, error, code, hangs_up):
    """An answer that comes while the photo is still going out is read and judged; nothing was charged."""

    def script(connection, number):
        connection.read_head()
        connection.answer(b"", status=status)
        if hangs_up:
            connection.close()
        else:
            connection.server.ended.wait(20)

    verdict = failure(script, JPEG + bytes(40_000_000), error=error, read_timeout=2.0)
    assert (verdict.code, verdict.charge) == (code, Charge.NOT_CHARGED)


def test_connection_of_an_early_answer_is_not_used_again():
    """After an early answer the server still waits for the rest of the photo: the next one goes over another connection."""

    def script(connection, number):
        if number == 1:
            connection.read_head()
            connection.answer(b"", status="429 Slow")
            connection.server.ended.wait(20)
        good(connection, number)

    with RawServer(script) as server, client(server) as one:
        with pytest.raises(TooFast):
            send(one, JPEG + bytes(30_000_000))
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


# -- pooled connections ------------------------------------------------------------------------------------------------


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


# -- what is not believed, followed or read without end -----------------------------------------------------------------


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
        connection.server.ended.wait(20)

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


@pytest.mark.parametrize("part", ["head", "body"])
def test_drips_are_bounded(part):
    """An answer in drips, each in time, is given up after twice the read timeout, in its headers as in its body."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n"

    def script(connection, number):
        connection.read_request()
        if part == "head":
            connection.drip(head + b"X-Slow: " + b"x" * 5000, 0.05)
        else:
            connection.send(head + b"\r\n" + PNG)
            connection.drip(bytes(5000), 0.05)

    started = time.monotonic()
    verdict = failure(script, read_timeout=0.5)
    assert 0.9 < time.monotonic() - started < 5
    assert (verdict.code, verdict.charge) == ("timeout", Charge.POSSIBLY)


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


# -- the photo ------------------------------------------------------------------------------------------------------------


class Photo(io.BytesIO):
    """A file that gives a few bytes at each read, as some file systems do."""

    def readinto(self, buffer):
        return super().readinto(memoryview(buffer)[: max(1, min(len(buffer), 70_001))])


@pytest.mark.parametrize("size", [700, 262_144 - 400, 262_144, 1_000_000])
@pytest.mark.parametrize("progress", [True, False])
def test_body_arrives_as_it_is(size, progress):
    """The form that arrives has the announced length, the fields, and the photo byte for byte."""
    photo = os.urandom(size)
    seen = {}

    def script(connection, number):
        head = connection.read_head()
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        seen["body"] = connection._file.read(length)
        seen["boundary"] = head.split(b"boundary=")[1].split(b"\r\n")[0]
        connection.answer(PNG)

    steps = []
    with RawServer(script) as server, client(server) as one:
        one.send(
            Photo(photo),
            size,
            Kind.JPEG,
            Options(w=5, mask=True),
            io.BytesIO(),
            on_upload=steps.append if progress else None,
        )
    parts = seen["body"].split(b"--" + seen["boundary"])
    assert parts[0] == b""
    assert parts[-1] == b"--\r\n"
    assert [p for p in parts if b'name="w"' in p] == [b'\r\nContent-Disposition: form-data; name="w"\r\n\r\n5\r\n']
    head, _, content = parts[-2].partition(b"\r\n\r\n")
    assert b'filename="image.jpg"' in head
    assert content == photo + b"\r\n"
    if progress:
        assert [s.loaded for s in steps] == sorted({s.loaded for s in steps})
        assert (steps[0].loaded, steps[-1].loaded, steps[-1].fraction) == (0, size, 1.0)


def test_source_that_becomes_shorter():
    """A photo that shrinks under the upload ends the request unsent, as an error of the file, not of the network."""
    with RawServer(good) as server, client(server) as one:
        with pytest.raises(SourceChanged):
            one.send(io.BytesIO(JPEG), len(JPEG) + 1, Kind.JPEG, Options(), io.BytesIO())
        with pytest.raises(SourceChanged):
            one.send(io.BytesIO(bytes(3_000_000)), 4_000_000, Kind.JPEG, Options(), io.BytesIO())
        assert server.requests == []


def test_source_that_can_not_be_read():
    """A disk error while reading the photo is an error of the file, whatever number it has."""

    class Broken(io.BytesIO):
        def readinto(self, buffer):
            raise ConnectionResetError(104, "stale file handle")

    with RawServer(good) as server, client(server) as one, pytest.raises(SourceError, match="stale"):
        one.send(Broken(JPEG), len(JPEG), Kind.JPEG, Options(), io.BytesIO())


@pytest.mark.parametrize("name", ["on_wire", "on_upload", "on_download"])
def test_errors_of_callbacks_come_through(name):
    """What a callback raises is raised as it is, even where it looks like an error of the network."""

    def call(*_):
        raise BrokenPipeError(32, "mine")

    with RawServer(good) as server, client(server) as one, pytest.raises(BrokenPipeError, match="mine"):
        send(one, **{name: call})


def test_on_wire_comes_before_the_first_byte_of_the_photo():
    """`on_wire` is called once the connection stands, and nothing of the photo is out until it returns."""
    arrived, asked = threading.Event(), threading.Event()

    def script(connection, number):
        connection.read_head()
        connection.socket.settimeout(10)
        asked.set()
        assert connection._file.peek(1)
        arrived.set()
        connection.answer(PNG)

    def on_wire():
        assert asked.wait(10)
        assert not arrived.wait(0.05)

    with RawServer(script) as server, client(server) as one:
        send(one, on_wire=on_wire)
    assert arrived.is_set()


def test_full_sink_is_its_own_error():
    """A full disk under the sink is an OSError of the caller, not one of the network."""

    class Full(io.BytesIO):
        def write(self, data):
            raise OSError(28, "No space left on device")

    with RawServer(good) as server, client(server) as one, pytest.raises(OSError, match="No space") as caught:
        send(one, sink=Full())
    assert caught.value.errno == 28


def test_memory_stays_flat(tmp_path):
    """A photo of 45 MB and an answer of 20 MB pass through in blocks: less than 4 MB at any time."""
    path = tmp_path / "big.jpg"
    with path.open("wb") as file:
        file.write(JPEG)
        file.truncate(45_000_000)
    size = 20_000_000

    def script(connection, number):
        connection.read_request()
        buffer = bytes(65536)
        connection.send(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode() + PNG)
        for _ in range((size - len(PNG)) // 65536):
            connection.send(buffer)
        connection.send(bytes((size - len(PNG)) % 65536))

    with (
        RawServer(script) as server,
        client(server) as one,
        path.open("rb") as file,
        (tmp_path / "out").open("wb") as sink,
    ):
        tracemalloc.start()
        try:
            answer = one.send(file, 45_000_000, Kind.JPEG, Options(), sink)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert answer.bytes == size
    assert peak < 4_000_000


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
