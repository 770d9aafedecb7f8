"""``rembg-watch run``: the daemon, in the foreground; what systemd starts."""

from __future__ import annotations

import gc
import os
import sys
from typing import cast

import click

from rembg_watch import logs
from rembg_watch.cli.options import config_option
from rembg_watch.errors import ConfigError, RembgWatchError
from rembg_watch.systemd import notify


@click.command("run")
@config_option
@click.option(
    "--log-format",
    type=click.Choice(["auto", "console", "json"]),
    default="auto",
    show_default=True,
    help="auto: for people on a terminal, JSON lines elsewhere.",
)
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True
)
@click.option("--test-config", is_flag=True, help="Only read the config, say what is wrong with it, and end.")
def command(config_path: str | None, log_format: str, log_level: str, test_config: bool) -> None:
    """Watch the folders and send every new photo, until SIGTERM or SIGINT. SIGHUP reads the config anew."""
    # What is loaded here stays to the end: while it comes, and in every scan behind it, it need not be looked through.
    gc.disable()
    from rembg_watch.config.load import find_config, load_config  # noqa: PLC0415 - only this command needs the daemon
    from rembg_watch.daemon import Daemon  # noqa: PLC0415

    gc.freeze()
    gc.enable()
    logs.configure(cast("logs.Format", log_format), log_level)
    try:
        config = load_config(find_config(config_path, os.environ))
        if not test_config:
            sys.exit(Daemon(config).run())
    except RembgWatchError as error:
        if not test_config:
            notify(STATUS=_in_short(error))
        raise


def _in_short(error: RembgWatchError) -> str:
    """Say in one line why it can't run: systemd shows the last status of a service that has ended."""
    if not isinstance(error, ConfigError):
        return str(error)
    more = len(error.problems) - 1
    return error.problems[0] + (f" (and {more} more: see the journal)" if more else "")
