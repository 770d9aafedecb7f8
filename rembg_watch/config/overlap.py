"""Which folders lie inside which: so that no photo is sent twice, no result is sent, and none is another's. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rembg_watch.config.model import Folder
    from rembg_watch.config.problems import KeyPath

Mistake = tuple["KeyPath", str]


def overlaps(folders: Sequence[Folder | None], state_dir: Path | None) -> list[Mistake]:
    """Compare resolved paths; give where each mistake is and what it is. None is a folder that can't be told."""
    known = [(index, folder) for index, folder in enumerate(folders) if folder is not None]
    found: list[Mistake] = []
    inboxes: dict[Path, int] = {}
    for index, folder in known:
        if (first := inboxes.setdefault(folder.inbox, index)) != index:
            found.append((("folders", index, "inbox"), f"is the inbox of folders[{first}] already"))
    outboxes = {folder.outbox: index for index, folder in reversed(known)}
    for index, folder in known:
        for key in ("outbox", "archive", "failed"):
            path: Path | None = getattr(folder, key)
            if path is None:
                continue
            where = ("folders", index, key)
            if what := _against_inboxes(path, inboxes):
                found.append((where, what))
            elif key != "outbox" and path in outboxes:
                found.append((where, f"is the outbox of folders[{outboxes[path]}]: photos and cut-outs would mix"))
        found += _nested(index, folder, known) if inboxes[folder.inbox] == index else []
    if state_dir is not None and (holder := _holder(state_dir, inboxes)) is not None:
        found.append((("state_dir",), f"is inside the inbox of folders[{inboxes[holder]}]: choose a place outside"))
    return found


def shares_outbox(folder: Folder, folders: Sequence[Folder | None]) -> bool:
    """Tell whether another folder's results may stand where this one's do: then nothing says whose an output is."""
    return any(
        folder.outbox == other.outbox or folder.outbox in other.outbox.parents or other.outbox in folder.outbox.parents
        for other in folders
        if other is not None and other is not folder
    )


def _holder(path: Path, inboxes: dict[Path, int]) -> Path | None:
    return next((place for place in (path, *path.parents) if place in inboxes), None)


def _against_inboxes(path: Path, inboxes: dict[Path, int]) -> str | None:
    if path in inboxes:
        return f"is the inbox of folders[{inboxes[path]}]: what is put there would be sent again"
    if (holder := _holder(path, inboxes)) is not None:
        return f"is inside the inbox of folders[{inboxes[holder]}]: what is put there would be sent again"
    below = next((inbox for inbox in inboxes if path in inbox.parents), None)
    if below is not None:
        return f"has the inbox of folders[{inboxes[below]}] inside: a mirrored path could end in it and be sent again"
    return None


def _nested(index: int, folder: Folder, known: list[tuple[int, Folder]]) -> list[Mistake]:
    """An inbox in an inbox is well only where the outer one does not look into its subfolders."""
    for other, outer in known:
        if outer.recursive and outer.inbox in folder.inbox.parents:
            what = f"is inside the inbox of folders[{other}], so its photos would be sent twice"
            return [(("folders", index, "inbox"), f"{what}: use subfolders there instead, or recursive: false")]
    return []
