"""The folders that the daemon needs: made where they never were, and cleared of what a killed run left behind."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import structlog

from rembg_watch.delivery.files import temp_name
from rembg_watch.delivery.sweep import sweep_temps
from rembg_watch.dispatch.holds import inbox_scope
from rembg_watch.errors import StateError
from rembg_watch.intake.inbox import Health
from rembg_watch.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from rembg_watch.config.model import Config
    from rembg_watch.dispatch.holds import Holds
    from rembg_watch.intake.inbox import RootStatus
    from rembg_watch.jobs.board import Board
    from rembg_watch.jobs.store import JobStore

LOST = "inbox"
"""The kind of the hold on an inbox that is missing, unmounted or silent."""

log = structlog.get_logger()


def prepare_state_dir(state_dir: Path) -> None:
    """Make the state directory, for our eyes only.

    Raises:
        StateError: it can't be made, or others could write to it.
    """
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = state_dir.stat().st_mode
    except OSError as error:
        raise StateError(
            f"can't make the state directory {state_dir}: {error.strerror}",
            "Set state_dir to a folder we may write to.",
        ) from error
    if mode & 0o002:
        raise StateError(f"others can write to the state directory {state_dir}", f"Run: chmod o-w {state_dir}")


def make_targets(config: Config, board: Board) -> None:
    """Make the outboxes, archives and failed folders that were never there before.

    One that was there once and is gone is not made again: that is an unmounted disk, and a hold.
    """
    known = set(board.fact("targets") or [])
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
    board.set_fact("targets", sorted(known), time.time())


def sweep(config: Config, store: JobStore) -> None:
    """Clear away what a killed process left behind; what a job still knows of stays."""

    def kept(name: str) -> bool:
        return name in {os.path.basename(path) for path in store.temps()}

    roots = {
        str(root)
        for folder in config.folders
        for root in (folder.outbox, folder.archive, folder.failed, folder.inbox)
        if root is not None
    }
    for root in sorted(roots):
        for path in sweep_temps(root, kept):
            log.info("swept", path=printable(path))
    for spooled in (config.state_dir / "spool").glob("*.part"):
        if not kept(spooled.name) and not kept(temp_name(spooled.stem)):  # the row still names the temporary file
            spooled.unlink(missing_ok=True)


def may_be_there(folder: str, path: str) -> bool:
    """Tell whether a file may still be in its inbox; an inbox that is not there itself proves nothing."""
    return os.path.lexists(os.path.join(folder, path)) or not os.path.isdir(folder)


def hold_lost_inboxes(roots: Iterable[RootStatus], holds: Holds) -> bool:
    """Hold what is in inboxes that are not there: it waits, and is not gone. True where such a hold ended."""
    lost = {inbox_scope(root.inbox): root for root in roots if root.health is not Health.OK}
    for scope, root in lost.items():
        holds.hold(scope, LOST, root.message, "it is looked at every 2 s", now=time.time(), check_in=None)
    back = [hold.scope for hold in holds.all() if hold.kind == LOST and hold.scope not in lost]
    for scope in back:
        holds.release(scope, LOST)
    return bool(back)
