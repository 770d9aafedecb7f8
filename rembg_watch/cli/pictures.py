"""One picture of ``remove``: sent once its place is sure, and put there; what finds no room after all is kept."""

from __future__ import annotations

import os
import shutil
import sys
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import click

from rembg_watch.api.http import REPORTED_BLOCK
from rembg_watch.delivery.files import open_temp
from rembg_watch.delivery.naming import numbered
from rembg_watch.delivery.placing import commit
from rembg_watch.errors import TargetError, TargetTaken, TooFast
from rembg_watch.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from rembg_watch.api.client import RembgClient
    from rembg_watch.api.model import Progress
    from rembg_watch.api.options import Options
    from rembg_watch.api.removal import Removal
    from rembg_watch.cli.bars import Bars
    from rembg_watch.cli.targets import Order
    from rembg_watch.delivery.files import TempFile

MAX_WAITS = 6
"""How often a picture waits when the API says "too fast", which costs nothing."""
LONGEST_WAIT = 60.0
"""Seconds of one such wait at most."""

_BLOCK = 256 * 1024


class Undelivered(TargetError):
    """The answer came, and could not be put where it belongs: it was paid for. ``kept`` is where it is, if anywhere."""

    def __init__(self, message: str, kept: str | None, code: str = "other") -> None:
        where = f"is kept as {printable(kept)}: move it from there" if kept else "is lost"
        super().__init__(
            message, f"The picture was charged, and {where}. Make room, or name another place with -o.", code
        )
        self.kept = kept


class Work:
    """The pictures of one command, one after the other."""

    def __init__(self, client: RembgClient, options: Options, bars: Bars, *, force: bool, as_base64: bool) -> None:
        self._client = client
        self._options = options
        self._bars = bars
        self._force = force
        self._as_base64 = as_base64
        self._sent = False
        """Whether the picture in hand is with the API as a whole, and so possibly charged."""
        self._got: Removal | None = None
        """Its answer, once that is here."""

    def do(self, order: Order) -> tuple[Removal, str | None]:
        """Do one picture and give the result with the path it has, or None where it has none.

        Raises:
            RembgWatchError: by what went wrong.
        """
        self._sent, self._got = False, None
        try:
            return self._do(order)
        except (KeyboardInterrupt, SystemExit):  # a signal
            self._bars.end()
            if kept := self._kept():
                click.echo(f"\n{name_of(order)} was charged; the result is kept as {printable(kept)}.", err=True)
            elif self._sent:
                click.echo(f"\n{name_of(order)} was being cut out: it was possibly charged.", err=True)
            raise

    def _kept(self) -> str | None:
        path = self._got.path if self._got is not None else None
        return str(path) if path is not None and path.exists() else None

    def _do(self, order: Order) -> tuple[Removal, str | None]:
        if self._as_base64:
            return self._send(order), None
        if order.target is None:
            return self._to_stdout(order), None
        target = str(order.target.absolute())
        self._look_at(target, printable(str(order.target)))
        with _placing(*os.path.split(target)) as temp:
            removal = self._send(order)
            try:
                _copy(removal, temp.file)
                path = self._commit(temp, target)
            except TargetError as error:
                raise Undelivered(error.message, str(removal.path), error.code) from error
        removal.cleanup()
        return removal, path

    def _look_at(self, target: str, shown: str) -> None:
        if os.path.exists(target) and not os.path.isfile(target):
            raise TargetError(
                f"{shown} is no file that could be replaced",
                "Nothing was sent. Name a file or a folder with -o, or - for stdout.",
                "taken",
            )
        if not self._force and os.path.lexists(target):
            raise TargetError(
                f"{shown} is there already",
                "Nothing was sent. Use --force to replace it, or -o for another place.",
                "taken",
            )
        root = os.path.dirname(target)
        if not os.path.isdir(root):
            raise TargetError(
                f"there is no folder {printable(root)}",
                "Nothing was sent. Make it, or name another with -o.",
                "missing",
            )

    def _commit(self, temp: TempFile, target: str) -> str:
        number = 1
        while True:
            try:
                return commit(temp, numbered(target, number), replace=self._force)
            except TargetTaken:  # it came while we were at it; what was paid for is put beside it
                number += 1

    def _to_stdout(self, order: Order) -> Removal:
        removal = self._send(order)
        try:
            _copy(removal, sys.stdout.buffer)
            sys.stdout.buffer.flush()
        except OSError as error:
            message = f"can't write the picture to stdout: {error.strerror}"
            raise Undelivered(message, str(removal.path)) from error
        removal.cleanup()
        return removal

    def _uploaded(self, progress: Progress) -> None:
        # Each block is reported when it is gone, so all that is missing may be on its way already.
        self._sent = progress.total is not None and progress.total - progress.loaded <= REPORTED_BLOCK
        self._bars.upload(progress)

    def _send(self, order: Order) -> Removal:
        for waits in range(MAX_WAITS + 1):
            try:
                self._got = self._client.remove(
                    order.source if order.source is not None else sys.stdin.buffer,
                    self._options,
                    as_base64=self._as_base64,
                    on_upload=self._uploaded,
                    on_download=self._bars.download,
                )
            except TargetError as error:  # of the folder for temporary files
                if not self._sent:
                    raise
                raise Undelivered(error.message, None, error.code) from error
            except TooFast as error:
                if waits == MAX_WAITS or order.source is None:
                    raise
                time.sleep(min(error.verdict.retry_after or 2.0**waits, LONGEST_WAIT))
            else:
                return self._got
        raise AssertionError("unreachable")


_MEND = {"denied": "Make the folder writable", "full": "Make room there", "readonly": "Mount it writable"}


@contextmanager
def _placing(root: str, name: str) -> Iterator[TempFile]:
    """Open a temporary file beside the target; what hinders that is told for one command, not for the daemon."""
    with ExitStack() as stack:
        try:
            temp = stack.enter_context(open_temp(root, name, f"remove-{os.getpid()}"))
            temp.try_room()
        except TargetError as error:
            what = _MEND.get(error.code)
            hint = f"Nothing was sent. {what}, or name another place with -o." if what else error.hint
            raise TargetError(error.message, hint, error.code) from error
        yield temp


def _copy(removal: Removal, out: BinaryIO) -> None:
    assert removal.path is not None
    with removal.path.open("rb") as file:
        shutil.copyfileobj(file, out, _BLOCK)


def name_of(order: Order) -> str:
    """Give the source's name as it is shown."""
    return printable(str(order.source)) if order.source else "stdin"
