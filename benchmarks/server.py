"""Serve a stand-in for the API that costs as little CPU as one process can.

Run as ``python -m benchmarks.server --latency SECONDS [--answer NAME] [--tls CERT KEY]``; the first line on stdout is
the port.

The service reads each request to its end without looking at the form, waits for the latency by a timer, and answers
with the same ready-made picture. ``GET /_log`` returns when the first byte of each upload came, when the last one did,
and when the answer went out, as times of the monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import io
import json
import re
import signal
import ssl
import sys
import time
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFilter

ROOM = 512 * 1024
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CONTINUE = re.compile(rb"\r\nexpect: *100-continue", re.IGNORECASE)


@dataclass(frozen=True)
class Answer:
    """The picture of every answer; a cut-out has texture, and alpha with a soft edge."""

    format: str
    width: int
    height: int
    cut_out: bool = True

    @property
    def name(self) -> str:
        return f"{self.format}-{self.width}"

    def __str__(self) -> str:
        return f"{self.width} x {self.height} {'WebP' if self.format == 'webp' else self.format.upper()}"

    def picture(self) -> bytes:
        """Encode the picture: lossy WebP, or PNG."""
        size = self.width, self.height
        picture = Image.radial_gradient("L").resize(size)
        if self.cut_out:
            texture = Image.effect_noise((self.width // 4, self.height // 4), 40).resize(size)
            alpha = Image.new("L", size)
            ImageDraw.Draw(alpha).ellipse([0.1 * side for side in size] + [0.9 * side for side in size], fill=255)
            alpha = alpha.filter(ImageFilter.GaussianBlur(3))
            picture = Image.merge("RGBA", (picture, texture, Image.linear_gradient("L").resize(size), alpha))
        else:
            picture = picture.convert("RGB")
        out = io.BytesIO()
        picture.save(out, self.format, quality=80)
        return out.getvalue()


WEBP_64 = Answer("webp", 64, 64, cut_out=False)
WEBP_1000 = Answer("webp", 1000, 1000)
PNG_640 = Answer("png", 640, 480)
ANSWERS = {answer.name: answer for answer in (WEBP_64, WEBP_1000, PNG_640)}


def _response(body: bytes, kind: str) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b" % (kind.encode(), len(body), body)


class Service:
    """The latency, the picture and the log, which all connections share."""

    def __init__(self, latency: float, answer: Answer) -> None:
        self.latency = latency
        self.picture = _response(answer.picture(), f"image/{answer.format}")
        self.uploads: list[tuple[int, int, int]] = []
        """First byte, last byte and answer of each upload, in nanoseconds of the monotonic clock."""
        self.usage_calls = 0

    def usage(self) -> bytes:
        self.usage_calls += 1
        now = int(time.time())
        cycle = {
            "periodStartUnix": now - 86400,
            "periodEndUnix": now + 29 * 86400,
            "appUsage": 0,
            "apiUsage": len(self.uploads),
            "includedCredits": 10**9,
            "prepaidCredits": 0,
            "usedIncludedCredits": len(self.uploads),
            "remainingIncludedCredits": 10**9 - len(self.uploads),
            "stripeBillingSynced": True,
        }
        body = {"membership": "Benchmark", "credits": 10**9, "prepaidCredits": 0, "app_usage": 0, "api_usage": 0}
        return _response(json.dumps({**body, "billingCycle": cycle}).encode(), "application/json")

    def log(self) -> bytes:
        return _response(
            json.dumps({"uploads": self.uploads, "usage_calls": self.usage_calls}).encode(), "application/json"
        )


class Connection(asyncio.BufferedProtocol):
    """Read requests one after the other: the head is parsed, the body is counted and thrown away."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._buffer = memoryview(bytearray(ROOM))
        self._head = b""
        self._missing = 0
        self._first = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._missing:
            self._missing -= nbytes
            if self._missing <= 0:
                self._uploaded()
            return
        if not self._head:
            self._first = time.monotonic_ns()
        self._head += self._buffer[:nbytes]
        end = self._head.find(b"\r\n\r\n")
        if end < 0:
            return
        head, rest = self._head[: end + 2], len(self._head) - end - 4
        self._head = b""
        if head.startswith(b"GET /_log"):
            self._transport.write(self._service.log())
        elif head.startswith(b"GET"):
            self._transport.write(self._service.usage())
        else:
            found = _LENGTH.search(head)
            self._missing = (int(found[1]) if found else 0) - rest
            if _CONTINUE.search(head):
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            if self._missing <= 0:
                self._uploaded()

    def _uploaded(self) -> None:
        self._missing = 0
        last = time.monotonic_ns()
        if self._service.latency:
            asyncio.get_running_loop().call_later(self._service.latency, self._reply, self._first, last)
        else:
            self._reply(self._first, last)

    def _reply(self, first: int, last: int) -> None:
        self._service.uploads.append((first, last, time.monotonic_ns()))
        if not self._transport.is_closing():
            self._transport.write(self._service.picture)


async def serve(latency: float, answer: Answer, tls: ssl.SSLContext | None) -> None:
    """Serve on a free port of the loopback until SIGTERM."""
    service = Service(latency, answer)
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    server = await loop.create_server(lambda: Connection(service), "127.0.0.1", 0, ssl=tls, backlog=1024)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await stop.wait()
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--answer", choices=ANSWERS, default=WEBP_64.name)
    parser.add_argument("--tls", nargs=2, metavar=("CERT", "KEY"))
    options = parser.parse_args()
    context = None
    if options.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*options.tls)
    gc.freeze()
    asyncio.run(serve(options.latency, ANSWERS[options.answer], context))


if __name__ == "__main__":
    main()
