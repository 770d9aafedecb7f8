"""``rembg-watch run``: the daemon, in the foreground; what systemd starts."""

from __future__ import annotations

import os
import sys
from typing import cast

import click

from rembg_watch import logs


@click.command("run")
@click.option("-c", "--config", "config_path", type=click.Path(), help="The config file.")
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
def command(config_path: str | None, log_format: str, log_level: str) -> None:
    """Watch the folders and send every new photo, until SIGTERM or SIGINT. SIGHUP reads the config anew."""
    from rembg_watch.config.load import find_config, load_config  # noqa: PLC0415 - only this command needs the daemon
    from rembg_watch.daemon import Daemon  # noqa: PLC0415

    logs.configure(cast("logs.Format", log_format), log_level)
    config = load_config(find_config(config_path, os.environ))
    sys.exit(Daemon(config).run())
