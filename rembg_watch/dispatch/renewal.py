"""What a new config changes for work that is there already: holds that nothing can end any more, and options."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rembg_watch.dispatch.holds import inbox_scope, outbox_scope, profile_scope

if TYPE_CHECKING:
    from rembg_watch.config.model import Config
    from rembg_watch.dispatch.holds import Holds
    from rembg_watch.jobs.store import JobStore


def end_gone_holds(config: Config, holds: Holds) -> None:
    """End the holds on options, outboxes and inboxes that no folder has: nothing will ever go there to end them."""
    folders = config.folders
    profiles = [profile for folder in folders for profile in (folder.profile, *dict(folder.subfolders).values())]
    used = {
        *(profile_scope(profile.options.fingerprint) for profile in profiles),
        *(outbox_scope(str(folder.outbox)) for folder in folders),
        *(inbox_scope(str(folder.inbox)) for folder in folders),
    }
    for scope in {hold.scope for hold in holds.all()} - used:
        if scope.startswith(("profile:", "outbox:", "inbox:")):
            holds.release(scope)


def take_over_options(fingerprint: str, config: Config, store: JobStore) -> None:
    """Let no job wait for options that are held, if it is to be done with others by now."""
    changes = []
    for number, inbox, path in store.asked_with(fingerprint):
        folder = config.folder(inbox)
        if folder is not None and (profile := folder.profile_for(path)).options.fingerprint != fingerprint:
            changes.append((number, profile.options.fingerprint, profile.name))
    if changes:
        store.change_options(changes)
