"""The photo on its way out and the answer on its way in: byte for byte, in blocks, with the caller's own errors."""

from __future__ import annotations

import io
import os
import threading
import tracemalloc
from itertools import pairwise

import pytest
from api_raw_server import RawServer
from api_sending import JPEG, PNG, client, good, send

from rembg_watch.api.http import BLOCK, BUFFERED, REPORTED_BLOCK, SLOWEST, Upload
from rembg_watch.api.options import Options
from rembg_watch.errors import SourceChanged, SourceError
from rembg_watch.imagefile import Kind


class Photo(io.BytesIO):
    """A file that gives a few bytes at each read, as some file systems do."""

    def readinto(self, buffer):
        return super().readinto(memoryview(buffer)[: max(1, min(len(buffer), 70_001))])


@pytest.mark.parametrize("size", [700, REPORTED_BLOCK, BLOCK - 400, BLOCK, BLOCK + 1, 2_000_000])
@pytest.mark.parametrize("progress", [True, False])
@pytest.mark.parametrize("given", [Photo, bytes, bytearray, lambda photo: memoryview(photo + b"more")])
def test_body_arrives_as_it_is(size, progress, given):
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
            given(photo),
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
        with pytest.raises(SourceChanged):
            one.send(JPEG, len(JPEG) + 1, Kind.JPEG, Options(), io.BytesIO())
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
        connection.socket.settimeout(60)
        asked.set()
        assert connection._file.peek(1)
        arrived.set()
        connection.answer(PNG)

    def on_wire():
        assert asked.wait(60)
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


def test_no_block_is_too_large_for_the_slowest_line():
    """A block has the connect timeout for itself: a line that is just fast enough must get it through in that time."""
    steps = []
    with RawServer(good) as server, client(server, connect_timeout=2) as one:
        send(one, JPEG + bytes(300_000), on_upload=steps.append)
    loaded = [step.loaded for step in steps]
    assert max(after - before for before, after in pairwise(loaded)) <= SLOWEST * 2


@pytest.mark.parametrize(("per_block", "largest"), [(0.01, BLOCK), (0.5, SLOWEST * 10)], ids=["fast", "slow"])
def test_blocks_grow_only_on_a_fast_line(monkeypatch, per_block, largest):
    """They grow once more than the kernel buffers went out at `BLOCK` bytes a second; the bytes are the same."""
    now = 0.0
    monkeypatch.setattr("rembg_watch.api.http.time.monotonic", lambda: now)
    photo = os.urandom(4_000_000)
    upload = Upload(photo, len(photo), Kind.JPEG, Options(), (10.0, 180.0))
    sizes, body = [], b""
    for block in upload:
        now += per_block
        sizes.append(len(block))
        body += block
    assert photo in body
    assert len(body) == len(upload)
    assert max(sizes[1:-1]) == largest
    assert max(sizes[1 : BUFFERED // (SLOWEST * 10)]) == SLOWEST * 10


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
