"""``rembg-watch resume``: end the pause, or send what an inbox holds back because too many photos came at once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from rembg_watch.cli import options

if TYPE_CHECKING:
    from rembg_watch.config.model import Config
    from rembg_watch.status import Snapshot


@click.command("resume")
@options.config_option
@click.option("--folder", metavar="F", help="Send the photos of this inbox that were too many (hold_above).")
def command(config_path: str | None, folder: str | None) -> None:
    """Resume sending after a pause. With --folder: send what an inbox holds back, and leave a pause as it is.

    Other holds stay; this names them.
    """
    config = options.load(config_path)
    from rembg_watch.jobs.status_table import PAUSE, TOO_MANY, StatusTable  # noqa: PLC0415 - `--help` needs none of it
    from rembg_watch.status import snapshot  # noqa: PLC0415

    with options.writing(config) as database:
        inbox = None if folder is None else options.find_inbox(folder, options.all_inboxes(config, database))
        now = time.time()
        if database is None:
            click.echo("Not paused." if inbox is None else _not_held(inbox))
            return
        table = StatusTable(database)
        if inbox is None:
            click.echo("Resumed." if table.release(*PAUSE) else "Not paused.")
            picture = snapshot(config, database, now)
        else:
            ended = table.release(f"inbox:{inbox}", TOO_MANY)
            picture = snapshot(config, database, now)
            click.echo(_sent_now(inbox, picture, config) if ended else _not_held(inbox))
    _print_holds(picture)


def _not_held(inbox: str) -> str:
    from rembg_watch.cli.show import name  # noqa: PLC0415 - as above

    return f"The inbox {name(inbox)} holds no photos back."


def _sent_now(inbox: str, picture: Snapshot, config: Config) -> str:
    """Return what happens to the photos of an inbox whose hold has ended."""
    from rembg_watch.cli.show import count, name  # noqa: PLC0415 - as above
    from rembg_watch.status import touches  # noqa: PLC0415

    photos = sum(queue.queued + queue.waiting for queue in picture.folders if queue.inbox == inbox)
    folder = config.folder(inbox)
    lanes = [] if folder is None else [(inbox, fingerprint) for fingerprint in folder.fingerprints]
    held = any(touches(hold.scope, lane, config) for hold in picture.holds for lane in lanes)
    when = "once nothing else holds them" if held else "now"
    money = f"for up to {count(photos, 'credit')}"
    if picture.credits is not None:
        money += f" (you have {picture.credits.left})"
    return f"Resumed: {count(photos, 'photo')} in {name(inbox)} will be sent {when}, {money}."


def _print_holds(picture: Snapshot) -> None:
    from rembg_watch.cli.show import duration, name, text  # noqa: PLC0415 - as above

    for held in picture.holds:
        click.echo(f"Still held for {duration(picture.at - held.since)}: {name(held.what)}: {text(held.why)}")
        click.echo(f"  goes on: {text(held.release)}")
    if picture.daemon is None:
        click.echo("No daemon is running; 'rembg-watch run' starts it.")
