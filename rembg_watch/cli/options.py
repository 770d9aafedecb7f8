"""What the commands share: the ``-c`` and ``--json`` options, and the way to the config, the database and a folder."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rembg_watch.errors import StateError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from rembg_watch.config.model import Config
    from rembg_watch.dispatch.results import Results, Shortage
    from rembg_watch.jobs.database import Database

F = TypeVar("F", bound="Callable[..., Any]")

_CONFIG = "rembg_watch.config"
DATABASE = "jobs.db"


def _remember(ctx: click.Context, _: click.Parameter, value: str | None) -> str | None:
    # `credits -c FILE report` and `credits report -c FILE` mean the same.
    if value is not None:
        ctx.meta[_CONFIG] = value
    found: str | None = ctx.meta.get(_CONFIG)
    return found


def config_option(function: F) -> F:
    """Give a command the option ``-c``; it arrives as ``config_path``."""
    return click.option(
        "-c",
        "--config",
        "config_path",
        metavar="CONFIG",
        type=click.Path(readable=False),  # what is wrong with it is an error of the config, 78
        callback=_remember,
        help="The config file. [default: $REMBG_WATCH_CONFIG, ./config.yaml, ~/.config/rembg-watch/config.yaml, "
        "/etc/rembg-watch/config.yaml]",
    )(function)


def json_option(function: F) -> F:
    """Give a listing the option ``--json``; it arrives as ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON (docs/json.md).")(function)


def load(config_path: str | None) -> Config:
    """Load the config that ``-c``, the environment or the usual places name.

    Raises:
        ConfigError: there is none, or it is wrong.

    """
    from rembg_watch.config.load import find_config, load_config  # noqa: PLC0415 - `--help` needs none of it

    return load_config(find_config(config_path, os.environ), os.environ)


def open_to_read(config: Config) -> Database | None:
    """Open the job database for reading, or give None where there is none yet.

    Raises:
        StateError: it can't be read, is damaged or of another version.

    """
    from rembg_watch.jobs.database import Database  # noqa: PLC0415 - as above
    from rembg_watch.jobs.schema import NoTables  # noqa: PLC0415

    path = config.state_dir / DATABASE
    try:
        if path.stat().st_size == 0:  # a daemon makes it just now
            return None
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateError(
            f"can't read {path}: {error.strerror}", "Run this as the user that rembg-watch runs as."
        ) from error
    try:
        return Database(path, readonly=True)
    except NoTables:
        return None


def open_to_write(config: Config, *, create: bool = False) -> Database | None:
    """Open the job database for writing, beside a daemon or without one.

    Where there is none yet, it is made if ``create`` is set; else this gives None.

    Raises:
        StateError: it can't be written, is damaged or of another version.

    """
    from rembg_watch.jobs.database import Database  # noqa: PLC0415 - as above
    from rembg_watch.jobs.lock import running_pid  # noqa: PLC0415

    path = config.state_dir / DATABASE
    try:
        if create:
            config.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        elif not path.exists():
            return None
    except OSError as error:
        raise StateError(
            f"can't use {config.state_dir}: {error.strerror}", "Run this as the user that rembg-watch runs as."
        ) from error
    return Database(path, guest=running_pid(config.state_dir) is not None)


@contextlib.contextmanager
def reading(config: Config) -> Iterator[Database | None]:
    """Have the job database open for reading, or None where there is none yet. Raises as :func:`open_to_read`."""
    database = open_to_read(config)
    with contextlib.nullcontext() if database is None else database:
        yield database


@contextlib.contextmanager
def writing(config: Config) -> Iterator[Database | None]:
    """Have the job database open for writing, or None where there is none yet. Raises as :func:`open_to_write`."""
    database = open_to_write(config)
    with contextlib.nullcontext() if database is None else database:
        yield database


def result_store(config: Config, database: Database | None) -> Results:
    """Return the result store of a config. Without a database only what is in it can be asked."""
    from rembg_watch.dispatch.results import Results  # noqa: PLC0415 - as above
    from rembg_watch.jobs.queue import Queue  # noqa: PLC0415

    return Results(config.state_dir, Queue(database), config.results)  # type: ignore[arg-type] # only pruning asks it


def shortage(config: Config, database: Database | None, now: float) -> Shortage | None:
    """Return that the result store had to delete answers within a week of their last use, or None."""
    if database is None or config.results is None:
        return None
    from rembg_watch.dispatch.results import SHORTAGE, Shortage  # noqa: PLC0415 - as above
    from rembg_watch.jobs.status_table import StatusTable  # noqa: PLC0415

    return Shortage.from_fact(StatusTable(database).fact(SHORTAGE), config.results.max, now)


def find_inbox(typed: str, inboxes: Iterable[str]) -> str:
    """Find the inbox that was meant: by its path, absolute or relative, or by its last name where that is unique.

    Raises:
        BadParameter: none or several were meant.

    """
    known = list(dict.fromkeys(inboxes))
    if typed in known:
        return typed
    resolved = os.path.realpath(Path(typed).expanduser())
    if resolved in known:
        return resolved
    named = [inbox for inbox in known if Path(inbox).name == typed.rstrip("/")]
    if len(named) == 1:
        return named[0]
    from rembg_watch.printable import printable  # noqa: PLC0415 - as above

    listed = ", ".join(printable(inbox) for inbox in (named or known))
    if named:
        raise click.BadParameter(f"'{printable(typed)}' could be any of {listed}.", param_hint="--folder")
    raise click.BadParameter(
        f"no inbox is called '{printable(typed)}'. There {'are: ' + listed if known else 'is none'}.",
        param_hint="--folder",
    )


def all_inboxes(config: Config, database: Database | None) -> list[str]:
    """Give the config's inboxes, and those that only the database still knows."""
    inboxes = [str(folder.inbox) for folder in config.folders]
    if database is not None:
        from rembg_watch.jobs.queries import Queries  # noqa: PLC0415 - as above

        inboxes += Queries(database).folders()
    return inboxes


def short_names(inboxes: Iterable[str]) -> dict[str, str]:
    """Give each inbox the shortest name that tells it from the others: its last parts."""
    known = sorted(set(inboxes))
    short: dict[str, str] = {}
    for inbox in known:
        parts = Path(inbox).parts
        for length in range(1, len(parts) + 1):
            tail = str(Path(*parts[-length:]))
            if sum(Path(other).parts[-length:] == parts[-length:] for other in known) == 1:
                short[inbox] = tail
                break
        else:
            short[inbox] = inbox
    return short
