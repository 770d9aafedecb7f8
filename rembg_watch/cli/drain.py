"""``rembg-watch drain``: everything that is in the inboxes now, once. For cron and CI."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import Counter
from typing import TYPE_CHECKING, cast

import click

from rembg_watch import logs
from rembg_watch.cli import options

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rembg_watch.cli.show import Block
    from rembg_watch.config.model import Config
    from rembg_watch.drain import Result
    from rembg_watch.intake.survey import Surveyed
    from rembg_watch.jobs.database import Database


@click.command("drain")
@options.config_option
@options.json_option
@click.option(
    "--dry-run", is_flag=True, help="Only say what would be sent, skipped and refused, and what it would cost."
)
@click.option("-v", "--verbose", is_flag=True, help="Log each photo.")
@click.option("--log-format", type=click.Choice(["auto", "console", "json"]), default="auto", show_default=True)
def command(config_path: str | None, as_json: bool, dry_run: bool, verbose: bool, log_format: str) -> None:
    """Handle everything that is in the inboxes now, then exit; with 1 if any job failed."""
    logs.configure(cast("logs.Format", log_format), "info" if verbose else "warning")
    config = options.load(config_path)
    if dry_run:
        _dry_run(config, as_json=as_json)
        return
    from rembg_watch.daemon import Daemon  # noqa: PLC0415 - the dry run needs no daemon
    from rembg_watch.drain import drain  # noqa: PLC0415

    stop = threading.Event()

    def asked(number: int, _: object) -> None:
        if stop.is_set():
            os._exit(128 + number)  # asked twice: at once, as the daemon; the next start takes everything back
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, asked)
    result = drain(Daemon(config), stop)
    _tell(result, as_json=as_json)
    sys.exit(result.exit_code)


def _tell(result: Result, *, as_json: bool) -> None:
    from rembg_watch.cli.show import Grid, Line, count, emit, name, show, text  # noqa: PLC0415 - `--help` needs none of it

    left = [file for file in result.drained.left if file.state != "ignored"]
    ignored = len(result.drained.left) - len(left)
    if as_json:
        emit(
            {
                "done": result.done,
                "failed": result.failed,
                "open": result.left_open,
                "holds": [
                    {"scope": hold.scope, "kind": hold.kind, "message": hold.message, "release": hold.release}
                    for hold in result.holds
                ],
                "left": [
                    {"folder": file.folder, "path": file.path, "state": file.state, "reason": file.reason}
                    for file in result.drained.left
                ],
                "unreadable": [{"inbox": root.inbox, "message": root.message} for root in result.drained.lost],
                "interrupted": result.interrupted,
                "exit_code": result.exit_code,
            }
        )
        return
    page: list[Block] = [
        Line(f"{count(result.done, 'job')} done, {result.failed} failed, {result.left_open} still to do.")
    ]
    if result.interrupted:
        page.append(Line("Interrupted: the next run goes on with what is left.", "warn"))
    if result.failed:
        page.append(Line("  'rembg-watch jobs list --state failed' says why.", "bad"))
    page += [Line(f"HELD: {text(hold.message)}. Ends: {text(hold.release)}", "held") for hold in result.holds]
    page += [Line(f"  the inbox {name(root.inbox)} {text(root.message)}", "bad") for root in result.drained.lost]
    if left:
        page += [Line("Left alone:"), Grid(["file", "why"], [(name(file.path), text(file.reason)) for file in left])]
    if ignored:
        page.append(Line(f"{count(ignored, 'file')} ignored by name; 'rembg-watch drain --dry-run' lists them."))
    show(page)


# -- the dry run


def _dry_run(config: Config, *, as_json: bool) -> None:
    from rembg_watch.cli.show import emit, show  # noqa: PLC0415 - as above

    database = options.open_to_read(config)
    try:
        files = list(_survey(config, database))
        cost = _cost(config, database, files)
        held = _too_many(config, files)
        waiting = _waiting(database)
    finally:
        if database is not None:
            database.close()
    if as_json:
        emit(
            {
                "cost": cost,
                "waiting": waiting,
                "would_hold": list(held),
                "files": [file._asdict() for file in files],
            }
        )
    else:
        show(_page(files, cost, waiting, held))


class _Nothing:
    """What is known where there is no job table yet."""

    def known_versions(self, _folder: str, _directory: str) -> dict[str, object]:
        return {}


def _survey(config: Config, database: Database | None) -> Iterator[Surveyed]:
    from rembg_watch.intake.adoption import Adoption  # noqa: PLC0415 - as above
    from rembg_watch.intake.survey import survey  # noqa: PLC0415
    from rembg_watch.jobs.outputs import Outputs  # noqa: PLC0415
    from rembg_watch.jobs.queue import Queue  # noqa: PLC0415

    if database is None:
        yield from survey(config.folders, _Nothing())  # type: ignore[arg-type] # never a version, so never a dict of them
    else:
        yield from survey(config.folders, Queue(database), adopt=Adoption(Outputs(database)))


def _cost(config: Config, database: Database | None, files: Sequence[Surveyed]) -> int:
    """Count the credits: the same picture with the same options costs once, and nothing if its result is there."""
    from rembg_watch.delivery.files import open_source, same_content  # noqa: PLC0415 - as above
    from rembg_watch.errors import FileError  # noqa: PLC0415
    from rembg_watch.intake.survey import Verdict  # noqa: PLC0415
    from rembg_watch.jobs.model import Key  # noqa: PLC0415
    from rembg_watch.jobs.outputs import Outputs  # noqa: PLC0415
    from rembg_watch.picturehash import hash_photo  # noqa: PLC0415

    store = options.result_store(config, database)
    paid: set[tuple[object, str]] = set()
    for file in files:
        folder = config.folder(file.folder)
        if file.verdict is not Verdict.WOULD_SEND or folder is None:
            continue
        try:
            photo, _ = open_source(f"{file.folder}/{file.path}")
            with photo:
                content, _ = hash_photo(photo)
        except (FileError, OSError):
            continue
        key = Key(content, folder.profile_for(file.path).options.fingerprint)
        known = [] if database is None else Outputs(database).with_keys([key])[key]
        if not folder.reuse_results:  # only its own earlier result is used again: the file was touched, not changed
            known = [one for one in known if (one.folder, one.source) == (file.folder, file.path)]
        usable = bool(known) or folder.reuse_results
        if usable and (store.find(key) or any(same_content(one.path, one.hash, one.size) for one in known)):
            continue
        paid.add((key, "" if folder.reuse_results else f"{file.folder}/{file.path}"))
    return len(paid)


def _too_many(config: Config, files: Sequence[Surveyed]) -> dict[str, int]:
    """Return the inboxes with more new photos than ``hold_above``, and how many."""
    from rembg_watch.intake.survey import Verdict  # noqa: PLC0415 - as above

    new = Counter(file.folder for file in files if file.verdict is Verdict.WOULD_SEND)
    limits = {str(folder.inbox): folder.hold_above for folder in config.folders}
    return {inbox: count for inbox, count in new.items() if count > (limits.get(inbox) or count)}


def _waiting(database: Database | None) -> int:
    if database is None:
        return 0
    from rembg_watch.jobs.queue import Queue  # noqa: PLC0415 - as above

    return Queue(database).open_count()


def _page(files: Sequence[Surveyed], cost: int, waiting: int, held: dict[str, int]) -> list[Block]:
    from rembg_watch.cli.show import Grid, Line, count, name, text  # noqa: PLC0415 - as above
    from rembg_watch.intake.survey import Verdict  # noqa: PLC0415

    rows = [
        (file.verdict.value, name(f"{file.folder}/{file.path}"), file.profile or text(file.reason))
        for file in files
        if file.verdict is not Verdict.KNOWN
    ]
    known = sum(1 for file in files if file.verdict is Verdict.KNOWN)
    would = sum(1 for file in files if file.verdict is Verdict.WOULD_SEND)
    page: list[Block] = [Grid(["what", "file", "profile or reason"], rows)] if rows else []
    page.append(Line(f"{count(would, 'file')} would be sent, for {count(cost, 'credit')}.", "title"))
    for inbox, photos in held.items():
        told = f"{photos} photos in {name(inbox)} would be held: more than its hold_above"
        page.append(Line(f"{told}. 'rembg-watch resume --folder' then sends them.", "warn"))
    if waiting:
        page.append(Line(f"{count(waiting, 'job')} of earlier runs would go on, for a credit each at most."))
    page.append(Line(f"{count(known, 'file')} known already: nothing would be done with them."))
    return page
