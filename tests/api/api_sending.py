"""One photo, sent with the real client to a server of bare sockets."""

from __future__ import annotations

import io

import pytest
from api_raw_server import RawServer, picture

from rembg_watch.api.client import RembgClient
from rembg_watch.api.options import Options
from rembg_watch.errors import ApiError
from rembg_watch.imagefile import Kind

KEY = "secret-key-0123456789"
JPEG = picture()
PNG = picture("PNG")


def client(server, **kwargs):
    kwargs.setdefault("read_timeout", 60)
    kwargs.setdefault("connect_timeout", 60)
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
