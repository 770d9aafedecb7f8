"""``rembg-watch results``: the paid results that are kept, so that the same picture is not paid again."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click

from rembg_watch.cli import options
from rembg_watch.errors import StateError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rembg_watch.cli.show import Block
    from rembg_watch.config.model import Config
    from rembg_watch.dispatch.results import Shortage, StoredFile
    from rembg_watch.jobs.queries import Sent

    _ParamType = click.ParamType[Any]
else:
    _ParamType = click.ParamType  # generic only from click 8.3 on

SPARED = 60.0
"""Seconds since the last use for which a running daemon may be about to deliver a result."""


class Age(_ParamType):
    """A time span such as 30d."""

    name = "AGE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from rembg_watch.config.written import parse_duration  # noqa: PLC0415 - `--help` needs none of it

        try:
            return parse_duration(str(value))
        except ValueError as error:
            self.fail(f"'{value!s}' {error}.", param, ctx)


@dataclass(frozen=True, slots=True)
class Stock:
    """What the store holds: the kept answers and the rejected ones, in number and bytes, and the longest unused one."""

    kept: int
    kept_bytes: int
    rejected: int
    rejected_bytes: int
    oldest: float | None
    """Unix seconds of the last use of the kept answer that was not used for the longest time."""

    @classmethod
    def of(cls, files: Sequence[StoredFile]) -> Stock:
        kept = [file for file in files if not file.rejected]
        rejected = [file for file in files if file.rejected]
        return cls(
            len(kept),
            sum(file.size for file in kept),
            len(rejected),
            sum(file.size for file in rejected),
            min((file.used_at for file in kept), default=None),
        )

    @property
    def bytes(self) -> int:
        """All of it."""
        return self.kept_bytes + self.rejected_bytes


@click.group("results")
@options.config_option
def command(config_path: str | None) -> None:
    """List the paid results that are kept, and delete some."""


@command.command("list")
@options.config_option
@click.option(
    "--limit", type=click.IntRange(1, 1_000_000), default=50, show_default=True, help="At most so many, the last used."
)
@options.json_option
def list_(config_path: str | None, limit: int, *, as_json: bool) -> None:
    """List the kept results, the last used first. Rejected answers are not used again."""
    config = options.load(config_path)
    from rembg_watch.cli import show  # noqa: PLC0415
    from rembg_watch.jobs.queries import Queries  # noqa: PLC0415

    with options.reading(config) as database:
        files = options.result_store(config, database).listing()
        listed = files[::-1][:limit]
        sent = {} if database is None else Queries(database).sent([file.attempt for file in listed])
        shortage = options.shortage(config, database, time.time())
    stock, more = Stock.of(files), len(files) > limit
    most = None if config.results is None else config.results.max
    if as_json:
        show.emit(
            {
                "results": [_file_dict(file, sent.get(file.attempt)) for file in listed],
                "total": {**asdict(stock), "bytes": stock.bytes},
                "keep": None if config.results is None else config.results.keep,
                "max": most,
                "short": None if shortage is None else asdict(shortage),
                "more": more,
            }
        )
        return
    show.show(_page(listed, sent, stock, config, shortage, time.time()))
    if more:
        click.echo(f"There are more: --limit {limit * 2} shows them.", err=True)


@command.command("prune")
@options.config_option
@click.option("--all", "everything", is_flag=True, help="Delete all results.")
@click.option("--older-than", type=Age(), help="Delete results that were not used for this long, such as 30d.")
def prune(config_path: str | None, older_than: float | None, *, everything: bool) -> None:
    """Delete kept results by the limits of the config (results.keep, results.max), and by age if that is given.

    A result that a job still needs is never deleted. If the picture of a deleted result comes again and its cut-out is
    not in the outbox any more, it is paid again.
    """
    if everything and older_than is not None:
        raise click.UsageError("--all and --older-than exclude each other.")
    config = options.load(config_path)
    from rembg_watch.cli.show import count, size  # noqa: PLC0415
    from rembg_watch.dispatch.results import SHORTAGE  # noqa: PLC0415
    from rembg_watch.jobs.lock import running_pid  # noqa: PLC0415
    from rembg_watch.jobs.queue import Queue  # noqa: PLC0415
    from rembg_watch.jobs.status_table import StatusTable  # noqa: PLC0415

    with options.writing(config) as database:
        store = options.result_store(config, database)
        before = store.listing()
        if not before:
            click.echo("No results are kept.")
            return
        if database is None:
            raise StateError(
                "there is no job database, so nobody knows which results are still needed",
                "Start rembg-watch once; then try again.",
            )
        spare = SPARED if running_pid(config.state_dir) is not None else 0.0
        freed = store.prune(unused_for=0.0 if everything else older_than, spare=spare)
        now = time.time()
        if (shortage := store.take_shortage()) is not None:
            StatusTable(database).set_fact(SHORTAGE, asdict(shortage), now)
        left = store.listing()
        needed = sum(file.key in Queue(database).needed_results() for file in left) if everything else 0
    deleted = len(before) - len(left)
    if deleted > 0:
        click.echo(f"Deleted {count(deleted, 'result')} ({size(freed)}).")
    else:
        click.echo("Nothing to delete.")
    if left:
        click.echo(f"{count(len(left), 'result')} left ({size(Stock.of(left).bytes)}).")
    if needed:
        click.echo(f"{needed} of them can't be deleted yet: their photos are not delivered.")
    elif everything and left:
        click.echo("They were used within the last minute. Try again later.")


def _file_dict(file: StoredFile, sent: Sent | None) -> dict[str, Any]:
    content, _, fingerprint = file.key.partition("-")
    return {
        "content_hash": content,
        "fingerprint": fingerprint,
        "path": file.path,
        "size": file.size,
        "used_at": file.used_at,
        "rejected": file.rejected,
        "attempt": file.attempt or None,
        "job": None if sent is None else sent.job,
        "folder": None if sent is None else sent.folder,
        "photo": None if sent is None else sent.path,
        "profile": None if sent is None else sent.profile,
    }


def _page(
    files: Sequence[StoredFile],
    sent: dict[int, Sent],
    stock: Stock,
    config: Config,
    shortage: Shortage | None,
    now: float,
) -> list[Block]:
    from rembg_watch.cli import findings  # noqa: PLC0415 - `--help` needs none of it
    from rembg_watch.cli.show import Grid, Line, ago, count, name, size, text  # noqa: PLC0415

    page: list[Block] = []
    if files:
        short = {
            inbox: name(shown) for inbox, shown in options.short_names(one.folder for one in sent.values()).items()
        }
        rows = []
        for file in files:
            content, _, fingerprint = file.key.partition("-")
            one = sent.get(file.attempt)
            rows.append(
                (
                    ago(file.used_at, now),
                    size(file.size),
                    "rejected" if file.rejected else "kept",
                    f"{text(content[:14])}-{text(fingerprint)}",
                    "" if one is None else name(one.profile),
                    "" if one is None or one.path is None else f"{short[one.folder]}/{name(one.path)}",
                )
            )
        page += [Grid(("last used", ">size", "", "picture-options", "profile", "photo"), rows), Line()]
    page.append(Line(_total(stock, config, now), "title"))
    if stock.rejected:
        rejected = f"{count(stock.rejected, 'rejected answer')} ({size(stock.rejected_bytes)}): paid, but not what was"
        page.append(Line(f"{rejected} asked for. 'rembg-watch jobs show' names their files."))
    if shortage is not None:
        found = findings.short_store(shortage)
        page.append(Line(f"{found.message[0].upper()}{found.message[1:]}. {found.hint}", "warn"))
    return page


def _total(stock: Stock, config: Config, now: float) -> str:
    from rembg_watch.cli.show import ago, count, size  # noqa: PLC0415 - as above

    most = config.results
    if not stock.kept:
        off = " (results: off)" if most is None else ""
        return f"No results are kept{off}."
    limit = "" if most is None else f" of {size(most.max)}"
    total = f"{count(stock.kept, 'result')} kept, {size(stock.kept_bytes)}{limit}"
    oldest = f"the longest unused one was last used {ago(stock.oldest, now)}"
    return f"{total}; {oldest}."
