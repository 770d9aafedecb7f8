"""``rembg-watch remove``: one-off removal without a daemon."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rembg_watch.cli import report, streams
from rembg_watch.cli.access import access_to, config_for, options_of
from rembg_watch.cli.bars import Bars
from rembg_watch.cli.options import config_option
from rembg_watch.cli.pictures import Undelivered, Work, name_of
from rembg_watch.cli.show import emit
from rembg_watch.cli.signals import tidy_end
from rembg_watch.cli.targets import STREAM, Order, kind_of, orders
from rembg_watch.errors import (
    EXIT_SOME_FAILED,
    ApiError,
    FileError,
    ImageRejected,
    RembgWatchError,
    SourceError,
    TargetError,
)
from rembg_watch.printable import printable

if TYPE_CHECKING:
    from rembg_watch.api.removal import Removal

STDOUT = 1


def _exit_code(error: RembgWatchError) -> int:
    # 73 is for what can't be written; a photo that can't be read is work that failed.
    return EXIT_SOME_FAILED if isinstance(error, SourceError) else error.exit_code


def _stops_all(error: RembgWatchError) -> bool:
    return isinstance(error, ApiError | Undelivered) and not isinstance(error, ImageRejected)


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
    charge = "charged" if isinstance(error, Undelivered) else "not charged"
    if isinstance(error, ApiError):
        charge = error.verdict.charge.value
    return {
        "source": str(order.source or STREAM),
        "output": None,
        "ok": False,
        "error": {
            "message": error.message,
            "hint": error.hint,
            "charge": charge,
            "kept": error.kept if isinstance(error, Undelivered) else None,
        },
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
            work = Work(client, options, bars, force=force, as_base64=as_base64)
            for order in todo:
                name = name_of(order)
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
