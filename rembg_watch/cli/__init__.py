"""What a person types. One module a command family; this one only knows their names and how an error looks."""

from __future__ import annotations

import contextlib
import importlib
import resource
import sys
from typing import Any, NoReturn

import click

from rembg_watch import __version__
from rembg_watch.cli import streams
from rembg_watch.cli.signals import EXIT_INTERRUPTED
from rembg_watch.errors import ConfigError, FileError, RembgWatchError

COMMANDS = {
    "demo": "the whole way of some sample photos, with nothing set up",
    "init": "write a commented config.yaml and the folders it names",
    "check": "test config, folders, key, API and credits; sends no image",
    "run": "the daemon, in the foreground",
    "drain": "handle everything that is in the inboxes now, then exit",
    "status": "the queue, the credits, what is held and why",
    "jobs": "look at jobs and steer them",
    "results": "the paid results that are kept, and deleting them",
    "credits": "what is left, and what was spent",
    "pause": "stop sending; photos are still taken in",
    "resume": "go on sending, or send what an inbox holds back",
    "remove": "remove backgrounds once, without a daemon",
    "sandbox": "the RemBG.com API on loopback, for dry runs",
    "install": "put units, user and folders for systemd in place, or --undo that",
}
"""Each command is the click command called ``command`` in the module of its name."""


class _Commands(click.Group):
    """Imports a command's module only when it is typed, so that each starts as fast as it can."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"rembg_watch.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("\nStopped.", err=True)
            sys.exit(EXIT_INTERRUPTED)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="rembg-watch")
def cli() -> None:
    """Watch folders, remove each new photo's background with RemBG.com, and mirror the cut-outs into an outbox."""


def report(error: RembgWatchError) -> None:
    """Print an error the way every command does: what happened, then what to do; on stderr, if it can be written."""
    if isinstance(error, ConfigError):
        lines = list(error.problems)
    else:
        lines = [f"rembg-watch: {error.message}", *([f"  {error.hint}"] if error.hint else [])]
    with contextlib.suppress(OSError):
        for line in lines:
            click.echo(line, err=True)


def main(argv: list[str] | None = None) -> NoReturn:
    """Run the command line and leave with the exit code that README lists."""
    streams.complete()
    options: dict[str, Any] = {"args": argv} if argv is not None else {}
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold the key
    try:
        cli.main(prog_name="rembg-watch", standalone_mode=True, **options)
    except RembgWatchError as error:
        report(error)
        sys.exit(error.exit_code)
    except OSError as error:
        if not streams.is_unwritable(error):
            raise
        report(FileError(f"can't write the output: {error.strerror}", "Make room, or send it somewhere else."))
        sys.exit(FileError.exit_code)
    finally:
        streams.settle()
    sys.exit(0)
