"""Pictures drawn for the occasion, and a sandbox for each test."""

from __future__ import annotations

import io
import time

import pytest
import requests
from PIL import Image, ImageDraw

from rembg_watch.sandbox import Sandbox

RED = (200, 20, 30)


@pytest.fixture
def draw():
    """Draw a red disc (its middle half of the picture) on a plain backdrop; give the encoded bytes."""

    def _draw(size=(240, 180), backdrop=(240, 240, 238), form="JPEG", **save):
        picture = Image.new("RGB", size, backdrop)
        width, height = size
        ImageDraw.Draw(picture).ellipse((width // 4, height // 4, width * 3 // 4, height * 3 // 4), fill=RED)
        out = io.BytesIO()
        picture.save(out, form, **save)
        return out.getvalue()

    return _draw


@pytest.fixture
def photo(draw):
    return draw()


@pytest.fixture
def sandbox():
    with Sandbox() as running:
        yield running


@pytest.fixture
def post(photo):
    """Send one image the way any HTTP client would."""

    def _post(sandbox, image=None, name="shoe.jpg", headers=None, timeout=60, **fields):
        return requests.post(
            sandbox.url,
            headers={"x-api-key": "any"} if headers is None else headers,
            files={"image": (name, photo if image is None else image)},
            data=fields,
            timeout=timeout,
            allow_redirects=False,
        )

    return _post


@pytest.fixture
def whole_request(photo):
    """The bytes of one image's request, for a socket that then does what no HTTP client would."""
    body = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n' + photo + b"\r\n--x--\r\n"
    head = (
        "POST /rmbg HTTP/1.1\r\nhost: x\r\nx-api-key: k\r\ncontent-type: multipart/form-data; boundary=x\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@pytest.fixture
def picture_of():
    def _picture(answer):
        assert answer.status_code == 200, answer.text
        picture = Image.open(io.BytesIO(answer.content))
        picture.load()
        return picture

    return _picture


@pytest.fixture
def until():
    """Wait for a condition, 60 seconds at most."""

    def _until(condition):
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, "the condition did not come true"
            time.sleep(0.005)

    return _until
