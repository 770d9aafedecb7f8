"""``rembg-watch status``: one picture of everything, once or live."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING

import click

from rembg_watch.cli import options
from rembg_watch.cli.signals import tidy_end
from rembg_watch.cli.status_page import page
from rembg_watch.status import snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rembg_watch.config.model import Config
    from rembg_watch.jobs.database import Database
    from rembg_watch.status import Snapshot

LOOK_SECONDS = 0.25
"""How often --watch asks whether anything has changed; a picture is drawn at each change, and every 2 s."""
REDRAW_SECONDS = 2.0


@click.command("status")
@options.config_option
@options.json_option
@click.option("-w", "--watch", is_flag=True, help="Stay, and show every change; Ctrl-C ends it.")
def command(config_path: str | None, *, as_json: bool, watch: bool) -> None:
    """Show the queue by folder, what is running, throughput, credits, and what is held and why.

    With --json --watch: one line of JSON at each change, and every 2 seconds.
    """
    config = options.load(config_path)
    from rembg_watch.cli import show  # noqa: PLC0415

    if not watch:
        with options.reading(config) as database:
            picture = snapshot(config, database, time.time())
        if as_json:
            show.emit(picture.as_dict())
        else:
            show.show(page(picture))
        return
    with tidy_end(), contextlib.suppress(KeyboardInterrupt):
        if as_json:
            for picture in _pictures(config):
                show.emit(picture.as_dict(), compact=True)
        elif sys.stdout.isatty():
            _live(config)
        else:
            for picture in _pictures(config):
                show.show([*page(picture), show.Line()])
                sys.stdout.flush()


def _live(config: Config) -> None:
    from rich.live import Live  # noqa: PLC0415 - see show.py

    from rembg_watch.cli.show import rendered  # noqa: PLC0415

    with Live(auto_refresh=False, screen=True, vertical_overflow="crop") as live:
        for picture in _pictures(config):
            live.update(rendered(page(picture), live.console.width), refresh=True)


def _pictures(config: Config) -> Iterator[Snapshot]:
    """Draw a picture whenever another process has written to the database, and every 2 seconds."""
    database: Database | None = None
    try:
        while True:
            if database is None:
                database = options.open_to_read(config)
            version = None if database is None else database.changed()
            yield snapshot(config, database, time.time())
            drawn = time.monotonic()
            while time.monotonic() - drawn < REDRAW_SECONDS:
                time.sleep(LOOK_SECONDS)
                if database is not None and database.changed() != version:
                    break
    finally:
        if database is not None:
            database.close()
