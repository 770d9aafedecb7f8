"""``rembg-watch resume``: end the pause."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from rembg_watch.cli import options

if TYPE_CHECKING:
    from rembg_watch.jobs.database import Database


@click.command("resume")
@options.config_option
def command(config_path: str | None) -> None:
    """Go on sending after a pause. Other holds stay; this tells which."""
    config = options.load(config_path)
    from rembg_watch.cli.show import duration, name, text  # noqa: PLC0415
    from rembg_watch.status import snapshot  # noqa: PLC0415

    with options.writing(config) as database:
        if database is None:
            click.echo("Nothing was paused.")
            return
        click.echo("Resumed." if _release(database) else "Nothing was paused.")
        picture = snapshot(config, database, time.time())
    for held in picture.holds:
        click.echo(f"Still held for {duration(picture.at - held.since)}: {name(held.what)}: {text(held.why)}")
        click.echo(f"  goes on: {text(held.release)}")
    if picture.daemon is None:
        click.echo("No daemon is running; 'rembg-watch run' starts it.")


def _release(database: Database) -> bool:
    from rembg_watch.jobs.board import PAUSE, Board  # noqa: PLC0415

    return Board(database).release(*PAUSE)
