"""The folders that the daemon needs: created where they never were, and cleared of what a crash left behind."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import structlog

from rembg_watch import clock
from rembg_watch.delivery.sweep import sweep_temps
from rembg_watch.dispatch.holds import INBOX
from rembg_watch.errors import StateError
from rembg_watch.intake.inbox import Health
from rembg_watch.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from rembg_watch.config.model import Config
    from rembg_watch.dispatch.holds import Holds
    from rembg_watch.intake.inbox import RootStatus
    from rembg_watch.jobs.status_table import StatusTable

LOST = "inbox"
"""The kind of the hold on an inbox that is missing, unmounted or silent."""

log = structlog.get_logger()


def prepare_state_dir(state_dir: Path) -> None:
    """Create the state directory, readable by nobody else.

    Raises:
        StateError: it can't be created, or others could write to it.
    """
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = state_dir.stat().st_mode
    except OSError as error:
        raise StateError(
            f"can't make the state directory {state_dir}: {error.strerror}",
            "Set state_dir to a folder that rembg-watch may write to.",
        ) from error
    if mode & 0o002:
        raise StateError(f"others can write to the state directory {state_dir}", f"Run: chmod o-w {state_dir}")


def make_targets(config: Config, table: StatusTable) -> None:
    """Create the outboxes, archives and failed folders that were never there before.

    One that was there once and is gone is not created again: that is an unmounted disk, and a hold.
    """
    known = set(table.fact("targets") or [])
    for folder in config.folders:
        for target in (folder.outbox, folder.archive, folder.failed):
            if target is None or str(target) in known:
                continue
            try:
                target.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                log.warning("folder.cannot_make", path=str(target), reason=error.strerror)
            else:
                known.add(str(target))
    table.set_fact("targets", sorted(known), clock.now())


def sweep(config: Config) -> None:
    """Remove the temporary files of a job database that is gone: no row says where they are."""
    roots = {
        str(root)
        for folder in config.folders
        for root in (folder.outbox, folder.archive, folder.failed, folder.inbox)
        if root is not None
    }
    for root in sorted(roots):
        for path in sweep_temps(root):
            log.info("swept", path=printable(path))


def may_be_there(folder: str, path: str) -> bool:
    """Return whether a file may still be in its inbox; an inbox that is missing itself proves nothing."""
    return os.path.lexists(os.path.join(folder, path)) or not os.path.isdir(folder)


def hold_lost_inboxes(roots: Iterable[RootStatus], holds: Holds) -> None:
    """Hold the jobs of inboxes that are not there: they wait, and are not gone."""
    lost = {f"{INBOX}{root.inbox}": root for root in roots if root.health is not Health.OK}
    for scope, root in lost.items():
        holds.hold(scope, LOST, root.message, "it is looked at every 2 s", check_in=None)
    for hold in holds.all():
        if hold.kind == LOST and hold.scope not in lost:
            holds.release(hold.scope, LOST)
