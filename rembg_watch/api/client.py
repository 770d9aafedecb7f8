"""The RemBG.com API client.

    with RembgClient(key) as client:
        client.remove("shoe.jpg", Options(format="png", bg_color="white"), to="shoe.png")
        print(client.membership_usage(billing_cycle=True).available)

It never repeats a request that may have been paid for: that is the caller's choice, and every error's
``verdict.charge`` says what is known.
"""

from __future__ import annotations

import base64
import functools
import importlib.metadata
import os
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, Self, TypeVar

from rembg_watch.api.error_body import read_error_body
from rembg_watch.api.http import Http, Reply, Upload
from rembg_watch.api.model import Progress
from rembg_watch.api.options import Options
from rembg_watch.api.picture import checked
from rembg_watch.api.removal import Landing, Removal
from rembg_watch.api.source import Image, opened, preflight
from rembg_watch.api.usage import BillingCycle, MembershipUsage, asked_period, parse_cycles, parse_usage
from rembg_watch.api.verdict import About, Charge, Fault, Stage, Verdict, error_for, hint_for, judge
from rembg_watch.errors import ApiError
from rembg_watch.imagefile import HEAD_BYTES, sniff

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from rembg_watch.imagefile import Kind

    OnProgress = Callable[[Progress], object]

T = TypeVar("T")

API_URL = "https://api.rembg.com/rmbg"
USAGE_URL = "https://www.rembg.com/api/membership-usage"
MAX_ANSWER = 512 * 1024 * 1024
"""Bytes of an answer that are read at most: more than a 10000 x 10000 picture of 4 bytes a pixel."""
MAX_USAGE = 1024 * 1024
"""The same of the usage."""
MAX_ERROR = 64 * 1024
"""The same of an error."""
USAGE_TIMEOUT = 30.0
"""The usage call's read timeout in seconds is at most this: it is no work for the server."""


class Sink(Protocol):
    """Receives the answer, as an open binary file does. ``write`` must take all bytes that it gets."""

    def write(self, data: bytes, /) -> object: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """A 200 whose body has arrived whole and begins as a picture: ``bytes`` long, after ``seconds``."""

    bytes: int
    seconds: float
    status: int = 200


@functools.cache
def _user_agent() -> str:
    try:
        return f"rembg-watch/{importlib.metadata.version('rembg-watch')}"
    except importlib.metadata.PackageNotFoundError:
        return "rembg-watch"


class RembgClient:
    """A client for one account. It can be used by many threads at once; close it, best by ``with``.

    Args:
        api_key: the account's API key. It goes into one header of requests to ``url`` and ``usage_url``, nowhere else.
        url: where pictures are sent.
        usage_url: where the usage is asked for.
        connect_timeout: seconds to get a connection, and for each block of the photo to leave.
        read_timeout: seconds without any progress after which a request is given up; a whole answer, once the photo is
            sent, may take twice as long, and an upload twice as long plus a second for each 16 KiB.
        pool_size: connections kept open; give as many as threads use the client.
        user_agent: how the client calls itself.
        max_answer: bytes of an answer that are read at most.

    Raises:
        AccountRefused: the key is empty or has characters that no key has.

    """

    def __init__(
        self,
        api_key: str,
        *,
        url: str = API_URL,
        usage_url: str = USAGE_URL,
        connect_timeout: float = 10.0,
        read_timeout: float = 180.0,
        pool_size: int = 8,
        user_agent: str | None = None,
        max_answer: int = MAX_ANSWER,
    ) -> None:
        api_key = api_key.strip()
        if not api_key or not all("!" <= c <= "~" for c in api_key):
            what = "has characters that no key has" if api_key else "is empty"
            raise error_for(Verdict(About.ACCOUNT, "key", f"the API key {what}", hint_for("key"), Charge.NOT_CHARGED))
        self._key = api_key
        self.url = url
        self.usage_url = usage_url
        self._read_timeout = read_timeout
        self._max_answer = max_answer
        headers = {"User-Agent": user_agent or _user_agent(), "x-api-key": api_key}
        try:
            self._photos = Http(url, headers, connect_timeout=connect_timeout, pool_size=pool_size)
            self._account = Http(usage_url, headers, connect_timeout=connect_timeout, pool_size=1)
        except Fault as fault:
            raise error_for(judge(None, {}, b"", fault, Stage.CONNECTING, time.time())) from None

    def __repr__(self) -> str:
        return f"RembgClient(url={self.url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that are kept open. Requests under way in other threads go on to their end."""
        self._photos.close()
        self._account.close()

    def send(
        self,
        photo: bytes | bytearray | memoryview | BinaryIO,
        size: int,
        kind: Kind,
        options: Options,
        sink: Sink,
        *,
        on_upload: OnProgress | None = None,
        on_download: OnProgress | None = None,
        on_wire: Callable[[], object] | None = None,
    ) -> Answer:
        """Send one photo and write the answer into ``sink``: the bare call, which looks at neither picture.

        Args:
            photo: the bytes, or an open file. Exactly ``size`` bytes are sent from its start.
            size: in bytes.
            kind: what the photo is; it travels as ``image.<kind>``.
            options: what to do with it.
            sink: where the answer's bytes go. Nothing is written unless they begin as a picture; they are whole only
                if this returns.
            on_upload: called with the progress of the photo, at the start and after each block.
            on_download: the same for the answer.
            on_wire: called once, when the connection stands and right before the photo's first byte goes out. What it
                raises ends the request, unsent.

        Raises:
            ApiError: by its verdict. No request is repeated that may have been charged.
            SourceChanged: fewer than ``size`` bytes came out of the file; nothing was charged.
            SourceError: the file could not be read; nothing was charged.
            Exception: what ``sink`` and the callbacks raise. Once ``on_wire`` has returned, it was possibly charged.

        """
        started = time.monotonic()
        read_timeout = self._read_timeout
        timeouts = (self._photos.connect_timeout, read_timeout)
        upload = Upload(photo, size, kind, options, timeouts, on_progress=on_upload, on_wire=on_wire)
        count = 0
        with self._asked(self._photos, "POST", read_timeout, upload=upload) as reply:
            for block in reply.blocks(self._max_answer):
                if count == 0 and sniff(block[:HEAD_BYTES]) is None:
                    raise self._error(reply, block[:MAX_ERROR], Stage.RECEIVING)
                count += len(block)
                sink.write(block)
                if on_download is not None:
                    on_download(Progress(count, reply.length))
            if count == 0:
                raise self._error(reply, b"", Stage.RECEIVING)
        return Answer(count, time.monotonic() - started)

    def remove(
        self,
        image: Image,
        options: Options | None = None,
        *,
        to: str | os.PathLike[str] | BinaryIO | None = None,
        as_base64: bool = False,
        on_upload: OnProgress | None = None,
        on_download: OnProgress | None = None,
    ) -> Removal:
        """Remove the background of one picture, and return only what was verified.

        Args:
            image: a path, the bytes, an open binary file (read from its start), or base64 with or without ``data:``.
                For how a plain text is told apart, see :func:`rembg_watch.api.source.opened`.
            options: what to do; the defaults give a transparent webp.
            to: a path (written whole or not at all), or an open binary file; None for a temporary file.
            as_base64: give a ``data:`` URL instead of a temporary file.
            on_upload: called with a :class:`Progress` of the photo, repeatedly.
            on_download: the same for the answer.

        Raises:
            Refused: the API would refuse the picture; nothing was sent.
            SourceError: the picture can't be read.
            TargetError: the result can't be written; found before anything is sent where that is possible.
            ApiError: the API, or the way to it, said no, or the answer is not the picture that was asked for.

        """
        options = options or Options()
        target = Path(os.fspath(to)) if isinstance(to, str | os.PathLike) else None
        with opened(image) as file:
            size, header = preflight(file)
            landing = Landing(target, options.extension)
            try:
                answer = self.send(
                    file, size, header.kind, options, landing, on_upload=on_upload, on_download=on_download
                )
                got = checked(landing.file, options, (header.width, header.height))
                removal = Removal(got.kind, got.width, got.height, answer.bytes, answer.seconds)
                if to is not None and target is None:
                    landing.copy_into(to)  # type: ignore[arg-type]  # no path, so an open file
                if as_base64:
                    landing.file.seek(0)
                    url = f"data:image/{got.kind.value};base64,{base64.b64encode(landing.file.read()).decode()}"
                    removal = replace(removal, base64=url)
                if target is not None or (to is None and not as_base64):
                    removal = replace(removal, path=landing.keep(), is_temporary=target is None)
                else:
                    landing.drop()
            except BaseException:
                landing.drop()
                raise
            return removal

    def membership_usage(
        self,
        *,
        year: int | None = None,
        month: int | None = None,
        period_start: int | None = None,
        billing_cycle: bool = False,
    ) -> MembershipUsage:
        """Ask what the account has and has used. A free call.

        Args:
            year: 1..9999, of the UTC calendar month to read; default: the current one.
            month: 1..12, likewise.
            period_start: Unix seconds; the billing window that starts there. Not together with ``year`` or ``month``.
            billing_cycle: ask for the enforced billing window as well, on which ``available`` then stands.

        Raises:
            Refused: the API would refuse these parameters; nothing was sent.
            ApiError: by its verdict; code ``nonsense`` where the numbers make no sense.

        """
        params = asked_period(year, month, period_start)
        if billing_cycle:
            params["expand"] = "billing_cycle"
        return self._usage(params, parse_usage)

    def billing_cycles(self) -> list[BillingCycle]:
        """List the account's billing cycles, newest first. A free call. Raises ApiError."""
        return self._usage({"listBillingCycles": "1"}, parse_cycles)

    def _usage(self, params: Mapping[str, str], parse: Callable[[bytes], T]) -> T:
        try:
            with self._asked(self._account, "GET", min(self._read_timeout, USAGE_TIMEOUT), params=params) as reply:
                body = b"".join(reply.blocks(MAX_USAGE))
                try:
                    return parse(body)
                except ApiError:
                    said = read_error_body(reply.headers.get("content-type", ""), body)
                    if said.is_html or (said.is_json and said.text):
                        raise self._error(reply, body, Stage.RECEIVING) from None
                    raise
        except ApiError as error:
            # A usage call is free. And the hints are worded for photos, which go to another address.
            hint = error.verdict.hint.replace("api.url", "api.usage_url")
            raise error_for(replace(error.verdict, hint=hint, charge=Charge.NOT_CHARGED)) from None

    @contextmanager
    def _asked(
        self,
        http: Http,
        method: str,
        read_timeout: float,
        *,
        upload: Upload | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Iterator[Reply]:
        """Send one request and yield its 200 response.

        Raises:
            ApiError: there is none, or it can't be read to its end.
            Exception: what reading the photo or a callback raised, unchanged.
        """
        reply = None
        try:
            with http.send(method, upload, read_timeout=read_timeout, params=params) as reply:
                if reply.status != 200:
                    stage = upload.stage if upload is not None else Stage.WAITING
                    raise self._error(reply, _start(reply), stage)
                yield reply
        except Fault as fault:
            raise self._error(reply, b"", fault.stage, fault) from None

    def _error(self, reply: Reply | None, body: bytes, stage: Stage, fault: Fault | None = None) -> ApiError:
        """Return the error for what became of a request. A key that the server repeats is blacked out."""
        status, headers = (None, {}) if reply is None else (reply.status, dict(reply.headers))
        if len(self._key) >= 8:
            body = body.replace(self._key.encode(), b"***")
            headers = {name: value.replace(self._key, "***") for name, value in headers.items()}
        return error_for(judge(status, headers, body, fault, stage, time.time()))


def _start(reply: Reply) -> bytes:
    """Return the first bytes of an error's body, or none if it can't be read: the status counts all the same."""
    body = b""
    try:
        for block in reply.blocks(sys.maxsize):
            body += block
            if len(body) >= MAX_ERROR:
                break
    except Fault:
        return b""
    return body
