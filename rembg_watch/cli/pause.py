"""``rembg-watch pause``: stop sending until ``resume``, across restarts."""

from __future__ import annotations

import os
import time

import click

from rembg_watch.cli import options

RELEASE = "rembg-watch resume"


@click.command("pause")
@options.config_option
@click.option("--reason", metavar="TEXT", help="Shown by status for as long as the pause lasts.")
def command(config_path: str | None, reason: str | None) -> None:
    """Stop sending photos. They are still taken in; what is being sent is finished."""
    if reason is not None:  # what is typed may be no text; it is kept and shown as one
        reason = os.fsencode(reason).decode("utf-8", "backslashreplace").strip()
    config = options.load(config_path)
    from rembg_watch.cli.show import moment, text  # noqa: PLC0415
    from rembg_watch.jobs.model import Hold  # noqa: PLC0415
    from rembg_watch.jobs.status_table import PAUSE, StatusTable  # noqa: PLC0415

    database = options.open_to_write(config, create=True)
    assert database is not None
    with database:
        table = StatusTable(database)
        standing = next((hold for hold in table.holds() if (hold.scope, hold.kind) == PAUSE), None)
        message = reason or (standing.message if standing else "paused by hand")
        if standing is None or message != standing.message:
            table.hold(Hold(*PAUSE, message, RELEASE, time.time()))
    if standing is None:
        click.echo(f"Paused: {text(message)}. Photos are still taken in; 'rembg-watch resume' goes on.")
    else:
        new = "" if message == standing.message else ", now with this reason"
        click.echo(f"Paused already since {moment(standing.since)}{new}: {text(message)}.")
