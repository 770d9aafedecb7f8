"""``rembg-watch demo``: the whole way of some photos, with nothing set up."""

from __future__ import annotations

import shutil
import signal
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rembg_watch.cli.audience import Audience
from rembg_watch.cli.entries import already_there, enter
from rembg_watch.cli.sandbox import sandbox_class
from rembg_watch.cli.sheet import Card, contact_sheet
from rembg_watch.cli.show import Grid, Line, count, name, show, size
from rembg_watch.cli.signals import EXIT_INTERRUPTED
from rembg_watch.cli.stage import own_props, sample_props, set_up, write_config
from rembg_watch.cli.telling import Telling
from rembg_watch.cli.understudy import Daemon
from rembg_watch.errors import FileError, PictureError, RembgWatchError
from rembg_watch.imagefile import read_header

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rembg_watch.cli.audience import Through
    from rembg_watch.cli.show import Block
    from rembg_watch.cli.stage import Prop, Stage
    from rembg_watch.sandbox import Sandbox

DEADLINE = 50.0
"""Seconds until the sample photos must be through."""
SECONDS_A_PHOTO = 5.0
"""Added for each photo of ``--images``, which may be large."""
LOOK_EVERY = 0.1
LATENCY = 0.15
"""Seconds that the sandbox takes for each photo beside the cutting-out: the real service is not that quick."""


@click.command("demo", short_help="the whole way of some sample photos, with nothing set up")
@click.option(
    "--images",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Take copies of the photos in DIR instead of drawn ones.",
)
@click.option(
    "--dir",
    "directory",
    metavar="DIR",
    type=click.Path(path_type=Path),
    default=Path("rembg-watch-demo"),
    show_default=True,
    help="Where to make the demo's folder.",
)
def command(images: Path | None, directory: Path) -> None:
    """Show the main job: photos in, mirrored cut-outs out.

    Starts the sandbox (the RemBG.com API on 127.0.0.1, with a simple cut-out of its own), writes a real config, runs
    the real daemon on it, and drops photos into its inbox in the ways that people and programs do. Needs no key, costs
    nothing, and sends nothing beyond this machine.

    An earlier demo in the same place is kept, and a fresh DIR-2, DIR-3... is made. Any other folder that is not empty
    is refused.
    """
    sandbox = sandbox_class()(credits=1000, latency=LATENCY)
    props, skipped = own_props(images.resolve(), directory.resolve()) if images else (sample_props(), [])
    if not props:
        raise FileError(f"there is no photo in {name(str(images))}", "It takes webp, bmp, png and jpeg, by content.")
    stage = set_up(directory)
    with _stoppable(), Telling(len(props)) as telling:
        try:
            for text in skipped:
                telling.say(f"skipped {text}")
            if stage.root.name != directory.name:
                telling.say(f"{name(str(directory))} is an earlier demo and stays; this one is {name(stage.root.name)}")
            started = time.monotonic()
            through = _run(stage, props, sandbox, telling, DEADLINE + (SECONDS_A_PHOTO * len(props) if images else 0))
            _draw_sheet(stage, through)
        except KeyboardInterrupt:
            telling.say(f"Stopped. What was done so far is in {name(str(stage.root))}.")
            sys.exit(EXIT_INTERRUPTED)
        except OSError as error:
            raise FileError(
                f"can't write {name(str(error.filename or stage.root))}: {error.strerror}", "Make room, or see --dir."
            ) from error
    _show(stage, through, sandbox, time.monotonic() - started, own=images is not None)


@contextmanager
def _stoppable() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the demo as Ctrl-C does, so that no daemon is left behind."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def _run(stage: Stage, props: Sequence[Prop], sandbox: Sandbox, telling: Telling, seconds: float) -> list[Through]:
    """Run sandbox and daemon until every photo has its output; raises with the daemon's log if one does not get it."""
    deadline = time.monotonic() + seconds
    with ExitStack() as stack:
        telling.say("Nothing leaves this machine: the API is the sandbox on 127.0.0.1, and no credits are spent.")
        already_there(stage, props)
        stack.enter_context(sandbox)
        write_config(stage, sandbox.url, sandbox.usage_url)
        daemon = stack.enter_context(Daemon(stage))
        telling.say(f"daemon started: rembg-watch run -c {name(str(stage.config))}")
        with Audience(stage, props, telling) as audience:

            def entered(text: str) -> None:
                telling.say(f"in   {name(text)}")
                audience.look()

            enter(stage, props, entered)
            shutil.rmtree(stage.wings, ignore_errors=True)
            while not audience.look():
                if not daemon.is_running():
                    raise daemon.failure(f"the daemon ended by itself with exit code {daemon.stop()}")
                if time.monotonic() > deadline:
                    raise daemon.failure(f"{audience.left()} after {seconds:.0f} s")
                time.sleep(LOOK_EVERY)
            through = audience.through()
        code = daemon.stop()
        if code != 0:
            raise daemon.failure(f"the daemon was stopped with SIGTERM, but ended with exit code {code}")
        if audience.failed:
            raise daemon.failure(audience.left())
        return through


def _draw_sheet(stage: Stage, through: Sequence[Through]) -> None:
    cards = []
    for photo in through:
        try:
            with photo.output.open("rb") as file:
                header = read_header(file)
        except PictureError as error:
            raise RembgWatchError(f"{name(str(photo.output))}: {error.message}", error.hint) from error
        caption = (
            f"{photo.profile} · {header.kind.value}, {header.width} x {header.height} px · "
            f"{size(photo.before)} → {size(photo.after)}"
        )
        cards.append(Card(stage.inbox / photo.path, photo.output, photo.path, caption))
    note = "Cut out by the sandbox: a simple flood fill on this machine, not the model of RemBG.com."
    contact_sheet(cards, "rembg-watch demo: before and after", note).save(stage.sheet)


def _show(stage: Stage, through: Sequence[Through], sandbox: Sandbox, seconds: float, *, own: bool) -> None:
    rows = [
        (
            name(photo.path),
            name(photo.profile),
            name(photo.output.relative_to(stage.outbox).as_posix()),
            size(photo.before),
            size(photo.after),
            str(photo.credits),
        )
        for photo in through
    ]
    charged = sum(photo.credits for photo in through)
    lines: list[Block] = [
        Line(),
        Grid(("source", "profile", "output", ">before", ">after", ">credits"), rows),
        Line(),
        Line(
            f"{count(len(through), 'photo')} delivered in {seconds:.1f} s; {count(charged, 'sandbox credit')} charged, "
            f"{sandbox.credits_left} left.",
            "good",
        ),
        Line(),
        Line(f"Cut-outs       {name(str(stage.outbox))}"),
        Line(f"Contact sheet  {name(str(stage.sheet))}"),
        Line(f"Config         {name(str(stage.config))}"),
        Line(f"Daemon's log   {name(str(stage.log))}"),
    ]
    if not own:
        lines.append(Line("With your own photos: rembg-watch demo --images DIR"))
    show(lines)
