"""``rembg-watch remove``: one-off removal without a daemon."""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rembg_watch.cli import report, streams
from rembg_watch.cli.access import access_to, config_for, options_of
from rembg_watch.cli.bars import Bars
from rembg_watch.cli.options import config_option
from rembg_watch.cli.show import emit
from rembg_watch.cli.signals import tidy_end
from rembg_watch.cli.targets import STREAM, Order, kind_of, orders
from rembg_watch.delivery.files import open_temp
from rembg_watch.delivery.naming import numbered
from rembg_watch.delivery.placing import commit
from rembg_watch.errors import (
    EXIT_SOME_FAILED,
    ApiError,
    FileError,
    ImageRejected,
    RembgWatchError,
    SourceError,
    TargetError,
    TargetTaken,
    TooFast,
)
from rembg_watch.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rembg_watch.api.client import RembgClient
    from rembg_watch.api.options import Options
    from rembg_watch.api.removal import Removal
    from rembg_watch.api.upload import Progress
    from rembg_watch.delivery.files import TempFile

STDOUT = 1
MAX_WAITS = 6
"""How often a picture waits when the API says "too fast", which costs nothing."""
LONGEST_WAIT = 60.0
"""Seconds of one such wait at most."""


class _Lost(TargetError):
    """The answer came, and could not be written: it was paid for."""

    def __init__(self, message: str, code: str = "other") -> None:
        super().__init__(
            message, "The picture was charged, and is lost. Make room, or name another place with -o.", code
        )


class _Work:
    """The pictures of one command, one after the other."""

    def __init__(self, client: RembgClient, options: Options, bars: Bars, *, force: bool, as_base64: bool) -> None:
        self._client = client
        self._options = options
        self._bars = bars
        self._force = force
        self._as_base64 = as_base64
        self._sent = False
        """Whether the picture in hand is with the API as a whole, and so possibly charged."""

    def do(self, order: Order) -> tuple[Removal, str | None]:
        """Do one picture and give the result with the path it has, or None where it has none.

        Raises:
            RembgWatchError: by what went wrong.
        """
        self._sent = False
        try:
            return self._do(order)
        except (KeyboardInterrupt, SystemExit):  # a signal
            self._bars.end()
            if self._sent:
                click.echo(f"\n{_name(order)} was being cut out: it was possibly charged.", err=True)
            raise

    def _do(self, order: Order) -> tuple[Removal, str | None]:
        if self._as_base64:
            return self._send(order, None), None
        if order.target is None:
            return self._to_stdout(order), None
        target = str(order.target.absolute())
        if os.path.exists(target) and not os.path.isfile(target):
            raise TargetError(
                f"{printable(str(order.target))} is no file that could be replaced",
                "Nothing was sent. Name a file or a folder with -o, or - for stdout.",
                "taken",
            )
        if not self._force and os.path.lexists(target):
            raise TargetError(
                f"{printable(str(order.target))} is there already",
                "Nothing was sent. Use --force to replace it, or -o for another place.",
                "taken",
            )
        root, name = os.path.split(target)
        if not os.path.isdir(root):
            raise TargetError(
                f"there is no folder {printable(root)}",
                "Nothing was sent. Make it, or name another with -o.",
                "missing",
            )
        with _placing(root, name) as temp:
            removal = self._send(order, temp.file)
            number = 1
            while True:
                try:
                    return removal, commit(temp, numbered(target, number), replace=self._force)
                except TargetTaken:  # it came while we were at it; what was paid for is kept beside it
                    number += 1

    def _to_stdout(self, order: Order) -> Removal:
        try:
            removal = self._send(order, sys.stdout.buffer)
            sys.stdout.buffer.flush()
        except OSError as error:  # of stdout: all others have become errors of ours
            raise _Lost(f"can't write the picture to stdout: {error.strerror}") from error
        return removal

    def _uploaded(self, progress: Progress) -> None:
        self._sent = progress.total is not None and progress.loaded >= progress.total
        self._bars.upload(progress)

    def _send(self, order: Order, out: Any) -> Removal:
        for waits in range(MAX_WAITS + 1):
            try:
                return self._client.remove(
                    order.source if order.source is not None else sys.stdin.buffer,
                    self._options,
                    to=out,
                    as_base64=self._as_base64,
                    on_upload=self._uploaded,
                    on_download=self._bars.download,
                )
            except TargetError as error:  # only an answer is written
                raise _Lost(error.message, error.code) from error
            except TooFast as error:
                if waits == MAX_WAITS or order.source is None:
                    raise
                time.sleep(min(error.verdict.retry_after or 2.0**waits, LONGEST_WAIT))
        raise AssertionError("unreachable")


_MEND = {"denied": "Make the folder writable", "full": "Make room there", "readonly": "Mount it writable"}


@contextmanager
def _placing(root: str, name: str) -> Iterator[TempFile]:
    """Open a temporary file beside the target; what hinders that is told for one command, not for the daemon."""
    with ExitStack() as stack:
        try:
            temp = stack.enter_context(open_temp(root, name, f"remove-{os.getpid()}"))
        except TargetError as error:
            what = _MEND.get(error.code)
            hint = f"Nothing was sent. {what}, or name another place with -o." if what else error.hint
            raise TargetError(error.message, hint, error.code) from error
        yield temp


def _name(order: Order) -> str:
    return printable(str(order.source)) if order.source else "stdin"


def _exit_code(error: RembgWatchError) -> int:
    # 73 is for what can't be written; a photo that can't be read is work that failed.
    return EXIT_SOME_FAILED if isinstance(error, SourceError) else error.exit_code


def _stops_all(error: RembgWatchError) -> bool:
    return isinstance(error, ApiError | _Lost) and not isinstance(error, ImageRejected)


def _note(order: Order, removal: Removal, path: str | None) -> dict[str, Any]:
    return {
        "source": str(order.source or STREAM),
        "output": path,
        "ok": True,
        "format": removal.kind.value,
        "width": removal.width,
        "height": removal.height,
        "bytes": removal.size,
        "seconds": round(removal.seconds, 3),
        "base64": removal.base64,
    }


def _failure(order: Order, error: RembgWatchError) -> dict[str, Any]:
    charge = "charged" if isinstance(error, _Lost) else "not charged"
    if isinstance(error, ApiError):
        charge = error.verdict.charge.value
    return {
        "source": str(order.source or STREAM),
        "output": None,
        "ok": False,
        "error": {"message": error.message, "hint": error.hint, "charge": charge},
    }


_NAME = click.Path(readable=False, allow_dash=True)
"""A file or folder to the shell that completes it; what is wrong with it is found, and told, by us."""


@click.command("remove", short_help="remove backgrounds once, without a daemon")
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True, type=_NAME)
@click.option("--profile", help="Take the options of this profile; those typed here go on top.")
@config_option
@click.option("-f", "--format", help="webp, png, jpeg or bmp.  [default: OUT's ending, else webp]")
@click.option("--w", type=int, help="Target width in pixels, 1..10000; the aspect ratio is kept.")
@click.option("--h", type=int, help="Target height in pixels, 1..10000; with --w, the largest that fits.")
@click.option("--exact-resize/--no-exact-resize", default=None, help="Force exactly w x h; may distort.")
@click.option("--mask/--no-mask", default=None, help="Give only the alpha mask.")
@click.option("--bg-color", help="Solid background: #RGB, #RGBA, #RRGGBB, #RRGGBBAA or a CSS colour name.")
@click.option("--angle", type=float, help="Rotation in degrees after processing, -360..360.")
@click.option("--expand/--no-expand", default=None, help="Pad (or do not) so that a rotated picture is not cropped.")
@click.option("-o", "--output", "out", metavar="OUT", type=_NAME, help="A file, a folder, or - for stdout.")
@click.option("--force", is_flag=True, help="Replace files that exist. A source is never replaced.")
@click.option("--base64", "as_base64", is_flag=True, help="Print a data: URL for each picture; write no file.")
@click.option("--url", help="The API's address.  [default: api.url of the config]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list of what became of each picture.")
def command(
    images: tuple[str, ...],
    profile: str | None,
    config_path: str | None,
    out: str | None,
    force: bool,
    as_base64: bool,
    url: str | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """Remove the background of each IMAGE; - reads one from stdin and writes to stdout.

    The result lies beside its source: photo.jpg makes photo.webp, and photo.webp makes photo-cutout.webp. The key and
    the address come from the config, else the key from $REMBG_API_KEY. What the API would refuse is not sent. Each
    picture costs one credit.
    """
    _stand_somewhere()
    if as_base64 and out is not None:
        raise click.UsageError("--base64 prints to stdout: leave -o out")
    kind = kind_of(out, len(images))
    config = config_for(config_path, needed=profile is not None, env=os.environ)
    options = options_of(config, profile, flags, kind)
    todo = orders(images, out, options.extension)
    to_stdout = not as_base64 and any(order.target is None for order in todo)
    if to_stdout:
        _look_at_stdout(as_json=as_json)
    if not as_base64 and out is not None and (len(todo) > 1 or out.endswith("/")):
        _make_folder(out)
    notes: list[dict[str, Any]] = []
    failed: list[RembgWatchError] = []
    try:
        with access_to(config, url, os.environ).client() as client, tidy_end(), Bars(len(todo)) as bars:
            work = _Work(client, options, bars, force=force, as_base64=as_base64)
            for order in todo:
                name = _name(order)
                bars.begin(name)
                try:
                    removal, path = work.do(order)
                except RembgWatchError as error:
                    bars.end()
                    failed.append(error)
                    notes.append(_failure(order, error))
                    if len(todo) > 1:
                        click.echo(f"{name}:", err=True)
                    report(error)
                    if isinstance(error, ApiError) and error.verdict.charge.value != "not charged":
                        click.echo(f"  It was {error.verdict.charge.value}.", err=True)
                    if _stops_all(error):
                        break
                    continue
                bars.end()
                notes.append(_note(order, removal, path))
                if not as_json:
                    _say(name, removal, path)
    finally:
        if as_json:
            emit(notes)
    if failed:
        left = len(todo) - len(notes)
        if left:
            click.echo(f"rembg-watch: {left} more not tried: it would be the same for them.", err=True)
        codes = {_exit_code(error) for error in failed}
        sys.exit(_exit_code(failed[-1]) if left or len(codes) == 1 else EXIT_SOME_FAILED)


def _stand_somewhere() -> None:
    """Refuse to begin in a folder that was removed: no path could be told from there."""
    try:
        Path.cwd()
    except OSError as error:
        raise FileError(f"the current folder is gone: {error.strerror}", "Change to one that exists.") from error


def _look_at_stdout(*, as_json: bool) -> None:
    """Refuse to send a picture that could not go to stdout in the end."""
    if as_json:
        raise click.UsageError("--json and a picture can't both go to stdout: use -o FILE or --base64")
    if STDOUT in streams.closed:
        raise click.UsageError("a picture is to go to stdout, which is closed: use -o FILE")
    if sys.stdout.isatty():
        raise click.UsageError("a picture is not for a terminal: use -o FILE, or redirect stdout")


def _make_folder(out: str) -> None:
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TargetError(
            f"can't make the folder {printable(out)}: {error.strerror}", "Nothing was sent. Name another with -o."
        ) from error


def _say(name: str, removal: Removal, path: str | None) -> None:
    if removal.base64 is not None:
        click.echo(removal.base64)
        return
    what = f"{removal.width} x {removal.height} px, {removal.kind.value}, {removal.size / 1024:.1f} KB"
    click.echo(
        f"{name} -> {printable(os.path.relpath(path)) if path else 'stdout'}  ({what}, {removal.seconds:.1f} s)",
        err=path is None,
    )
